"""Parameters that are flags as well: each with its name, type, default, range and help text in one place.

Every room has a dataclass of its own parameters, and so has everything that a flag chooses by name; a configuration is
their sum. Needs only the standard library, so that flags can be checked before TensorFlow is loaded.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

from pipeline.base.errors import MirageError

AUTO = "auto"
# Key of the names of what is still `auto`, beside the values that parts are checked with.
UNDECIDED = "undecided"
"""What stands for a parameter that is chosen once data and devices are known."""


def parameter(
    default: Any,
    help: str,  # noqa: A002 - the standard term for a flag's text
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    below: float | None = None,
    may_change: bool = False,
    may_differ: bool = False,
    strict: bool = False,
    automatic: bool = False,
    reads: Callable[[Any], Any] | None = None,
) -> Any:
    """Declares a field of a `Parameters` together with everything its absl flag needs.

    Args:
      default: default value; its type is the flag's type.
      help: one sentence for `--help`.
      choices: the permitted values of a string flag.
      minimum: the least permitted number.
      below: numbers must be smaller than this.
      may_change: whether a resumed run may have another value than the run it continues.
      may_differ: whether each worker of a cluster may have another, because its machine needs it or only the chief
        looks at it. The intervals of logs and checkpoints are not such: they decide how many steps run in one call,
        and all must make the same calls.
      strict: whether a value other than the default is refused where what was chosen doesn't have this parameter,
        rather than ignored.
      automatic: whether the flag may be `auto` and is so unless it is set; the default given here is what is taken
        where nothing better is known, and what a run had whose configuration doesn't name it.
      reads: makes the one form of a value out of all forms in which it may be given, as a flag's text above all;
        raises MirageError for what is none. The default's type says nothing then.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "below": below,
        "may_change": may_change,
        "may_differ": may_differ,
        "strict": strict,
        "automatic": automatic,
        "reads": reads,
    }
    return dataclasses.field(default=default, metadata=metadata)


def flag_default(field: dataclasses.Field) -> Any:
    """Returns what a flag is where nobody sets it."""
    return AUTO if field.metadata["automatic"] else field.default


def is_auto(field: dataclasses.Field, value: Any) -> bool:
    """Whether a value leaves the choice to Mirage."""
    return bool(field.metadata["automatic"]) and isinstance(value, str) and value == AUTO


def check_range(field: dataclasses.Field, value: Any) -> None:
    """Refuses a value that the flag may not have; `auto` has no range.

    Args:
      field: made by `parameter`.
      value: of the field's type.

    Raises:
      MirageError: naming the flag, the value, what was expected.
    """
    if is_auto(field, value):
        return
    choices, minimum, below = (field.metadata[key] for key in ("choices", "minimum", "below"))
    if choices and value not in choices:
        raise MirageError(f"--{field.name}={value} is not known; choose from {', '.join(choices)}.")
    # Written so that NaN, which compares false with everything, is refused too.
    if minimum is not None and not value >= minimum:
        raise MirageError(f"--{field.name}={value} is too small; expected at least {minimum}.")
    if below is not None and not value < below:
        raise MirageError(f"--{field.name}={value} is too large; expected less than {below}.")


@dataclasses.dataclass(frozen=True)
class Parameters:
    """A part of a configuration: a frozen dataclass whose fields are declared by `parameter`."""

    def __post_init__(self) -> None:
        """Brings values into their one form; raises MirageError for what is none."""
        for field in dataclasses.fields(self):
            if reads := field.metadata["reads"]:
                object.__setattr__(self, field.name, reads(getattr(self, field.name)))

    def check_ranges(self) -> None:
        """Refuses values that no flag may have; raises MirageError."""
        for field in dataclasses.fields(self):
            check_range(field, getattr(self, field.name))

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuses what does not go together, as far as this part knows why.

        Args:
          values: all parameters of the run by name, each in its range; where an object was passed in place of a name,
            that object.

        Raises:
          MirageError: naming the flags and what to do.
        """

    def automatic(self) -> tuple[str, ...]:
        """Names the parameters that are still to be chosen."""
        return tuple(field.name for field in dataclasses.fields(self) if is_auto(field, getattr(self, field.name)))

    def plain(self) -> Self:
        """Returns it with the default in the place of each `auto`."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: defaults[name] for name in self.automatic()})

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
          MirageError: for an unknown field or a value of the wrong type, as after a hand edit.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in fields:
                raise MirageError(f"the configuration has an unknown field {name!r}; this Mirage knows no such flag.")
            expected = type(fields[name].default)
            if is_auto(fields[name], value) or fields[name].metadata["reads"]:
                continue
            if type(value) is not expected and not (expected is float and type(value) is int):
                raise MirageError(
                    f"the configuration's field {name!r} is {value!r:.200}; expected {expected.__name__}."
                )
        return cls(**values)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Takes its own fields out of those of a whole configuration; raises MirageError as `from_dict` does."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls.from_dict({name: value for name, value in values.items() if name in names})

    def changes_from(self, earlier: Self) -> list[tuple[str, Any, Any]]:
        """Lists the flags that keep this run from continuing `earlier`; what is `auto` takes the earlier run's.

        Returns:
          (flag name, value of the earlier run, value now) of every flag that differs and matters.
        """
        return [
            (field.name, getattr(earlier, field.name), getattr(self, field.name))
            for field in dataclasses.fields(self)
            if not field.metadata["may_change"]
            and not is_auto(field, getattr(self, field.name))
            and getattr(earlier, field.name) != getattr(self, field.name)
        ]


def summed(*kinds: type[Parameters]) -> list[tuple[str, Any, Any]]:
    """Lists the fields of several dataclasses, as `dataclasses.make_dataclass` takes them.

    Args:
      *kinds: of which several may have the same parameter.

    Raises:
      TypeError: if they have different ones under the same name.
    """
    found: dict[str, dataclasses.Field] = {}
    for field in (field for kind in kinds for field in dataclasses.fields(kind)):
        known = found.setdefault(field.name, field)
        if (known.type, known.default, known.metadata) != (field.type, field.default, field.metadata):
            raise TypeError(f"two kinds have a parameter {field.name!r}, and not the same.")
    return [(name, field.type, _copied(field)) for name, field in found.items()]


def _copied(field: dataclasses.Field) -> Any:
    return dataclasses.field(default=field.default, metadata=field.metadata)


def split(name: str, given: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Splits a flag that lists some of several words; raises MirageError for one that is unknown."""
    if not {*given.split(",")} <= {*known}:
        raise MirageError(f"--{name}={given} is not known; choose from {', '.join(known)}, joined by commas.")
    return tuple(given.split(","))
