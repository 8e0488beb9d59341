"""A run directory as an object: what a training has left, to look at, to judge and to export."""

import base64
import html
import inspect
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.runs.run_file import read_run

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from serving.attributes import AttributeValues
    from serving.labels import Labels

SAMPLES_DIR = "samples"
# Of a log line, what is no figure of the training itself.
_COUNTS = ("step", "images", "epoch", "seconds")


class Run:
    """What a training has left in its run directory, as it is now: each question is answered from the files.

    Attributes:
      run_dir: the folder.
      stopped_by: what ended the training early, such as `signal.SIGINT`; None if it is complete or was only opened.
      chief: whether this process wrote the folder, as all do but the further workers of a cluster.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        """Opens a run that is there.

        Args:
          run_dir: the `run_dir` of a training.

        Raises:
          MirageError: if there is no run.
        """
        read_run(Path(run_dir))
        self._set(run_dir, None, chief=True)

    @classmethod
    def open(cls, run_dir: str | os.PathLike[str]) -> Self:
        """Opens a run that is there; raises MirageError if there is none."""
        return cls(run_dir)

    @classmethod
    def ended(
        cls,
        run_dir: str | os.PathLike[str],
        stopped_by: signal.Signals | str | None,
        *,
        chief: bool = True,
        data: Any = None,
    ) -> Self:
        """Returns the run of a training that has just ended; see the attributes."""
        run = cls.__new__(cls)
        run._set(run_dir, stopped_by, chief=chief)
        run._passed = data
        return run

    def _set(self, run_dir: str | os.PathLike[str], stopped_by: signal.Signals | str | None, *, chief: bool) -> None:
        self.run_dir = Path(run_dir)
        self.stopped_by = stopped_by
        self.chief = chief
        self._loaded: tuple[tuple[str, int], keras.Model] | None = None
        self._passed: Any = None  # data that have no name by which they could be found again

    @property
    def config(self) -> Config:
        """The configuration: the value of every flag."""
        return read_run(self.run_dir)[0]

    @property
    def data(self) -> DataSpec:
        """What it was trained on: shape, classes and number of images."""
        return read_run(self.run_dir)[1]

    @property
    def step(self) -> int:
        """Steps of its newest checkpoint; 0 if there is none yet."""
        from pipeline.runs.checkpoint import newest_step

        return newest_step(self.run_dir)

    @property
    def picture(self) -> Path | None:
        """The newest preview picture, a PNG file; None if there is none yet."""
        return max((self.run_dir / SAMPLES_DIR).glob("step_*.png"), default=None)

    def history(self) -> Any:
        """Returns the figures of all log lines.

        Returns:
          A dict from names to arrays of a number for each line, NaN where it lacks it; where pandas is installed, a
          frame of these columns.
        """
        from pipeline.runs.run_log import METRICS_FILE

        return _columns(self.run_dir / METRICS_FILE)

    def evaluations(self) -> Any:
        """Returns the scores that `eval_every` had measured while it trained, as `history` does."""
        from pipeline.runs.run_log import EVALUATIONS_FILE

        return _columns(self.run_dir / EVALUATIONS_FILE)

    @property
    def generator(self) -> "keras.Model":
        """The trained generator as a Keras model, of the newest checkpoint; the average one unless that is turned off.

        Its inputs are z, float32 [n, latent_dim], and if it is conditional the labels, int32 [n] or of attributes
        float32 [n, A], in a list; its outputs are images, float32 [n, H, W, C] in [-1, 1].
        """
        return self.load()

    def load(self, checkpoint: str = "newest") -> "keras.Model":
        """Loads the generator, see `generator`.

        Args:
          checkpoint: "newest", or "best", which `keep_best` kept.

        Raises:
          MirageError: if there is no such checkpoint, or it can't be read.
        """
        from pipeline.devices.keras_state import own_keras_state
        from pipeline.runs.checkpoint import load_sampler

        loaded = (checkpoint, self.step)
        if self._loaded is None or self._loaded[0] != loaded or checkpoint == "best":
            with own_keras_state():
                self._loaded = loaded, load_sampler(self.run_dir, checkpoint)[2]
        return self._loaded[1]

    def sample(
        self,
        n: int,
        seed: int = 0,
        labels: "Labels" = None,
        *,
        attributes: "AttributeValues" = None,
        checkpoint: str = "newest",
    ) -> "NDArray[np.uint8]":
        """Makes `n` images; image i has the seed `seed + i`.

        They are those that `serving.Generator.sample` makes of the exported run, up to rounding.

        Args:
          n: number of images.
          seed: seed of the first image, an int64.
          labels: for a conditional generator: one label or class name for all images, or one for each; None takes the
            classes in turn.
          attributes: for a generator of attributes, a mapping of some of their names to numbers, several such, or an
            array of all of them, [A] or [n, A]; what is left out is typical of the training data.
          checkpoint: "newest" or "best".

        Returns:
          uint8 [n, H, W, C].

        Raises:
          MirageError: if there is no checkpoint, or for arguments that don't fit.
        """
        from pipeline.runs.sampling import sample

        config, data = read_run(self.run_dir)
        return sample(self.load(checkpoint), config, data, n, seed, labels, attributes=attributes)

    def evaluate(self, **options: Any) -> dict[str, Any]:
        """Measures the quality of the generator, as `python -m pipeline.evaluate` does.

        Args:
          **options: those of `pipeline.evaluation.evaluate.evaluate`, such as `num_samples`, `seed` or `metrics`;
            `data` may stand for `dataset`.

        Returns:
          All measures by name, with what must be known to read them.

        Raises:
          MirageError: if the run or its data can't be used, or for options that aren't known.
        """
        from pipeline.devices.keras_state import own_keras_state
        from pipeline.evaluation.evaluate import evaluate

        options = self._options(evaluate, options)
        with own_keras_state():
            return evaluate(self.run_dir, **options)

    def report(self) -> Path:
        """Writes `report.html` into the run directory again, as a training does: one page that shows all of the run.

        Returns:
          The file.

        Raises:
          MirageError: if the run can't be read, or the file can't be written.
        """
        from pipeline.evaluation.report.page import write_report
        from pipeline.runs.place import writing

        with writing(self.run_dir):
            return write_report(self.run_dir)

    def export(
        self, out: str | os.PathLike[str], formats: Sequence[str] = ("saved_model", "onnx"), **more: Any
    ) -> Path:
        """Exports the generator, as `python -m export` does.

        Args:
          out: folder of the bundle; an older bundle there is replaced.
          formats: see `python -m export --help`.
          **more: `checkpoint`, `layout`, `num_samples` and `dataset`, for which `data` may stand, as for the command.

        Returns:
          The folder.

        Raises:
          MirageError: if the run can't be read, an exported file computes something else than the generator, or `out`
            can't be written, or for options that aren't known.
        """
        from export.bundle import export_bundle
        from pipeline.devices.keras_state import own_keras_state

        chosen = formats.split(",") if isinstance(formats, str) else list(formats)
        more = self._options(export_bundle, more, "out", "formats")
        with own_keras_state():
            export_bundle(self.run_dir, Path(out), chosen, **more)
        return Path(out)

    def _options(self, function: Callable[..., Any], given: dict[str, Any], *taken: str) -> dict[str, Any]:
        """Looks at the names of what `evaluate` or `export` is given, and adds data that were passed in Python."""
        known = [name for name in [*inspect.signature(function).parameters][1:] if name not in taken]
        options = dict(given)
        if "data" in options and "dataset" not in options:
            options["dataset"] = options.pop("data")
        for name in options:
            if name not in known:
                shown, command = " ".join(repr(options[name]).split()), function.__name__.partition("_")[0]
                raise MirageError(f"{name}={shown:.100}: {command} knows {', '.join(known)}, and no {name}.")
        if self._passed is not None:
            options.setdefault("dataset", self._passed)
        return options

    def __repr__(self) -> str:
        stopped = f", stopped_by={getattr(self.stopped_by, 'name', self.stopped_by)}" if self.stopped_by else ""
        return f"Run({str(self.run_dir)!r}, step={self.step}{stopped})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the newest preview and the last figures."""
        from pipeline.objectives.figures import format_metrics
        from pipeline.runs.run_log import METRICS_FILE, read_records

        text = html.escape(repr(self))
        records = read_records(self.run_dir / METRICS_FILE)
        if records:
            figures = {name: _number(value) for name, value in records[-1].items() if name not in _COUNTS}
            text += f"<br>step {records[-1]['step']:,}: {html.escape(format_metrics(figures))}"
        if self.picture is not None:
            encoded = base64.b64encode(self.picture.read_bytes()).decode()
            text += f'<br><img alt="{self.picture.name}" src="data:image/png;base64,{encoded}">'
        return f"<div>{text}</div>"


def _number(value: Any) -> int | float:
    return value if type(value) in (int, float) else np.nan


def _columns(path: Path) -> Any:
    from pipeline.runs.run_log import read_records

    records = read_records(path)
    names = dict.fromkeys(name for record in records for name, value in record.items() if type(value) in (int, float))
    columns = {name: np.array([_number(record.get(name)) for record in records]) for name in names}
    try:
        import pandas
    except ImportError:
        return columns
    return pandas.DataFrame(columns)
