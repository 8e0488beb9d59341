"""What the chief of a run writes: lock, configuration, logs, pictures, checkpoints."""

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import filelock
import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.base.interrupt import Interrupt
from pipeline.config import Config
from pipeline.devices.out_of_memory import out_of_memory, ran_out
from pipeline.evaluation.collapse import CollapseWatch
from pipeline.evaluation.scoring import Evaluation
from pipeline.runs.checkpoint import CHECKPOINT_DIR, Checkpoints
from pipeline.runs.networks_file import NETWORKS_FILE
from pipeline.runs.preview import Preview, write_png
from pipeline.runs.run_file import CONFIG_FILE
from pipeline.runs.run_log import EVALUATIONS_FILE, METRICS_FILE, TENSORBOARD_DIR, RunLog

SAMPLES_DIR = "samples"
LOCK_FILE = ".lock"


_FOLDERS = (SAMPLES_DIR, TENSORBOARD_DIR, CHECKPOINT_DIR)
_FILES = (CONFIG_FILE, NETWORKS_FILE, METRICS_FILE, EVALUATIONS_FILE, LOCK_FILE)


def check_place(run_dir: Path) -> None:
    """Refuses a run directory that can't become one, and creates nothing.

    Args:
      run_dir: the run directory; it may hold a run, or not be there yet.

    Raises:
      MirageError: if it, or something in it, is in the way or can't be looked at.
    """
    with writing(run_dir):
        for path, folder in [(run_dir, True), *((run_dir / name, name in _FOLDERS) for name in _FOLDERS + _FILES)]:
            with contextlib.suppress(FileNotFoundError):
                mode = path.lstat().st_mode
                try:
                    mode = path.stat().st_mode
                except FileNotFoundError:
                    raise _in_the_way(run_dir, path, "a link that leads nowhere", folder) from None
                if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
                    found = "a file" if stat.S_ISREG(mode) else "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
                    raise _in_the_way(run_dir, path, found, folder)


def _in_the_way(run_dir: Path, path: Path, found: str, folder: bool) -> MirageError:
    expected = "a folder" if folder else "a file"
    where = "" if path == run_dir else f" holds {path.name}, which"
    return MirageError(
        f"--run_dir={run_dir}{where} is {found}, and {expected} is expected there; move it away, or choose another "
        "--run_dir."
    )


@contextlib.contextmanager
def lock_run(run_dir: Path) -> Iterator[None]:
    """Creates the run directory, and keeps other processes from it while the context lasts.

    Args:
      run_dir: the run directory.

    Raises:
      MirageError: if the folder can't be written, or another process trains in it.
    """
    check_place(run_dir)
    lock = filelock.FileLock(run_dir / LOCK_FILE)
    with writing(run_dir):
        (run_dir / SAMPLES_DIR).mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise MirageError(
                f"--run_dir={run_dir} is in use by another training process; wait for it or stop it, or choose another "
                "--run_dir."
            ) from None
        except NotImplementedError:
            raise MirageError(
                f"--run_dir={run_dir} lies on a file system without locks; choose a folder on another one."
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def writing(run_dir: Path) -> Iterator[None]:
    """Makes one sentence of a failed write below a run directory.

    Raises:
      MirageError: instead of OSError, and of what TensorBoard's writer raises, which is TensorFlow's.
    """
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename and Path(os.fsdecode(error.filename)) != run_dir else ""
        reason = f"{error.strerror or error}{where}"
    except tf.errors.OpError as error:
        if ran_out(error):
            raise
        reason = re.sub(r"\{\{.*?\}\}\s*", "", error.message)[:200]  # without the operation's name
    else:
        return
    raise MirageError(
        f"--run_dir={run_dir} can't be written ({reason}); free some space or mend its permissions, or choose another "
        "folder; the last checkpoint is kept."
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
        interrupt: Interrupt,
        evaluation: Evaluation | None = None,
    ) -> None:
        """Takes what it writes with.

        Args:
          config: decides how often.
          log: open logs.
          preview: draws the pictures.
          checkpoints: the run's checkpoints.
          interrupt: breaks off what is not needed to go on.
          evaluation: scores the generator; None where `config.eval_every` is 0.
        """
        self._config = config
        self._run_dir = Path(config.run_dir)
        self._log = log
        self._preview = preview
        self._checkpoints = checkpoints
        self._interrupt = interrupt
        self._evaluation = evaluation
        self._collapse = CollapseWatch()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Waits for the last checkpoint and closes the logs."""
        try:
            self._checkpoints.wait()
            with writing(self._run_dir):
                self._log.close()
        except MirageError:
            if kind is None:  # otherwise the error under way matters more
                raise
        finally:
            self._log.close_bar()

    def add(self, means: np.ndarray, count: int) -> None:
        """Takes the figures of `count` steps, see `RunLog.add`."""
        self._log.add(means, count)

    def save(self) -> None:
        """Saves the present state, and returns when it is on disk; then logs what there is to log.

        Raises:
          MirageError: if a weight is not finite, or something can't be written.
        """
        self._checkpoints.save()
        self._checkpoints.wait()
        self.log()

    def log(self) -> None:
        """Writes the figures since the last log line, if there are any."""
        with writing(self._run_dir):
            self._log.write()

    def picture(self, step: int, picture: np.ndarray | None = None) -> None:
        """Writes the preview of a step; draws it if it is not given."""
        picture = self._preview.draw() if picture is None else picture
        with writing(self._run_dir):
            write_png(self._run_dir / SAMPLES_DIR / f"step_{step:07}.png", picture)
            self._log.picture(picture)

    def write_due(self, step: int, *, last: bool) -> bool:
        """Writes what is due at a step: what is needed to go on first, then what is not.

        Args:
          step: steps done.
          last: whether the training ends here, so that everything is due.

        Returns:
          Whether that was all; False if a request to stop broke it off.

        Raises:
          MirageError: if a weight is not finite, or something can't be written.
        """
        config = self._config
        if last:
            self.save()
        elif step % config.checkpoint_every == 0:
            self._checkpoints.save()
        if step % config.log_every == 0:
            self.log()
        if last or step % config.preview_every == 0:
            with out_of_memory("drawing the preview"):
                picture = self._interrupt.breakable(self._preview.draw)
            if picture is None:
                return False
            self.picture(step, picture)
        if self._evaluation is not None and (last or step % config.eval_every == 0):
            start = time.perf_counter()
            with out_of_memory(f"evaluating step {step:,}"):
                scores = self._interrupt.breakable(self._evaluation)
            if scores is None:
                return False
            self._judged(scores, time.perf_counter() - start)
        return True

    def _judged(self, scores: dict[str, float], seconds: float) -> None:
        """Records the scores of the generator, which took `seconds`, and keeps it if it is the best so far."""
        with writing(self._run_dir):
            self._log.evaluation(scores, seconds)
        for warning in self._collapse.see(self._log.step, {**scores, **self._log.latest}):
            self.say(f"warning: {warning}")
        if self._config.keep_best and "frechet_distance" in scores:
            self._checkpoints.keep_if_best(scores["frechet_distance"])

    def say(self, line: str) -> None:
        """Prints a line above the progress bar."""
        self._log.say(line)

    def note(self, text: str) -> None:
        """Shows a text behind the progress bar, see `RunLog.note`."""
        self._log.note(text)
