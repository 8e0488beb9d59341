"""Bundles of a mapping and a synthesis: the parts, and truncation towards the mean style, in every format."""

import dataclasses
import shutil
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from absl import flags
from keras import layers

import export.__main__ as command
from export.bundle import export_bundle
from export.closeness import closeness
from export.conversion import convert_parts
from export.parity import check_samplers
from export.run_source import RunSource
from export.signatures import keras_styles
from export.styles import Styles, style_shape
from export.verify import verify
from pipeline.base.errors import MirageError
from pipeline.runs.checkpoint import load_sampler
from serving import Generator
from serving.contract.latents import latents
from serving.contract.manifest import BundleError, ModelInfo, read_manifest
from serving.contract.pixels import to_pixels
from serving.runtime import ort
from tests.export.tiny_runs import make_run

LABELS = np.arange(8) % 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("styles")
    make_run(root / "run", "stylegan2")
    return root / "run"


@pytest.fixture(scope="module")
def bundle(run):
    export_bundle(run, run.parent / "bundle", ["saved_model", "onnx", "triton"])
    return run.parent / "bundle"


@pytest.fixture(scope="module")
def generator(bundle):
    return Generator.load(bundle)


@pytest.fixture(scope="module")
def model(run):
    return load_sampler(run)[2]


def session(bundle, name):
    return ort.InferenceSession(bundle / name, providers=["CPUExecutionProvider"])


def same(actual, expected):
    return closeness(actual, expected).same


def test_styles_are_those_of_the_trained_mapping(generator, model):
    z = latents(range(8), 6)
    expected = np.asarray(model.get_layer("mapping")([z, LABELS], training=False))
    w = generator.map(z, LABELS)
    np.testing.assert_allclose(w, expected, rtol=0, atol=1e-5)
    mean = np.asarray(model.get_layer("mapping").layers[-1].mean)
    assert np.abs(mean).min() > 0
    np.testing.assert_allclose(generator.map(z, LABELS, truncation=0), np.broadcast_to(mean, w.shape), rtol=0, atol=0)
    nearer = generator.map(z, LABELS, truncation=0.7)
    np.testing.assert_allclose(nearer, mean + 0.7 * (expected - mean), rtol=0, atol=1e-5)


def test_synthesis_is_the_trained_one_of_any_styles(generator, model):
    w = generator.map(seeds=range(8))
    mixed = generator.mix(w, w[::-1], 3)
    images = np.asarray(model.get_layer("synthesis")(mixed, training=False))
    assert same(generator.synthesise(mixed), to_pixels(images))
    assert not same(generator.synthesise(mixed), generator.synthesise(w))


def test_the_parts_together_are_the_generator(generator):
    z = latents(range(40), 6)
    np.testing.assert_array_equal(generator.synthesise(generator.map(z)), generator.decode(z))


@pytest.mark.parametrize("truncation", [0.0, 0.5, 1.0])
def test_truncation_means_the_same_everywhere(bundle, generator, model, truncation):
    seeds = np.arange(-3, 5)
    z, psi = latents(seeds, 6), np.float32(truncation)
    truncated = keras_styles(model, generator.info)
    expected = to_pixels(truncated(z, LABELS, truncation))
    assert len(np.unique(expected, axis=0)) == (8 if truncation else 1)
    feeds = {"z": z, "label": LABELS}
    one_for_all, one_for_each = (
        session(bundle, "generator.onnx").run(["image"], {**feeds, "truncation": np.full(count, psi)})[0]
        for count in (1, 8)
    )
    np.testing.assert_array_equal(one_for_all, one_for_each)
    loaded = tf.saved_model.load(str(bundle / "saved_model"))
    found = {
        "Generator.sample": generator.sample(8, seed=-3, labels=LABELS, truncation=truncation),
        "Generator.decode": generator.decode(z, LABELS, truncation=truncation),
        "generator.onnx": to_pixels(one_for_all),
        "sampler.onnx": session(bundle, "sampler.onnx").run(
            ["pixels"], {"seed": seeds, "label": LABELS, "truncation": np.array(psi)}
        )[0],
        "sample": loaded.signatures["sample"](
            seed=tf.constant(seeds), label=tf.constant(LABELS), truncation=tf.constant(psi)
        )["pixels"].numpy(),
        "parts": generator.synthesise(generator.map(z, LABELS, truncation=truncation)),
    }
    assert [name for name, pixels in found.items() if not same(pixels, expected)] == []


def test_what_is_left_out_is_one_to_the_bit(bundle):
    feeds = {"z": latents(range(8), 6), "label": LABELS}
    for name, output in (("generator.onnx", "image"), ("mapping.onnx", "w")):
        run = session(bundle, name).run
        np.testing.assert_array_equal(
            run([output], feeds)[0], run([output], {**feeds, "truncation": np.ones(1, np.float32)})[0]
        )


def test_pictures_of_different_truncation_share_a_batch(generator):
    z, psi = latents(range(8), 6), np.linspace(0, 1, 8, dtype=np.float32)
    together = generator.images(z, LABELS, psi)
    for i in range(8):
        alone = generator.images(z[i : i + 1], LABELS[i : i + 1], psi[i : i + 1])
        np.testing.assert_array_equal(together[i : i + 1], alone)
    assert not same(to_pixels(together), to_pixels(generator.images(z, LABELS)))


def test_the_files_refuse_what_the_generator_refuses(bundle):
    mapping, synthesis = (session(bundle, f"{name}.onnx") for name in ("mapping", "synthesis"))
    z = latents([0], 6)
    for label in (-1, 2):
        with pytest.raises(Exception, match=r"indices|out of"):
            mapping.run(None, {"z": z, "label": np.array([label])})
    with pytest.raises(Exception, match="Reshape"):
        mapping.run(None, {"z": z[:0], "label": np.array([], np.int64)})
    with pytest.raises(Exception, match="Reshape"):
        synthesis.run(None, {"w": np.zeros((0, 6, 8), np.float32)})


@pytest.mark.parametrize("name", ["mapping", "synthesis"])
def test_a_part_explains_itself(bundle, name):
    model = onnx.load(bundle / f"{name}.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.name == name
    assert all(value.doc_string for value in [*model.graph.input, *model.graph.output])
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert metadata["step"] == "3"
    assert ("Image.ColorSpaceGamma" in metadata) == (name == "synthesis")
    assert "ConvTranspose" not in {node.op_type for node in model.graph.node}
    axes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    inputs = {"mapping": {"z": ["N", 6], "label": ["N"], "truncation": ["T"]}, "synthesis": {"w": ["N", 6, 8]}}
    assert axes == inputs[name]


def test_manifest_and_card_speak_of_styles(bundle):
    document = read_manifest(bundle).document
    assert (document["model"]["styles"], document["model"]["truncation"]) == ([6, 8], "style")
    assert {"mapping.onnx", "synthesis.onnx"} <= {*document["onnx"]["models"]} & {*document["files"]}
    assert any("mapping.onnx and synthesis.onnx" in reader for reader in document["parity"]["onnx"]["readers"])
    card = (bundle / "README.md").read_text()
    assert "| `mapping.onnx` | `w` | float32 | N, 6, 8 | styles, one for each layer |" in card
    (example,) = [part for part in card.split("```") if "generator.map" in part]
    generator = Generator.load(bundle)
    values = {"generator": generator}
    exec(example.removeprefix("python"), values)
    assert values["images"].shape == (1, 17, 24, 3)


def test_triton_leaves_truncation_out(bundle):
    for name in ("generator", "sampler"):
        assert "truncation" not in (bundle / "triton" / name / "config.pbtxt").read_text()


def test_verify_looks_at_the_parts(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("export.verify._ROUNDS", 1)
    passed = dict(verify(bundle))
    assert "pictures of both parts" in passed
    assert "the same, truncation 0.5" in passed
    broken = shutil.copytree(bundle, tmp_path / "broken")
    monkeypatch.setattr(Generator, "map", lambda self, *args, **more: 0.9 * MAP(self, *args, **more))
    with pytest.raises(BundleError, match="pictures differ"):
        dict(verify(broken))


MAP = Generator.map


def test_parity_notices_another_mean(run, model):
    source = RunSource.load(run, "newest")
    reference = source.reference()

    def sample(seed, label, truncation):
        z = latents(seed, 6)
        styles = Styles.of(model, source.info)
        other = dataclasses.replace(styles, mean=styles.mean + 0.5)
        w = other.map(tf.constant(z), tf.constant(label), truncation=tf.constant([truncation], tf.float32))
        return to_pixels(np.asarray(other.synthesise(w)))

    with pytest.raises(MirageError, match="the sampler of moved differs from Keras"):
        check_samplers(reference, {"moved": sample}, source.info)
    right = {"right": lambda seed, label, psi: to_pixels(reference.truncated(latents(seed, 6), label, psi))}
    check_samplers(reference, right, source.info)


def two_parts(count=3, width=4, **mapping):
    """Somebody's generator of two models, whose mapping keeps no mean."""
    z, w = keras.Input([5], name="z"), keras.Input([count, width], name="w")
    styles = layers.Reshape([count, width])(layers.Dense(count * width, activation="tanh", bias_initializer="ones")(z))
    first = keras.Model(z, styles, name="mapping", **mapping)
    image = layers.Reshape([8, 8, 1])(layers.Dense(64, activation="tanh")(layers.Flatten()(w)))
    second = keras.Model(w, image, name="synthesis")
    start = keras.Input([5], name="z")
    return keras.Model(start, second(first(start)), name="generator")


def test_a_mapping_that_keeps_no_mean_gets_that_of_4096_latents():
    model = two_parts()
    info = ModelInfo(5, (8, 8, 1), False, (), styles=style_shape(model))
    assert info.styles == (3, 4)
    expected = np.mean(model.get_layer("mapping")(latents(range(4096), 5)), axis=0)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(Styles.of(model, info).mean, expected, rtol=0, atol=1e-5)
    parts = convert_parts(model, info)
    (w,) = ort.InferenceSession(parts["mapping"].SerializeToString()).run(
        ["w"], {"z": latents(range(2), 5), "truncation": np.zeros(1, np.float32)}
    )
    np.testing.assert_allclose(w, [expected, expected], rtol=0, atol=1e-5)


def with_more_behind():
    model = two_parts()
    return keras.Model(model.inputs, layers.Rescaling(0.5)(model.outputs[0]))


def with_other_names():
    z = keras.Input([5], name="z")
    model = two_parts()
    first, second = (model.get_layer(name) for name in ("mapping", "synthesis"))
    return keras.Model(z, keras.Model(second.inputs, second.outputs[0], name="other")(first(z)))


def in_one():
    z = keras.Input([5], name="z")
    return keras.Model(z, layers.Reshape([8, 8, 1])(layers.Dense(64)(z)))


@pytest.mark.parametrize("make", [with_more_behind, with_other_names, in_one])
def test_other_generators_have_no_styles(make):
    assert style_shape(make()) is None


def test_noise_may_be_left_out(run, generator):
    silent, kept = (RunSource.load(run, "newest", noise) for noise in ("none", "kept"))
    z = latents(range(8), 6)
    images = silent.reference().generate(z, LABELS)
    for layer in kept.model._flatten_layers():
        if hasattr(layer, "strength"):
            assert layer.strength.numpy() > 0
            layer.noise.assign(tf.zeros_like(layer.noise))
    np.testing.assert_array_equal(images, kept.reference().generate(z, LABELS))
    assert not same(to_pixels(images), generator.decode(z, LABELS))
    assert silent.scores == {}
    assert [source.provenance().get("noise") for source in (silent, kept)] == ["none", None]
    assert [source.facts().get("noise") for source in (silent, kept)] == ["none", None]
    assert "left out" in silent.card()["noise"]
    (graph,) = {name: part for name, part in silent.parts().items() if name == "synthesis"}.values()
    (found,) = ort.InferenceSession(graph.SerializeToString()).run(["image"], {"w": generator.map(z, LABELS)})
    np.testing.assert_allclose(found, images, rtol=0, atol=1e-5)


def test_a_generator_without_noise_has_none_to_leave_out(tmp_path, capsys):
    make_run(tmp_path / "run", "mlp")
    values = flags.FlagValues()
    command.define_flags(values)
    values(["export", f"--run_dir={tmp_path}/run", f"--out={tmp_path}/out", "--noise=none"])
    assert command.main(values, ["export"]) == 1
    said = capsys.readouterr().err
    assert said == "error: --noise=none is for generators that add noise, as stylegan2's; leave it out.\n"
    assert not (tmp_path / "out").exists()
    with pytest.raises(MirageError, match="--noise=seed is not known; choose from kept, none"):
        export_bundle(tmp_path / "run", tmp_path / "out", noise="seed")
    source = RunSource.load(tmp_path / "run", "newest")
    with pytest.raises(MirageError, match="goes with a run directory"):
        export_bundle(source, tmp_path / "out", noise="none")


def test_the_manuals_example(bundle):
    manual = (Path(__file__).parents[2] / "BUILD.md").read_text(encoding="utf-8")
    (example,) = [each for each in manual.split("```python\n") if each.startswith("faces = Generator")]
    values = {"Generator": Generator}
    exec(example.partition("```")[0].replace("bundles/faces", str(bundle)), values)
    assert values["w"].shape == (2, 6, 8)
