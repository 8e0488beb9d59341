"""The callbacks that write a run: checkpoints, log, pictures. Where several are due, in this order."""

import numpy as np
from numpy.typing import NDArray

from pipeline.devices.out_of_memory import out_of_memory
from pipeline.runs.callback import Callback, Training
from pipeline.runs.options import RunOptions
from pipeline.runs.place import SAMPLES_DIR, writing
from pipeline.runs.preview import Preview, write_png


class Saving(Callback):
    """Saves: in the background while the training goes on, and for good after its last step."""

    def __init__(self, options: RunOptions) -> None:
        """Takes `checkpoint_every`."""
        self.every = options.checkpoint_every

    def on_interval(self, training: Training) -> None:
        """See `Callback`."""
        training.save(wait=training.step == training.steps)

    def on_end(self, training: Training) -> None:
        """See `Callback`."""
        training.finish_saving()


class Log(Callback):
    """Writes log lines, and moves the progress bar."""

    def __init__(self, options: RunOptions) -> None:
        """Takes `log_every`."""
        self.every = options.log_every

    def on_steps(self, training: Training, means: NDArray[np.float32], count: int) -> None:
        """See `Callback`."""
        training.log.add(means, count)

    def on_interval(self, training: Training) -> None:
        """See `Callback`."""
        with writing(training.run_dir):
            training.log.write()

    def on_stop(self, training: Training) -> None:
        """See `Callback`."""
        self.on_interval(training)

    def on_end(self, training: Training) -> None:
        """See `Callback`."""
        try:
            with writing(training.run_dir):
                training.log.close()
        finally:
            training.log.close_bar()


class Previews(Callback):
    """Draws the preview of a run: of its untrained networks, at intervals, and in the end."""

    def __init__(self, options: RunOptions) -> None:
        """Takes `preview_every`."""
        self.every = options.preview_every

    def on_start(self, training: Training) -> None:
        """See `Callback`."""
        config = training.config
        self._preview = Preview(config, config.seed, training.dataset.spec, training.generator)
        if not training.resumed:
            self._write(training, self._preview.draw())

    def on_interval(self, training: Training) -> None:
        """See `Callback`."""
        with out_of_memory("drawing the preview"):
            picture = training.breakable(self._preview.draw)
        if picture is not None:
            self._write(training, picture)

    def _write(self, training: Training, picture: NDArray[np.uint8]) -> None:
        with writing(training.run_dir):
            write_png(training.run_dir / SAMPLES_DIR / f"step_{training.step:07}.png", picture)
            training.log.picture(picture)


def recording(options: RunOptions) -> list[Callback]:
    """The callbacks of every training: what is needed to go on comes first, then what is not."""
    return [Saving(options), Log(options), Previews(options)]
