"""Saving and restoring a run's state: everything that it needs to go on as if it had never stopped.

Noise and data order follow from the seed and the step number (see `pipeline/training/randomness.py`), so
networks, optimisers, the average generator and the step are the whole state.
"""

import dataclasses
import shlex
import sys
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.networks.build import build_networks
from pipeline.networks.models import named_weights
from pipeline.objectives.composition import compose
from pipeline.runs.best import Best, best_by_evaluations, noted_best, read_best, warn_of_best, write_best
from pipeline.runs.checkpoint_files import (
    DamagedCheckpointError,
    check_checkpoint,
    checkpoint_path,
    list_checkpoints,
    read_checkpoint,
    remove_checkpoint,
    remove_leftovers,
    step_of,
    write_checkpoint,
)
from pipeline.runs.networks_file import build_stored, stored_names
from pipeline.runs.patience import USUAL_GOAL, Goal
from pipeline.runs.run_file import KnownRun, read_run

CHECKPOINT_DIR = "checkpoints"


class Checkpoints:
    """Saves one run's state in the background, and restores it.

    Only one process may use a run's checkpoints at a time.
    """

    def __init__(
        self, run_dir: Path, state: Mapping[str, tf.Variable], keep: int, may_lack: Collection[str] = ()
    ) -> None:
        """Prepares the folder, which may hold checkpoints already.

        Args:
          run_dir: the run directory.
          state: what to save, and to restore into, by name.
          keep: number of newest undamaged checkpoints to keep.
          may_lack: names of what stays as it is where a checkpoint of an earlier version has nothing of that name.
        """
        self._may_lack = frozenset(may_lack)
        self._folder = run_dir / CHECKPOINT_DIR
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._folder)
        self._state = dict(state)
        # Taken once and kept: large blocks that come and go would scatter over the heap, and memory would grow.
        self._copies = {
            name: np.empty(variable.shape, variable.dtype.as_numpy_dtype) for name, variable in self._state.items()
        }
        self._keep = keep
        self._sound: dict[Path, bool] = {}  # what is known of checkpoints
        self._best: Best | None = None
        self._saved: int | None = None
        self._writer: threading.Thread | None = None
        self._failure: Exception | None = None

    def restore(self) -> int | None:
        """Loads the newest checkpoint that is undamaged, and warns about damaged ones.

        Returns:
          Its step, or None if there is no checkpoint yet.

        Raises:
          MirageError: if there are checkpoints but all are damaged, or it belongs to other networks.
        """
        newest = _newest_undamaged(self._folder)
        if newest is None:
            self._restore_best(-1)
            return None
        path, arrays = newest
        _assign(path, arrays, {n: v for n, v in self._state.items() if n in arrays or n not in self._may_lack})
        self._sound = {each: False for each in list_checkpoints(self._folder) if step_of(each) > step_of(path)}
        self._sound[path] = True
        self._restore_best(step_of(path))
        return int(arrays["step"])

    def _restore_best(self, step: int) -> None:
        """Finds out which checkpoint is the best of a run that goes on from a step."""
        noted = None
        try:
            noted = self._best = noted_best(self._folder)
            if noted is not None and step_of(noted.path) > step:
                raise DamagedCheckpointError(f"the best checkpoint, {noted.path.name}, is to be done again")
            if noted is not None and not self._sound.get(noted.path, False):
                check_checkpoint(noted.path)
        except DamagedCheckpointError as error:
            self._best = best_by_evaluations(self._folder, step, noted and noted.goal)
            warn_of_best(error, self._best)
            write_best(self._folder, self._best)

    def save(self, best: tuple[float, Goal] | None = None) -> None:
        """Copies the present state, and starts writing it in the background.

        Args:
          best: its value and by what it was chosen, if it is the best so far and shall be kept as such.

        Raises:
          MirageError: if a weight is NaN or infinite, or the checkpoint before couldn't be written.
        """
        self.wait()
        step = int(self._state["step"].numpy())
        fresh = step != self._saved
        if fresh:
            for name, variable in self._state.items():
                np.copyto(self._copies[name], variable.numpy())
            _check_finite(self._copies, step)
        elif best is None:
            return
        self._saved = step
        self._writer = threading.Thread(target=self._write, args=(step, fresh, best), name="checkpoint", daemon=True)
        self._writer.start()

    def keep_if_best(self, value: float, goal: Goal = USUAL_GOAL) -> None:
        """Saves the present state as the best, if none is better, or the best so far can't be compared with it.

        Raises:
          MirageError: as `save`.
        """
        self.wait()  # the one before may be the best
        best = self._best
        if best is not None and not best.goal.comparable(goal):
            print(
                f"note: the best checkpoint so far, {best.path.name}, was chosen by {best.goal.told()}, which can't be "
                f"compared with {goal.told()}; the best begins anew.",
                file=sys.stderr,
                flush=True,
            )
            best = None
        if best is None or goal.better(value, best.value):
            self.save((value, goal))

    def wait(self) -> None:
        """Waits until the last `save` is on disk.

        Raises:
          MirageError: if it couldn't be written.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._failure is not None:
            failure, self._failure, self._saved = self._failure, None, None
            raise failure

    @property
    def best(self) -> Best | None:
        """The best checkpoint so far."""
        return self._best

    def _write(self, step: int, fresh: bool, best: tuple[float, Goal] | None) -> None:
        try:
            path = checkpoint_path(self._folder, step)
            if fresh:
                write_checkpoint(self._folder, step, self._copies)
                self._sound[path] = True
            if best is not None:
                self._best = Best(path, *best)
                write_best(self._folder, self._best)
        except OSError as error:
            self._failure = MirageError(
                f"the checkpoint of step {step} can't be written to {self._folder} ({error.strerror or error}); free "
                "some space or mend the folder's permissions, then start the same command again."
            )
        except Exception as error:  # raised by `wait`: nobody looks at what a thread raises
            self._failure = error
        else:
            self._prune(path)

    def _prune(self, written: Path) -> None:
        """Removes what is older than the newest undamaged checkpoints, which are looked at once to know them."""
        kept = 0
        spared = (written, self._best.path if self._best else None)
        for path in reversed(list_checkpoints(self._folder)):
            if kept == self._keep:
                if path not in spared:
                    _remove(path)
            elif self._is_sound(path):
                kept += 1

    def _is_sound(self, path: Path) -> bool:
        if path not in self._sound:
            try:
                check_checkpoint(path)
                self._sound[path] = True
            except DamagedCheckpointError:
                self._sound[path] = False
        return self._sound[path]


def _remove(path: Path) -> None:
    try:
        remove_checkpoint(path)
    except OSError as error:  # a training needn't end because of what it could do without
        print(f"warning: {path} can't be removed ({error.strerror}).", file=sys.stderr, flush=True)


def load_sampler(run_dir: Path, which: str = "newest") -> tuple[*KnownRun, keras.Model, int]:
    """Loads the generator that a run's previews show: the average one, unless that is turned off.

    Args:
      run_dir: a run directory with at least one checkpoint.
      which: "newest", or "best", the one that `--keep_best` kept.

    Returns:
      (configuration, data set's description, generator, step of the checkpoint).

    Raises:
      MirageError: if there is no run or no checkpoint, or none can be read.
    """
    config, data = read_run(run_dir)
    path, arrays = _find(run_dir, config.checkpoint_every, which)
    model = build_network(run_dir, "generator")
    _assign(path, arrays, named_weights("ema" if config.ema_images else "generator", model))
    return config, data, model, int(arrays["step"])


def load_network(run_dir: Path, name: str, which: str = "newest") -> keras.Model:
    """Loads one of the networks that a run trains, such as "encoder", from its newest or best checkpoint.

    Raises:
      MirageError: as `load_sampler`.
    """
    config, _ = read_run(run_dir)
    path, arrays = _find(run_dir, config.checkpoint_every, which)
    model = build_network(run_dir, name)
    _assign(path, arrays, named_weights(name, model))
    return model


def network_names(run_dir: Path) -> tuple[str, ...]:
    """Names the networks that a run trains; raises MirageError if it can't be read."""
    names = stored_names(run_dir)
    if names:
        return names
    config, data = read_run(run_dir)  # of a version that didn't note them
    return compose(config.to_dict()).needs((), data.num_labels, config.latent_dim, data.attributes).networks


def build_network(run_dir: Path, name: str) -> keras.Model:
    """Builds a network, untrained, as the run says, or as its `--model` does; raises MirageError if neither can."""
    model = build_stored(run_dir, name)
    if model is not None:
        return model
    config, data = read_run(run_dir)
    needs = compose(config.to_dict()).needs((), data.num_labels, config.latent_dim, data.attributes)
    try:
        architecture = config.architecture()
    except MirageError as error:
        raise MirageError(f"the {name} of {run_dir} can't be built: {error}") from None
    needs = dataclasses.replace(needs, networks=(name,))
    given = architecture, needs, config, data.image_shape, data.num_labels
    return build_networks(*given, attributes=data.attributes)[name]


def _find(run_dir: Path, checkpoint_every: int, which: str) -> tuple[Path, dict[str, np.ndarray]]:
    if which not in ("newest", "best"):
        raise MirageError(f"--checkpoint={which} is not known; choose from newest, best.")
    folder = run_dir / CHECKPOINT_DIR
    found = _best_undamaged(folder) if which == "best" else _newest_undamaged(folder)
    if found is None:
        raise MirageError(
            f"{run_dir} has no checkpoint yet; train on: python -m pipeline --run_dir={shlex.quote(str(run_dir))} "
            f"saves one every --checkpoint_every={checkpoint_every} steps and at the end."
        )
    return found


def _best_undamaged(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    best = read_best(folder)
    if best is None:
        raise MirageError(
            f"{folder} holds no best checkpoint; train with --eval_every and --keep_best, or use the newest one."
        )
    try:
        return best[0], read_checkpoint(best[0])
    except DamagedCheckpointError as error:
        raise MirageError(f"the best checkpoint can't be used: {error}; use the newest one.") from None


def read_newest(run_dir: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Reads a run's newest checkpoint that is undamaged.

    Returns:
      (its folder, arrays by the names of `pipeline.training.trainee.Trainee.state`).

    Raises:
      MirageError: if there is no run or no checkpoint, or none can be read.
    """
    return _find(run_dir, read_run(run_dir)[0].checkpoint_every, "newest")


def newest_step(run_dir: Path) -> int:
    """Returns the step of the newest checkpoint, damaged or not; 0 if there is none."""
    present = list_checkpoints(run_dir / CHECKPOINT_DIR)
    return step_of(present[-1]) if present else 0


def _newest_undamaged(folder: Path) -> tuple[Path, dict[str, np.ndarray]] | None:
    try:
        present = list_checkpoints(folder)
    except OSError as error:
        raise MirageError(f"{folder} can't be read ({error.strerror}); mend its permissions.") from None
    for path in reversed(present):
        try:
            return path, read_checkpoint(path)
        except DamagedCheckpointError as error:
            print(f"warning: {error}; the checkpoint before it is tried.", file=sys.stderr, flush=True)
    if present:
        raise MirageError(
            f"none of the {len(present)} checkpoints in {folder} is undamaged; restore that folder from a copy, or "
            "choose another --run_dir."
        )
    return None


def _assign(path: Path, arrays: Mapping[str, np.ndarray], variables: Mapping[str, tf.Variable]) -> None:
    for name, variable in variables.items():
        array = arrays.get(name)
        if array is None or array.shape != tuple(variable.shape):
            found = "nothing" if array is None else f"shape {list(array.shape)}"
            raise MirageError(
                f"checkpoint {path} can't be restored: for {name} it has {found} instead of shape "
                f"{list(variable.shape)}, so it belongs to other networks; choose another --run_dir."
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _check_finite(arrays: Mapping[str, np.ndarray], step: int) -> None:
    for name, array in arrays.items():
        # A sum is finite unless a summand isn't, short of an overflow, which is as bad.
        if array.dtype.kind == "f" and not np.isfinite(array.sum()):
            raise MirageError(
                f"at step {step} {name} is not finite; lower --learning_rate; the last good checkpoint is kept."
            )
