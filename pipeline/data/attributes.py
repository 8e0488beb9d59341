"""Labels that are several numbers at once: from what columns hold to float32 [N, A], and what these are."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.elements import class_order, classes_of, plain_labels
from pipeline.data.fingerprint import fingerprint_of
from pipeline.data.notices import say_once
from serving.contract.attributes import BINARY, MOST, NUMBER, Attribute

_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_MOST_TEXTS = 32  # that a column becomes as many attributes of
_TWO = ({0.0, 1.0}, {-1.0, 1.0})  # the latter as CelebA writes it


@dataclasses.dataclass(frozen=True)
class Labels:
    """What the pictures of a data set are of.

    Attributes:
      values: int32 [N], or with attributes float32 [N, A] in the unit in which they were given.
      class_names: in label order; empty with attributes, and without labels.
      attributes: in order; empty without.
    """

    values: NDArray[Any]
    class_names: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()

    def identity(self, part: NDArray[Any]) -> list[bytes]:
        """What distinguishes some of these labels from others, for a fingerprint."""
        if not self.attributes:
            return [part.astype("<i4").tobytes()]
        return [part.astype("<f4").tobytes(), json.dumps([[each.name, each.kind] for each in self.attributes]).encode()]

    def fingerprint(self, pictures: str, part: NDArray[Any]) -> str:
        """Identifies pictures with these labels.

        Args:
          pictures: the fingerprint of the pictures alone.
          part: their labels.
        """
        return fingerprint_of(["labels", pictures, *self.identity(part), *self.class_names])


def as_numbers(values: Sequence[Any]) -> NDArray[np.float64] | None:
    """Reads numbers, however they are written; yes and true are 1, no and false 0.

    Args:
      values: of any type.

    Returns:
      float64 [N], NaN where a value is empty; None if one is something else.
    """
    try:
        read = {value: _as_number(value) for value in {*values}}
    except (ValueError, TypeError):  # the latter of what can't be in a set
        return None
    return np.fromiter(map(read.__getitem__, values), np.float64, len(values))


def _as_number(value: Any) -> float:
    if value is None:
        return np.nan
    if not isinstance(value, str):
        return float(value)
    text = value.strip().lower()
    if "_" in text:  # which Python reads over
        raise ValueError(text)
    return np.nan if not text else _WORDS[text] if text in _WORDS else float(text)


def is_one_hot(labels: NDArray[Any]) -> bool:
    """Whether labels [N, K] say one of several classes each."""
    if labels.ndim != 2 or labels.shape[1] < 2:
        return False
    ones = labels == 1
    return bool((ones | (labels == 0)).all() and (ones.sum(axis=1) == 1).all())


def attributes_from(
    columns: Mapping[str, Sequence[Any]],
    given: str,
    kinds: Mapping[str, str] | None = None,
    pictures: Sequence[str] = (),
    *,
    apart: bool = False,
) -> Labels:
    """Makes attributes of columns: numbers, yes and no, or texts, of which each becomes a yes or no.

    Args:
      columns: values of all pictures, by name.
      given: what was given, as an error shall name it.
      kinds: columns that are to be "number", or "class", texts whatever they look like.
      pictures: what these are called, for errors.
      apart: whether they are of a test split, of which a column may be constant.

    Raises:
      MirageError: if a column is constant, or a value is missing or no finite number.
    """
    found: dict[str, tuple[NDArray[np.float32], Attribute]] = {}
    for column, values in columns.items():
        kind = (kinds or {}).get(column, "")
        numbers = None if kind == "class" else as_numbers(values)
        if numbers is None and kind == NUMBER:
            odd = next(value for value in values if as_numbers([value]) is None)
            raise MirageError(f"{given}: {printable(column)} is {odd!r:.50} once; expected numbers.")
        if numbers is None:
            values = [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in values]
        check_there(column, values, numbers, given, pictures)
        made = _of_texts(column, values, given) if numbers is None else {column: numbers}
        for name, each in made.items():
            shown = printable(name)
            if shown in found:
                raise MirageError(f"{given} has the attribute {shown} twice; leave one out.")
            found[shown] = _attribute(shown, each, given, kind, apart)
    return Labels(np.stack([each for each, _ in found.values()], 1), (), tuple(each for _, each in found.values()))


def labels_from(
    labels: Any, given: str, known: Sequence[str] = (), names: Sequence[str] = (), *, apart: bool = False
) -> Labels:
    """Makes labels of what is passed as such: classes of N numbers or names, attributes of several for each picture.

    Args:
      labels: [N], [N, A], or columns by name, such as those of a table of pandas. Numbers that are no whole ones are an
        attribute as well.
      given: what was given, as an error shall name it.
      known: names of the classes, if the data say them.
      names: of attributes without any, if the data say them.
      apart: whether they are of a test split.

    Raises:
      MirageError: if they can be neither.
    """
    if isinstance(labels, Labels):
        return labels
    columns = columns_of(labels, names, apart=apart)
    if columns is None:
        return Labels(*classes_of(plain_labels(labels, given), given, known))
    if len(columns) == 1 and not isinstance(labels, Mapping):
        say_once(f"{given}: labels are taken as a number, since they are no whole ones.")
    if len({*map(len, columns.values())}) != 1:
        sizes = ", ".join(f"{printable(name)} {len(each):,}" for name, each in columns.items()) or "none"
        raise MirageError(f"{given}: labels of several lengths ({sizes}); expected one for each image.")
    return attributes_from(columns, given, apart=apart)


def columns_of(labels: Any, names: Sequence[str] = (), *, apart: bool = False) -> dict[str, list[Any]] | None:
    """Columns of labels that are attributes, see `labels_from`; None of those that say one of several classes each."""
    if isinstance(labels, Mapping):
        return {str(name): np.asarray(each).tolist() for name, each in labels.items()}
    array = np.asarray(labels)
    named = [str(name) for name in getattr(labels, "columns", names)]
    array = array[:, None] if array.ndim == 1 else array
    # A few pictures that are kept apart for testing may look one-hot by chance.
    if array.ndim != 2 or not array.shape[1] or (is_one_hot(array) and not apart):
        return None
    if array.shape[1] == 1 and not (array.dtype.kind == "f" and (np.mod(array[np.isfinite(array)], 1) != 0).any()):
        return None
    if len(named) != array.shape[1]:
        named = [f"attribute {place}" for place in range(array.shape[1])]
    return dict(zip(named, array.T.tolist(), strict=True))


def check_there(
    column: str, values: Sequence[Any], numbers: NDArray[np.float64] | None, given: str, pictures: Sequence[str]
) -> None:
    """Refuses a column that lacks values.

    Args:
      column: its name.
      values: what it holds for each picture.
      numbers: these as numbers, if they are.
      given: what was given, as an error shall name it.
      pictures: what the pictures are called, for errors.

    Raises:
      MirageError: if a value is missing, or no finite number.
    """
    if numbers is None:
        wrong = np.array([value is None or not str(value).strip() for value in values])
    else:
        wrong = ~(np.abs(numbers) <= MOST)
    if wrong.any():
        first = int(wrong.argmax())
        where = printable(pictures[first]) if pictures else f"number {first:,}"
        raise MirageError(
            f"{given}: {printable(column)} has no value, or no finite one, for {int(wrong.sum()):,} of {len(values):,} "
            f"pictures, such as {where} ({values[first]!r:.50}); add it, or remove these pictures."
        )


def _of_texts(column: str, values: Sequence[Any], given: str) -> dict[str, NDArray[np.float64]]:
    """A column of texts as yes or no for each, of two for one of them."""
    texts = [str(value).strip() for value in values]
    distinct = sorted({*texts}, key=class_order({*texts}))
    if len(distinct) > _MOST_TEXTS:
        raise MirageError(
            f"{given}: {printable(column)} has {len(distinct):,} different texts, such as {printable(distinct[0])}; "
            f"expected numbers, 0 and 1, yes and no, or at most {_MOST_TEXTS} texts as one of several attributes."
        )
    array = np.array(texts)
    told = distinct[1:] if len(distinct) == 2 else distinct
    return {f"{column}={text}": (array == text).astype(np.float64) for text in told}


def _attribute(
    name: str, numbers: NDArray[np.float64], given: str, kind: str, apart: bool
) -> tuple[NDArray[np.float32], Attribute]:
    distinct = {*np.unique(numbers)[:3].tolist()}
    if kind != NUMBER and distinct in _TWO:
        values = (numbers > 0).astype(np.float32)
        return values, Attribute(name, BINARY, 0.0, 1.0, float(values.mean(dtype=np.float64) > 0.5))
    values = numbers.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if low == high and not apart:
        raise MirageError(
            f"{given}: {name} is {low:g} for all pictures, which steers nothing; leave it out, or give pictures of "
            "which it differs."
        )
    mean = min(max(float(values.mean(dtype=np.float64)), low), high)
    return values, Attribute(name, NUMBER, low, max(high, np.nextafter(low, np.inf, dtype=np.float32).item()), mean)


def told(attribute: Attribute) -> str:
    """Says in words what an attribute is."""
    if attribute.kind == BINARY:
        return f"{attribute.name} (yes or no)"
    return f"{attribute.name} (a number from {attribute.low:g} to {attribute.high:g})"


def labels_like(own: Labels, known: Sequence[Attribute]) -> Labels | None:
    """Gives labels of other pictures the attributes of a data set.

    Args:
      own: what they say of themselves.
      known: the data set's.

    Returns:
      Them; None if they have other names, or are not 0 or 1 where that is expected.
    """
    labels, names = own.values, [each.name for each in own.attributes]
    if len(known) == 1 and own.class_names == tuple(map(str, range(len(own.class_names)))) != ():
        labels, names = labels[:, None].astype(np.float32), [known[0].name]  # numbers that are whole by chance
    if names != [each.name for each in known]:
        return None
    binary = np.array([each.kind == BINARY for each in known])
    values = np.where(binary & (labels == -1), np.float32(0), labels)
    if not np.isin(values[:, binary], (0, 1)).all():
        return None
    return Labels(values, (), tuple(known))
