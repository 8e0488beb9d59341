"""Rows of large arrays, read when they are asked for."""

import numpy as np
import pytest

from pipeline.metrics.rows import Rows, as_shown, divided
from serving.contract.pixels import premultiplied


def test_rows_are_those_that_were_chosen_however_they_are_asked_for():
    array, chosen = np.arange(60, dtype=np.uint8).reshape(20, 3), np.array([3, 7, 8, 19])
    rows = Rows(array, chosen)
    expected = array[chosen]
    assert (len(rows), rows.shape, rows.dtype) == (4, (4, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(rows), expected)
    for key in (2, slice(1, 3), slice(1, 99), np.array([3, 0])):
        np.testing.assert_array_equal(rows[key], expected[key])
    np.testing.assert_array_equal(np.asarray(Rows(rows, np.array([1, 3]))), expected[[1, 3]])
    np.testing.assert_array_equal(Rows(array, chosen, change=lambda x: x + 1)[0], expected[0] + 1)


@pytest.mark.parametrize("total", [2, 7, 1000])
def test_parts_hold_all_once_and_are_mixed(total):
    one, other = divided(total, total // 2)
    assert len(one) == total // 2
    np.testing.assert_array_equal(np.sort(np.concatenate([one, other])), np.arange(total))
    assert (np.diff(one) > 0).all()
    if total == 1000:
        assert abs(one.mean() - 500) < 40
        np.testing.assert_array_equal(divided(total, 500)[0], one)


def test_what_is_transparent_has_no_colour_and_what_is_not_stays():
    stored = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 4), dtype=np.uint8)
    stored[..., 3] = np.random.default_rng(1).choice([0, 128, 255], (5, 4, 4))
    shown = np.asarray(as_shown(stored))
    assert (shown[stored[..., 3] == 0] == 0).all()
    np.testing.assert_array_equal(premultiplied(shown), premultiplied(stored))
    np.testing.assert_array_equal(shown[stored[..., 3] == 255], stored[stored[..., 3] == 255])
    grey = stored[..., :1]
    assert as_shown(grey) is grey
