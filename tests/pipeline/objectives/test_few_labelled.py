"""Which images semi-supervised learning is told the labels of."""

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.objectives.sgan import few_labelled


def few_of(labels, num_labels, count, seed=0):
    """Images that are told apart by their pixels, and what is chosen of them."""
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    return few_labelled(images, np.asarray(labels, np.int32), num_labels, count, seed)


def test_few_labelled_images_are_as_many_of_each_class():
    images, labels = few_of(np.arange(30) % 3, 3, 6)
    assert np.bincount(labels).tolist() == [2, 2, 2]
    np.testing.assert_array_equal((np.arange(30) % 3)[images[:, 0, 0, 0]], labels)
    assert len(set(images[:, 0, 0, 0])) == 6
    np.testing.assert_array_equal(images, few_of(np.arange(30) % 3, 3, 6)[0])
    assert not np.array_equal(images, few_of(np.arange(30) % 3, 3, 6, seed=1)[0])


@pytest.mark.parametrize(
    ("labels", "classes", "named"),
    [
        ([0, 1, 2] * 4, 3, "multiple of 3"),
        ([0] * 10 + [1], 2, "fewer of some"),
        ([0] * 10, 0, "needs data with labels"),
    ],
)
def test_labels_that_cannot_be_had_are_refused(labels, classes, named):
    with pytest.raises(MirageError, match=f"--labelled=4.*{named}"):
        few_of(labels, classes, 4)
