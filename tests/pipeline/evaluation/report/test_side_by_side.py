"""The page of several runs: refused where figures don't compare, true of what is noise."""

import json

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.evaluation.report import side_by_side
from pipeline.evaluation.report.side_by_side import check_same_judge, verdicts, write_comparison
from tests.pipeline.evaluation.report.parsed import Page
from tests.pipeline.evaluation.report.written import evaluation, write_lines


def scores(distance, half_width=0.3, **more):
    interval = [distance - half_width, distance + half_width]
    judge = {"extractor": "classifier", "num_samples": 1000, "reference": "test"}
    return {"step": 400, **judge, "frechet_distance": distance, "frechet_distance_interval": interval, **more}


@pytest.fixture
def compared(make_run, tmp_path):
    """Writes the page of runs with these scores; returns it."""

    def write(rows, **runs):
        run_dirs = [make_run(name, **options) for name, options in runs.items()]
        strips = [(f"{name}: samples", np.full((20, 12, 12, 1), 40, np.uint8)) for name in runs]
        out = tmp_path / "out"
        out.mkdir()
        write_comparison(out, run_dirs, list(runs), rows, strips, "", ["frechet_distance"])
        return Page((out / "report.html").read_text())

    return write


def test_two_runs_stand_side_by_side(compared):
    changes = {"gamma": 0.1, "data_dir": "/elsewhere"}
    page = compared([scores(2.0), scores(4.0, 0.4)], one={}, two={"changes": changes.items(), "distances": [8.0]})
    assert [each["id"] for each in page.all("section")] == [
        "figures",
        "noise",
        "quality",
        "samples",
        "pictures",
        "training",
        "flags",
        "machine",
        "runs",
    ]
    assert "2 runs on bars, by classifier against test, 1,000 samples" in page.text
    assert "worse by 2.00 (1.50 to 2.50)" in page.text
    assert "FD-classifier: one is better than two by 2.00 (1.50 to 2.50)." in page.text
    assert "--gamma" in page.text
    assert "--data_dir" not in page.text
    assert "--latent_dim" not in page.text
    first = json.loads(page.all("svg")[0]["data-series"])
    assert [(each["label"], each["colour"], len(each["points"])) for each in first] == [("one", 0, 3), ("two", 1, 1)]
    samples = [image.size for alt, image in page.pictures() if "samples" in alt]
    assert samples == [(120, 24)] * 2


def test_what_is_within_noise_is_called_so(compared):
    page = compared([scores(2.0), scores(2.2)], one={}, two={})
    assert page.text.count("within noise") == 2
    assert "worse by" not in page.text
    assert "None: the runs have the same flags." in page.text


def test_curves_by_other_judges_are_drawn_apart(compared, make_run, monkeypatch):
    read = side_by_side.read

    def other_judge(run_dir, name):
        write_lines(run_dir / "evaluations.jsonl", [evaluation(1, 2.0, extractor=f"judge of {name}")])
        return read(run_dir, name)

    monkeypatch.setattr(side_by_side, "read", other_judge)
    page = compared([scores(2.0), scores(2.2)], one={}, two={})
    labels = [
        [each["label"] for each in json.loads(svg["data-series"])]
        for svg in page.all("svg")
        if svg["aria-label"].startswith("FD-")
    ]
    assert ["one", "two"] not in labels
    assert "FD-judge of one (lower is better)" in page.text
    assert "FD-judge of two (lower is better)" in page.text


def test_one_run_has_its_own_page_with_the_fresh_scores(compared):
    page = compared([scores(2.345)], one={})
    assert "2.345" in page.text
    assert "2.045 to 2.645" in page.text
    assert "commands" in page.ids
    assert "noise" not in page.ids


@pytest.mark.parametrize("other", [{"extractor": "efficientnet"}, {"reference": "train"}, {"num_samples": 100}])
def test_figures_that_do_not_compare_are_refused(other):
    rows = [scores(2.0), scores(3.0), scores(2.0, **other)]
    with pytest.raises(MirageError, match="say nothing beside each other") as caught:
        check_same_judge(["a", "b", "c"], rows)
    assert f"c with {next(iter(other.values()))}" in str(caught.value)
    assert "a with" in str(caught.value)
    check_same_judge(["a", "b"], rows[:2])


def test_the_table_says_the_same():
    rows, names = [scores(2.0), scores(4.0, 0.4)], ["one", "two"]
    text = verdicts(rows, names, "", ["frechet_distance"])
    assert "- FD-classifier: one is better than two by 2.00 (1.50 to 2.50).\n" in text
    assert verdicts(rows[:1], names[:1], "", ["frechet_distance"]) == ""
    assert verdicts([{"frechet_distance": 2.0}, {"frechet_distance": 3.0}], names, "", ["frechet_distance"]) == ""
