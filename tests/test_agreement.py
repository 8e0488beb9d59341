"""Ranks of scorers are compared over the runs that both judged."""

import json
import subprocess
import sys

import pytest

from benchmarks import agreement
from pipeline.base.errors import MirageError
from tests.processes import ROOT


def scores(extractor, *distances, **more):
    return [
        {"source": f"run{i}", "step": 10, "reference": "test", "extractor": extractor, "frechet_distance": d, **more}
        for i, d in enumerate(distances)
    ]


def agreed(*rows):
    return agreement.agreement(agreement.by_scorer([row for each in rows for row in each], "frechet_distance"))


def test_agreement_is_that_of_ranks():
    (same,) = agreed(scores("a", 1.0, 2.0, 30.0), scores("b", 0.1, 20.0, 21.0))
    assert (same["runs"], same["spearman"], same["kendall"]) == (3, pytest.approx(1), pytest.approx(1))
    (other,) = agreed(scores("a", 1, 2, 3, 4), scores("b", 1, 2, 4, 3))
    # 1 - 6 * 2 / (4 * 15); 5 pairs agree and 1 does not.
    assert (other["spearman"], other["kendall"]) == (pytest.approx(0.8), pytest.approx(4 / 6))


def test_only_runs_that_both_judged_against_the_same_count():
    (row,) = agreed(scores("a", 1, 2, 3, 4), scores("b", 3, 2, 1))
    assert (row["runs"], row["scorers"], row["spearman"]) == (3, ["a", "b"], pytest.approx(-1))
    # Another scorer may call the reference something else, or nothing; it is the runs that must be judged alike.
    assert len(agreed(scores("a", 1, 2, 3), scores("b", 1, 2, 3, reference=""))) == 1
    mixed = scores("a", 1, 2, 3)
    mixed[0]["reference"] = "train"
    assert agreed(mixed, scores("b", 1, 2, 3)) == []
    assert agreed(scores("a", 1, 2), scores("b", 1, 2)) == []


def test_runs_on_different_data_are_not_ranked_among_each_other():
    def on(data, extractor, *distances):
        rows = scores(extractor, *distances, protocol={"data": data})
        return [{**row, "source": f"{data}/{row['source']}"} for row in rows]

    one = [*on("cats", "a", 1, 2, 3), *on("digits", "a", 11, 12, 13)]
    other = [*on("cats", "b", 3, 2, 1), *on("digits", "b", 13, 12, 11)]
    assert [(row["reference"], row["spearman"]) for row in agreed(one, other)] == [
        ("cats, test", pytest.approx(-1)),
        ("digits, test", pytest.approx(-1)),
    ]


def test_one_extractor_with_fewer_samples_is_another_scorer():
    (row,) = agreed(scores("a", 1, 2, 3, num_samples=1000), scores("a", 2, 3, 1, num_samples=10_000))
    assert row["scorers"] == ["a (1,000 samples)", "a (10,000 samples)"]


def test_a_scorer_that_finds_all_alike_agrees_with_nobody():
    (row,) = agreed(scores("a", 1, 1, 1), scores("b", 1, 2, 3))
    assert row["kendall"] != row["kendall"]


def test_a_scorer_that_contradicts_itself_is_refused():
    with pytest.raises(MirageError, match="a judged run0 at step 10 twice, 1 and 2"):
        agreed(scores("a", 1), scores("a", 2))


def test_files_of_all_kinds_are_read(tmp_path):
    one, several, lines = (tmp_path / name for name in ("one", "several", "lines"))
    one.write_text(json.dumps(scores("eye", 1)[0]))
    several.write_text(json.dumps(scores("a", 1, 2)))
    facts = {"rung": "cats-64-5", "data": "cats", "size": 64}
    lines.write_text("".join(json.dumps({**facts, "scores": row}) + "\n" for row in scores("a", 1, 2)))
    assert [len(agreement.read_scores(path)) for path in (one, several, lines)] == [1, 2, 2]
    rows = [*agreement.read_scores(lines), *agreement.read_scores(lines)]
    assert {each.against for each in agreement.by_scorer(rows, "frechet_distance")["a"].values()} == {
        "cats, 64 px, test"
    }
    for text in ("no scores", "[1]", '{"a": 1}', ""):
        one.write_text(text)
        with pytest.raises(MirageError, match="holds no scores"):
            agreement.read_scores(one)


def test_the_command_prints_a_table_or_says_why_not(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(scores("a", 1, 2, 3) + scores("b", 1, 2, 3)))

    def run(*arguments):
        command = [sys.executable, "-m", "benchmarks.agreement", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    done = run(str(path))
    assert done.returncode == 0, done.stderr
    assert "| a and b | test | 3 | 1.000 (0) | 1.000 (0.33) |" in done.stdout
    refused = run(str(path), "--figure=precision")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("error: no two scorers have --figure=precision")
