"""Stopping politely: the first Ctrl-C or SIGTERM is noted, the second one ends the process."""

import signal
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Notes a request to stop, while it is entered as a context.

    Attributes:
      signal: the signal that came, or None.
    """

    def __init__(self) -> None:
        """Starts without a request."""
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        """Takes over SIGINT and SIGTERM."""
        self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        """Gives the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        for each, handler in self._previous.items():
            signal.signal(each, handler)
