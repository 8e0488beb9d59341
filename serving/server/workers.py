"""Several server processes behind one socket."""

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from serving.command_line import say
from serving.server.listening import ignore_handshakes
from serving.server.settings import METRICS_FOLDER_VARIABLE, Settings

_RESTART_S = 1.0
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


def supervise(settings: Settings, listener: socket.socket, work: Callable[[], int]) -> int:
    """Forks worker processes, restarts those that die, hands signals on, and waits for all of them at the end.

    Args:
      settings: says how many.
      listener: the socket that they share.
      work: what each does; returns its exit status.

    Returns:
      0 if all workers ended well after SIGTERM or SIGINT, otherwise 1.
    """
    with tempfile.TemporaryDirectory(prefix="mirage-metrics-") as folder:
        os.environ[METRICS_FOLDER_VARIABLE] = folder
        return _Supervisor(settings, listener, work).run(folder)


class _Supervisor:
    def __init__(self, settings: Settings, listener: socket.socket, work: Callable[[], int]) -> None:
        self._settings = settings
        self._listener = listener
        self._work = work
        # Nobody writes to it: it ends with the supervisor, however that ends.
        self._lifeline, self._held = os.pipe()
        self._started: dict[int, float] = {}
        self._stopping = False
        self._status = 0

    def run(self, folder: str) -> int:
        # Blocked, and then waited for: none can arrive unseen between two looks.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for _ in range(self._settings.workers):
            self._fork()
        while self._started:
            number = signal.sigwait(_SIGNALS)
            if number == signal.SIGCHLD:
                self._reap(folder)
            elif number == signal.SIGHUP:
                self._tell(signal.SIGHUP)
            else:
                self._stop()
        return self._status

    def _fork(self) -> None:
        pid = os.fork()
        if pid:
            self._started[pid] = time.monotonic()
            return
        os.close(self._held)
        threading.Thread(target=self._follow, daemon=True).start()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to load anew
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            status = self._work()
        except BaseException as error:
            say(f"error: a worker failed: {error!r}")
            status = 1
        sys.stdout.flush()
        os._exit(status)

    def _follow(self) -> None:
        os.read(self._lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _reap(self, folder: str) -> None:
        while self._started:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._ended(pid, os.waitstatus_to_exitcode(status), folder)

    def _ended(self, pid: int, status: int, folder: str) -> None:
        started = self._started.pop(pid)
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid, folder)
        if self._stopping:
            # SIGTERM itself ends one that has not yet begun to listen for it.
            self._status = self._status or int(status not in (0, -signal.SIGTERM))
            return
        say(f"worker {pid} ended with {status}")
        if time.monotonic() - started < _RESTART_S:
            # It could not even begin: neither will another.
            self._status = 1
            self._stop()
        else:
            self._fork()

    def _stop(self) -> None:
        first = not self._stopping
        self._stopping = True
        self._tell(signal.SIGTERM)
        if first:
            time.sleep(self._settings.leave_s)
            ignore_handshakes(self._listener)

    def _tell(self, number: int) -> None:
        for pid in list(self._started):
            os.kill(pid, number)
