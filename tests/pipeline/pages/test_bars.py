"""Bars and histograms are in proportion, and escape what they are called."""

from pipeline.pages.bars import bars, histogram
from tests.pipeline.evaluation.report.parsed import Page


def test_bars_are_in_proportion_and_some_are_marked():
    page = Page(bars([("a<b", 200), ("none", 0), ("half", 100)], lambda row: row == 1))
    assert [each["style"] for each in page.all("i")] == ["width:100.00%", "width:0.00%", "width:50.00%"]
    assert [each["class"] for each in page.all("div")] == ["bars", "bar", "bar worse", "bar"]
    assert "a<b" in page.text
    assert bars([]) == ""


def test_columns_stand_on_the_axis_in_proportion_and_few_are_still_seen():
    page = Page(histogram("Widths", [1, 2, 3, 4, 5], [0, 1, 500, 1000], "pixels"))
    columns = [(float(each["y"]), float(each["height"])) for each in page.all("rect")]
    (base,) = {round(y + height, 6) for y, height in columns}
    heights = [height for _, height in columns]
    assert heights[0] == 0
    assert heights[1] == 1.5
    assert heights[2] * 2 == heights[3]
    (axis,) = (each for each in page.all("line"))
    assert float(axis["y1"]) == base
    assert "2 to 3: 1" in page.text
    assert page.all("svg")[0]["aria-label"] == "Widths: from 1 to 5, most about 4."


def test_nothing_is_drawn_of_nothing():
    assert histogram("Widths", [1, 2], [0], "pixels") == ""
    assert histogram("Widths", [1], [], "pixels") == ""
