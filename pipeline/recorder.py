"""What the chief of a run writes: lock, configuration, logs, pictures, checkpoints."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import filelock
import numpy as np
import tensorflow as tf

from pipeline.checkpoint import Checkpoints
from pipeline.collapse import CollapseWatch
from pipeline.config import Config
from pipeline.errors import MirageError
from pipeline.evaluation import Evaluation
from pipeline.preview import Preview, write_png
from pipeline.run_log import RunLog

SAMPLES_DIR = "samples"
LOCK_FILE = ".lock"


@contextlib.contextmanager
def lock_run(run_dir: Path) -> Iterator[None]:
    """Creates the run directory, and keeps other processes from it while the context lasts.

    Args:
      run_dir: the run directory.

    Raises:
      MirageError: if the folder can't be written, or another process trains in it.
    """
    lock = filelock.FileLock(run_dir / LOCK_FILE)
    try:
        (run_dir / SAMPLES_DIR).mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise MirageError(
            f"--run_dir={run_dir} is in use by another training process; wait for it or stop it, or choose another "
            "--run_dir."
        ) from None
    except OSError as error:
        raise unwritable(run_dir, error) from None
    try:
        yield
    finally:
        lock.release()


def unwritable(run_dir: Path, error: OSError) -> MirageError:
    """Makes one sentence of a failed write."""
    return MirageError(
        f"--run_dir={run_dir} can't be written ({error.strerror or error}); free some space or mend its permissions, "
        "or choose another folder; the last checkpoint is kept."
    )


class Recorder:
    """Writes a run's logs, pictures and checkpoints while it trains.

    Use it as a context manager: it leaves when the last checkpoint is on disk.
    """

    def __init__(
        self,
        config: Config,
        log: RunLog,
        preview: Preview,
        checkpoints: Checkpoints,
        evaluation: Evaluation | None = None,
    ) -> None:
        """Takes what it writes with.

        Args:
          config: decides how often.
          log: open logs.
          preview: draws the pictures.
          checkpoints: the run's checkpoints.
          evaluation: scores the generator; None where `config.eval_every` is 0.
        """
        self._config = config
        self._run_dir = Path(config.run_dir)
        self._log = log
        self._preview = preview
        self._checkpoints = checkpoints
        self._evaluation = evaluation
        self._collapse = CollapseWatch()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Waits for the last checkpoint and closes the logs."""
        try:
            self._checkpoints.wait()
        except MirageError:
            if kind is None:  # otherwise the error under way matters more
                raise
        finally:
            self._log.close()

    def add(self, means: np.ndarray, count: int) -> None:
        """Takes the figures of `count` steps, see `RunLog.add`."""
        self._log.add(means, count)

    def picture(self, step: int) -> None:
        """Writes the preview of a step."""
        picture = self._preview.draw()
        write_png(self._run_dir / SAMPLES_DIR / f"step_{step:07}.png", picture)
        self._log.picture(picture)

    def write_due(self, step: int, *, last: bool) -> None:
        """Writes what is due at a step.

        Args:
          step: steps done.
          last: whether the training ends here, so that everything is due.

        Raises:
          MirageError: if a weight is not finite, or something can't be written.
        """
        config = self._config
        try:
            if last or step % config.log_every == 0:
                self._log.write()
            if last or step % config.preview_every == 0:
                self.picture(step)
            best = None
            if self._evaluation is not None and (last or step % config.eval_every == 0):
                best = self._evaluate(self._evaluation)
            if last or best is not None or step % config.checkpoint_every == 0:
                self._checkpoints.save(best)
            if last:
                self._checkpoints.wait()
        except OSError as error:
            raise unwritable(self._run_dir, error) from None
        except tf.errors.OpError as error:  # TensorBoard's writer is TensorFlow's
            raise unwritable(self._run_dir, OSError(error.message[:200])) from None

    def _evaluate(self, evaluation: Evaluation) -> float | None:
        """Scores the generator; returns its Fréchet distance if it is the best so far and shall be kept."""
        start = time.perf_counter()
        scores = evaluation()
        self._log.evaluation(scores, time.perf_counter() - start)
        step = self._log.step
        for warning in self._collapse.see(step, {**scores, **self._log.latest}):
            self.say(f"warning: {warning}")
        self._checkpoints.wait()  # the one before may be the best
        distance = scores["frechet_distance"]
        return distance if self._config.keep_best and distance < self._checkpoints.best_distance() else None

    def say(self, line: str) -> None:
        """Prints a line above the progress bar."""
        self._log.say(line)
