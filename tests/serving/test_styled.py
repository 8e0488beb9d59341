"""Styles: the parts of a generator of mapping and synthesis, and truncation towards their mean."""

import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import onnx
import pytest

from serving import BundleError, Generator
from serving.contract.latents import between, latents
from tests.serving.conftest import STYLED, build_styled, write, write_styled

LAYERS, WIDTH = STYLED.styles


@pytest.fixture(scope="module")
def generator(styled):
    return Generator.load(styled, threads=1)


@pytest.fixture(scope="module")
def weights():
    return {each.name: onnx.numpy_helper.to_array(each) for each in build_styled(STYLED).graph.initializer}


def test_map_is_the_mapping(generator, weights):
    z, labels = latents(range(40), 5), np.arange(40) % 3
    w = generator.map(z, labels)
    assert (w.dtype, w.shape) == (np.float32, (40, LAYERS, WIDTH))
    expected = np.tanh(z @ weights["dense"] + weights["classes"][labels])
    np.testing.assert_allclose(w, np.repeat(expected[:, None], LAYERS, axis=1), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(generator.map(seeds=range(40)), w)
    np.testing.assert_array_equal(generator.map(seeds=np.int64(7), labels="dog"), w[7:8])
    np.testing.assert_array_equal(generator.map(z[:0]), w[:0])


@pytest.mark.parametrize("n", [0, 1, 16, 37])
def test_what_is_synthesised_of_styles_is_what_latents_give(generator, n):
    np.testing.assert_array_equal(generator.synthesise(generator.map(seeds=range(n))), generator.sample(n))


@pytest.mark.parametrize("truncation", [-1, 0, 0.3, 0.7, 1.5])
def test_truncation_draws_styles_towards_their_mean(generator, weights, truncation):
    w = generator.map(seeds=range(9))
    truncated = generator.map(seeds=range(9), truncation=truncation)
    expected = weights["mean"] + truncation * (w - weights["mean"])
    np.testing.assert_allclose(truncated, expected, rtol=0, atol=1e-6)
    pictures = generator.synthesise(truncated)
    z = latents(range(9), 5)
    np.testing.assert_array_equal(generator.sample(9, truncation=truncation), pictures)
    np.testing.assert_array_equal(generator.decode(z, truncation=truncation, labels=[0, 1, 2] * 3), pictures)
    assert len(np.unique(pictures, axis=0)) == (1 if truncation == 0 else 9)


def test_a_truncation_of_one_changes_no_bit(generator):
    plain = generator.images(latents(range(9), 5), np.arange(9) % 3)
    for one in (np.ones(1, np.float32), np.ones(9, np.float32)):
        np.testing.assert_array_equal(generator.images(latents(range(9), 5), np.arange(9) % 3, one), plain)


def test_a_walk_is_truncated(generator):
    ends = latents([7, 8], 5)
    z = between(ends[0], ends[1], np.linspace(0, 1, 20), "standard_normal")
    expected = generator.decode(z, labels=0, truncation=0.4)
    np.testing.assert_array_equal(generator.interpolate(7, 8, 20, truncation=0.4), expected)


def test_where_there_are_no_styles_latents_are_multiplied(digits):
    generator = Generator.load(digits)
    z = latents(range(5), 6)
    expected = generator.decode(z * np.float32(0.6), labels=1)
    np.testing.assert_array_equal(generator.sample(5, labels=1, truncation=0.6), expected)
    np.testing.assert_array_equal(generator.decode(z, labels=1, truncation=0.6), expected)
    with np.errstate(all="raise"), pytest.raises(ValueError, match="smaller truncation"):
        generator.decode(np.full((1, 6), 3e38), labels=1, truncation=-(2.0**100))


@pytest.mark.parametrize("layers", range(LAYERS + 1))
def test_mixing_takes_the_first_layers_of_one_and_the_others_of_another(generator, layers):
    a, b = generator.map(seeds=range(3)), generator.map(seeds=range(5, 8))
    mixed = generator.mix(a, b, layers)
    np.testing.assert_array_equal(mixed[:, :layers], a[:, :layers])
    np.testing.assert_array_equal(mixed[:, layers:], b[:, layers:])
    np.testing.assert_array_equal(generator.mix(a[:1], b, layers)[2], generator.mix(a[0][None], b[2:], layers)[0])
    np.testing.assert_array_equal(generator.mix(a, b[:1], np.int64(layers))[:, layers:], b[[0, 0, 0], layers:])
    assert generator.synthesise(mixed).shape == (3, 8, 8, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.map(), "neither of them"),
        (lambda g: g.map(np.zeros((1, 5)), seeds=[1]), "both of them"),
        (lambda g: g.map(np.zeros((1, 4))), r"z has the shape \[1, 4\]"),
        (lambda g: g.map(seeds=1.5), "seeds is 1.5; expected integers"),
        (lambda g: g.map(seeds="12"), "seeds is '12'"),
        (lambda g: g.map(seeds=[2**63]), "seeds is 9223372036854775808"),
        (lambda g: g.map(seeds=[1], truncation="a"), "truncation is 'a'"),
        (lambda g: g.map(seeds=[1], labels=3), "label"),
        (lambda g: g.map(seeds=[1], attributes={"age": 3}), "attributes were passed"),
        (
            lambda g: g.synthesise(np.zeros((2, 3, 3))),
            r"w has the shape \[2, 3, 3\].*real numbers \[n, 4, 3\]",
        ),
        (lambda g: g.synthesise(np.zeros((4, 3))), r"w has the shape \[4, 3\]"),
        (lambda g: g.synthesise(np.full((1, 4, 3), np.nan)), "NaN or infinite"),
        (lambda g: g.synthesise("w"), "w has the shape"),
        (lambda g: g.mix(np.zeros((2, 4, 3)), np.zeros((3, 4, 3)), 2), "coarse has 2 pictures and fine 3"),
        (lambda g: g.mix(np.zeros((2, 4, 3)), np.zeros((2, 4, 3)), 5), "layers is 5; expected at most 4"),
        (lambda g: g.mix(np.zeros((2, 4, 3)), np.zeros((2, 4, 3)), True), "layers is True"),
        (lambda g: g.mix(np.zeros((2, 4, 3)), np.zeros((2, 12)), 2), "fine has the shape"),
    ],
)
def test_what_does_not_fit_is_one_sentence(generator, call, message):
    with pytest.raises(ValueError, match=message) as refused:
        call(generator)
    assert "\n" not in str(refused.value)


CALLS = {
    "map": lambda generator: generator.map(seeds=[1]),
    "synthesise": lambda generator: generator.synthesise(np.zeros((1, 4, 3))),
    "mix": lambda generator: generator.mix(np.zeros((1, 4, 3)), np.zeros((1, 4, 3)), 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_generator_without_styles_says_so(digits, name):
    with pytest.raises(ValueError, match=f"{name} was called, but this generator has no styles"):
        CALLS[name](Generator.load(digits))


@pytest.mark.parametrize("name", ["map", "synthesise"])
def test_a_single_file_has_no_parts(styled, name):
    generator = Generator.load(styled / "generator.onnx")
    assert generator.sample(1, truncation=0.5).shape == (1, 8, 8, 1)
    with pytest.raises(ValueError, match=f"{name} was called, but the generator was loaded from a single file"):
        CALLS[name](generator)


def damaged(bundle, name):
    path = bundle / f"{name}.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def replaced(bundle, name):
    """By a part that is sound, but not the one of the manifest."""
    other = build_styled(STYLED, kept=name)
    other.doc_string = "another"
    write_styled(bundle.parent / "other", **{name: other})
    (bundle / f"{name}.onnx").write_bytes((bundle.parent / "other" / f"{name}.onnx").read_bytes())


def removed(bundle, name):
    (bundle / f"{name}.onnx").unlink()


@pytest.mark.parametrize(
    ("damage", "message"), [(damaged, "seal"), (replaced, "checksum"), (removed, "there is no file")]
)
@pytest.mark.parametrize("name", ["mapping", "synthesis"])
def test_parts_that_are_not_those_of_the_manifest(tmp_path, damage, message, name):
    generator = Generator.load(write_styled(tmp_path / "bundle"))
    damage(tmp_path / "bundle", name)
    assert generator.sample(2).shape == (2, 8, 8, 1)  # which needs none of them
    with pytest.raises(BundleError, match=message):
        CALLS["map" if name == "mapping" else "synthesise"](generator)


def without_truncation(model):
    del model.graph.input[-1]


def fixed_truncation(model):
    (default,) = [each for each in model.graph.initializer if each.name == "truncation"]
    model.graph.initializer.remove(default)


def of_other_classes(model):
    info = dataclasses.replace(STYLED, class_names=("a", "b", "c"))
    onnx.helper.set_model_props(model, {"mirage.model": json.dumps(info.to_dict())})


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("mapping", without_truncation, "it lacks truncation"),
        ("mapping", fixed_truncation, "its inputs are"),
        ("mapping", of_other_classes, "describe different models"),
        ("synthesis", of_other_classes, "describe different models"),
    ],
)
def test_parts_of_another_kind(tmp_path, name, damage, message):
    part = build_styled(STYLED, kept=name)
    damage(part)
    generator = Generator.load(write_styled(tmp_path / "bundle", **{name: part}))
    with pytest.raises(BundleError, match=f"{name}.onnx can't be used: .*{message}"):
        CALLS["map" if name == "mapping" else "synthesise"](generator)


def test_a_generator_that_does_not_take_truncation_is_refused(tmp_path):
    bundle = write_styled(tmp_path / "bundle")
    model = build_styled(STYLED)
    without_truncation(model)
    write(bundle, STYLED, model)
    with pytest.raises(BundleError, match="it lacks truncation"):
        Generator.load(bundle)


def test_a_bundle_that_lists_no_parts(tmp_path):
    bundle = write_styled(tmp_path / "bundle")
    document = json.loads((bundle / "manifest.json").read_text())
    del document["files"]["mapping.onnx"]
    (bundle / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"lists no mapping\.onnx; export it again"):
        Generator.load(bundle).map(seeds=[1])


def test_pickles_have_styles(generator):
    other = pickle.loads(pickle.dumps(generator))
    np.testing.assert_array_equal(other.map(seeds=range(5)), generator.map(seeds=range(5)))


_FORK = """
import os, sys
from serving import Generator

generator = Generator.load(sys.argv[1], threads=2)
w = generator.map(seeds=range(20))
expected = generator.synthesise(w)
child = os.fork()
if not child:
    same = (generator.map(seeds=range(20)) == w).all() and (generator.synthesise(w) == expected).all()
    sys.exit(5 if same and (generator.sample(20) == expected).all() else 7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
"""


def test_a_process_that_is_forked_has_styles(styled):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORK, str(styled)]
    result = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
