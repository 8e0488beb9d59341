"""int8 files: close to float32, and shipped only through the gates."""

import json

import numpy as np
import onnx
import pytest

from export import quantize as quantize_module
from export import run_source
from export.bundle import export_bundle
from export.conversion import convert
from export.int8_gates import failed_gates
from export.onnx_export import example_feeds
from export.quantize import quantize, slower
from export.rewrites.layouts import forms_of, session_of
from export.run_source import RunSource
from export.verify import verify
from pipeline.base.errors import MirageError
from serving import BundleError, Generator
from serving.contract.manifest import read_manifest
from tests.export.tiny_runs import SPECS, make_run

GOOD = {"frechet_distance": 2.0, "label_accuracy": 0.99}
FASTER = {"float32": {"1": 1.0, "16": 8.0}, "int8": {"1": 0.5, "16": 4.0}}


@pytest.mark.parametrize(
    ("before", "after", "milliseconds", "named"),
    [
        (GOOD, GOOD, FASTER, []),
        # 0.5 or 20 %, whichever is more
        (GOOD, {**GOOD, "frechet_distance": 2.5}, FASTER, []),
        (GOOD, {**GOOD, "frechet_distance": 2.51}, FASTER, ["2.510 instead of 2.000 (at most 2.500)"]),
        ({**GOOD, "frechet_distance": 10.0}, {**GOOD, "frechet_distance": 12.0}, FASTER, []),
        ({**GOOD, "frechet_distance": 10.0}, {**GOOD, "frechet_distance": 12.1}, FASTER, ["12.100"]),
        (GOOD, {**GOOD, "frechet_distance": float("nan")}, FASTER, ["nan"]),
        (GOOD, {**GOOD, "label_accuracy": 0.9849}, FASTER, ["0.9849 (at least 0.9850)"]),
        ({"frechet_distance": 2.0}, {"frechet_distance": 2.0}, FASTER, []),
        ({"frechet_distance": 2.0, "attribute_correlation": 0.9},) * 2 + (FASTER, []),
        (
            {"frechet_distance": 2.0, "attribute_correlation": 0.9},
            {"frechet_distance": 2.0, "attribute_correlation": 0.894},
            FASTER,
            ["attribute correlation is 0.8940 (at least 0.8950)"],
        ),
        (GOOD, GOOD, {**FASTER, "int8": {"1": 0.5, "16": 8.0}}, ["a batch of 16 takes 8.000 ms"]),
        (GOOD, {"frechet_distance": 9.0, "label_accuracy": 0}, FASTER, ["9.000", "0.0000"]),
    ],
)
def test_gates(before, after, milliseconds, named):
    failed = [*failed_gates(before, after), *slower(milliseconds)]
    assert len(failed) == len(named)
    assert all(part in clause for part, clause in zip(named, failed, strict=True))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "dcgan"
    make_run(run_dir, "dcgan")
    return run_dir


@pytest.mark.parametrize("form", ["phases", "padded"])
def test_quantised_pictures_are_close(run_dir, form):
    source = RunSource.load(run_dir, "newest")
    feeds = example_feeds(source.info)
    model = forms_of(convert(source.model, source.info))[form]
    quantised = quantize(model, feeds)
    onnx.checker.check_model(quantised, full_check=True)
    assert {node.domain for node in quantised.graph.node} == {""}
    looked_up = {node.input[0] for node in quantised.graph.node if node.op_type == "Gather"}  # ones, for labels
    weights = [each for each in quantised.graph.initializer if len(each.dims) > 1 and each.name not in looked_up]
    assert len(weights) > 3
    assert {tensor.data_type for tensor in weights} <= {onnx.TensorProto.INT8, onnx.TensorProto.INT32}
    assert len(quantised.SerializeToString()) < 0.35 * len(model.SerializeToString())
    expected, actual = (session_of(each).run(["image"], feeds(40))[0] for each in (model, quantised))
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).mean() < 0.03
    assert not np.array_equal(actual, expected)
    for label in (-1, 2):
        with pytest.raises(Exception, match="out of data bounds"):
            session_of(quantised).run(None, {**feeds(1), "label": np.array([label])})
    again = quantize(model, feeds)
    assert again.SerializeToString(deterministic=True) == quantised.SerializeToString(deterministic=True)


class Judge:
    """Says that float32 has a distance of 2, and int8 another."""

    num_samples, labels = 20, np.zeros(20, np.int32)

    def __init__(self, int8):
        self._distances = iter([2.0, int8])
        self.seen = []

    def facts(self):
        return {"extractor": "test", "num_samples": 20, "reference": "test", "frechet_floor": 0.5}

    def quick(self, pixels, *, conditional):
        assert conditional
        self.seen.append(pixels)
        return {"frechet_distance": next(self._distances), "label_accuracy": 0.9, "recall": 0.5}


@pytest.fixture
def export(run_dir, tmp_path, monkeypatch):
    def export(distance, faster=True, **more):
        judge = Judge(distance)

        def load_known(config, data, passed):
            assert config.dataset == (more.get("dataset") or SPECS["dcgan"][0].dataset)
            assert data == SPECS["dcgan"][1]
            assert passed == more.get("dataset", "")

        monkeypatch.setattr(run_source, "load_known", load_known)
        monkeypatch.setattr(run_source, "make_judge", lambda *arguments, **named: judge)

        def times(models, feeds):
            fast, slow = ("int8", "") if faster else ("", "int8")
            del slow
            names = sorted(models, key=lambda name: name.startswith("int8") != bool(fast))
            return {name: {"1": 1.0 + place, "16": 9.0 + place} for place, name in enumerate(names)}

        monkeypatch.setattr(quantize_module, "fastest_first", times)
        export_bundle(run_dir, tmp_path / "out", ["onnx", "int8"], num_samples=20, **more)
        assert [pixels.shape for pixels in judge.seen] == [(20, 16, 16, 3)] * 2
        return tmp_path / "out"

    return export


def test_an_int8_file_that_is_good_is_shipped(export):
    bundle = export(2.4, dataset="folder:/where/they/are/now/animals")
    assert "animals" not in (bundle / "manifest.json").read_text()  # where the data lie is no fact of the bundle
    assert read_manifest(bundle).document["int8"]["verdict"] == "shipped"
    small, large = Generator.load(bundle, precision="int8"), Generator.load(bundle)
    assert np.abs(small.sample(8).astype(int) - large.sample(8)).mean() < 5
    card = (bundle / "README.md").read_text()
    assert 'precision="int8"' in card
    assert "| Fréchet distance | 2 |" in card
    lines = dict(verify(bundle))
    assert "int8" in lines["per picture, batch 1"]
    assert json.loads((bundle / "manifest.json").read_text())["scores"]["frechet_distance"] == 2


@pytest.mark.parametrize(("distance", "faster", "named"), [(3.0, True, "Fréchet distance"), (2.0, False, "ms")])
def test_an_int8_file_that_fails_a_gate_is_not(export, distance, faster, named):
    bundle = export(distance, faster)
    verdict = read_manifest(bundle).document["int8"]["verdict"]
    assert verdict.startswith("not shipped: ")
    assert named in verdict
    assert f"There is no int8 file: {verdict.removeprefix('not shipped: ')}." in (bundle / "README.md").read_text()
    with pytest.raises(BundleError, match=r"lists no generator\.int8\.onnx"):
        Generator.load(bundle, precision="int8")


def test_int8_alone_is_refused(run_dir, tmp_path):
    with pytest.raises(MirageError, match="needs onnx"):
        export_bundle(run_dir, tmp_path / "out", ["int8"])
    assert "dcgan" in SPECS
