"""When evaluations that get no better end a training."""

import pytest

from pipeline.runs.patience import Goal, Waiting, waiting

GOAL = Goal(extractor="means")


def records(*distances, **more):
    judged = {"extractor": "means", "num_samples": 50, **more}
    return [{"step": 10 * i, "frechet_distance": each, **judged} for i, each in enumerate(distances, 1)]


def test_evaluations_since_the_best_one_are_counted():
    assert waiting([], GOAL, 50) == Waiting(0, 0)
    assert waiting(records(5.0, 3.0, 4.0, float("nan"), 3.0), GOAL, 50) == Waiting(20, 2)
    assert waiting(records(5.0, 3.0, 4.0), GOAL._replace(higher=True), 50) == Waiting(10, 2)


@pytest.mark.parametrize("changed", [{"extractor": "others"}, {"extractor_id": "other"}, {"num_samples": 5000}])
def test_what_was_judged_in_another_way_does_not_count(changed):
    """Distances of more samples are smaller, and none of fewer would ever be better."""
    goal = GOAL._replace(extractor_id="one")
    now = records(5.0, 6.0, extractor_id="one")
    assert waiting([*records(1.0, 1.5, **changed), *now], goal, 50) == Waiting(10, 1)
    assert waiting([*records(1.0, 1.5), *now], goal, 50) == Waiting(10, 3)  # which didn't note it


def test_records_of_before_do_not_say_how_many_samples_there_were():
    before = [{name: value for name, value in each.items() if name != "num_samples"} for each in records(2.0, 3.0)]
    assert waiting([*before, *records(4.0)], GOAL, 50) == Waiting(10, 2)
