"""Several sets of samples; the table that people read."""

import pytest
from scipy import stats

from pipeline.evaluation.repeats import _quantile, combined
from pipeline.evaluation.table import table


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 29, 100])
def test_intervals_are_those_of_students_distribution(freedom):
    assert _quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-7)


def test_figures_of_several_sets_are_means_with_intervals():
    sets = [{"a": value, "b": [value, 1.0], "modes": 3, "a_interval": [0, 1]} for value in (1.0, 2.0, 4.5)]
    figures = combined(sets)
    assert list(figures) == ["a", "a_interval", "b", "modes"]  # modes are as many in all, which makes them not sure
    assert figures["a"] == 2.5
    assert figures["a_interval"] == pytest.approx(stats.t.interval(0.95, 2, 2.5, stats.sem([1, 2, 4.5])))
    assert figures["b"] == [2.5, 1.0]
    assert figures["modes"] == 3


def test_intervals_end_where_figures_do():
    figures = combined([{"recall": 0.0, "precision": 1.0}, {"recall": 0.1, "precision": 0.9}], {"recall": (0.0, 1.0)})
    assert figures["recall_interval"] == [0.0, pytest.approx(0.05 + 12.7062 * 0.05)]
    assert figures["precision_interval"][1] > 1


def test_the_table_shows_intervals_and_what_real_images_get():
    scores = {
        "source": "runs/a",
        "step": None,
        "protocol": {"name": "paper"},
        "frechet_floor": 1.2,
        "frechet_floor_interval": [1.1, 1.3],
        "frechet_distance": 12.3412,
        "frechet_distance_interval": [11.9, 12.8],
        "recall": 0.5,
        "sharpness": 30.0,
        "sharpness_of_reference": 31.0,
        "class_histogram": [0.25, 0.75],
        "modes": 7,
    }
    assert table(scores, "FD-EfficientNet-Lite0").splitlines() == [
        "source                                      runs/a",
        "step                                        unknown",
        "frechet distance (FD-EfficientNet-Lite0)    12.34     11.9 to 12.8            real images: 1.2 (1.1 to 1.3)",
        "recall                                      0.5",
        "sharpness                                   30                                real images: 31",
        "class histogram                             0.250 0.750",
        "modes                                       7",
    ]
