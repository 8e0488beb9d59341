"""What goes wrong in somebody else's code, as a part of one sentence. Needs only the standard library."""

import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from pipeline.base.names import printable

_LIBRARY = str(Path(os.__file__).parent) + "/"
_OURS = tuple(str(Path(__file__).parents[2] / package) + "/" for package in ("pipeline", "export", "serving"))


def in_a_line(error: object, length: int) -> str:
    """What a library's error says, which may be long, of many lines and of any characters, as the beginning of one."""
    return printable(" ".join(str(error).encode("utf-8", "backslashreplace").decode().split()))[:length]


def reason(error: BaseException) -> str:
    """Says in one line what somebody's code has failed with, and in which of their lines."""
    theirs = [
        (name, line)
        for name, line in _places(error)
        if not name.startswith((*_OURS, _LIBRARY, "<frozen")) and "site-packages" not in name
    ]
    if isinstance(error, SyntaxError):  # which says itself where it is
        theirs = []
    where = f" ({theirs[-1][0]}, line {theirs[-1][1]})" if theirs else ""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = text.partition("Error encountered during deserialization: ")[2] or text.partition("Arguments received by")[0]
    return f"{type(error).__name__}: {' '.join(text.split())[:300].rstrip('.')}{where}"


def _places(error: BaseException) -> Iterator[tuple[str, int]]:
    """Files and lines from the outermost call to the innermost."""
    # TensorFlow runs code that it has rewritten, and notes where each line comes from.
    rewritten = getattr(getattr(error, "ag_error_metadata", None), "translated_stack", ())
    if rewritten:
        yield from ((frame.filename, frame.lineno) for frame in reversed(rewritten))
    else:
        yield from ((frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__))
