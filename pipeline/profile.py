"""`--profile_steps`: a recording for TensorBoard's profiler."""

from pathlib import Path

import tensorflow as tf


class Profile:
    """Records a range of steps."""

    def __init__(self, steps: tuple[int, int] | None, folder: Path) -> None:
        """Prepares it.

        Args:
          steps: first and last step number between which to record; None records nothing.
          folder: TensorBoard's folder.
        """
        self._steps = steps
        self._folder = folder
        self._running = False

    def at(self, step: int) -> None:
        """Starts or ends the recording, if it is time.

        Args:
          step: number of steps done.
        """
        wanted = self._steps is not None and self._steps[0] <= step < self._steps[1]
        if wanted and not self._running:
            tf.profiler.experimental.start(str(self._folder))
        elif self._running and not wanted:
            tf.profiler.experimental.stop()
        self._running = wanted

    def close(self) -> None:
        """Ends a recording that is under way."""
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False
