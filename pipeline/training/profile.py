"""`--profile_steps`: a recording for TensorBoard's profiler."""

import os
import sys

import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.runs.callback import Callback, Training
from pipeline.runs.options import RunOptions
from pipeline.runs.run_log import TENSORBOARD_DIR


class Profile(Callback):
    """Records a range of steps."""

    def __init__(self, options: RunOptions) -> None:
        """Takes `profile_steps`, which may be empty."""
        self._range = options.profile_range()
        self.at = self._range or ()
        self._running = False

    def on_start(self, training: Training) -> None:
        """See `Callback`.

        Raises:
          MirageError: if there is something to record, and TensorFlow can't spell the folder's name, or record.
        """
        self._folder = training.run_dir / TENSORBOARD_DIR
        if self._range is not None and os.fsencode(self._folder) != str(self._folder).encode(errors="replace"):
            raise MirageError(f"--profile_steps needs a --run_dir whose name is UTF-8, not {str(self._folder)!a}.")
        self._see(training.step)

    def on_interval(self, training: Training) -> None:
        """See `Callback`."""
        if training.step < training.steps:
            self._see(training.step)

    def _see(self, step: int) -> None:
        """Starts or ends the recording, if it is time after so many steps."""
        wanted = self._range is not None and self._range[0] <= step < self._range[1]
        try:
            if wanted and not self._running:
                tf.profiler.experimental.start(str(self._folder))
            elif self._running and not wanted:
                tf.profiler.experimental.stop()
        except (tf.errors.OpError, OSError) as error:
            self._running = False
            raise MirageError(
                f"--profile_steps={':'.join(map(str, self._range or ()))} can't be recorded in {self._folder} "
                f"({_reason(error)}); the last checkpoint is kept: start the same command without it."
            ) from None
        self._running = wanted

    def on_end(self, training: Training) -> None:
        """See `Callback`: ends a recording that is under way."""
        if self._running:
            self._running = False
            try:
                tf.profiler.experimental.stop()
            except (tf.errors.OpError, OSError) as error:  # of a training that ends for another reason, told already
                print(f"warning: the profile was not recorded ({_reason(error)}).", file=sys.stderr, flush=True)


def _reason(error: tf.errors.OpError | OSError) -> str:
    return error.message[:200] if isinstance(error, tf.errors.OpError) else error.strerror or str(error)
