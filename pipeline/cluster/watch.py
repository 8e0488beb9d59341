"""Ends a process of a cluster that has waited too long for its peers.

TensorFlow itself waits for ever: for a peer that never comes, and for one that is stuck.
"""

import contextlib
import dataclasses
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Protocol, Self

from pipeline.base.errors import WORKER_LOST

# By how much the thread that ends the process politely comes before the alarm that ends it in any case.
_GRACE_S = 5.0


class Others(Protocol):
    """What the watchdog needs to know of the other workers, and they of this one; see `pipeline.cluster.meet.Peers`."""

    working: bool

    def alive_until(self) -> float:
        """Until when all of them are known to live."""

    def worked_until(self) -> float:
        """Until when one of them is known to have done work of its own."""

    def silent(self) -> list[str]:
        """Names those not heard of for some seconds."""


@dataclasses.dataclass(frozen=True)
class _Wait:
    what: str
    start: float
    working: bool


class Watchdog:
    """Ends the process with `WORKER_LOST` and one sentence when it waits too long for others.

    Time counts only while the process waits, and not while another worker says that it does work of its
    own, provided that all are alive. Whether such work gets on can't be known from here.

    While TensorFlow connects to its peers it lets no other thread of Python run. An alarm of the
    system's then ends the process a few seconds later, by SIGALRM.

    Use it as a context manager.

    Attributes:
      broken: whether a wait ended with an exception.
    """

    def __init__(self, timeout_s: float, others: Others | None = None) -> None:
        """Prepares it.

        Args:
          timeout_s: longest permitted time of waiting; may be infinite.
          others: the other workers.
        """
        self.broken = False
        self._timeout_s = timeout_s
        self._others = others
        self._wait: _Wait | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Starts watching."""
        if math.isfinite(self._timeout_s):
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stops watching."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    @contextlib.contextmanager
    def waiting(self, what: str, *, working: bool = False) -> Iterator[None]:
        """Says that the process waits for others while the context lasts; else it works by itself.

        Args:
          what: what it waits for.
          working: whether it does work of its own, such as compiling, before or while it waits, and it can't be
            told which; then only the silence of another worker counts.
        """
        self._set(_Wait(what, time.monotonic(), working))
        try:
            yield
        except BaseException:
            self.broken = True
            raise
        finally:
            self._set(None)

    def _set(self, wait: _Wait | None) -> None:
        with self._lock:
            self._wait = wait
            if self._others is not None:
                self._others.working = wait is None or wait.working
            self._alarm(0 if wait is None else self._timeout_s + _GRACE_S)

    def _alarm(self, seconds: float) -> None:
        if math.isfinite(self._timeout_s):
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._timeout_s / 4)):
            with self._lock:
                if self._wait is None:
                    continue
                left = self._since(self._wait) + self._timeout_s - time.monotonic()
                if left <= 0:
                    self._end(self._wait)
                self._alarm(left + _GRACE_S)

    def _since(self, wait: _Wait) -> float:
        """From when on the wait counts."""
        if self._others is None:
            return time.monotonic() if wait.working else wait.start
        worked = time.monotonic() if wait.working else self._others.worked_until()
        return max(wait.start, min(self._others.alive_until(), worked))

    def _end(self, wait: _Wait) -> None:
        silent = self._others.silent() if self._others is not None else []
        who = f" (worker {', '.join(silent)} is silent)" if silent else ""
        print(
            f"error: nothing happened for --timeout_s={self._timeout_s:g} seconds while waiting for {wait.what}{who}; "
            "the last checkpoint is kept: look at the other workers, then start all again.",
            file=sys.stderr,
            flush=True,
        )
        # The main thread hangs in TensorFlow, which no exception reaches.
        os._exit(WORKER_LOST)
