"""Standard output and error that outlive their readers. Standard library only."""

import io
import os
import select
import sys
from typing import TextIO


class _Raw(io.FileIO):
    """Loses what can't be written: a reader that has gone, or a full disk, must not end a training.

    Attributes:
      failure: why something was lost, or None.
    """

    failure: OSError | None = None

    def write(self, content: memoryview) -> int:  # type: ignore[override]
        """Writes some bytes, and returns their number."""
        try:
            while (written := super().write(content)) is None:  # a pipe that somebody has set to non-blocking
                select.select([], [self], [])
        except OSError as error:
            self.failure = error
            return len(content)
        return written


def outlive_readers() -> None:
    """Replaces `sys.stdout` and `sys.stderr`; what was closed leads nowhere."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # It takes the lowest free number: no file that is opened later may be written as if it were the output.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _replaced(sys.stdout, 1)
    sys.stderr = _replaced(sys.stderr, 2)


def in_notebook() -> bool:
    """Whether standard output goes into a notebook's cell."""
    return type(sys.stdout).__module__.partition(".")[0] == "ipykernel"


def lost_output() -> OSError | None:
    """Returns why a part of standard output is lost, though somebody still wants it; None if nothing is."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, _Raw) else None
    return None if isinstance(failure, BrokenPipeError) else failure


def _replaced(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is not None:
        stream.flush()
    raw: io.RawIOBase = _Raw(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",  # a path or a class name may hold what the terminal can't show
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )
