"""Several server processes behind one socket."""

import contextlib
import mmap
import os
import select
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.server.listening import ignore_handshakes
from serving.server.output import say
from serving.server.settings import METRICS_FOLDER_VARIABLE, Settings, StartError

# Who ends before that counts as a failure; each one doubles the time until the next start.
_STEADY_S = 10.0
_FIRST_DELAY_S = 0.5
_MOST_DELAY_S = 30.0
# Until a signal that is sent to a group, one process after another, has reached all of it.
_GROUP_S = 0.2
# What the counters of a process take on the disk; a write beyond its end would kill the process.
_METRICS_BYTES = 4 * 2**20
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


def supervise(settings: Settings, listener: socket.socket, work: Callable[[Callable[[], None]], None]) -> int:
    """Forks worker processes, restarts those that die, hands signals on, and waits for all of them at the end.

    Args:
      settings: says how many.
      listener: the socket that they share.
      work: what each does; it calls its argument when it is ready, and raises StartError if it can't be.

    Returns:
      0 if all workers ended well after SIGTERM or SIGINT, otherwise 1.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until someone takes them: the folder would be left behind
    with contextlib.ExitStack() as stack:
        try:
            temporary = tempfile.TemporaryDirectory(prefix="mirage-metrics-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(temporary))
            _check_room(folder, settings.workers * _METRICS_BYTES)
        except OSError as error:
            say(
                f"error: the workers' counters have no room in the folder for temporary files ({error.strerror}); make "
                "some, or name another folder in the environment variable TMPDIR."
            )
            return 1
        os.environ[METRICS_FOLDER_VARIABLE] = str(folder)
        return _Supervisor(settings, listener, work, folder).run()


def _check_room(folder: Path, size: int) -> None:
    with (folder / "room").open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
    (folder / "room").unlink()


class _Supervisor:
    def __init__(
        self, settings: Settings, listener: socket.socket, work: Callable[[Callable[[], None]], None], folder: Path
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._work = work
        self._folder = folder
        # Nobody writes to it: it ends with the supervisor, however that ends.
        self._lifeline, self._held = os.pipe()
        # A byte for each worker, which it sets when it is ready.
        self._ready = mmap.mmap(-1, settings.workers)
        # One byte: of workers that can't start, the one that takes it speaks for all.
        self._word, word = os.pipe()
        os.write(word, b"1")
        os.set_blocking(self._word, False)
        self._started: dict[int, tuple[int, float]] = {}  # by process id: place among the workers, and time
        self._due: dict[int, float] = {}  # places that are to be filled again, and when
        self._failures = 0  # since a worker was steady
        self._unready = 0  # workers that ended before they were ready, since one was
        self._stopping = False
        self._status = 0

    def run(self) -> int:
        # Not blocked and waited for: a thread of some library's could take them meanwhile, and ignore them.
        self._signals, wakeup = os.pipe()
        for end in (self._signals, wakeup):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda number, frame: None)  # their numbers come through the pipe
        for place in range(self._settings.workers):
            self._fork(place)
        while self._started or self._due:
            patience = max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None
            for received in self._received(patience):
                self._take(received)
            self._restart()
        return self._status

    def _received(self, patience: float | None) -> list[int]:
        """Waits for signals, `patience` seconds if that is given, and returns their numbers, orders first."""
        if not select.select([self._signals], [], [], patience)[0]:
            return []
        received = os.read(self._signals, 4096)
        if {*received} == {signal.SIGCHLD} and not self._stopping:
            # A worker may have ended of what a terminal or systemd sends us next, and then that is no failure.
            time.sleep(_GROUP_S)
            with contextlib.suppress(BlockingIOError):
                received += os.read(self._signals, 4096)
        return sorted(received, key=lambda number: number == signal.SIGCHLD)

    def _take(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self._failures = 0
            self._due = dict.fromkeys(self._due, 0.0)  # what kept them from starting may have been mended
            self._tell(signal.SIGHUP)
        elif number in _SIGNALS:
            self._stop()

    def _restart(self) -> None:
        for place, due in list(self._due.items()):
            if due <= time.monotonic():
                del self._due[place]
                self._fork(place)

    def _fork(self, place: int) -> None:
        self._ready[place] = 0
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until it has handlers of its own
        try:
            pid = os.fork()
        except OSError as error:
            self._failed(place, f"a worker can't be started ({error.strerror})", ready=False)
            pid = -1
        if pid:
            if pid > 0:
                self._started[pid] = place, time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return
        status = 1
        try:
            self._run_worker(place)
            status = 0
        except StartError as error:
            if self._may_speak():
                say(f"error: {error}")
        except BaseException as error:
            if self._may_speak():
                say(f"error: a worker failed: {error!r}")
        finally:
            os._exit(status)

    def _run_worker(self, place: int) -> None:
        os.close(self._held)
        threading.Thread(target=self._follow, daemon=True).start()
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            # Until there is something to finish, or to load anew.
            signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._work(lambda: self._ready.__setitem__(place, 1))

    def _may_speak(self) -> bool:
        """Whether no other worker has said, or will say, the same."""
        if any(self._ready[:]):
            return True
        try:
            return bool(os.read(self._word, 1))
        except BlockingIOError:
            return False

    def _follow(self) -> None:
        os.read(self._lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _reap(self) -> None:
        # Not any child: the first process of a container is given those of others.
        for pid in list(self._started):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = pid, 0
            if ended:
                self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, status: int) -> None:
        place, started = self._started.pop(pid)
        ready = bool(self._ready[place])
        self._ready[place] = 0
        self._forget(pid, ready)
        if self._stopping:
            # A signal itself ends one that has not yet begun to listen for it.
            self._status = self._status or int(status not in (0, -signal.SIGTERM, -signal.SIGINT))
            return
        if time.monotonic() - started >= _STEADY_S:
            self._failures = 0
        # One that could not start has said why.
        self._failed(place, "" if status == 1 and not ready else f"worker {pid} ended with {status}", ready=ready)

    def _forget(self, pid: int, ready: bool) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        with contextlib.suppress(OSError):
            mark_process_dead(pid, str(self._folder))
            if not ready:  # it has counted nothing, and others may follow it
                for path in self._folder.glob(f"*_{pid}.db"):
                    path.unlink()

    def _failed(self, place: int, text: str, *, ready: bool) -> None:
        """Decides what becomes of the place of a worker that has ended, or could not be forked."""
        self._unready = 0 if ready or any(self._ready[:]) else self._unready + 1
        if self._unready >= self._settings.workers and not self._started:
            if text:
                say(f"error: {text}, and none is left that could answer.")
            self._status = 1
            self._due.clear()
            return
        delay = min(_MOST_DELAY_S, _FIRST_DELAY_S * 2 ** min(self._failures, 10))
        self._failures += 1
        self._due[place] = time.monotonic() + delay
        if text:
            say(f"{text}; another starts in {delay:g} s")

    def _stop(self) -> None:
        first = not self._stopping
        self._stopping = True
        self._due.clear()
        self._tell(signal.SIGTERM)
        if first:
            time.sleep(self._settings.leave_s)
            ignore_handshakes(self._listener)

    def _tell(self, number: int) -> None:
        for pid in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
