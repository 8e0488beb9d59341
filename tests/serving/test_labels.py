"""A label means one class, whether it is passed as text or as a number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import Generator
from serving.contract.manifest import ModelInfo
from serving.labels import Classes

DIGITS = tuple(str(digit) for digit in range(11))
NAMES = st.lists(
    st.integers(-3, 12).map(str) | st.sampled_from(["01", "007", "-0", "cat", "", "\u0663", "9" * 30]),
    min_size=1,
    max_size=6,
    unique=True,
)


def meaning(classes, label):
    """The class of a label; None if it is refused."""
    try:
        (position,) = classes.positions([label], 1)
    except ValueError:
        return None
    assert classes.positions(label, 1).tolist() == [position]
    return int(position)


@given(NAMES, st.integers(-4, 13))
def test_a_number_never_means_another_class_than_its_text(names, number):
    classes = Classes(names)
    as_text, as_number = meaning(classes, str(number)), meaning(classes, number)
    assert as_number in (None, as_text)
    assert meaning(classes, np.int16(number)) == as_number
    array = np.array([number])
    try:
        assert classes.positions(array, 1).tolist() == [as_number]
    except ValueError:
        assert as_number is None


@given(NAMES)
def test_a_name_as_text_always_means_its_class(names):
    classes = Classes(names)
    assert [meaning(classes, name) for name in names] == list(range(len(names)))
    assert classes.positions(names, len(names)).tolist() == list(range(len(names)))
    assert classes.positions(None, 20).tolist() == [i % len(names) for i in range(20)]
    assert classes.check(np.arange(len(names)), len(names)).tolist() == list(range(len(names)))


@pytest.mark.parametrize(
    ("names", "label", "expected"),
    [
        (DIGITS, 10, 10),
        (DIGITS, "10", 10),
        (DIGITS, -1, None),
        (tuple(sorted(DIGITS)), 1, 1),
        (tuple(sorted(DIGITS)), 2, None),  # "10" stands there
        (tuple(sorted(DIGITS)), "2", 3),
        (("10", "2", "33"), 0, 0),
        (("10", "2", "33"), 1, 1),
        (("10", "2", "33"), 2, None),
        (("10", "2", "33"), 33, 2),
        (("10", "2", "33"), "1", 1),
        (("01", "02", "03"), 1, None),
        (("01", "02", "03"), "1", None),
        (("01", "02", "03"), "01", 0),
        (("01", "02", "03"), 3, 2),
        (("cat", "dog"), "1", 1),
        (("cat", "dog"), "\u0661", None),
        (("cat", "dog"), "+1", None),
        (("cat", "dog"), "9" * 10_000, None),
        (("1", "01"), 1, None),
    ],
)
def test_what_a_label_means(names, label, expected):
    assert meaning(Classes(names), label) == expected


def test_ambiguous_labels_are_refused_in_a_sentence(write_bundle):
    generator = Generator.load(write_bundle(ModelInfo(6, (8, 8, 1), True, ("10", "2", "33"))))
    for labels in (2, [2], np.array([2]), iter([2])):
        with pytest.raises(ValueError, match=r"^label 2 may mean the class '2' or '33', .* pass the name, as text\.$"):
            generator.sample(1, labels=labels)
    expected = generator.sample(1, labels="2")
    np.testing.assert_array_equal(generator.sample(1, labels=1), expected)
    assert generator.check_condition(np.array([2, 0]), 2).tolist() == [2, 0]
    for wrong in ([3], [-1], [0, 1]):
        with pytest.raises(ValueError, match=r"^[^\n]+\.$"):
            generator.check_condition(np.array(wrong), 1)
