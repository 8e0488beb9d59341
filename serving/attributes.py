"""Values of attributes, as they are passed: by name, in order, or left out."""

import itertools
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.arguments import described, is_masked
from serving.contract.attributes import BINARY, Attribute, number_text
from serving.contract.manifest import shown

# By name, a number or one for each picture; several such; or all of them in order.
AttributeValues = Mapping[str, ArrayLike] | Iterable[Mapping[str, float]] | ArrayLike | None

_NAMED = 8  # attributes in a message
_EXAMPLE = "such as male=1,age=30"


class Attributes:
    """The attributes of a generator, to which values are given; what is not given is typical.

    All is compared as float32, which is what generators take.

    Attributes:
      names: of them, as a sentence lists them.
    """

    def __init__(self, attributes: Sequence[Attribute]) -> None:
        """Takes the attributes in order."""
        self._attributes = attributes
        self._places = {each.name: place for place, each in enumerate(attributes)}
        self._low, self._high, self._typical = (
            np.array([getattr(each, field) for each in attributes], np.float32) for field in ("low", "high", "typical")
        )
        self.names = _listed([*self._places])

    def values(self, given: AttributeValues, n: int) -> NDArray[np.float32]:
        """Makes an array of what was given.

        Args:
          given: a mapping of names to a number, or to one for each image; a sequence of one mapping for each image; or
            an array of numbers in order, for all images or [n, ...]. None, or a name that is left out, is typical. Of a
            binary attribute truth values are numbers too.
          n: number of images.

        Returns:
          float32 [n, number of attributes].

        Raises:
          ValueError: for other names, what is no number, or not from the least to the greatest value of an attribute.
        """
        if given is None:
            return self._usual(n)
        if callable(getattr(given, "keys", None)):  # which tables have too
            return self._of_mapping(given, n)
        if isinstance(given, str | bytes | bytearray) or is_masked(given):
            raise self._strange(given)
        if isinstance(given, Iterable) and not hasattr(given, "__array__"):
            found = list(itertools.islice(given, max(n, len(self._attributes)) + 1))  # it may have no end
            if any(isinstance(each, Mapping) for each in found):
                return self._of_mappings(found, n)
            return self._of_array(found, n)
        return self._of_array(given, n)

    def check(self, values: NDArray[np.floating], n: int) -> NDArray[np.float32]:
        """Checks an array of values of all attributes, as ONNX files take it.

        Args:
          values: [n, number of attributes].
          n: number of images.

        Returns:
          float32 [n, number of attributes].

        Raises:
          ValueError: for another shape, or values that are not from the least to the greatest of an attribute.
        """
        if values.shape != (n, len(self._attributes)):
            raise ValueError(
                f"attributes has the shape {shown(list(values.shape))}; expected {[n, len(self._attributes)]}, a value "
                f"for each of {self.names}."
            )
        if values.dtype != np.float32:
            with np.errstate(over="ignore"):
                values = values.astype(np.float32)
        inside = (values >= self._low) & (values <= self._high)  # of which NaN is neither
        if not inside.all():
            row, place = np.argwhere(~inside)[0]
            raise self._outside(self._attributes[place], number_text(float(values[row, place])))
        return values

    def _usual(self, n: int) -> NDArray[np.float32]:
        return np.repeat(self._typical[None], n, axis=0)

    def _of_mapping(self, given: Any, n: int) -> NDArray[np.float32]:
        values = self._usual(n)
        for name in given.keys():  # noqa: SIM118 (of a table, it gives the names of columns)
            place = self._places.get(name) if isinstance(name, str) else None
            if place is None:
                raise ValueError(f"there is no attribute {shown(name)}; there are {self.names}.")
            values[:, place] = self._column(self._attributes[place], given[name], n)
        return self.check(values, n)

    def _of_mappings(self, given: Sequence[Any], n: int) -> NDArray[np.float32]:
        if not all(isinstance(each, Mapping) for each in given):
            raise ValueError("some of attributes are mappings and some are not; expected a mapping for each image.")
        if len(given) != n:
            count = str(len(given)) if len(given) <= n else f"more than {n}"
            raise ValueError(f"attributes has {count} mappings for {n} images; expected one, or one for each.")
        return np.concatenate([self._of_mapping(each, 1) for each in given]) if n else self._usual(0)

    def _of_array(self, given: Any, n: int) -> NDArray[np.float32]:
        try:
            array = np.asarray(given)
        except Exception:  # which one is up to the object, such as another library's tensor
            raise self._strange(given) from None
        count = len(self._attributes)
        truths = array.dtype.kind == "b" and all(each.kind == BINARY for each in self._attributes)
        if not (array.dtype.kind in "fiu" or truths) or array.shape not in ((count,), (n, count)):
            raise self._strange(array)
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        return self.check(np.array(np.broadcast_to(array, (n, count))), n)

    def _column(self, attribute: Attribute, value: Any, n: int) -> NDArray[np.float32] | float:
        """What was given for one attribute: a number, or [n]."""
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            return self._number(attribute, value)
        if isinstance(value, str | bytes | Mapping) or value is None or is_masked(value):
            raise self._outside(attribute, described(value))
        try:
            array = np.asarray(value)
        except Exception:  # as above
            raise self._outside(attribute, described(value)) from None
        if array.dtype.kind not in ("fiub" if attribute.kind == BINARY else "fiu"):
            raise self._outside(attribute, described(value))
        if array.ndim == 0:
            return self._number(attribute, array[()])
        if array.shape != (n,):
            raise ValueError(
                f"attribute {shown(attribute.name)} has the shape {shown(list(array.shape))}; expected a number, "
                f"or one for each of {n} images."
            )
        with np.errstate(over="ignore"):
            return array.astype(np.float32)

    def _number(self, attribute: Attribute, value: Any) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        with np.errstate(over="ignore"):
            fits = np.float32(attribute.low) <= np.float32(number) <= np.float32(attribute.high)
        if not fits:  # said here, before it is rounded
            raise self._outside(attribute, described(value if number == math.inf else number).removesuffix(".0"))
        return number

    def _outside(self, attribute: Attribute, value: str) -> ValueError:
        low, high = (number_text(each) for each in (attribute.low, attribute.high))
        truth = ", or a truth value" if attribute.kind == BINARY else ""
        return ValueError(
            f"attribute {shown(attribute.name)} is {value}; expected a number from {low} to {high}{truth}."
        )

    def _strange(self, given: Any) -> ValueError:
        count = len(self._attributes)
        return ValueError(
            f"attributes is {described(given)}; expected a mapping of some of {self.names} to numbers, or numbers "
            f"[{count}] or [n, {count}] in this order."
        )


def parse(text: str) -> dict[str, tuple[float, float]]:
    """Reads attributes as they are written on a command line or in an address: `male=1,age=30`, `age=16..80`.

    Returns:
      For each name the number, or the two between which it goes, else twice the same.

    Raises:
      ValueError: if they can't be read.
    """
    found: dict[str, tuple[float, float]] = {}
    name = ""
    for part in text.split(","):
        before, equals, value = part.rpartition("=")
        if not equals:  # names may have commas
            name += f"{part},"
            continue
        name, first, dots, last = name + before, *value.partition("..")
        ends = (_number(first), _number(last if dots else first))
        if not name.strip() or None in ends:
            raise ValueError(f"attributes has {shown(part)}; expected a name, = and a number, {_EXAMPLE}.")
        if name.strip() in found:
            raise ValueError(f"attributes has {shown(name.strip())} twice; expected each once.")
        found[name.strip()], name = ends, ""  # type: ignore[assignment]
    if name:
        raise ValueError(f"attributes ends with {shown(name[:-1])}; expected a name, = and a number, {_EXAMPLE}.")
    return found


def between_ends(ends: Mapping[str, tuple[float, float]], t: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Values of attributes on their way from their first number, at t = 0, to their last, at t = 1."""
    return {name: first + t * (last - first) for name, (first, last) in ends.items()}


def _listed(names: Sequence[str]) -> str:
    """What fits into a sentence of names."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown(name)[1:-1] for name in names[:_NAMED]) + more


def _number(text: str) -> float | None:
    try:
        number = math.nan if "_" in text else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
