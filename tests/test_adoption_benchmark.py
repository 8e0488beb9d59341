"""The benchmark of adopted generators."""

import keras
import numpy as np
import pytest

from benchmarks import adoption, adoption_zoo
from benchmarks.results import place
from pipeline.base.errors import MirageError
from tests import foreign_networks as made


def figures(file, *, source, plain=(2.0, 40.0), levels=1):
    sides = [{"plain": a, "bundle": b} for a, b in zip(plain, (1.0, 20.0), strict=True)]
    for row, value in zip(sides, source or (), strict=False):
        row["source"] = value
    rows = [{"batch": size, "ms": ms, "levels": levels, "share": 1e-4} for size, ms in zip((1, 64), sides, strict=True)]
    return {"file": file, "understood": "5 to NHWC 8 x 8 x 1", "form": "phases", "int8": "shipped", "rows": rows}


def test_means_are_geometric_and_the_least_is_told():
    results = [figures("a.h5", source=(4.0, 20.0)), figures("b.onnx", source=None, plain=(1.0, 10.0))]
    found = adoption.means(results)
    assert found["source"] == {"mean": 2.0, "least": 1.0, "figures": 2}
    assert found["plain"] == {"mean": 1.189, "least": 0.5, "figures": 4}
    assert "direct call" not in found
    text = adoption.report({"machine": {"cpu": "x"}, "threads": 1, "files": results, "means": found})
    assert "| a.h5 | 5 to NHWC 8 x 8 x 1 | 0.010% | 4.000 / 20.000 |  | 2.000 / 40.000 | 1.000 / 20.000 |" in text
    assert "| 4.00 / 1.00 | 2.00 / 2.00 | phases | shipped |" in text
    assert "Against the source in its own runtime: geometric mean 2.00 of 2 figures, at least 1.00." in text
    assert "processor time of one thread" in text
    worse = adoption.report({"machine": {}, "threads": 2, "files": [figures("c", source=None, levels=3)], "means": {}})
    assert "0.010%, by 3 levels" in worse


@pytest.mark.parametrize("save", ["keras", "onnx", "litert"])
def test_sides_make_the_same_pictures(tmp_path, save):
    path = tmp_path / f"theirs.{save}"
    {"keras": made.sequential().save, "onnx": made.save_onnx, "litert": made.save_litert}[save](path)
    source, facts = adoption.adopt(path, tmp_path / "out", int8=False)
    assert facts["file"] == path.name
    assert facts["int8"] == "not tried"
    sides = adoption.Sides(source, tmp_path / "out", 1)
    rows = adoption.measure(sides, 3)
    assert [row["batch"] for row in rows] == [1, 64]
    names = {"keras": ["source", "plain", "bundle", "direct call"], "onnx": ["plain", "bundle"]}
    assert all(list(row["ms"]) == names.get(save, ["source", "plain", "bundle"]) for row in rows)
    assert all(row["levels"] <= 1 and min(row["ms"].values()) > 0 for row in rows)
    pictures = [make(5)() for make in sides.makers().values()]
    assert all(np.abs(each.astype(int) - pictures[0]).max() <= 1 for each in pictures)


def test_a_source_of_a_fixed_batch_makes_as_many(tmp_path):
    source, _ = adoption.adopt(made.save_module(tmp_path / "module", batch=4), tmp_path / "out", int8=False)
    sides = adoption.Sides(source, tmp_path / "out", 1)
    pictures = {name: make(6)() for name, make in sides.makers().items()}
    assert {each.shape for each in pictures.values()} == {(6, 4, 4, 3)}
    assert np.abs(pictures["source"].astype(int) - pictures["bundle"]).max() <= 1


def test_every_network_that_is_saved_can_be_made():
    there = adoption_zoo.networks(keras)
    wanted = {name for saved in adoption_zoo.SAVED.values() for name in saved} - {"module"}
    assert wanted == set(there)
    model = adoption_zoo.with_statistics(there["wgan_gp"]())
    assert model.output_shape == (None, 28, 28, 1)
    means = [each.numpy() for each in model.variables if each.name == "moving_mean"]
    assert means
    assert all(np.std(each) > 0 for each in means if each.size > 1)


def test_there_is_a_place_for_the_table(tmp_path):
    assert adoption.DOCUMENT.read_text().count(adoption.BEGIN) == 1
    (tmp_path / "nothing").write_text("nothing")
    with pytest.raises(MirageError, match="has no place for this"):
        place("", tmp_path / "nothing", adoption.BEGIN, adoption.END)
