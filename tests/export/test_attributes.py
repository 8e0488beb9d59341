"""A generator of attributes in every format, in all that reads them, and in int8."""

import json
import shutil

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx.reference import ReferenceEvaluator

from export import verify
from export.bundle import export_bundle
from export.closeness import closeness
from export.conditions import conditions, decoded, sheet
from export.conversion import convert
from export.formats.litert import litert_reader
from export.formats.onnx_files import onnx_readers
from export.formats.saved_model import saved_model_readers
from export.int8_gates import by_distance
from export.onnx_export import example_feeds
from export.quantize import quantize
from export.rewrites.layouts import BYTE_FORMS, forms_of, session_of
from export.run_source import RunSource
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from serving import Generator
from serving.contract.attributes import Attribute
from serving.contract.latents import latents
from serving.contract.manifest import ModelInfo, read_manifest, sha256
from serving.contract.pixels import to_pixels
from tests.export.attributed import DIM, FACES, Attributed

FORMATS = ["saved_model", "onnx", "litert", "triton"]
VALUES = np.array([[0, 1, 1950.5], [1, 0, 1901], [1, 1, 1999]], np.float32)
WRONG = [[2, 1, 1950], [-0.001, 1, 1950], [0, 1, 1900], [0, 1, 2000], [0, np.nan, 1950], [0, 1, np.inf]]


@pytest.fixture(scope="module")
def source():
    return Attributed()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, source):
    folder = tmp_path_factory.mktemp("bundles") / "faces"
    export_bundle(source, folder, FORMATS)
    return folder


def readers_of(bundle):
    info = read_manifest(bundle).model
    yield from saved_model_readers(bundle / "saved_model", info)
    yield from onnx_readers(bundle, info)
    yield litert_reader(bundle / "generator.tflite", info)


def test_every_format_makes_the_same_pictures(bundle, source):
    z = latents(np.arange(3), DIM)
    images = source.model([z, VALUES]).numpy()
    assert np.std(images, axis=0).mean() > 0.01
    expected = to_pixels(images)
    generator = Generator.load(bundle)
    assert generator.attributes == FACES
    assert closeness(generator.sample(3, attributes=VALUES), expected).same
    by_name = {"male": [0, 1, 1], "hair, long|short": [1, 0, 1], "year": [1950.5, 1901, 1999]}
    np.testing.assert_array_equal(generator.sample(3, attributes=by_name), generator.decode(z, attributes=VALUES))
    names = set()
    for reader in readers_of(bundle):
        for size in (1, 2):
            np.testing.assert_allclose(reader.generate(z[:size], VALUES[:size]), images[:size], atol=1e-5)
        if reader.sample is not None:
            assert closeness(reader.sample(np.arange(3), VALUES, 1.0), expected).same
            names.add(reader.name.split()[0])
    assert names >= {"tf.saved_model.load", "onnxruntime", "onnx.reference"}
    loaded = tf.saved_model.load(str(bundle / "saved_model"))
    assert closeness(loaded.sample(tf.range(3, dtype=tf.int64), tf.constant(VALUES))["pixels"].numpy(), expected).same


def test_what_is_beyond_an_attribute_is_refused_everywhere(bundle):
    z = latents(np.arange(2), DIM)
    for reader in readers_of(bundle):
        for wrong in WRONG:
            values = np.array([VALUES[0], wrong], np.float32)
            if reader.name.startswith("openvino"):
                picture, grey = reader.generate(z, values)
                assert not grey.any() or not np.isfinite(values).all()
                assert picture.std() > 0.01
                continue
            with pytest.raises(Exception, match=r"(?i)attributes must be from|out of (data )?bounds|invalid value"):
                print(reader.name, reader.generate(z, values).shape)
            if reader.sample is not None:
                with pytest.raises(Exception, match=r"attributes must be from|out of (data )?bounds|invalid value"):
                    print(reader.name, reader.sample(np.arange(2), values, 1.0).shape)


def test_an_empty_batch_is_refused(bundle):
    for reader in readers_of(bundle):
        if not reader.name.startswith("openvino"):
            with pytest.raises(Exception, match=r"(?i)at least one|reshape|gather"):
                print(reader.name, reader.generate(latents([], DIM), VALUES[:0]).shape)


def test_the_bundle_says_what_it_takes(bundle):
    manifest = read_manifest(bundle)
    assert manifest.document["model"]["attributes"] == [each.to_dict() for each in FACES]
    for file, first in (("generator.onnx", "z"), ("sampler.onnx", "seed")):
        inputs = manifest.document["onnx"]["models"][file]["inputs"]
        assert inputs[0]["name"] == first
        assert inputs[1] == {"name": "attributes", "dtype": "float32", "shape": ["N", 3]}
        model = onnx.load(bundle / file)
        facts = {each.key: each.value for each in model.metadata_props}
        assert ModelInfo.from_dict(json.loads(facts["mirage.model"])) == manifest.model
        assert "from its low to its high" in model.graph.input[1].doc_string
    config = (bundle / "triton" / "sampler" / "config.pbtxt").read_text()
    assert 'name: "attributes"\n  data_type: TYPE_FP32\n  dims: [3]\n' in config


def test_the_card_says_what_they_are(bundle):
    card = (bundle / "README.md").read_text()
    assert "# A conditional generator of faces images" in card
    assert "| attribute male | 0 or 1, typically 0 |" in card
    assert "| attribute hair, long\\|short | 0 or 1, typically 1 |" in card
    assert "| attribute year | a number from 1901 to 1999, typically 1950.5 |" in card
    assert "| classes |" not in card
    assert 'sample(16, seed=7, attributes={"male": 0, "year": 1950.5})' in card
    assert "An attribute beyond its values is refused" in card
    assert "`tf.saved_model.load(...).sample(seed, attributes)`" in card
    program = card.partition("```python\n")[2].partition("```")[0].replace("path/to/this/folder", str(bundle))
    exec(program, made := {})
    assert made["images"].shape == (16, 8, 12, 1)


def test_golden_vectors_hold_them(bundle):
    with np.load(bundle / "golden.npz") as golden:
        assert sorted(golden.files) == ["attributes", "image", "pixels", "seed", "z"]
        np.testing.assert_array_equal(
            golden["attributes"],
            conditions(np.arange(16), ModelInfo.from_dict(read_manifest(bundle).document["model"])),
        )
        assert closeness(
            Generator.load(bundle).decode(golden["z"], attributes=golden["attributes"]), golden["pixels"]
        ).same


def test_the_bundle_is_verified(bundle, capsys, tmp_path):
    assert verify.main(["verify", str(bundle)]) == 0
    assert "latent of 6, 3 attributes, 8x12x1 pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "said"), [(1900, "'year' is 1900; expected a number"), (1950, "differ from the trained")]
)
def test_other_attributes_in_the_golden_vectors_are_noticed(bundle, tmp_path, capsys, value, said):
    folder = tmp_path / "copy"
    shutil.copytree(bundle, folder)
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["attributes"][:, 2] = value
    np.savez(folder / "golden.npz", **arrays)
    document = json.loads((folder / "manifest.json").read_text())
    path = folder / "golden.npz"
    document["files"]["golden.npz"] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(document))
    assert verify.main(["verify", str(folder)]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("attributes", "of_network"),
    [
        (FACES, {"alone": True}),
        (FACES[:2], {"raw": True}),
        (FACES[:2], {"raw": True, "alone": True}),
        # Of which weights that take it as it is would leave no digits.
        ((FACES[0], Attribute("year", "number", 10_000, 10_004, 10_001)), {"alone": True}),
    ],
)
def test_every_form_of_a_graph_makes_the_same_pictures(attributes, of_network):
    source = Attributed(attributes, **of_network)
    feeds = example_feeds(source.info)(20)
    expected = source.model([feeds["z"], feeds["attributes"]]).numpy()
    for name, model in forms_of(convert(source.model, source.info)).items():
        np.testing.assert_allclose(session_of(model).run(None, feeds)[0], expected, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(ReferenceEvaluator(model).run(None, feeds)[0], expected, atol=1e-5)
        with pytest.raises(Exception, match="out of data bounds"):
            session_of(model).run(None, {**feeds, "attributes": feeds["attributes"] + 2})


@pytest.mark.parametrize("of_network", [{}, {"alone": True}, {"raw": True}, {"raw": True, "alone": True}])
@pytest.mark.parametrize("form", BYTE_FORMS)
def test_in_int8_small_numbers_count_beside_large_ones(of_network, form):
    attributes = (Attribute("male", "binary", 0, 1, 0), Attribute("age", "number", 0, 200, 50))
    source = Attributed(attributes, **of_network)
    if "raw" in of_network:  # as trained ones have them
        layer = source.model.layers[2 if "alone" in of_network else 3]
        kernel, bias = layer.get_weights()
        kernel[-1] /= 100
        layer.set_weights([kernel, bias])
    feeds = example_feeds(source.info)
    model = forms_of(convert(source.model, source.info))[form]
    quantised = quantize(model, feeds)
    values = np.array([[0, 50], [1, 50]], np.float32)
    z = np.repeat(latents(range(40), DIM), 2, axis=0)
    sides = []
    for each in (model, quantised):
        images = session_of(each).run(["image"], {"z": z, "attributes": np.tile(values, (40, 1))})[0]
        sides.append(images[1::2] - images[::2])
    changed, apart = np.abs(sides[0]).mean(), np.abs(sides[1] - sides[0]).mean()
    assert changed > 0.01
    assert apart < 0.25 * changed
    assert any(node.op_type == "QuantizeLinear" for node in quantised.graph.node)
    with pytest.raises(Exception, match="out of data bounds"):
        session_of(quantised).run(None, {"z": z[:1], "attributes": np.array([[0, 201]], np.float32)})


def test_int8_is_judged_by_what_data_have():
    labels = np.array([[0, 1, 1901.5], [1, 1, 2005]] * 10, np.float64)  # one beyond what training has seen

    class Judge:
        num_samples = 20

        def __init__(self):
            self.labels = labels

        def quick(self, pixels, *, conditional):
            assert conditional
            return {"frechet_distance": 1.0, "attribute_accuracy": next(accuracies)}

        def facts(self):
            return {}

    seen = []

    def draw(z, condition):
        seen.append(condition)
        return np.zeros((len(z), 8, 12, 1), np.uint8)

    accuracies = iter([0.9, 0.8949])
    verdict = by_distance(Judge(), ModelInfo(DIM, (8, 12, 1), True, (), attributes=FACES))(draw, draw)
    assert {each.dtype for each in seen} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate(seen[:2]), np.minimum(labels, [1, 1, 1999]))
    assert verdict.failed == ["its attribute accuracy is 0.8949 (at least 0.8950)"]
    assert verdict.thresholds["attribute_accuracy"] == {"least": 0.895}


def test_conditions_are_typical_first_and_then_of_all_kinds():
    info = ModelInfo(DIM, (8, 12, 1), True, (), attributes=FACES)
    made = conditions(np.arange(500), info)
    assert made.dtype == np.float32
    assert made[0].tolist() == [0, 1, 1950.5]
    assert {*made[:, 0]} == {*made[:, 1]} == {0, 1}
    assert 0.4 < made[:, 0].mean() < 0.6
    assert (made[:, 2].min(), made[:, 2].max()) == (1901, 1999)
    assert 400 < len({*made[:, 2]}) < 490
    assert np.abs(np.corrcoef(np.concatenate([made, latents(np.arange(500), DIM)], axis=1).T) - np.eye(9)).max() < 0.15
    np.testing.assert_array_equal(conditions(np.array([7, 3]), info), made[[7, 3]])
    classes = ModelInfo(DIM, (8, 12, 1), True, ("a", "b"))
    assert conditions(np.arange(5), classes).tolist() == [0, 1, 0, 1, 0]
    assert conditions(np.arange(3), ModelInfo(DIM, (8, 12, 1), False, ())).tolist() == [0, 0, 0]


def test_a_sheet_walks_each_attribute(bundle):
    info = read_manifest(bundle).model
    seeds, values, columns = sheet(info)
    assert (columns, values.shape) == (8, (24, 3))
    assert values[:8].tolist() == [[side, 1, 1950.5] for side in (0, 0, 0, 0, 1, 1, 1, 1)]
    assert seeds[:16].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4]
    np.testing.assert_array_equal(values[16:, 2], np.linspace(1901, 1999, 8).astype(np.float32))
    assert {*seeds[16:]} == {2}
    assert decoded(Generator.load(bundle), latents(seeds, DIM), values).shape == (24, 8, 12, 1)
    many = [Attribute(str(number), "binary", 0, 1, 0) for number in range(40)]
    assert len(sheet(ModelInfo(DIM, (8, 8, 1), True, (), attributes=tuple(many)))[0]) == 160


@pytest.mark.parametrize("conditional", [True, False])
def test_a_run_has_those_of_its_data(tmp_path, conditional):
    data = DataSpec("folder:faces", "", (8, 12, 1), (), 20, attributes=FACES)
    info = RunSource(tmp_path, Config(conditional=conditional), data, None, 3).info
    assert (info.attributes, info.class_names) == (FACES if conditional else (), ())
