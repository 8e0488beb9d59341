from pipeline.evaluation.collapse import CollapseWatch

GOOD = {"recall": 0.6, "class_entropy": 0.99, "frechet_distance": 4.0, "d_acc_real": 0.7, "d_acc_fake": 0.7}


def warnings_of(evaluations):
    watch = CollapseWatch()
    return [watch.see(1000 * (i + 1), scores) for i, scores in enumerate(evaluations)]


def test_a_good_run_is_left_alone():
    improving = [GOOD | {"recall": 0.1 * i, "frechet_distance": 9.0 - i} for i in range(1, 8)]
    assert warnings_of(improving) == [[]] * 7


def test_a_single_bad_evaluation_is_chance():
    assert warnings_of([GOOD, GOOD | {"recall": 0.1}, GOOD, GOOD | {"recall": 0.1}]) == [[]] * 4


def test_a_fall_is_told_once_with_the_step_at_which_it_began():
    seen = warnings_of([GOOD, GOOD, *[GOOD | {"recall": 0.2}] * 4])
    assert [len(each) for each in seen] == [0, 0, 0, 1, 0, 0]
    assert "recall was 0.6 at its best and is 0.2, since step 3,000" in seen[3][0]


def test_each_sign_is_watched():
    for change, named in [
        ({"class_entropy": 0.8}, "class entropy"),
        ({"frechet_distance": 9.0}, "frechet distance"),
        ({"d_acc_real": 1.0, "d_acc_fake": 0.97}, "D tells 98.5%"),
    ]:
        seen = warnings_of([GOOD, *[GOOD | change] * 2])
        assert [len(each) for each in seen] == [0, 0, 1]
        assert named in seen[2][0]


def test_a_fall_that_recovers_and_returns_is_told_again():
    bad = GOOD | {"recall": 0.1}
    assert [len(each) for each in warnings_of([GOOD, bad, bad, GOOD, bad, bad])] == [0, 0, 1, 0, 0, 1]


def test_what_was_not_measured_is_not_watched():
    assert warnings_of([{"frechet_distance": 3.0}] * 3) == [[]] * 3
