import copy
import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import onnx
import pytest

from serving import BundleError, Generator
from serving.contract.latents import latents
from serving.contract.pixels import to_pixels
from serving.generator import slerp


@pytest.fixture
def generator(write_bundle, conditional):
    return Generator.load(write_bundle(conditional), threads=1)


def test_facts(generator):
    assert generator.image_shape == (8, 8, 1)
    assert generator.class_names == ("cat", "dog", "owl")
    assert generator.latent_dim == 6


def test_a_picture_does_not_depend_on_its_batch(generator):
    together = generator.sample(37, seed=5, labels=[i % 3 for i in range(37)])
    assert together.shape == (37, 8, 8, 1)
    assert together.dtype == np.uint8
    for i in range(37):
        np.testing.assert_array_equal(generator.sample(1, seed=5 + i, labels=i % 3)[0], together[i])
    assert len({image.tobytes() for image in together}) == 37


def test_pixels_with_alpha_are_straight(icons):
    generator = Generator.load(icons)
    z, labels = latents(range(40), 5), np.arange(40) % 2
    pixels = generator.sample(40)
    images = generator.images(z, labels)
    np.testing.assert_array_equal(pixels, to_pixels(images, "premultiplied"))
    np.testing.assert_array_equal(pixels[..., 3], to_pixels(images)[..., 3])
    assert not np.array_equal(pixels, to_pixels(images))
    assert pickle.loads(pickle.dumps(generator)).info.alpha == "premultiplied"


def test_sample_is_decode_of_the_seed_law(generator):
    seeds = np.arange(-2, 3)
    expected = generator.decode(latents(seeds, 6), labels=1)
    np.testing.assert_array_equal(generator.sample(5, seed=-2, labels=1), expected)


def test_pixels_against_a_float64_computation(write_bundle, build_model, conditional):
    model = build_model(conditional)
    generator = Generator.load(write_bundle(conditional, model))
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    z, labels = latents(range(4), 6), np.array([0, 1, 2, 1])
    planes = (z.astype(np.float64) @ weights["w"]).reshape(4, 4, 4, 4)
    full = np.zeros((4, 1, 10, 10))
    for i in range(4):
        for j in range(4):
            patch = np.einsum("nc,ckhw->nkhw", planes[:, :, i, j], weights["kernel"])
            full[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += patch
    images = np.tanh(full[:, :, 1:-1, 1:-1].transpose(0, 2, 3, 1) + labels[:, None, None, None])
    expected = (images + 1) * 127.5
    # A pixel is off by at most rounding.
    assert np.abs(generator.decode(z, labels) - expected).max() <= 0.5 + 1e-3


def test_labels_by_number_name_and_turn(generator):
    by_number = generator.sample(3, labels=[0, 1, 2])
    np.testing.assert_array_equal(generator.sample(3, labels=["cat", "dog", "owl"]), by_number)
    np.testing.assert_array_equal(generator.sample(3), by_number)
    np.testing.assert_array_equal(generator.sample(3, labels="dog")[1], by_number[1])
    np.testing.assert_array_equal(generator.sample(3, labels=np.int64(2))[2], by_number[2])


def test_interpolation_starts_and_ends_at_the_seeds(generator):
    walk = generator.interpolate(3, 9, 5, labels=1)
    np.testing.assert_array_equal(walk[0], generator.sample(1, seed=3, labels=1)[0])
    np.testing.assert_array_equal(walk[-1], generator.sample(1, seed=9, labels=1)[0])
    np.testing.assert_array_equal(generator.interpolate(3, 9, 2), generator.interpolate(3, 9, 2, labels=0))


def test_with_uniform_latents_seeds_make_those_and_a_walk_is_straight(write_bundle, unconditional):
    info = dataclasses.replace(unconditional, latent_distribution="uniform")
    generator = Generator.load(write_bundle(info))
    z = latents([4, 5, 6], info.latent_dim, "uniform")
    np.testing.assert_array_equal(generator.sample(3, seed=4), generator.decode(z))
    np.testing.assert_array_equal(generator.interpolate(4, 6, 3)[1:2], generator.decode((z[:1] + z[2:]) / 2))


def test_slerp_walks_the_great_circle_evenly():
    a, b = np.array([2, 0, 0], np.float32), np.array([0, 2, 0], np.float32)
    t = np.array([0, 1 / 3, 1])
    expected = [[2, 0, 0], [2 * np.cos(np.pi / 6), 2 * np.sin(np.pi / 6), 0], [0, 2, 0]]
    np.testing.assert_allclose(slerp(a, b, t), expected, atol=1e-6)
    np.testing.assert_allclose(slerp(a, 2 * a, np.array([0.5])), [[3, 0, 0]], atol=1e-6)


def test_an_unconditional_generator(write_bundle, unconditional):
    generator = Generator.load(write_bundle(unconditional))
    assert generator.sample(2).shape == (2, 8, 8, 3)
    assert generator.sample(0).shape == (0, 8, 8, 3)
    assert generator.interpolate(0, 1, 3).shape == (3, 8, 8, 3)
    with pytest.raises(ValueError, match="unconditional"):
        generator.sample(1, labels=0)


def test_a_single_file_loads_alone(write_bundle, conditional, generator):
    alone = Generator.load(write_bundle(conditional) / "generator.onnx")
    assert alone.info == conditional
    np.testing.assert_array_equal(alone.sample(3), generator.sample(3))


@pytest.mark.parametrize(
    "call",
    [
        lambda g: g.sample(-1),
        lambda g: g.sample(2, seed=2**63 - 1),
        lambda g: g.sample(1, seed=-(2**63) - 1),
        lambda g: g.sample(1, labels=3),
        lambda g: g.sample(1, labels=-1),
        lambda g: g.sample(1, labels=True),
        lambda g: g.sample(1, labels="cow"),
        lambda g: g.sample(3, labels=[0, 1]),
        lambda g: g.decode(np.zeros((2, 5)), labels=0),
        lambda g: g.decode(np.zeros(6), labels=0),
        lambda g: g.decode(np.full((1, 6), np.nan), labels=0),
        lambda g: g.interpolate(0, 1, 1),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(generator, call):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$"):
        call(generator)


def test_threads_must_be_positive(write_bundle, conditional):
    with pytest.raises(ValueError, match="threads is 0"):
        Generator.load(write_bundle(conditional), threads=0)


def without_metadata(model):
    del model.metadata_props[:]


def other_metadata(model):
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"latent_dim": 6', '"latent_dim": 7')


def renamed_output(model):
    model.graph.output[0].name = model.graph.node[-1].output[0] = "picture"


def renamed_input(model):
    model.graph.input[0].name = model.graph.node[0].input[0] = "noise"


@pytest.mark.parametrize("damage", [without_metadata, other_metadata, renamed_output, renamed_input])
def test_models_that_are_not_ours_are_refused(write_bundle, build_model, conditional, damage):
    model = build_model(conditional)
    damage(model)
    bundle = write_bundle(conditional, model)
    for path in (bundle, bundle / "generator.onnx"):
        with pytest.raises(BundleError, match=r"^[^\n]+$"):
            Generator.load(path)


def test_a_fixed_batch_axis_is_refused(write_bundle, build_model, conditional):
    with pytest.raises(BundleError, match="batch axis is fixed"):
        Generator.load(write_bundle(conditional, build_model(conditional, fixed_batch=True)))


def test_a_manifest_of_another_model_is_refused(write_bundle, build_model, conditional, unconditional):
    with pytest.raises(BundleError, match="describe different models"):
        Generator.load(write_bundle(unconditional, build_model(conditional)))


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_files_that_are_no_models_are_refused(tmp_path, content):
    path = tmp_path / "generator.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=r"^[^\n]+$"):
        Generator.load(path)


def test_a_changed_file_is_refused(write_bundle, conditional):
    bundle = write_bundle(conditional)
    with (bundle / "generator.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="checksum"):
        Generator.load(bundle)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda generator: pickle.loads(pickle.dumps(generator))])
@pytest.mark.parametrize("name", ["", "generator.onnx"])
def test_copies_and_pickles_load_again(write_bundle, conditional, monkeypatch, tmp_path, again, name):
    bundle = write_bundle(conditional)
    monkeypatch.chdir(bundle)
    generator = Generator.load(name or ".", threads=1)
    monkeypatch.chdir(tmp_path)  # the path was relative
    other = again(generator)
    assert other is not generator
    assert other.info == generator.info
    np.testing.assert_array_equal(other.sample(3, seed=5), generator.sample(3, seed=5))


def test_a_pickle_of_a_file_that_has_changed_or_gone(write_bundle, build_model, conditional):
    bundle = write_bundle(conditional)
    data = pickle.dumps(Generator.load(bundle))
    model = build_model(conditional)
    model.doc_string = "another"
    write_bundle(conditional, model)
    with pytest.raises(BundleError, match="has changed"):
        pickle.loads(data)
    (bundle / "manifest.json").unlink()
    with pytest.raises(BundleError, match="is no bundle"):
        pickle.loads(data)


def test_a_generator_of_a_session_says_that_it_can_not_be_pickled(generator):
    with pytest.raises(TypeError, match=r"Generator\.load"):
        pickle.dumps(Generator(generator._network.session, generator.info))


_FORK = """
import os, sys
from serving import Generator

generator = Generator.load(sys.argv[1], threads=int(sys.argv[2]))
expected = generator.sample(20, seed=3)
for draws in (False, True):
    child = os.fork()
    if not child:
        sys.exit(7 if draws and (generator.sample(20, seed=3) != expected).any() else 5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
assert (generator.sample(20, seed=3) == expected).all()
"""


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_process_that_is_forked_draws_and_ends(digits, threads):
    # Since 3.12 Python warns of every fork of a process with threads, other libraries' included.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORK, str(digits), str(threads)]
    result = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_generators_go_to_other_processes(digits, method):
    generator = Generator.load(digits, threads=2)
    code = (
        "import multiprocessing, sys; from serving import Generator\n"
        "if __name__ == '__main__':\n"
        "    generator = Generator.load(sys.argv[1], threads=2)\n"
        "    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:\n"
        "        print([int(each.sum()) for each in pool.map(generator.sample, [1, 2, 3])])"
    )
    command = [sys.executable, "-c", code, str(digits), method]
    printed = subprocess.run(command, timeout=60, capture_output=True, text=True, check=True).stdout
    assert printed == f"{[int(generator.sample(n).sum()) for n in (1, 2, 3)]}\n"


def fails_when_run(model):
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.array([-1, 3, 4, 4]), "small"))


def one_image_for_all(model):
    first = onnx.helper.make_node("Slice", ["nhwc", "zero", "one", "zero"], ["first"])
    model.graph.initializer.extend(
        [onnx.numpy_helper.from_array(np.array([number]), name) for number, name in ((0, "zero"), (1, "one"))]
    )
    model.graph.node.insert(4, first)
    model.graph.node[-1].input[0] = "first"


@pytest.mark.parametrize("damage", [fails_when_run, one_image_for_all])
def test_a_file_that_can_not_be_run_is_one_sentence(write_bundle, build_model, unconditional, damage):
    model = build_model(unconditional)
    damage(model)
    generator = Generator.load(write_bundle(unconditional, model))
    with pytest.raises(BundleError, match=r"^[^\n]+\.$"):
        generator.sample(3)


_LOAD = """
import re, sys
import numpy, onnxruntime
from serving import Generator

def mib(what):
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

before = mib("VmRSS")
generator = Generator.load(sys.argv[1], threads=1)
generator.sample(1)
print(mib("VmHWM") - before, mib("VmRSS") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its memory")
def test_a_loaded_file_is_kept_once(write_bundle, unconditional):
    """While it loads there are the file, the same parsed, and the weights; then two of them at most."""
    info = dataclasses.replace(unconditional, latent_dim=512, image_shape=(128, 128, 3))
    bundle = write_bundle(info)
    said = subprocess.run([sys.executable, "-c", _LOAD, bundle], capture_output=True, text=True, check=True).stdout
    file_mib = (bundle / "generator.onnx").stat().st_size / 2**20
    peak, kept = (float(each) / file_mib for each in said.split())
    assert file_mib > 32
    assert peak < 3.6, peak
    assert kept < 2.7, kept
