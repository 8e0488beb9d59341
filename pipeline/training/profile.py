"""`--profile_steps`: a recording for TensorBoard's profiler."""

import os
import sys
from pathlib import Path

import tensorflow as tf

from pipeline.base.errors import MirageError


class Profile:
    """Records a range of steps."""

    def __init__(self, steps: tuple[int, int] | None, folder: Path) -> None:
        """Prepares it.

        Args:
          steps: first and last step number between which to record; None records nothing.
          folder: TensorBoard's folder.

        Raises:
          MirageError: if there is something to record, and TensorFlow can't spell the folder's name.
        """
        if steps is not None and os.fsencode(folder) != str(folder).encode(errors="replace"):
            raise MirageError(f"--profile_steps needs a --run_dir whose name is UTF-8, not {str(folder)!a}.")
        self._steps = steps
        self._folder = folder
        self._running = False

    def at(self, step: int) -> None:
        """Starts or ends the recording, if it is time.

        Args:
          step: number of steps done.

        Raises:
          MirageError: if it can't be recorded.
        """
        wanted = self._steps is not None and self._steps[0] <= step < self._steps[1]
        try:
            if wanted and not self._running:
                tf.profiler.experimental.start(str(self._folder))
            elif self._running and not wanted:
                tf.profiler.experimental.stop()
        except (tf.errors.OpError, OSError) as error:
            self._running = False
            raise MirageError(
                f"--profile_steps={':'.join(map(str, self._steps or ()))} can't be recorded in {self._folder} "
                f"({_reason(error)}); the last checkpoint is kept: start the same command without it."
            ) from None
        self._running = wanted

    def close(self) -> None:
        """Ends a recording that is under way."""
        if self._running:
            self._running = False
            try:
                tf.profiler.experimental.stop()
            except (tf.errors.OpError, OSError) as error:  # of a training that ends for another reason, told already
                print(f"warning: the profile was not recorded ({_reason(error)}).", file=sys.stderr, flush=True)


def _reason(error: tf.errors.OpError | OSError) -> str:
    return error.message[:200] if isinstance(error, tf.errors.OpError) else error.strerror or str(error)
