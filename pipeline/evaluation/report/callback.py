"""The callback that writes `report.html` while a run is trained, and at its end."""

import time
from collections.abc import Callable
from pathlib import Path

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.evaluation.options import EvaluationOptions
from pipeline.evaluation.report.images import NEAREST_FILE
from pipeline.evaluation.report.machine import MACHINE_FILE, note_machine
from pipeline.evaluation.report.page import REPORT_FILE, write_report
from pipeline.metrics.metric import labels_of
from pipeline.metrics.neighbours import sheet
from pipeline.metrics.rows import as_shown
from pipeline.runs.callback import Callback, Training
from pipeline.runs.preview import write_png

_ROWS, _NEIGHBOURS = 8, 8
_MOST_BYTES = 2**30  # of training images that are searched for the nearest ones; more would take too long


class Reports(Callback):
    """Writes the page after each evaluation, and when the training ends. What fails is a warning, never its end."""

    def __init__(self, options: EvaluationOptions) -> None:
        """Takes how often there are evaluations, which may be never."""
        self.every = options.eval_every

    def on_start(self, training: Training) -> None:
        """See `Callback`."""
        _guarded(training, MACHINE_FILE, lambda: note_machine(training.run_dir, training.step))

    def on_interval(self, training: Training) -> None:
        """See `Callback`."""
        start = time.perf_counter()
        _guarded(training, NEAREST_FILE, lambda: training.breakable(lambda: _write_nearest(training)))
        if training.step < training.steps:
            _guarded(training, REPORT_FILE, lambda: _write(training))
        training.log.leave_out(time.perf_counter() - start)

    def on_end(self, training: Training) -> None:
        """See `Callback`."""
        if not self.every and training.step == training.steps:
            _guarded(training, NEAREST_FILE, lambda: _write_nearest(training))
        _guarded(training, REPORT_FILE, lambda: _write(training))


def _guarded(training: Training, name: str, work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:
        told = str(error).rstrip(".") if isinstance(error, MirageError | OSError) else reason(error)
        training.say(f"warning: {training.run_dir / name} can't be written ({told}); nothing else is amiss.")


def _write(training: Training) -> Path:
    return write_report(training.run_dir, config=training.config, data=training.dataset.spec)


def _write_nearest(training: Training) -> None:
    images = training.dataset.images
    if images.nbytes <= _MOST_BYTES:
        labels = training.dataset.labels
        attributes = labels_of(_ROWS, labels) if training.config.conditional and labels.ndim > 1 else None
        picture = sheet(training.sample(_ROWS, attributes=attributes), as_shown(images), _NEIGHBOURS)
        write_png(training.run_dir / NEAREST_FILE, picture)
