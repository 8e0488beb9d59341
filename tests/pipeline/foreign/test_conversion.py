"""What a process's collector of garbage is like while tf2onnx works, and after it."""

import gc
import weakref

import pytest

from pipeline.foreign.conversion import converting


class Copy:
    """In a cycle with itself, as tf2onnx's copies of a graph are."""

    def __init__(self):
        self.itself = self


def copy_often(alive):
    """Notes how many of many copies are left, and fails."""
    copies = [weakref.ref(Copy()) for _ in range(20_000)]
    alive.append(sum(each() is not None for each in copies))
    raise ZeroDivisionError


@pytest.mark.parametrize("frozen", [False, True])
def test_copies_are_freed_soon_and_then_all_is_as_it_was(frozen):
    before = gc.get_threshold()
    if frozen:
        gc.freeze()
    count, alive = gc.get_freeze_count(), []
    try:
        with pytest.raises(ZeroDivisionError), converting():
            copy_often(alive)
        assert alive[0] < 5_000
        assert gc.get_threshold() == before
        assert (gc.get_freeze_count() > 0) == (count > 0)
    finally:
        gc.unfreeze()
