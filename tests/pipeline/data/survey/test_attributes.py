"""What a look at data tells of attributes."""

import json

import numpy as np
import pytest

from pipeline.data.options import DataOptions
from pipeline.data.survey.findings import find
from pipeline.data.survey.report import told, write_report
from pipeline.data.survey.survey import survey
from tests.discs import COLUMNS, write_discs
from tests.pipeline.evaluation.report.parsed import Page

COUNT = 600


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
    images[1] = images[0]
    male = np.arange(COUNT) % 2
    columns = {
        "male": male,
        "beard": male & (rng.random(COUNT) < 0.5),
        "man": male,
        "woman": 1 - male,
        "bald": np.arange(COUNT) < 3,
        "human": np.arange(COUNT) > 0,
        "age": rng.uniform(16, 80, COUNT),
        "kind": np.array(["cat", "dog", "owl"])[rng.integers(0, 3, COUNT)],
    }
    columns["days"] = 365 * columns["age"]
    return survey(DataOptions(), data=(images, columns))


def test_what_is_planted_is_found(planted):
    found = {each.name: each for each in find(planted)}
    assert found["rare_attributes"].says == (
        "Of 600 pictures there are only 3 pictures with bald, 1 picture without human."
    )
    rare = found["rare_combinations"]
    assert "no male with beard (0)" in rare.says
    assert "kind" not in rare.says
    assert "bald" not in rare.says
    together = found["together"].says
    assert together.startswith("4 pairs of attributes always go together: male and man, male and woman (opposites), ")
    assert "age and days" in together
    assert found["contradicting"].says == "1 copy has other attributes than the original."
    assert "Neither can be steered without the other" in told(planted, find(planted))


def test_page_and_document_say_how_they_are_distributed(planted, tmp_path):
    page = Page(write_report(planted, find(planted), str(tmp_path)).read_text(encoding="utf-8"))
    assert "attributes" in [each["id"] for each in page.all("section")]
    assert "yes in 50.0%" in page.text
    assert "10 yes or no" not in page.text
    document = json.loads((tmp_path / "data.json").read_text())
    assert document["classes"] == {}
    male, *_, days = document["attributes"]
    assert male == {"name": "male", "kind": "binary", "least": 0, "mean": 0.5, "greatest": 1}
    assert days["kind"] == "number"
    assert days["least"] < days["mean"] < days["greatest"]


def test_files_with_a_table_of_attributes(tmp_path):
    root = write_discs(tmp_path / "set", 40)
    options = DataOptions(dataset=f"folder:{root}", labels=f"labels.csv:{','.join(COLUMNS)}", split="train[:50%]")
    seen = survey(options)
    assert {"together", "rare_attributes", "contradicting"}.isdisjoint(each.name for each in find(seen))
    page = Page(write_report(seen, find(seen), str(tmp_path / "report")).read_text(encoding="utf-8"))
    assert "diameter" in page.text
    (red,) = [image for name, image in page.pictures() if name == "pictures by red, without, then with it"]
    pixels = np.asarray(red.convert("RGB"), np.float64)
    assert pixels.shape[1] > 4 * pixels.shape[0]
    left, right = np.split(pixels, [pixels.shape[1] // 2], axis=1)
    assert left[..., 0].mean() < left[..., 2].mean()  # blue
    assert right[..., 0].mean() > right[..., 2].mean()


def test_a_test_split_of_other_labels_stops_nothing():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    labels = np.stack([np.arange(20) % 2, np.arange(20) / 3], 1)
    seen = survey(DataOptions(), data={"train": (images, labels), "test": (images[:3], np.arange(3))})
    assert seen.labels.shape == (23, 2)
    assert "across" in {each.name for each in find(seen)}
