"""Some of many images, in memory that doesn't grow with their number."""

from collections.abc import Callable
from typing import Any

import numpy as np

from serving.contract.pixels import premultiplied, straight


class Rows:
    """Some rows of an array, read when they are asked for: it may lie in a file, or be made as it is read.

    Attributes:
      dtype: the array's.
    """

    def __init__(
        self, array: Any, indices: np.ndarray | None = None, change: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        """Takes what rows are chosen of.

        Args:
          array: [m, ...], NumPy's or of its form.
          indices: which rows, int64 [n]; None for all in their order.
          change: what is done to them as they are read, of the same shape before and behind; None for nothing.
        """
        self._array, self._change = array, change
        self._indices = np.arange(len(array)) if indices is None else indices
        self.dtype = array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, ...]."""
        return len(self), *self._array.shape[1:]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._indices)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Reads rows, by a number, a slice, or an array of numbers."""
        rows = np.asarray(self._array[self._indices[key]])
        return rows if self._change is None else self._change(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Reads all."""
        return self[:].astype(dtype or self.dtype, copy=False)


def as_shown(pixels: Any) -> Any:
    """Images as a generator that copies them shows them: colours that are stored where all is transparent are none.

    Args:
      pixels: uint8 [n, H, W, C], NumPy's or of its form; of four channels the last one is alpha.
    """
    return Rows(pixels, change=lambda stored: straight(premultiplied(stored))) if pixels.shape[3] == 4 else pixels


def divided(total: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides at random, always alike, since data may lie in the order of their classes.

    Args:
      total: of how many.
      count: how many make the first part.

    Returns:
      Both parts, int64, in rising order.
    """
    order = np.random.default_rng(0).permutation(total)
    return np.sort(order[:count]), np.sort(order[count:])
