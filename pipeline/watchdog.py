"""Ends a process of a cluster that has waited too long for its peers.

TensorFlow itself waits for ever: for a peer that never comes, and for one that is stuck.
"""

import math
import os
import signal
import sys
import threading
import time
from typing import Self

from pipeline.errors import WORKER_LOST

# By how much the thread that ends the process politely comes before the alarm that ends it in any case.
_GRACE_S = 5.0


class Watchdog:
    """Ends the process with `WORKER_LOST` and one sentence, unless it is fed often enough.

    While TensorFlow connects to its peers it lets no other thread of Python run. An alarm of the
    system's then ends the process a few seconds later, by SIGALRM.

    Use it as a context manager.
    """

    def __init__(self, timeout_s: float, waiting_for: str) -> None:
        """Prepares it.

        Args:
          timeout_s: longest permitted time between two calls of `feed`.
          waiting_for: what the process waits for, until the first call of `feed`.
        """
        self._timeout_s = timeout_s
        self._waiting_for = waiting_for
        self._last = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Starts watching."""
        self.feed(self._waiting_for)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stops watching."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._done.set()
        self._thread.join()

    def feed(self, waiting_for: str) -> None:
        """Says that the process is alive.

        Args:
          waiting_for: what it waits for next.
        """
        self._waiting_for = waiting_for
        self._last = time.monotonic()
        if math.isfinite(self._timeout_s):
            signal.setitimer(signal.ITIMER_REAL, self._timeout_s + _GRACE_S)

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._timeout_s / 4)):
            if time.monotonic() - self._last > self._timeout_s:
                print(
                    f"error: nothing happened for --timeout_s={self._timeout_s:g} seconds while waiting for "
                    f"{self._waiting_for}; the last checkpoint is kept: look at the other workers, then start "
                    "all again.",
                    file=sys.stderr,
                    flush=True,
                )
                # The main thread hangs in TensorFlow, which no exception reaches.
                os._exit(WORKER_LOST)
