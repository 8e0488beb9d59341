"""Pictures with an alpha channel, and which are not square, in every format and at the edge."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

import export
from export import __main__ as command
from export import verify
from export.adoption.meaning import Asked
from export.adoption.source import AdoptedSource
from export.closeness import closeness
from export.formats.litert import litert_reader
from export.run_source import RunSource
from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.foreign.keras_files import of_model
from serving import Generator
from serving.contract.latents import latents
from serving.contract.manifest import read_manifest
from serving.contract.pixels import premultiplied, to_pixels
from serving.generator import open_session
from tests import foreign_networks as made

SEEDS = np.arange(20)
FORMATS = ["saved_model", "onnx", "litert", "triton"]


def exported(folder, alpha="", formats=FORMATS, **of_network):
    model = made.transparent(**of_network)
    export.adopt(model, folder, formats, asked=Asked(alpha=alpha), say=lambda text: None)
    return model


@pytest.mark.parametrize("alpha", ["straight", "premultiplied"])
def test_every_format_makes_the_same_pictures(tmp_path, alpha):
    model = exported(tmp_path / "out", alpha)
    z = latents(SEEDS, 6)
    images = model(z).numpy()
    expected = to_pixels(images, alpha)
    assert 0 < np.mean(expected[..., 3] < 9) < 1  # where the law matters
    generator = Generator.load(tmp_path / "out")
    assert generator.image_shape == (12, 20, 4)
    assert generator.info.alpha == alpha
    assert closeness(generator.sample(20), expected).same

    sampler = open_session(tmp_path / "out" / "sampler.onnx", 1)
    assert closeness(sampler.run(["pixels"], {"seed": SEEDS})[0], generator.sample(20)).same
    loaded = tf.saved_model.load(str(tmp_path / "out" / "saved_model"))
    assert closeness(loaded.sample(tf.constant(SEEDS))["pixels"].numpy(), expected).same
    generate = litert_reader(tmp_path / "out" / "generator.tflite", generator.info).generate
    np.testing.assert_allclose(generate(z, SEEDS), images, atol=1e-5)
    config = (tmp_path / "out" / "triton" / "sampler" / "config.pbtxt").read_text()
    assert "dims: [12, 20, 4]" in config
    assert verify.main(["verify", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("alpha", ["straight", "premultiplied"])
def test_the_bundle_says_what_its_colours_are(tmp_path, alpha):
    exported(tmp_path / "out", alpha, ["onnx"])
    assert read_manifest(tmp_path / "out").document["model"]["alpha"] == alpha
    sessions = {name: open_session(tmp_path / "out" / f"{name}.onnx", 1) for name in ("generator", "sampler")}
    facts = {name: each.get_modelmeta().custom_metadata_map for name, each in sessions.items()}
    assert json.loads(facts["sampler"]["mirage.model"])["alpha"] == alpha
    assert facts["sampler"]["Image.BitmapPixelFormat"] == "Rgba8"
    assert facts["generator"].get("Image.BitmapPixelFormat") == ("Rgba8" if alpha == "straight" else None)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| image | 12 x 20, RGBA |" in card
    assert f"output in [-1, 1], beyond which it is cut off, colours {alpha} |" in card
    assert "output in 0 to 255, colours straight |" in card
    assert ("(255 c + a // 2) // a" in card) == (alpha == "premultiplied")


def test_the_sheet_is_transparent(tmp_path):
    exported(tmp_path / "out", "premultiplied", ["onnx"])
    with Image.open(tmp_path / "out" / "samples.png") as sheet:
        assert (sheet.mode, sheet.size) == ("RGBA", (5 * 22 + 2, 5 * 14 + 2))
        pixels = np.asarray(sheet)
    assert not pixels[:2].any()
    np.testing.assert_array_equal(pixels[2:14, 24:44], Generator.load(tmp_path / "out").sample(2)[1])


@pytest.mark.parametrize("alpha", ["straight", "premultiplied"])
def test_int8_is_judged_by_what_one_sees(tmp_path, monkeypatch, alpha):
    described = []

    def describe(pixels):
        described.append(pixels)
        return pixels.reshape(len(pixels), -1)[:, :9].astype(np.float32)

    def times(models, feeds):
        names = sorted(models, key=lambda name: not name.startswith("int8"))
        return {name: {"1": 1.0 + place} for place, name in enumerate(names)}

    monkeypatch.setattr("export.int8_gates._describe", lambda: (describe, ""))
    monkeypatch.setattr("export.quantize.fastest_first", times)
    export.adopt(
        made.transparent(), tmp_path / "out", ["onnx", "int8"], asked=Asked(alpha=alpha), num_samples=40, say=str
    )
    section = read_manifest(tmp_path / "out").document["int8"]
    assert section["verdict"] == "shipped"
    assert {pixels.shape[1:] for pixels in described} == {(12, 20, 3)}
    small, large = (Generator.load(tmp_path / "out", precision=each).sample(40) for each in ("int8", "float32"))
    apart = np.abs(premultiplied(small).astype(int) - premultiplied(large))
    assert section["scores"]["int8"]["within_2"] == pytest.approx(np.mean(apart <= 2), abs=1e-5)
    assert verify.main(["verify", str(tmp_path / "out")]) == 0


def run(*arguments):
    values = flags.FlagValues()
    command.define_flags(values)
    return command.main(values, values(["export", *arguments]))


@pytest.mark.parametrize(
    ("arguments", "alpha", "said"),
    [
        ([], "straight", "straight colours; as most are; --alpha=premultiplied says otherwise"),
        (["--alpha=straight"], "straight", "straight colours; by --alpha"),
        (["--alpha=premultiplied"], "premultiplied", "premultiplied colours; by --alpha"),
    ],
)
def test_an_adopted_generator_is_straight_unless_it_is_said_otherwise(tmp_path, capsys, arguments, alpha, said):
    made.transparent(layout="NCHW", end="sigmoid").save(tmp_path / "theirs.keras")
    given = [f"--generator={tmp_path / 'theirs.keras'}", f"--out={tmp_path / 'out'}", "--formats=onnx"]
    assert run(*given, *arguments) == 0
    out = capsys.readouterr().out
    assert "NCHW, 12 x 20, RGBA; by its shape" in out
    assert said in out
    assert Generator.load(tmp_path / "out").info.alpha == alpha


def test_alpha_of_a_generator_without_it_is_a_sentence(tmp_path, capsys):
    made.sequential().save(tmp_path / "theirs.keras")
    arguments = [f"--generator={tmp_path / 'theirs.keras'}", f"--out={tmp_path / 'out'}"]
    assert run(*arguments, "--alpha=straight") == 1
    assert "error: --alpha=straight goes with 4 channels, but the output is" in capsys.readouterr().err
    assert run(f"--out={tmp_path / 'out'}", "--alpha=straight") == 1
    assert "error: --alpha goes with --generator only" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.keras"]


def of_shape(*sizes):
    z = keras.layers.Input([3])
    size = int(np.prod(sizes))
    return of_model(keras.Model(z, keras.layers.Reshape(sizes)(keras.layers.Dense(size, activation="tanh")(z))))


@pytest.mark.parametrize(
    ("sizes", "asked", "layout", "shape"),
    [
        ((4, 4, 3), {}, "NHWC", (4, 4, 3)),
        ((3, 4, 4), {}, "NCHW", (4, 4, 3)),
        ((4, 64, 1), {}, "NHWC", (4, 64, 1)),
        ((4, 6, 9), {}, "NCHW", (6, 9, 4)),
        ((6, 9, 4), {}, "NHWC", (6, 9, 4)),
        ((4, 4, 3), {"alpha": "straight"}, "NCHW", (4, 3, 4)),
        ((784,), {}, "flat", (28, 28, 1)),
        ((784,), {"alpha": "premultiplied"}, "flat", (14, 14, 4)),
        ((4, 9, 4), {"layout": "NCHW"}, "NCHW", (9, 4, 4)),
    ],
)
def test_four_values_are_channels_only_where_they_can_be(sizes, asked, layout, shape):
    source = AdoptedSource(of_shape(*sizes), "theirs", "", Asked(**asked))
    assert (source.meaning.layout, source.info.image_shape) == (layout, shape)


def test_what_may_lie_in_two_ways_is_asked_for():
    with pytest.raises(MirageError, match="could be NHWC or NCHW; pass --layout="):
        AdoptedSource(of_shape(4, 9, 4), "theirs", "", Asked(alpha="straight"))


def test_a_run_is_premultiplied(tmp_path):
    model = types.SimpleNamespace(count_params=lambda: 7)
    for channels, alpha in ((1, None), (3, None), (4, "premultiplied")):
        data = DataSpec("icons", "", (8, 12, channels), (), 20)
        assert RunSource(tmp_path, Config(), data, model, 3).info.alpha == alpha


def test_pictures_are_compared_as_they_look():
    nearly = np.full((2, 9, 5, 4), 2, np.uint8)
    nearly[0, 0, 0, :3] = [0, 128, 255]  # 0, 1 and 2 levels of premultiplied colour
    other = nearly.copy()
    other[0, 0, 0, :3] = [128, 255, 255]
    apart = closeness(nearly, other)
    assert (apart.levels, apart.share) == (1, pytest.approx(2 / nearly.size))
    other[..., 3] = 4
    assert closeness(nearly, other).levels == 3
    assert (premultiplied(nearly)[0, 0, 0] == [0, 1, 2, 2]).all()
