"""What names a class: its text, its position, or its number where its name is one."""

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence, Set, Sized

import numpy as np
from numpy.typing import NDArray

from serving.arguments import described, integer, is_masked
from serving.contract.manifest import shown

Labels = int | str | Iterable[int] | Iterable[str] | NDArray[np.integer] | None

_MAX_DIGITS = 20  # of what may be the number of a class


class Classes:
    """The classes of a generator.

    A text means the class of that name. An integer, or its digits as text, means the class at that position, or the one
    whose name is that number; where these are different classes, as with the names 1, 2, 3, it is refused.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Takes the names, in the order of positions."""
        self._names = names
        self._by_name: dict[str, int] = {}
        self._by_number: dict[int, set[int]] = {}
        for position, name in enumerate(names):
            self._by_name.setdefault(name, position)
            number = _number(name)
            if number is not None:
                self._by_number.setdefault(number, set()).add(position)
        # Whether all integers are positions and nothing else, so that arrays need not be looked at one by one.
        self._plain = all({number} == positions for number, positions in self._by_number.items())

    def positions(self, labels: Labels, n: int) -> NDArray[np.int64]:
        """Makes an array of positions from labels.

        Args:
          labels: one label for all images, or an iterable of one for each; None takes the classes in turn.
          n: number of images.

        Returns:
          int64 [n].

        Raises:
          ValueError: for labels that are not those of classes, or not as many as images.
        """
        if labels is None:
            return np.arange(n, dtype=np.int64) % len(self._names)
        if type(labels) is int and self._plain and 0 <= labels < len(self._names):
            return np.full(n, labels, np.int64)
        if is_masked(labels):
            raise ValueError("labels is a masked array; expected one without hidden values.")
        if isinstance(labels, np.ndarray) and labels.ndim == 0:
            labels = labels[()]
        if isinstance(labels, str) or integer(labels) is not None:
            return np.full(n, self._position(labels), np.int64)
        if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu" and self._plain:
            return self.check(labels, n)
        if isinstance(labels, (bytes, bytearray, memoryview, Set, Mapping)) or not isinstance(labels, Iterable):
            raise ValueError(f"labels is {described(labels)}; expected a label, or a sequence of one for each image.")
        found = list(itertools.islice(labels, n + 1))  # it may have no end
        if len(found) != n:
            count = len(labels) if isinstance(labels, Sized) else len(found)
            raise _miscounted(str(count) if count != n + 1 or isinstance(labels, Sized) else f"more than {n}", n)
        with contextlib.suppress(KeyError, TypeError):  # which names alone don't raise
            return np.array([self._by_name[label] for label in found], np.int64)
        return np.array([self._position(label) for label in found], np.int64)

    def check(self, positions: NDArray[np.integer], n: int) -> NDArray[np.int64]:
        """Checks labels that are positions and nothing else, as ONNX files take them.

        Args:
          positions: integers [n].
          n: number of images.

        Returns:
          int64 [n].

        Raises:
          ValueError: for labels that are not those of classes, or not as many as images.
        """
        if len(positions) != n:
            raise _miscounted(str(len(positions)), n)
        for wrong in positions[(positions < 0) | (positions >= len(self._names))]:
            raise self._unknown(int(wrong))
        return positions.astype(np.int64, copy=False)

    def _position(self, label: object) -> int:
        names = self._names
        if isinstance(label, np.ndarray) and label.ndim == 0 and not is_masked(label):
            label = label[()]
        if isinstance(label, str) and label in self._by_name:
            return self._by_name[label]
        number = _number(label) if isinstance(label, str) else integer(label)
        if number is not None:
            named = self._by_number.get(number, set())
            meant = named | ({number} if 0 <= number < len(names) else set())
            if len(meant) == 1:
                return meant.pop()
            if meant:
                choice = " or ".join(shown(names[each]) for each in sorted(meant)[:3])
                raise ValueError(
                    f"label {number} may mean the class {choice}, by position or by name; pass the name, as text."
                )
        raise self._unknown(label if number is None else number)

    def _unknown(self, label: object) -> ValueError:
        last, name = len(self._names) - 1, shown(self._names[0])
        return ValueError(f"label {described(label)} is unknown; expected 0 to {last}, or a name such as {name}.")


def _number(text: str) -> int | None:
    """The integer that a text is in decimal digits; None for other texts."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS else None


def _miscounted(count: str, n: int) -> ValueError:
    return ValueError(f"{count} labels were passed for {n} images; expected one, or one for each.")
