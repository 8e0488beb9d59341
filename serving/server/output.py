"""What the server writes besides answers: lines for people on standard error, and the access log.

Neither may touch an answer. The disk that they are written to may be full, and who reads a pipe may have gone, or be
slow.
"""

import contextlib
import os
import select
import sys
import threading
import time
from collections import deque
from typing import Protocol

from serving import command_line

# Lines are gathered for so long, and then written at once.
_GATHER_S = 0.02
# Lines that may wait for a slow reader, some megabytes; later ones are lost.
_MOST_LINES = 10_000
# Linux's PIPE_BUF: what is written at once to a pipe, and not divided by other processes' lines.
_PIECE = 4096
_CLOSE_S = 1.0


def open_streams() -> None:
    """Opens what of the standard streams was closed, on the null device: sockets would take their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:  # not on its number, which some library may have taken meanwhile
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def say(message: str) -> None:
    """Writes a line to standard error, if that can be written to."""
    with contextlib.suppress(OSError, ValueError):  # the latter if it is closed
        command_line.say(message)


class Log(Protocol):
    """What takes lines."""

    def write(self, line: str, /) -> object:
        """Takes a line with its end."""


class AccessLog:
    """Lines that a thread writes, so that no answer waits for them."""

    def __init__(self, descriptor: int) -> None:
        """Starts the thread.

        Args:
          descriptor: the file that the lines go to.
        """
        self._descriptor = descriptor
        self._lines: deque[str] = deque()
        self._lost = 0
        self._wake = threading.Event()
        self._closing = False
        self._last = b"\n"  # what was written last
        self._thread = threading.Thread(target=self._work, name="access-log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Takes a line with its end; returns at once."""
        if len(self._lines) < _MOST_LINES:
            self._lines.append(line)
        else:
            self._lost += 1
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Writes what is left, unless that takes more than a second."""
        self._closing = True
        self._wake.set()
        self._thread.join(_CLOSE_S)

    def _work(self) -> None:
        told, failed = 0, False
        while not self._closing or self._lines:
            if not self._closing:
                self._wake.wait()
                time.sleep(_GATHER_S)
            self._wake.clear()
            if (lost := self._lost) > told:
                say(f"the access log is read too slowly: {lost - told} lines are lost.")
                told = lost
            try:
                self._put([self._lines.popleft() for _ in range(len(self._lines))])
                failed = False
            except OSError as error:
                if not failed:
                    say(f"the access log can't be written ({error.strerror}); requests are answered without it.")
                failed = True

    def _put(self, lines: list[str]) -> None:
        piece = b""
        for line in lines:
            more = line.encode()
            if len(piece) + len(more) > _PIECE:
                self._write_all(piece)
                piece = b""
            piece += more
        self._write_all(piece)

    def _write_all(self, data: bytes) -> None:
        if self._last != b"\n" and data:  # a part of a line, whose rest could not be written
            data = b"\n" + data
        while data:
            try:
                written = os.write(self._descriptor, data)
            except BlockingIOError:  # a pipe that somebody has set to non-blocking
                select.select([], [self._descriptor], [])
                continue
            self._last, data = data[written - 1 : written], data[written:]
