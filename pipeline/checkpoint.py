"""Checkpoints: everything that a run needs to go on as if it had never stopped.

Noise and data order follow from the seed and the step number (see `pipeline/step.py`), so networks,
optimisers, the average generator and the step are the whole state.
"""

import re
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from pipeline import networks
from pipeline.config import Config, DataSpec, MirageError, read_run
from pipeline.step import Trainee

CHECKPOINT_DIR = "checkpoints"

# What TensorFlow raises for missing, truncated or altered files, and for other networks' files.
_RESTORE_ERRORS = (tf.errors.OpError, IndexError, ValueError, AssertionError)


class Checkpoints:
    """Saves and restores one run's state.

    A checkpoint appears under its final name only when complete, and only finite weights are saved.
    """

    def __init__(self, run_dir: Path, trainee: Trainee, keep: int) -> None:
        """Prepares the folder, which may hold checkpoints already.

        Args:
          run_dir: the run directory.
          trainee: what to save, and to restore into.
          keep: number of newest checkpoints to keep.
        """
        self._folder = run_dir / CHECKPOINT_DIR
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob("ckpt-*_temp"):  # of a save that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        # The list is made from the files themselves: TensorFlow only warns about an unreadable state
        # file, and training would silently start afresh.
        present = _prefixes(self._folder)
        if present:
            tf.compat.v1.train.update_checkpoint_state(
                str(self._folder),
                str(present[-1]),
                [str(prefix) for prefix in present],
                all_model_checkpoint_timestamps=[prefix.with_suffix(".index").stat().st_mtime for prefix in present],
            )
        self._trainee = trainee
        parts = {**trainee.networks, "optimizers": trainee.optimizers, "step": trainee.step}
        if trainee.ema is not None:
            parts["ema"] = trainee.ema
        self._checkpoint = tf.train.Checkpoint(**parts)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(self._folder), max_to_keep=keep)

    def restore(self) -> int | None:
        """Loads the newest checkpoint.

        Returns:
          Its step, or None if there is no checkpoint yet.

        Raises:
          MirageError: if it can't be read, or belongs to other networks.
        """
        path = self._manager.latest_checkpoint
        if path is None:
            return None
        try:
            self._checkpoint.restore(path).assert_consumed()
        except _RESTORE_ERRORS as error:
            raise _unreadable(path, error) from None
        return int(self._trainee.step.numpy())

    def save(self) -> Path:
        """Saves the present state as a new checkpoint.

        Returns:
          The checkpoint's path, without file name endings.

        Raises:
          MirageError: if a weight is NaN or infinite, or the files can't be written.
        """
        step = int(self._trainee.step.numpy())
        self._check_finite(step)
        try:
            return Path(self._manager.save(checkpoint_number=step))
        except (tf.errors.OpError, OSError) as error:
            raise MirageError(
                f"the checkpoint of step {step} can't be written to {self._folder} ({_first_line(error)}); free some "
                "space or mend the folder's permissions, then start the same command again."
            ) from None

    def _check_finite(self, step: int) -> None:
        for network in [*self._trainee.networks.values(), *([self._trainee.ema] if self._trainee.ema else [])]:
            for variable in network.variables:
                # A sum is finite unless a summand isn't, short of an overflow, which is as bad.
                if not bool(tf.math.is_finite(tf.reduce_sum(variable.value))):
                    raise MirageError(
                        f"at step {step} weight {variable.path} of the {network.name} is not finite; "
                        "lower --learning_rate; the last good checkpoint is kept."
                    )


def load_sampler(run_dir: Path) -> tuple[Config, DataSpec, keras.Model, int]:
    """Loads the generator that a run's previews show: the average one, unless that is turned off.

    Args:
      run_dir: a run directory with at least one checkpoint.

    Returns:
      (configuration, data set's description, generator, step of the checkpoint).

    Raises:
      MirageError: if there is no run or no checkpoint, or it can't be read.
    """
    config, data = read_run(run_dir)
    present = _prefixes(run_dir / CHECKPOINT_DIR)
    if not present:
        raise MirageError(
            f"{run_dir} has no checkpoint yet; train on: python -m pipeline --run_dir={run_dir} saves one every "
            f"--checkpoint_every={config.checkpoint_every} steps and at the end."
        )
    path = str(present[-1])
    model = networks.build_generator(config, data)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    name = "ema" if config.ema_images else "generator"
    try:
        status = tf.train.Checkpoint(**{name: model, "step": step}).restore(path)
        status.assert_existing_objects_matched().expect_partial()
    except _RESTORE_ERRORS as error:
        raise _unreadable(path, error) from None
    return config, data, model, int(step.numpy())


def _prefixes(folder: Path) -> list[Path]:
    """Checkpoints whose index file is there, oldest first."""
    steps = [int(match[1]) for path in folder.glob("ckpt-*.index") if (match := re.fullmatch(r"ckpt-(\d+)", path.stem))]
    return [folder / f"ckpt-{step}" for step in sorted(steps)]


def _unreadable(path: str, error: Exception) -> MirageError:
    return MirageError(
        f"checkpoint {path} can't be restored ({_first_line(error)}); delete the files {Path(path).name}.* to go on "
        "from the checkpoint before it, or choose another --run_dir."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__
