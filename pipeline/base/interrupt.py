"""Stopping on request: Ctrl-C, SIGTERM, and SIGHUP unless it is ignored, as under nohup. Standard library only."""

import contextlib
import ctypes
import functools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, ClassVar, Self, TypeVar

from pipeline.base.errors import INTERRUPTED, TERMINATED

# `timeout`, shells and batch systems send a signal to the process and to its group at once: that is one request.
_ONE_REQUEST_S = 1.0
# TensorFlow may compute or compile for a minute before the main thread hears of a signal.
_GRACE_S = 5.0
_AGAIN_S = 0.05  # until what raised has been swallowed, and the code around it goes on
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h

_Result = TypeVar("_Result")


def stop_signals() -> tuple[signal.Signals, ...]:
    """Returns the signals that ask a process to stop."""
    hangup = getattr(signal, "SIGHUP", None)
    asked = (signal.SIGINT, signal.SIGTERM)
    return asked if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN else (*asked, hangup)


@contextlib.contextmanager
def delayed_signals() -> Iterator[None]:
    """Has requests to stop wait; a process that is started meanwhile inherits that until it enters `Interrupt`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(number: signal.Signals) -> Callable[[], object] | None:
    """What a process that is started does before all else, so that it gets a signal when this one is gone; Linux only.

    Args:
      number: the signal.

    Returns:
      For `subprocess.Popen(preexec_fn=...)`.
    """
    if sys.platform != "linux":
        return None
    return functools.partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, int(number))


class Stopped(KeyboardInterrupt):
    """A request to stop that came while there was nothing to save.

    Attributes:
      signal: the signal that came.
      status: exit status of a command that ends because of it.
    """

    def __init__(self, number: int) -> None:
        """Takes the signal's number."""
        self.signal = signal.Signals(number)
        self.status = INTERRUPTED if number == signal.SIGINT else TERMINATED
        super().__init__(f"{self.signal.name}: stopped.")


class Interrupt:
    """Hears requests to stop, while it is entered as a context.

    The first one raises `Stopped`; after `hold` it is noted only. The second one is given back to
    whoever heard signals before.

    Signals reach the main thread of a process only: entered in another one, it hears of `ask` alone.

    Attributes:
      signal: the signal that came, or None.
      reason: what was given to `ask`, or None.
    """

    def __init__(self) -> None:
        """Starts without a request."""
        self.signal: signal.Signals | None = None
        self.reason: str | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._since = 0.0
        self._raises = True

    def __enter__(self) -> Self:
        """Takes over the signals."""
        if threading.current_thread() is not threading.main_thread():
            return self
        self._previous = {number: signal.signal(number, self._hear) for number in stop_signals()}
        self._hook, sys.unraisablehook = sys.unraisablehook, self._swallowed
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._previous)  # see `delayed_signals`
        return self

    def __exit__(self, *exception: object) -> None:
        """Gives the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: it wasn't Python's
        if self._previous:
            sys.unraisablehook = self._hook

    @property
    def asked(self) -> bool:
        """Whether there is a request, by a signal or by `ask`."""
        return self.signal is not None or self.reason is not None

    def ask(self, reason: str) -> None:
        """Requests to stop, from any thread; it is noted only.

        Args:
          reason: what is said of it.
        """
        self.reason = reason

    def hold(self) -> None:
        """From now on there is something to save, so a request is noted only."""
        self._raises = False
        Watch.patient = True

    def breakable(self, work: Callable[[], _Result]) -> _Result | None:
        """Does what a request to stop may break off at any point, even after `hold`.

        Args:
          work: must leave everything well when `Stopped` is raised in it.

        Returns:
          What `work` returns, or None if it was broken off or not begun.
        """
        result = None
        # Inside `try` from before the first to behind the last moment at which `_hear` may raise.
        try:
            self._raises = True
            if self.signal is None:
                result = work()
            self._raises = False
        except Stopped:
            result = None
        finally:
            self._raises = False
        return result

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = signal.Signals(number), now
            if self._raises:
                raise Stopped(number)
        elif now - self._since > _ONE_REQUEST_S:
            self.__exit__()
            signal.raise_signal(number)

    def _swallowed(self, unraisable: Any) -> None:
        """Python tells, and drops, what is raised amid a destructor or a weak reference's callback: raise it again."""
        if not isinstance(unraisable.exc_value, Stopped):
            self._hook(unraisable)
            return
        number, self.signal = unraisable.exc_value.signal, None
        again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()


class Watch:
    """Ends the process when it was told to stop and does not, or was told twice.

    A thread of its own hears of signals at once, where the main thread hears of them only when TensorFlow
    returns, and where something may swallow what is raised there. Use it as a context manager.

    Attributes:
      patient: whether the process may take its time, because it has something to save.
      heard: the first signal, or None.
    """

    patient: ClassVar[bool] = False

    def __init__(self) -> None:
        """Starts without a request."""
        self.heard: signal.Signals | None = None

    def __enter__(self) -> Self:
        """Starts listening to signals that have a handler in Python."""
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        self._previous = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stops listening."""
        signal.set_wakeup_fd(self._previous)
        self._mouth.close()

    def _listen(self) -> None:
        first = self._ear.recv(1)
        if not first:
            return
        since = time.monotonic()
        self.heard = signal.Signals(first[0])
        self._ear.settimeout(0.1)
        while True:
            try:
                if not self._ear.recv(1):
                    return
                if time.monotonic() - since > _ONE_REQUEST_S:
                    os._exit(Stopped(self.heard).status)
            except TimeoutError:
                if not Watch.patient and time.monotonic() - since > _GRACE_S:
                    leave(Stopped(self.heard))


def leave(stopped: Stopped) -> None:
    """Ends the process with one line, and without the noise of a teardown in the midst of something."""
    # Straight to the system: the signal may have come amid a write, of which sys.stderr and sys.stdout would then
    # write a part again. A progress bar leaves a line open.
    line = f"\n{stopped}\n" if os.isatty(2) else f"{stopped}\n"
    with contextlib.suppress(OSError):  # nobody listens
        os.write(2, line.encode())
    os._exit(stopped.status)
