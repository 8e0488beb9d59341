"""A field of a configuration that is a flag as well. Needs only the standard library."""

import dataclasses
from typing import Any

from pipeline.base.errors import MirageError


def flag(
    default: Any,
    help: str,  # noqa: A002 - the standard term for a flag's text
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    below: float | None = None,
    may_change: bool = False,
) -> Any:
    """Declares a `Config` field together with everything its absl flag needs.

    Args:
      default: default value; its type is the flag's type.
      help: one sentence for `--help`.
      choices: the permitted values of a string flag.
      minimum: the least permitted number.
      below: numbers must be smaller than this.
      may_change: whether a resumed run may have another value than the run it continues.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "below": below,
        "may_change": may_change,
    }
    return dataclasses.field(default=default, metadata=metadata)


def check_range(field: dataclasses.Field, value: Any) -> None:
    """Refuses a value that the flag may not have.

    Args:
      field: made by `flag`.
      value: of the field's type.

    Raises:
      MirageError: naming the flag, the value, what was expected.
    """
    choices, minimum, below = (field.metadata[key] for key in ("choices", "minimum", "below"))
    if choices and value not in choices:
        raise MirageError(f"--{field.name}={value} is not known; choose from {', '.join(choices)}.")
    # Written so that NaN, which compares false with everything, is refused too.
    if minimum is not None and not value >= minimum:
        raise MirageError(f"--{field.name}={value} is too small; expected at least {minimum}.")
    if below is not None and not value < below:
        raise MirageError(f"--{field.name}={value} is too large; expected less than {below}.")
