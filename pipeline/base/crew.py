"""Work done by processes of this one's own, a core each, its results in order. Needs only the standard library.

Decoders spend much of their time in Python, where threads wait for one another. Processes that import nothing but what
the work needs start in a fifth of a second; `multiprocessing` would import the user's own program again in each.
"""

import contextlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol, TypeVar

from pipeline.base.ahead import ahead, cores
from pipeline.base.children import environment_without_gpus
from pipeline.base.errors import MirageError

_T = TypeVar("_T", covariant=True)
CHUNK = 32
_WORTHWHILE = 2000  # pieces that are worth the start of processes
_AHEAD = 3  # chunks that a process is ahead of who reads them
_HEAD = struct.Struct(">q")
_MOST = 64
_sharing: list[None] = []
_idle: list["Crew"] = []


class Job(Protocol[_T]):
    """A numbered piece of work, which can be pickled."""

    def __call__(self, number: int, /) -> _T:
        """Does the piece of a number; the result can be pickled."""


class Crew:
    """Processes that wait for work; they end with this object, or with its process."""

    def __init__(self) -> None:
        """Starts them, and does not wait."""
        command = [sys.executable, "-c", "from pipeline.base.crew import serve; serve()"]
        self._workers = [
            subprocess.Popen(command, env=environment_without_gpus(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(min(cores(), _MOST))
        ]

    def work(self, job: Job[_T], start: int, stop: int, chunk: int = CHUNK) -> Iterator[_T]:
        """Does numbered pieces of work.

        Args:
          job: does one.
          start: the first number.
          stop: behind the last number.
          chunk: see `by_all_cores`.

        Yields:
          The results, in order.

        Raises:
          MirageError: if a process ends.
        """
        order = pickle.dumps(job)
        for place, worker in enumerate(self._workers):
            _write(worker.stdin, pickle.dumps((order, start + place * chunk, stop, chunk, len(self._workers))))
        for first in range(start, stop, chunk):
            worker = self._workers[(first - start) // chunk % len(self._workers)]
            results = _read(worker.stdout)
            if results is None:
                raise MirageError(
                    f"a process that helps this one ended with status {worker.wait()}; most often memory is short: end "
                    "other programs, or try again with fewer cores (taskset)."
                )
            yield from pickle.loads(results)

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    pipe.close()


def by_all_cores(job: Job[_T], start: int, stop: int, chunk: int = CHUNK) -> Iterator[_T]:
    """Does numbered pieces of work by all cores: by threads if they are few, else by processes.

    Args:
      job: does one; threads may call it at once.
      start: the first number.
      stop: behind the last number.
      chunk: pieces whose results are kept together, of which some may wait for each process.

    Yields:
      The results, in order.
    """
    if stop - start < _WORTHWHILE or not sys.executable:
        yield from ahead(job, start, stop, min(chunk, 16))
        return
    done = False
    try:
        crew = _idle.pop()
    except IndexError:
        crew = Crew()
    try:
        yield from crew.work(job, start, stop, chunk)
        done = True
    finally:
        if done and _sharing:  # of one that was left in the middle, results are still to come
            _idle.append(crew)
        else:
            crew.close()


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Within this, processes that have done the work of one call of `by_all_cores` do that of the next, too."""
    _sharing.append(None)
    try:
        yield
    finally:
        _sharing.pop()
        if not _sharing:
            with contextlib.suppress(IndexError):
                while True:
                    _idle.pop().close()


def _write(pipe: Any, content: bytes) -> None:
    pipe.write(_HEAD.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _read(pipe: Any) -> bytes | None:
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    content = pipe.read(size)
    return content if len(content) == size else None


def serve() -> None:
    """Is such a process: takes work from standard input until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    results: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    waiting: queue.Queue[bytes] = queue.Queue(_AHEAD)

    def send() -> None:
        while True:
            content = waiting.get()
            try:
                _write(results, content)
            except OSError:  # nobody reads any more
                os._exit(0)

    threading.Thread(target=send, daemon=True).start()
    while (order := _read(sys.stdin.buffer)) is not None:
        job, first, stop, chunk, workers = pickle.loads(order)
        work = pickle.loads(job)
        for start in range(first, stop, chunk * workers):
            numbers = range(start, min(start + chunk, stop))
            waiting.put(pickle.dumps([work(number) for number in numbers], pickle.HIGHEST_PROTOCOL))
