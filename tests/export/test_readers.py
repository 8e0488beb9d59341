"""What other programs than ours make of an exported format."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx.reference import ReferenceEvaluator

from export.bundle import export_bundle
from export.conversion import convert
from export.formats.litert import litert_reader
from export.formats.onnx_files import onnx_readers, openvino_function
from export.formats.saved_model import saved_model_readers
from export.rewrites.layouts import forms_of, session_of
from export.run_source import RunSource
from serving.contract.latents import latents
from serving.contract.manifest import read_manifest
from tests.export.tiny_runs import SPECS, make_run

WRONG_LABELS = [-1, 2, -2, -3, 2**31, 2**32, -(2**63), 2**63 - 1]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("readers")
    for kind in SPECS:
        make_run(root / f"{kind}-run", kind)
        export_bundle(root / f"{kind}-run", root / kind, ["saved_model", "onnx", "litert"])
    return root


def golden(bundle):
    with np.load(bundle / "golden.npz") as file:
        return {name: file[name] for name in file.files}


def readers_of(bundle):
    """All readers, by name; that of a generator's parts by its whole name."""
    info = read_manifest(bundle).model
    readers = [
        *saved_model_readers(bundle / "saved_model", info),
        *onnx_readers(bundle, info),
        litert_reader(bundle / "generator.tflite", info),
    ]
    return {each.name if "(" in each.name else each.name.split()[0]: each for each in readers}


ALL = {
    "tf.saved_model.load",
    "tf.compat.v1.saved_model.loader",
    "onnxruntime",
    "onnx.reference",
    "openvino",
    "ai-edge-litert",
}


@pytest.mark.parametrize("kind", SPECS)
def test_the_manifest_says_what_read_the_files(bundles, kind):
    document = read_manifest(bundles / kind).document
    named = [name for figures in document["parity"].values() for name in figures["readers"]]
    assert {name.split()[0] for name in named} == ALL
    assert {name.split()[0] for name in document["sampler_readers"]} == ALL - {"openvino", "ai-edge-litert"}
    card = (bundles / kind / "README.md").read_text()
    assert all(name in card for name in named)


def test_the_reference_implementation_gets_one_picture_of_a_large_network(bundles, monkeypatch):
    kind = next(iter(SPECS))
    before = readers_of(bundles / kind)["onnx.reference"]
    monkeypatch.setattr("export.formats.onnx_files._LARGE", 0)
    after = readers_of(bundles / kind)["onnx.reference"]
    assert (before.max_batch, after.max_batch) == (2, 1)
    assert before.sample is not None
    assert after.sample is None


@pytest.mark.parametrize("kind", SPECS)
def test_golden_vectors_in_all_readers(bundles, kind):
    expected = golden(bundles / kind)
    for name, reader in readers_of(bundles / kind).items():
        for size in (1, 16, 3):
            image = reader.generate(expected["z"][:size], expected["label"][:size])
            assert np.abs(image - expected["image"][:size]).max() <= 1e-5, name
        if reader.sample:
            pixels = reader.sample(expected["seed"], expected["label"], 1.0)
            assert np.abs(pixels.astype(int) - expected["pixels"]).max() <= 1, name


@pytest.mark.parametrize("kind", SPECS)
def test_an_empty_batch_is_refused_everywhere(bundles, kind):
    none = np.zeros(0, np.int64)
    readers = readers_of(bundles / kind)
    del readers["openvino"]  # which returns no pictures
    for name, reader in readers.items():
        calls = [lambda reader=reader: reader.generate(latents(none, SPECS[kind][0].latent_dim), none)]
        if reader.sample:
            calls.append(lambda reader=reader: reader.sample(none, none, 1.0))
        for call in calls:
            with pytest.raises(Exception, match=r"(?i)at least one|reshape|gather"):
                print(name, call().shape)


@pytest.mark.parametrize("label", WRONG_LABELS)
def test_a_label_of_no_class_is_refused_everywhere(bundles, label):
    labels = np.array([0, label, 1])
    z, seed = latents(np.arange(3), 5), np.arange(3)
    readers = readers_of(bundles / "dcgan")
    openvino = readers.pop("openvino")
    for name, reader in readers.items():
        with pytest.raises(Exception, match=r"(?i)label must be of a class, 0 to 1|out of (data )?bounds"):
            print(name, reader.generate(z, labels).shape)
        if reader.sample:
            with pytest.raises(Exception, match=r"label must be of a class, 0 to 1|out of (data )?bounds"):
                print(name, reader.sample(seed, labels, 1.0).shape)
    if -(2**31) <= label < 2**31:
        grey, picture = openvino.generate(z, labels)[[1, 0]]
        assert np.all(grey == 0)
        assert np.std(picture) > 0.05


def test_each_form_refuses_the_same_and_is_read_by_the_reference_implementation(bundles):
    source = RunSource.load(bundles / "dcgan-run", "newest")
    feeds = {"z": latents([1, 2], 5), "label": np.array([0, 1])}
    for name, model in forms_of(convert(source.model, source.info)).items():
        session = session_of(model)
        image = session.run(None, feeds)[0]
        np.testing.assert_allclose(ReferenceEvaluator(model).run(None, feeds)[0], image, atol=1e-5)
        for label in (-1, 2):
            with pytest.raises(Exception, match="out of data bounds"):
                print(name, session.run(None, {**feeds, "label": np.array([0, label])}))
        with pytest.raises(Exception, match="Reshape"):
            print(name, session.run(None, {"z": feeds["z"][:0], "label": feeds["label"][:0]}))


@pytest.mark.parametrize("kind", SPECS)
def test_where_integers_have_32_bits_all_pictures_of_the_sampler_are_black(bundles, kind):
    vectors = golden(bundles / kind)
    feeds = {"seed": vectors["seed"]} | ({"label": vectors["label"]} if SPECS[kind][0].conditional else {})
    assert not openvino_function(bundles / kind / "sampler.onnx")(feeds).any()
    pixels = session_of(onnx.load(bundles / kind / "sampler.onnx")).run(None, feeds)[0]
    assert pixels.std() > 10


def test_openvino_reports_nothing_to_its_makers(tmp_path):
    """Its import does, where their package for that can be imported."""
    (tmp_path / "openvino_telemetry").mkdir()
    (tmp_path / "openvino_telemetry" / "__init__.py").write_text("print('reported')\n")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from export.formats.onnx_files import openvino_function\n"
        "from pathlib import Path\n"
        "try: openvino_function(Path('nowhere.onnx'))\n"
        "except RuntimeError: print('openvino ' + str('openvino' in sys.modules))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "openvino True\n"


def test_truncation_may_be_left_out_of_a_saved_model(bundles):
    loaded = tf.saved_model.load(str(bundles / "dcgan" / "saved_model"))
    seed, label = tf.range(4, dtype=tf.int64), tf.constant([0, 1, 1, 0], tf.int64)
    plain = loaded.sample(seed, label)["pixels"].numpy()
    np.testing.assert_array_equal(loaded.sample(seed, label, tf.constant(1.0))["pixels"], plain)
    assert np.any(loaded.sample(seed, label, tf.constant(0.5))["pixels"].numpy() != plain)


def test_saved_model_cli_runs_the_sampler(bundles, tmp_path):
    """As TensorFlow Serving, it knows no Keras, and feeds only what it is told."""
    folder, vectors = bundles / "dcgan" / "saved_model", golden(bundles / "dcgan")
    np.savez(tmp_path / "in.npz", seed=vectors["seed"], label=vectors["label"])
    command = [
        str(Path(sys.executable).with_name("saved_model_cli")),
        "run",
        "--dir",
        str(folder),
        "--tag_set",
        "serve",
    ]
    command += ["--signature_def", "sample", "--outdir", str(tmp_path)]
    command += ["--inputs", f"seed={tmp_path}/in.npz[seed];label={tmp_path}/in.npz[label]"]
    subprocess.run(command, check=True, capture_output=True)
    pixels = np.load(tmp_path / "pixels.npy")
    assert np.abs(pixels.astype(int) - vectors["pixels"]).max() <= 1


def test_a_litert_file_has_a_signature_and_takes_any_batch(bundles):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(bundles / "dcgan" / "generator.tflite"), num_threads=1)
    signatures = interpreter.get_signature_list()
    assert signatures == {"serving_default": {"inputs": ["label", "z"], "outputs": ["image"]}}
    run = interpreter.get_signature_runner()
    for size in (1, 5, 64, 2):
        image = run(z=latents(np.arange(size), 5), label=np.arange(size) % 2)["image"]
        assert image.shape == (size, 16, 16, 3)
