"""What a run directory holds of a run's course; whatever of it is missing or broken is left out."""

import bisect
import contextlib
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters
from pipeline.data.spec import DataSpec
from pipeline.evaluation.collapse import CollapseWatch
from pipeline.evaluation.report.machine import read_machines
from pipeline.metrics import chosen_extractor
from pipeline.metrics.figures import INTERVAL
from pipeline.runs.patience import by_one_extractor
from pipeline.runs.place import SAMPLES_DIR
from pipeline.runs.run_file import read_run
from pipeline.runs.run_log import EVALUATIONS_FILE, METRICS_FILE, read_records

_PREVIEW = re.compile(r"step_(\d{1,18})\.png")
# What decides whether figures may stand beside each other.
JUDGE = ("extractor", "reference", "num_samples")
# Of a record, what is no figure.
COUNTS = ("step", "images", "epoch", "seconds")


@dataclasses.dataclass(frozen=True)
class Record:
    """A run's course.

    Attributes:
      name: what it is called on the page.
      run_dir: the run directory.
      config: the value of every flag.
      data: what it was trained on.
      log: its log lines.
      evaluations: those made while it was trained, by the judge of the newest one.
      others: evaluations by other judges, which say nothing beside these.
      previews: step and file of each, the oldest first.
      machines: on what it was trained, see `pipeline.evaluation.report.machine`.
      scores: of an evaluation that was made for this page; empty if there was none.
      metrics: the value of `--metrics` in that one.
    """

    name: str
    run_dir: Path
    config: Parameters
    data: DataSpec
    log: Sequence[Mapping[str, Any]] = ()
    evaluations: Sequence[Mapping[str, Any]] = ()
    others: Sequence[Mapping[str, Any]] = ()
    previews: Sequence[tuple[int, Path]] = ()
    machines: Sequence[Mapping[str, Any]] = ()
    scores: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: str = ""

    @property
    def measured(self) -> str:
        """The value of `--metrics` that `newest` was made with."""
        return self.metrics if self.scores else self.values.metrics

    @property
    def values(self) -> Any:
        """The configuration, of which each part of the page takes what it knows."""
        return self.config

    @property
    def newest(self) -> Mapping[str, Any]:
        """The newest evaluation that has a figure; empty if there is none."""
        return self.scores or next((each for each in reversed(self.evaluations) if _has_figure(each)), {})

    @property
    def step(self) -> int:
        """The last step of which anything is known."""
        steps = [each["step"] for each in (*self.log[-1:], *self.evaluations[-1:])]
        return max([*steps, *(step for step, _ in self.previews[-1:])], default=0)

    def judge(self) -> dict[str, Any]:
        """By what, against what and by how many samples it was judged, as far as that is known."""
        return judge_of(self.newest, self.config, self.data)

    def warnings(self) -> list[str]:
        """What the run was warned of, told again from its records."""
        watch, found = CollapseWatch(), []
        steps = [each["step"] for each in self.log]
        for scores in self.evaluations:
            logged = bisect.bisect_right(steps, scores["step"])
            figures = {**(self.log[logged - 1] if logged else {}), **scores}
            figures = {name: value for name, value in figures.items() if number(value) is not None}
            found += watch.see(scores["step"], figures)
        return found


def _has_figure(scores: Mapping[str, Any]) -> bool:
    return any(number(value) is not None for name, value in scores.items() if name not in COUNTS)


def number(value: Any) -> float | None:
    """Returns a finite number, or None of anything else."""
    if type(value) not in (int, float):
        return None
    with contextlib.suppress(OverflowError):
        if math.isfinite(value):
            return float(value)
    return None


def interval(scores: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Returns the 95 % interval of a figure, if it has one."""
    value = scores.get(name + INTERVAL)
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return None if low is None or high is None or low > high else (low, high)


def judge_of(scores: Mapping[str, Any], config: Any, data: DataSpec) -> dict[str, Any]:
    """What must be known of the figures of an evaluation: of older ones, what the configuration says."""
    protocol = scores.get("protocol")
    protocol = protocol if isinstance(protocol, Mapping) else {}

    def noted(name: str, of_protocol: str, kind: type, otherwise: Any) -> Any:
        found = [scores.get(name), protocol.get(of_protocol)]
        return next((each for each in found if type(each) is kind), otherwise)

    extractor = chosen_extractor(config.extractor, data.class_names, data.image_shape)
    return {
        "extractor": noted("extractor", "extractor", str, extractor),
        "reference": noted("reference", "reference", str, ""),
        "num_samples": noted("num_samples", "samples", int, config.eval_samples),
    }


def read(run_dir: Path, name: str = "", *, config: Parameters | None = None, data: DataSpec | None = None) -> Record:
    """Reads what there is.

    Args:
      run_dir: the run directory.
      name: what it is called on the page; empty for the folder's own name.
      config: the configuration, where it is at hand; by default the run's own file says it.
      data: what it is trained on, of the same kind.

    Raises:
      MirageError: if it holds no run.
    """
    if config is None or data is None:
        config, data = read_run(run_dir)
    evaluations = _records(run_dir / EVALUATIONS_FILE)
    judges = [judge_of(each, config, data) for each in evaluations]
    alike = [
        judge == judges[-1] and by_one_extractor(each, evaluations[-1])
        for each, judge in zip(evaluations, judges, strict=True)
    ]
    return Record(
        name or run_dir.resolve().name,
        run_dir,
        config,
        data,
        _records(run_dir / METRICS_FILE),
        [each for each, counts in zip(evaluations, alike, strict=True) if counts],
        [each for each, counts in zip(evaluations, alike, strict=True) if not counts],
        _previews(run_dir / SAMPLES_DIR),
        read_machines(run_dir),
    )


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        return sorted(read_records(path, warn=False), key=lambda record: record["step"])
    except MirageError:
        return []


def _previews(folder: Path) -> list[tuple[int, Path]]:
    try:
        names = sorted(each.name for each in folder.iterdir())
    except OSError:
        return []
    found = [(match, folder / name) for name in names if (match := _PREVIEW.fullmatch(name))]
    return sorted((int(match[1]), path) for match, path in found)
