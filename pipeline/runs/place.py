"""The place of a run: what may be there, who may write there, and what is said where that fails."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import filelock
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.devices.out_of_memory import ran_out
from pipeline.networks import NETWORKS_FILE
from pipeline.runs.checkpoint import CHECKPOINT_DIR
from pipeline.runs.run_file import CONFIG_FILE
from pipeline.runs.run_log import EVALUATIONS_FILE, METRICS_FILE, TENSORBOARD_DIR

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
