"""Batches across requests: a bounded queue of images, and a few threads that run what waits there.

A free thread takes what waits, up to the largest batch, without waiting for more (unless it is told to): under load
batches fill by themselves while the threads are busy. Threads that are free at the same time share what is there. A
request is admitted only if the queue has room and it is likely to be done in time; what can't be served is turned
away before any work on it.
"""

import asyncio
import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.contract.latents import latents
from serving.contract.pixels import to_pixels
from serving.generator import Condition, Generator

# Weight of the newest batch in the running estimate of the seconds that an image takes.
_NEWEST = 0.1


class Overloaded(Exception):  # noqa: N818
    """The queue is full, or the request would be late; `retry_after_s` seconds may help."""

    def __init__(self, retry_after_s: int) -> None:
        """Takes the seconds."""
        super().__init__("the server is overloaded")
        self.retry_after_s = retry_after_s


class Expired(Exception):  # noqa: N818
    """An admitted request was not run before its deadline."""


class Observer(Protocol):
    """What is told of the work done; called from the inference threads."""

    def batch(self, images: int, seconds: float) -> None:
        """A batch of `images` was run in `seconds`."""

    def request(self, waited_s: float, encode_s: float) -> None:
        """A request had waited for `waited_s` until its first image was run; its answer took `encode_s` to write."""


@dataclasses.dataclass(eq=False)
class Job:
    """A request's images.

    Attributes:
      generator: what makes them.
      condition: what they shall be of, as `Generator.condition` returns it.
      finish: makes the answer of the images, in an inference thread.
      z: float32 [n, latent_dim], or None: the latents of `seeds`.
      seeds: int64 [n], or None.
      truncation: as for `Generator.sample`.
      pixels: whether `finish` takes uint8 pixels rather than float32 images.
    """

    generator: Generator
    condition: Condition
    finish: Callable[[NDArray], Any]
    z: NDArray[np.float32] | None = None
    seeds: NDArray[np.int64] | None = None
    truncation: float = 1.0
    pixels: bool = False

    def __post_init__(self) -> None:
        """Begins the count of what is done."""
        given = self.z if self.z is not None else self.seeds
        if given is None:
            raise ValueError("a job needs z or seeds.")
        self.count = len(given)
        self.taken = 0  # images that a thread has taken
        self.done = 0  # images that are made
        self.images: NDArray | None = None
        self.arrived = self.started = self.deadline = 0.0
        self.future: asyncio.Future[Any]

    def give_up(self) -> None:
        """Says that nobody waits for it any more."""
        self.future.cancel()


# A job with what went wrong, or else with its answer.
_Answer = tuple[Job, Exception | None, Any]


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Images `start` to `stop` of a job, within a batch."""

    job: Job
    start: int
    stop: int


class Batcher:
    """Runs jobs of one or several generators on a few threads."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        threads: int = 1,
        max_batch: int = 0,
        max_delay_s: float = 0.0,
        max_queue: int = 1024,
        timeout_s: float = 5.0,
        observer: Observer | None = None,
    ) -> None:
        """Starts the threads.

        Args:
          loop: the event loop on which `run` is awaited.
          threads: how many; each runs one batch at a time.
          max_batch: images in a batch at most; 0 takes four times each generator's `chunk`.
          max_delay_s: seconds that an image may wait for others to fill its batch.
          max_queue: images that may wait.
          timeout_s: seconds after which a waiting job is dropped.
          observer: is told of batches and requests.
        """
        self._loop = loop
        self._max_batch = max_batch
        self._max_delay_s = max_delay_s
        self._max_queue = max_queue
        self._timeout_s = timeout_s
        self._observer = observer
        self._jobs: deque[Job] = deque()
        self._waiting = 0  # images in the queue
        self._idle = 0  # threads without work
        self._seconds_per_image = 0.0
        self._closed = False
        self._wake = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Images that wait."""
        return self._waiting

    def busy(self, count: int) -> int:
        """Returns the seconds after which `count` more images may find room, and time; 0 if they do now."""
        if not self._waiting:
            return 0
        seconds = (self._waiting + count) * self._seconds_per_image / len(self._threads)
        if self._waiting + count > self._max_queue or seconds > self._timeout_s:
            return max(1, math.ceil(seconds))
        return 0

    def admit(self, count: int) -> None:
        """Refuses `count` more images if there is no room for them, or no time.

        Raises:
          Overloaded: with the seconds after which the queue will have been worked off.
        """
        if seconds := self.busy(count):
            raise Overloaded(seconds)

    async def run(self, job: Job) -> Any:
        """Queues a job and waits for its answer.

        Returns:
          What the job's `finish` returned.

        Raises:
          Overloaded: as `admit`.
          Expired: if it could not be run in time.
        """
        job.future = self._loop.create_future()
        with self._wake:
            self.admit(job.count)
            job.arrived = time.monotonic()
            job.deadline = job.arrived + self._timeout_s
            self._jobs.append(job)
            self._waiting += job.count
            self._wake.notify()
        return await job.future

    def close(self) -> None:
        """Ends the threads when the queue is empty."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._idle += 1
                while not self._ripe():
                    if self._closed and not self._jobs:
                        return
                    self._wake.wait(self._patience())
                pieces, dropped = self._take()
                self._idle -= 1
                if self._jobs and self._idle:
                    self._wake.notify()
            answers: list[_Answer] = [(job, Expired(), None) for job in dropped]
            if pieces:
                answers += self._run(pieces)
            if answers:
                self._loop.call_soon_threadsafe(_deliver, answers)

    def _ripe(self) -> bool:
        """Whether a batch should be run now."""
        if not self._jobs:
            return False
        patience = self._patience()
        return self._closed or patience is None or patience <= 0 or self._waiting >= self._limit(self._jobs[0])

    def _patience(self) -> float | None:
        """Seconds for which the oldest job may wait for company; None if there is none or no waiting."""
        if not self._jobs or not self._max_delay_s:
            return None
        job = self._jobs[0]
        latest = job.deadline - 2 * self._limit(job) * self._seconds_per_image
        return min(job.arrived + self._max_delay_s, latest) - time.monotonic()

    def _limit(self, job: Job) -> int:
        # Four chunks at once take as long as one after the other, but cost only one batch's overhead.
        return self._max_batch or 4 * job.generator.chunk

    def _take(self) -> tuple[list[_Piece], list[Job]]:
        """Takes a batch of one generator's images; returns it and the jobs for which it is too late."""
        now = time.monotonic()
        pieces: list[_Piece] = []
        dropped: list[Job] = []
        kept: list[Job] = []
        room = 0
        while self._jobs and (room or not pieces):
            job = self._jobs.popleft()
            if job.future.done() or (not job.taken and now > job.deadline):
                self._waiting -= job.count - job.taken
                dropped.append(job)
                continue
            if not pieces:
                # Threads that are free at the same time share what waits.
                room = min(self._limit(job), math.ceil(self._waiting / max(1, self._idle)))
            elif job.generator is not pieces[0].job.generator:
                kept.append(job)
                continue
            size = min(room, job.count - job.taken)
            pieces.append(_Piece(job, job.taken, job.taken + size))
            job.started = job.started or now
            job.taken += size
            self._waiting -= size
            room -= size
            if job.taken < job.count:
                kept.append(job)
        self._jobs.extendleft(reversed(kept))
        return pieces, dropped

    def _run(self, pieces: Sequence[_Piece]) -> list[_Answer]:
        """Makes a batch's images and the answers of the jobs that it completes."""
        started = time.monotonic()
        try:
            images = _images(pieces)
        except Exception as error:
            return [(piece.job, error, None) for piece in pieces]
        alpha = pieces[0].job.generator.info.alpha
        pixels = to_pixels(images, alpha) if any(piece.job.pixels for piece in pieces) else None
        seconds = time.monotonic() - started
        self._learn(seconds / len(images))
        if self._observer is not None:
            self._observer.batch(len(images), seconds)
        answers: list[_Answer] = []
        start = 0
        for piece in pieces:
            size = piece.stop - piece.start
            made = pixels if piece.job.pixels and pixels is not None else images
            whole = self._collect(piece, made[start : start + size])
            start += size
            if whole is not None:
                answers.append(self._finish(piece.job, whole))
        return answers

    def _learn(self, seconds: float) -> None:
        known = self._seconds_per_image
        self._seconds_per_image = known + _NEWEST * (seconds - known) if known else seconds

    def _collect(self, piece: _Piece, made: NDArray) -> NDArray | None:
        """Puts a piece to the others of its job; returns all its images if none is missing."""
        job = piece.job
        if len(made) == job.count:
            return made
        with self._wake:
            if job.images is None:
                job.images = np.empty((job.count, *made.shape[1:]), made.dtype)
            job.images[piece.start : piece.stop] = made
            job.done += len(made)
            return job.images if job.done == job.count else None

    def _finish(self, job: Job, images: NDArray) -> _Answer:
        started = time.monotonic()
        try:
            answer = job.finish(images)
        except Exception as error:
            return job, error, None
        if self._observer is not None:
            self._observer.request(job.started - job.arrived, time.monotonic() - started)
        return job, None, answer


def _images(pieces: Sequence[_Piece]) -> NDArray[np.float32]:
    """Runs the pieces as one batch."""
    generator = pieces[0].job.generator
    seeded = [piece for piece in pieces if piece.job.seeds is not None]
    parts: dict[int, NDArray[np.float32]] = {}
    if seeded:
        # Together, since each call costs as much as several latents.
        seeds = [piece.job.seeds[piece.start : piece.stop] for piece in seeded if piece.job.seeds is not None]
        z = latents(np.concatenate(seeds), generator.latent_dim, generator.info.latent_distribution)
        drawn = np.split(z, np.cumsum([len(s) for s in seeds])[:-1])
        for piece, z in zip(seeded, drawn, strict=True):
            parts[id(piece)] = z
    rows = [piece.job.z[piece.start : piece.stop] if piece.job.z is not None else parts[id(piece)] for piece in pieces]
    given = [piece.job.condition[piece.start : piece.stop] for piece in pieces if piece.job.condition is not None]
    z, condition = np.concatenate(rows), np.concatenate(given) if given else None
    factors = [piece.job.truncation for piece in pieces]
    if all(factor == 1 for factor in factors):
        return generator.images(z, condition)
    return generator.images(z, condition, np.repeat(np.array(factors, np.float32), [len(each) for each in rows]))


def _deliver(answers: Sequence[_Answer]) -> None:
    """Hands answers to those who wait for them; runs on the event loop."""
    for job, error, answer in answers:
        if job.future.done():  # its client has gone, or another of its pieces has failed
            continue
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(answer)
