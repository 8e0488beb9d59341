"""What pictures are made by where labels are several numbers at once: attributes. Needs only the standard library."""

import dataclasses
import struct
from collections.abc import Mapping
from typing import Any

BINARY, NUMBER = "binary", "number"
_KINDS = (BINARY, NUMBER)
MOST = 3e38  # that an attribute can be, in float32
_DIGITS, _PLAIN = 9, 1e15
_FIELDS = ("name", "kind", "low", "high", "typical")


@dataclasses.dataclass(frozen=True)
class Attribute:
    """One of the numbers by which a generator makes a picture, in the unit of the training data's labels.

    Attributes:
      name: of it, such as "smiling" or "age".
      kind: "binary", which is 0 or 1, or "number".
      low: the least that training has seen.
      high: the greatest.
      typical: what it is where nothing is said: of a binary one what most pictures are, of a number the mean.
    """

    name: str
    kind: str
    low: float
    high: float
    typical: float

    def __post_init__(self) -> None:
        """Refuses what is no attribute; raises ValueError in one sentence."""
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise ValueError(f"an attribute's name is {self.name!r:.80}; expected a text that can be printed.")
        if self.kind not in _KINDS:
            raise ValueError(f"the attribute {self.name:.80} is {self.kind!r:.80}; expected {' or '.join(_KINDS)}.")
        for field in ("low", "high", "typical"):
            value = getattr(self, field)
            if type(value) not in (int, float) or not abs(value) <= MOST:
                raise ValueError(f"{field} of the attribute {self.name:.80} is {value!r:.80}; expected a number.")
            object.__setattr__(self, field, float(value))
        if not self.low < self.high or not self.low <= self.typical <= self.high:
            raise ValueError(
                f"the attribute {self.name:.80} goes from {self.low} to {self.high} and is {self.typical} typically; "
                "expected low < high, and typical between them."
            )
        if self.kind == BINARY and ((self.low, self.high) != (0, 1) or self.typical not in (0, 1)):
            raise ValueError(
                f"the binary attribute {self.name:.80} goes from {self.low} to {self.high}; expected 0, 1."
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Attribute":
        """Inverse of `to_dict`.

        Raises:
          ValueError: if these are not the fields of an attribute.
        """
        if not isinstance(values, Mapping) or {*values} != {*_FIELDS}:
            raise ValueError(f"an attribute is {values!r:.80}; expected an object of {', '.join(_FIELDS)}.")
        return cls(**values)


def attributes_of(values: Any) -> tuple[Attribute, ...]:
    """Reads a list of attributes, as manifests and runs hold it.

    Raises:
      ValueError: if it is none, or two have one name.
    """
    if not isinstance(values, list):
        raise ValueError(f"attributes is {values!r:.80}; expected a list.")
    attributes = tuple(Attribute.from_dict(each) for each in values)
    if len({each.name for each in attributes}) != len(attributes):
        raise ValueError("two attributes have the same name.")
    return attributes


def number_text(value: float) -> str:
    """A number in as few digits as tell it from others in float32."""
    if not abs(value) <= MOST:  # NaN and infinities
        return str(value)
    if abs(value) < _PLAIN and value == int(value):
        return str(int(value))
    single = _single(value)
    texts = (f"{single:.{digits}g}" for digits in range(1, _DIGITS))
    return next((text for text in texts if _single(float(text)) == single), f"{single:.{_DIGITS}g}")


def _single(value: float) -> float:
    """A number as float32."""
    (single,) = struct.unpack("f", struct.pack("f", value))
    return float(single)
