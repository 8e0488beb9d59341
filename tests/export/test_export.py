"""Bundles of tiny untrained networks with the statistics of trained ones."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

import export.__main__ as command
from export.bundle import export_bundle
from export.conversion import OPSET
from export.formats import onnx_files
from export.parity import check_parity
from export.signatures import keras_generator
from export.source import Reference
from pipeline.base.errors import MirageError
from pipeline.runs.checkpoint import load_sampler
from pipeline.runs.run_file import write_run
from serving import Generator
from serving.contract.latents import latents
from serving.contract.manifest import METADATA_KEY, ModelInfo, parse_model_info, read_manifest, sha256
from serving.runtime import ort
from tests.export.tiny_runs import SPECS, make_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for kind in SPECS:
        make_run(root / kind, kind)
        export_bundle(root / kind, root / f"{kind}-bundle")
    return root


@pytest.mark.parametrize("kind", SPECS)
def test_a_bundle_holds_what_its_manifest_says(runs, kind):
    bundle = runs / f"{kind}-bundle"
    manifest = read_manifest(bundle)
    present = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set(manifest.files) == present
    assert {
        "generator.onnx",
        "sampler.onnx",
        "golden.npz",
        "samples.png",
        "README.md",
        "saved_model/saved_model.pb",
    } <= present
    assert all(sha256(bundle / name) == digest for name, digest in manifest.files.items())
    config, data = SPECS[kind]
    styles = (6, 8) if kind == "stylegan2" else None
    expected = ModelInfo(config.latent_dim, data.image_shape, config.conditional, data.class_names, styles=styles)
    assert manifest.model == expected
    assert {"mapping.onnx", "synthesis.onnx"} & present == ({"mapping.onnx", "synthesis.onnx"} if styles else set())
    assert manifest.document["provenance"]["step"] == 3
    assert set(manifest.document["parity"]) == {"saved_model", "onnx"}
    assert not [p for p in runs.iterdir() if p.name.startswith(".")]


def test_paths_of_the_training_machine_stay_there(runs):
    for path in (runs / "dcgan-bundle").rglob("*"):
        if path.is_file():
            assert b"/secret" not in path.read_bytes(), path
            assert str(runs).encode() not in path.read_bytes(), path


@pytest.mark.parametrize("name", ["generator.onnx", "sampler.onnx"])
@pytest.mark.parametrize("kind", SPECS)
def test_an_onnx_file_explains_itself(runs, kind, name):
    model = onnx.load(runs / f"{kind}-bundle" / name)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")] == [("", OPSET)]
    axes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    axes |= {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output}
    config, data = SPECS[kind]
    expected = {"z": ["N", config.latent_dim], "image": ["N", *data.image_shape]}
    if kind == "stylegan2":
        expected["truncation"] = ["T"]
    if name == "sampler.onnx":
        expected = {"seed": ["N"], "truncation": [], "pixels": ["N", *data.image_shape]}
    assert axes == (expected | {"label": ["N"]} if config.conditional else expected)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert parse_model_info(metadata[METADATA_KEY]).image_shape == data.image_shape
    assert metadata["step"] == "3"
    assert metadata["Image.BitmapPixelFormat"] == ("Gray8" if data.image_shape[2] == 1 else "Rgb8")
    assert all(value.doc_string for value in [*model.graph.input, *model.graph.output])
    assert model.graph.output[0].type.denotation == "IMAGE"
    assert not {"BatchNormalization", "ConvTranspose"} & {node.op_type for node in model.graph.node}


def test_a_grouped_convolution_stays_one_operator(runs):
    for name in ("generator", "sampler"):
        graph = onnx.load(runs / "r3gan-bundle" / f"{name}.onnx").graph
        groups = [
            each.i for node in graph.node for each in node.attribute if node.op_type == "Conv" and each.name == "group"
        ]
        # Of each stage's block; before them, but for the first, the filter of all planes by themselves.
        assert [each for each in groups if each > 1] == [4, 32, 4, 16, 2]


@pytest.mark.parametrize("kind", SPECS)
def test_pictures_are_those_of_the_trained_network(runs, kind):
    config, _, model, _ = load_sampler(runs / kind)
    z = latents(np.arange(5), config.latent_dim)
    labels = np.array([0, 1, 1, 0, 1])
    expected = np.asarray(model([z, labels] if config.conditional else z, training=False))
    expected = np.rint((np.clip(expected, -1, 1) + 1) * 127.5)  # r3gan has no tanh
    pixels = Generator.load(runs / f"{kind}-bundle").decode(z, labels if config.conditional else None)
    difference = np.abs(pixels - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.001
    assert pixels.std() > 10


@pytest.mark.parametrize("threads", [1, 3, 4, 8])
@pytest.mark.parametrize("kind", SPECS)
def test_a_picture_does_not_depend_on_its_batch(runs, kind, threads):
    generator = Generator.load(runs / f"{kind}-bundle", threads=threads)
    labels = 1 if generator.info.conditional else None
    together = generator.sample(37, seed=5, labels=labels)
    for size in (1, 2, 3, 8):
        apart = [generator.sample(min(size, 37 - i), seed=5 + i, labels=labels) for i in range(0, 37, size)]
        np.testing.assert_array_equal(np.concatenate(apart), together)


def test_the_saved_model_has_the_named_signature(runs):
    loaded = tf.saved_model.load(str(runs / "dcgan-bundle" / "saved_model"))
    signature = loaded.signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in specs.items()} == {
        "z": (tf.float32, [None, 5]),
        "label": (tf.int64, [None]),
    }
    assert signature(z=tf.zeros([2, 5]), label=tf.constant([0, 1], tf.int64))["image"].shape == (2, 16, 16, 3)


@pytest.mark.parametrize("truncation", [1.0, 0.6])
@pytest.mark.parametrize("kind", SPECS)
def test_a_seed_gives_the_same_picture_everywhere(runs, kind, truncation):
    bundle = runs / f"{kind}-bundle"
    generator = Generator.load(bundle)
    labels = {"label": np.arange(100) % 2} if generator.info.conditional else {}
    expected = generator.sample(100, seed=-50, labels=labels.get("label"), truncation=truncation)
    seed = np.arange(-50, 50)
    session = ort.InferenceSession(bundle / "sampler.onnx", providers=["CPUExecutionProvider"])
    in_onnx = session.run(None, {"seed": seed, "truncation": np.array(truncation, np.float32), **labels})[0]
    signature = tf.saved_model.load(str(bundle / "saved_model")).signatures["sample"]
    tensors = {name: tf.constant(label) for name, label in labels.items()}
    in_tensorflow = signature(seed=tf.constant(seed), truncation=tf.constant(truncation), **tensors)["pixels"].numpy()
    for pixels in (in_onnx, in_tensorflow):
        assert pixels.dtype == np.uint8
        difference = np.abs(pixels.astype(int) - expected)
        assert difference.max() <= 1
        assert np.mean(difference > 0) <= 0.001


@pytest.mark.parametrize("kind", SPECS)
def test_golden_vectors(runs, kind):
    bundle = runs / f"{kind}-bundle"
    generator = Generator.load(bundle)
    with np.load(bundle / "golden.npz") as golden:
        seed, label, z, image, pixels = (golden[name] for name in ("seed", "label", "z", "image", "pixels"))
    np.testing.assert_array_equal(latents(seed, generator.latent_dim), z)
    labels = label if generator.info.conditional else None
    assert np.abs(generator.decode(z, labels).astype(int) - pixels).max() <= 1
    np.testing.assert_array_equal(np.rint((np.clip(image, -1, 1) + 1) * 127.5), pixels)
    assert np.abs(image).max() > 1 or kind not in ("r3gan", "stylegan2")  # without tanh only pixels are held in range
    np.testing.assert_array_equal(np.clip(np.rint((image + 1) * 127.5), 0, 255), pixels)


@pytest.mark.parametrize("kind", ["dcgan", "stylegan2"])
def test_two_processes_write_the_same_bytes(runs, tmp_path, kind):
    """Keras numbers layers, and Python orders sets, by what a process did before."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "export", f"--run_dir={runs}/{kind}"]
    processes = [
        subprocess.Popen(
            [*command, f"--out={tmp_path}/{name}"], env={**environment, "PYTHONHASHSEED": name}, stdout=subprocess.PIPE
        )
        for name in ("1", "2")
    ]
    assert [(process.communicate(), process.returncode)[1] for process in processes] == [0, 0]
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("1", "2")
    )
    assert len(first) > 8
    assert [str(path) for path in first if first[path] != second.get(path)] == []
    assert read_manifest(tmp_path / "1").document["created"] == "2023-11-14T22:13:20+00:00"


@pytest.mark.parametrize("time", ["yesterday", "1e9", "9" * 30])
def test_a_time_that_is_none_is_refused_before_any_work(runs, tmp_path, monkeypatch, time):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", time)
    with pytest.raises(MirageError, match=f"SOURCE_DATE_EPOCH={time} is no time"):
        export_bundle(tmp_path / "nowhere", tmp_path / "out")


def test_a_measured_layout_is_one_of_the_exact_forms(runs, tmp_path):
    export_bundle(runs / "dcgan", tmp_path / "out", ["onnx"], layout="measured")
    layout = read_manifest(tmp_path / "out").document["onnx"]["layout"]
    assert layout["rule"] == "measured"
    assert {"stacked phases", "phases", "padded", "transposed", "as it came"} < {*layout["milliseconds"]}
    assert layout["form"] in layout["milliseconds"]


def test_the_mlp_against_numpy(runs):
    """Dense, leaky ReLU, batch norm and tanh written out, from the checkpoint's weights."""
    _, _, model, _ = load_sampler(runs / "mlp")
    weights = [np.asarray(w, np.float64) for w in model.get_weights()]
    z = latents(np.arange(3), 7)
    x = z.astype(np.float64)
    for layer in range(3):
        kernel, bias, gamma, beta, mean, variance = weights[6 * layer : 6 * layer + 6]
        x = x @ kernel + bias
        x = np.where(x > 0, x, 0.2 * x)
        x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    expected = np.tanh(x @ weights[18] + weights[19]).reshape(3, 8, 8, 1)
    session = ort.InferenceSession(runs / "mlp-bundle" / "generator.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["image"], {"z": z})[0], expected, atol=1e-5)


def test_mlp_pictures_do_not_depend_on_their_batch(runs):
    generator = Generator.load(runs / "mlp-bundle")
    together = generator.sample(40)
    for i in range(40):
        np.testing.assert_array_equal(generator.sample(1, seed=i)[0], together[i])


@pytest.mark.parametrize(("kind", "size"), [("mlp", (5 * 10 + 2, 5 * 10 + 2)), ("dcgan", (8 * 18 + 2, 2 * 18 + 2))])
def test_sample_sheet(runs, kind, size):
    with Image.open(runs / f"{kind}-bundle" / "samples.png") as picture:
        assert picture.size == size


ORIGINAL = onnx_files.onnx_readers


def perturbed(folder, info):
    """The readers of an ONNX generator with one weight changed a little."""
    path = folder / "generator.onnx"
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
    return ORIGINAL(folder, info)


def test_the_parity_gate_fails_and_leaves_nothing_behind(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "onnx_readers", perturbed)
    with pytest.raises(MirageError, match=r"parity: at batch size \d onnx in onnxruntime [\d.]+ differs"):
        export_bundle(runs / "mlp", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("pixels", "passes"), [(1, True), (2, False)])
def test_the_parity_gate_allows_one_pixel_of_a_small_image(runs, pixels, passes):
    def generate(z, label, moved=0.0):
        images = np.full((len(z), 10, 10, 1), -1e-6, np.float32)  # just below 127.5 of 255
        images[:, 0, :pixels] += moved
        return images

    info = ModelInfo(3, (10, 10, 1), False, ())
    others = {"onnx": lambda z, label: generate(z, label, 2e-6 if len(z) == 1 else 0.0)}
    if passes:
        assert check_parity(Reference(generate), others, info)["onnx"]["pixel_share"] == 0.01
    else:
        with pytest.raises(MirageError, match="parity: at batch size 1 "):
            check_parity(Reference(generate), others, info)


@pytest.mark.parametrize("wrong", [lambda x: x * np.nan, lambda x: x + 2e-5, lambda x: x[:, ::2]])
def test_the_parity_gate_refuses(runs, wrong):
    config, data, model, _ = load_sampler(runs / "mlp")
    info = ModelInfo(config.latent_dim, data.image_shape, False, ())
    reference = keras_generator(model, info)
    assert check_parity(Reference(reference), {"same": reference}, info) == {
        "same": {"max_difference": 0, "pixel_share": 0}
    }
    with pytest.raises(MirageError, match="parity"):
        check_parity(Reference(reference), {"onnx": lambda z, label: wrong(reference(z, label))}, info)


@pytest.mark.parametrize(("error", "passes"), [(2e-5, True), (2e-4, False)])
def test_what_lies_beyond_the_range_is_rounded_as_much_coarser(error, passes):
    info = ModelInfo(4, (8, 8, 3), False, ())

    def generate(z, label):
        return 10 * np.resize(z, (len(z), 8, 8, 3))

    others = {"onnx": lambda z, label: generate(z, label) + np.float32(error)}
    if passes:
        assert check_parity(Reference(generate), others, info, max_batch=1)["onnx"]["max_difference"] < 1e-5
    else:
        with pytest.raises(MirageError, match="differs from Keras by"):
            check_parity(Reference(generate), others, info, max_batch=1)


def test_a_failed_export_keeps_the_older_bundle(runs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export_bundle(runs / "mlp", out, ["onnx"])
    before = (out / "manifest.json").read_bytes()
    monkeypatch.setattr(onnx_files, "onnx_readers", perturbed)
    with pytest.raises(MirageError, match="parity"):
        export_bundle(runs / "mlp", out)
    assert (out / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_older_bundle_is_replaced(runs, tmp_path):
    out = tmp_path / "out"
    export_bundle(runs / "mlp", out, ["onnx"])
    export_bundle(runs / "mlp", out, ["saved_model"])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["onnx"] is None
    assert not (out / "generator.onnx").exists()
    assert (out / "samples.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.fixture
def call(capsys):
    def call(*arguments):
        values = flags.FlagValues()
        command.define_flags(values)
        status = command.main(values, values(["export", *arguments]))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_command_line(call, runs, tmp_path):
    status, printed, _ = call(f"--run_dir={runs}/mlp", f"--out={tmp_path}/my b", "--formats=onnx")
    assert status == 0
    assert f"Done: {tmp_path}/my b" in printed
    assert f"python -m serving.sample '--bundle={tmp_path}/my b' --n=25" in printed


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--run_dir=nowhere"], "nowhere holds no training run"),
        (["--formats=tflite"], "--formats=tflite"),
        (["--out=full"], "--out=full"),
        (["--out=file"], "--out=file"),
        (["--out="], "--out is empty"),
        (["--out=file/deeper"], "--out=file/deeper"),
        (["stray"], "'stray'"),
    ],
)
def test_mistakes_are_one_sentence(call, runs, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    (tmp_path / "file").write_text("x")
    status, _, error = call(f"--run_dir={runs}/mlp", "--out=new", *arguments)
    assert status == 1
    assert error.startswith("error: ")
    assert named in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    assert (tmp_path / "full" / "precious").exists()


def test_a_run_without_checkpoint_is_refused(tmp_path):
    config, data = SPECS["mlp"]
    write_run(tmp_path, dataclasses.replace(config), data)
    with pytest.raises(MirageError, match="no checkpoint yet"):
        export_bundle(tmp_path, tmp_path / "out")
