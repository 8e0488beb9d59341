"""Differences and what of them is noise, against known intervals."""

import numpy as np
import pytest

from pipeline.evaluation.report.figures import Figure
from pipeline.evaluation.report.noise import difference, sentences

FID = Figure("frechet_distance", "FID", better="lower")
RECALL = Figure("recall", "Recall", better="higher")


def row(distance, interval=None, recall=0.5):
    more = {"frechet_distance_interval": interval} if interval else {}
    return {"frechet_distance": distance, "recall": recall, **more}


def test_symmetric_intervals_add_like_errors():
    apart = difference(FID, row(10.0, [9.7, 10.3]), row(12.0, [11.6, 12.4]))
    assert (apart.value, apart.low, apart.high) == pytest.approx((2.0, 1.5, 2.5))  # 0.5 = |(0.3, 0.4)|
    assert not apart.within_noise
    assert str(apart) == "better by 2.00 (1.50 to 2.50)"
    assert str(difference(FID, row(12.0, [11.6, 12.4]), row(10.0, [9.7, 10.3]))) == "worse by 2.00 (1.50 to 2.50)"


def test_within_noise_is_where_the_interval_holds_zero():
    assert str(difference(FID, row(10.0, [9.7, 10.3]), row(10.49, [10.09, 10.89]))) == "within noise"
    assert not difference(FID, row(10.0, [9.7, 10.3]), row(10.51, [10.11, 10.91])).within_noise


def test_each_end_of_an_asymmetric_interval_counts_where_it_matters():
    # MOVER by hand: a - b = 2; low = 2 - |(4 - 3, 2.5 - 2)|, high = 2 + |(7 - 4, 2 - 1.9)|.
    one, other = {"recall": 4, "recall_interval": [3, 7]}, {"recall": 2, "recall_interval": [1.9, 2.5]}
    apart = difference(RECALL, one, other)
    assert (apart.low, apart.high) == pytest.approx((2 - np.hypot(1, 0.5), 2 + np.hypot(3, 0.1)))


def test_where_higher_is_better():
    one, other = {"recall": 0.7, "recall_interval": [0.69, 0.71]}, {"recall": 0.6, "recall_interval": [0.59, 0.61]}
    assert difference(RECALL, one, other).value == pytest.approx(0.1)
    assert difference(RECALL, other, one).value == pytest.approx(-0.1)


def test_it_covers_what_it_says():
    # Of pairs of estimates whose truths are 0.3 apart, 95 % of intervals hold that.
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        a, b = rng.normal(2.3, 0.2), rng.normal(2.0, 0.1)
        one, other = row(b, [b - 0.196, b + 0.196]), row(a, [a - 0.392, a + 0.392])
        apart = difference(FID, one, other)
        held += apart.low <= 0.3 <= apart.high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("other", [row(3.0), row(np.nan, [1, 2]), row(3.0, [4, 2]), {}])
def test_nothing_is_said_without_intervals(other):
    assert difference(FID, row(2.0, [1, 3]), other) is None
    assert sentences([FID], [row(2.0, [1, 3]), other], ["a", "b"]) == []


def test_nothing_is_said_where_no_way_is_better():
    neutral = Figure("frechet_distance", "FID")
    assert difference(neutral, row(2.0, [1, 3]), row(9.0, [8, 10])) is None
    assert sentences([neutral], [row(2.0, [1, 3]), row(9.0, [8, 10])], ["a", "b"]) == []


def test_sentences_compare_with_the_best():
    rows = [row(12.0, [11.6, 12.4]), row(10.0, [9.7, 10.3]), row(10.1, [9.8, 10.4])]
    assert sentences([FID], rows, ["a", "b", "c"]) == [
        "FID: b is better than a by 2.00 (1.50 to 2.50); b and c are within noise of each other."
    ]
