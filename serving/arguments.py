"""What the generator's methods are called with, looked at before it is converted.

numpy converts more than is meant: 1.5 to a seed of 1, texts and hidden values of masked arrays to numbers, 1e39 to
infinity.
"""

import math
import numbers
import operator
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.contract.manifest import shown

INT64 = (-(2**63), 2**63 - 1)
# Latents are less than 6 in size: longer by this factor they are still float32.
MAX_TRUNCATION = 2.0**124


def whole(name: str, value: object, least: int, most: int) -> int:
    """Makes an int of an argument that is an integer of any type.

    Args:
      name: the argument's.
      value: what was passed.
      least: the smallest value that it may have.
      most: the largest one.

    Raises:
      ValueError: if it is no integer, or not in the range.
    """
    number = integer(value)
    if number is None:
        raise ValueError(f"{name} is {described(value)}; expected an integer.")
    if number < least:
        raise ValueError(f"{name} is {shown_integer(number)}; expected {least} or more.")
    if number > most:
        raise ValueError(f"{name} is {shown_integer(number)}; expected at most {most}.")
    return number


def integer(value: object) -> int | None:
    """Makes an int of an integer of any type, numpy's included; None of anything else, truth values too."""
    if type(value) is int:
        return value
    if isinstance(value, bool | np.bool_) or is_masked(value):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def factor(name: str, value: object) -> float:
    """Makes a float of an argument that is a real number of any type.

    Raises:
      ValueError: if it is no real number, or as a factor of latents not finite in float32.
    """
    if type(value) is float and abs(value) <= MAX_TRUNCATION:
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0 and not is_masked(value):
        value = value[()]
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ValueError(f"{name} is {described(value)}; expected a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= MAX_TRUNCATION:
        raise ValueError(f"{name} is {described(value)}; expected a finite number of at most {MAX_TRUNCATION:.0e}.")
    return number


def matrix(name: str, value: ArrayLike, *sizes: int) -> NDArray[np.float32]:
    """Makes a float32 array of an argument that is a matrix, or more of them, of finite real numbers.

    Args:
      name: the argument's.
      value: what was passed.
      *sizes: what its axes behind the first must have.

    Raises:
      ValueError: for anything else.
    """
    if is_masked(value) or (isinstance(value, Sequence) and any(map(is_masked, value))):
        raise ValueError(f"{name} is a masked array; expected one without hidden values, such as {name}.filled(0).")
    try:
        array = np.asarray(value)
    except Exception:  # which one is up to the object, such as another library's tensor
        raise ValueError(f"{name} is {described(value)}; expected an array [n, {_listed(sizes)}].") from None
    if array.dtype.kind not in "fiu" or array.ndim != len(sizes) + 1 or array.shape[1:] != sizes:
        raise ValueError(
            f"{name} has the shape {shown(list(array.shape))} and the type {array.dtype}; expected real numbers "
            f"[n, {_listed(sizes)}]."
        )
    if array.dtype != np.float32:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are NaN or infinite in float32; expected finite numbers.")
    return array


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


def is_masked(value: object) -> bool:
    """Says whether it is one of numpy's masked arrays, whose hidden values conversions bring to light."""
    masked = sys.modules.get("numpy.ma")  # which is imported only by who uses it
    return masked is not None and isinstance(value, masked.MaskedArray)


def described(value: Any) -> str:
    """Returns a short text of a value that is not what was expected."""
    if isinstance(value, np.ndarray):
        return f"an array of the shape {shown(list(value.shape))} and the type {value.dtype}"
    number = integer(value)
    if number is not None:
        return shown_integer(number)
    return shown(value)


def shown_integer(number: int) -> str:
    """Returns the digits of a number; where they are too many to read, their magnitude."""
    bits = number.bit_length()
    return str(number) if bits <= 128 else f"{'-' if number < 0 else ''}2**{bits - 1} or more"
