"""What a user is told while he waits for the first step: what goes on, and in the end how long it took."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import tensorflow as tf
import tqdm
from tensorflow.python.framework import ops

from pipeline.base.errors import MirageError
from pipeline.devices.compilation import KeptCode
from pipeline.devices.out_of_memory import ran_out

# Functions that TensorFlow traces are numbered through. From a round number on, the same program has the same names in
# each process, without which compiled code isn't found again.
_ROUND = 1 << 18
_LINE_EVERY_S = 15.0


class Step(Protocol):
    """What the loop calls; see `pipeline.training.step.TrainStep`."""

    @property
    def metric_names(self) -> Sequence[str]:
        """Names of the figures."""

    @property
    def jit(self) -> bool:
        """Whether XLA compiles it."""

    def trace(self, num_steps: tf.Tensor, stop: tf.Tensor) -> tf.Graph:
        """Prepares a call."""

    def __call__(self, num_steps: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Does some steps; returns the means of the figures, and whether any worker was asked to stop."""


class FirstStep:
    """Measures and tells the time until the first step is done."""

    def __init__(self, kept: KeptCode, *, speaks: bool = True) -> None:
        """Starts the time.

        Args:
          kept: where compiled code is kept.
          speaks: whether this process is the one that prints.
        """
        self._kept = kept
        self._speaks = speaks
        self._start = time.monotonic()
        self._compiling_s = 0.0
        self._compiled = False

    def call(
        self,
        step: Step,
        num_steps: tf.Tensor,
        stop: tf.Tensor,
        *,
        show: Callable[[str], None] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Calls a step for the first time, which traces it and, with XLA, compiles it.

        Args:
          step: the step.
          num_steps: see `Step`.
          stop: likewise.
          show: puts a text behind the progress bar, where there is one.

        Returns:
          What the step returns, computed.

        Raises:
          MirageError: if compiled code can't be written.
        """
        while step.jit and ops.uid() % _ROUND:
            pass
        with self._telling("tracing the step", show):
            step.trace(num_steps, stop)
        start = time.monotonic()
        compiles = step.jit and not self._compiled
        with self._telling("compiling with XLA" if compiles else "running the first step", show):
            try:
                means, stopping = step(num_steps, stop)
                stopping.numpy()
            except tf.errors.OpError as error:
                if compiles and not ran_out(error):
                    self._failed(error)
                raise
        if compiles:
            self._compiled = True
            self._compiling_s = time.monotonic() - start
            self._kept.seal()
        return means, stopping

    def _failed(self, error: tf.errors.OpError) -> None:
        unwritten = self._kept.folder is not None and str(self._kept.folder) in error.message
        self._kept.forget(for_good=not unwritten)
        if unwritten:
            reason = next(line for line in error.message.splitlines() if str(self._kept.folder) in line)
            reason = reason.rpartition(";")[2].strip()[:200]  # behind the file's name
            raise MirageError(
                f"compiled code can't be kept in {self._kept.folder} ({reason}); free some "
                "space, or set TF_XLA_FLAGS=--tf_xla_persistent_cache_directory= to keep none."
            ) from None

    def sentence(self) -> str:
        """Says how long it took until now, and how much of it was compilation."""
        text = f"First step done after {time.monotonic() - self._start:.1f} s"
        if not self._compiled:
            return text
        kept = self._kept.described()
        return f"{text}, of which {self._compiling_s:.1f} s compiling with XLA; compiled code is {kept}"

    @contextlib.contextmanager
    def _telling(self, what: str, show: Callable[[str], None] | None) -> Iterator[None]:
        """Tells how long it has been going on: each second on a terminal, with a line now and then elsewhere."""
        if not self._speaks:
            yield
            return
        done = threading.Event()
        in_place = sys.stderr is not None and sys.stderr.isatty()
        thread = threading.Thread(target=_tell, args=(what, done, show or _overwrite, in_place), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _tell(what: str, done: threading.Event, show: Callable[[str], None], in_place: bool) -> None:
    start = time.monotonic()
    shown = False
    while not done.wait(1.0 if in_place else _LINE_EVERY_S):
        text = f"{what} ... {time.monotonic() - start:.0f} s"
        if in_place:
            show(text)
            shown = True
        else:
            tqdm.tqdm.write(text)  # above a bar, where there is one
            sys.stdout.flush()
    if shown:
        show("")


def _overwrite(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
