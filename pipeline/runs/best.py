"""`best.json`: which checkpoint `--keep_best` keeps."""

import contextlib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.metrics.choice import choose
from pipeline.metrics.names import unknown_figure
from pipeline.runs.checkpoint_files import (
    DamagedCheckpointError,
    check_checkpoint,
    checkpoint_path,
    list_checkpoints,
    step_of,
)
from pipeline.runs.patience import USUAL_GOAL, Goal
from pipeline.runs.run_file import read_run
from pipeline.runs.run_log import EVALUATIONS_FILE, read_records

BEST_FILE = "best.json"


class Best(NamedTuple):
    """The best checkpoint so far, by what it was chosen, and its value."""

    path: Path
    value: float
    goal: Goal = USUAL_GOAL


def write_best(folder: Path, best: Best | None) -> None:
    """Notes the best checkpoint of a folder, or that there is none."""
    if best is None:
        (folder / BEST_FILE).unlink(missing_ok=True)
    else:
        document = {
            "checkpoint": best.path.name,
            "metric": best.goal.figure,
            "value": best.value,
            "higher_is_better": best.goal.higher,
            "extractor": best.goal.extractor,
            "extractor_id": best.goal.extractor_id,
        }
        write_file(folder / BEST_FILE, (json.dumps(document) + "\n").encode(), sync=True)


def noted_best(folder: Path) -> Best | None:
    """Returns the best checkpoint, which may be damaged; None if none was kept.

    Raises:
      DamagedCheckpointError: if the note can't be understood.
    """
    path = folder / BEST_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        goal = Goal(extractor=_extractor_of_before(folder.parent))
        if "metric" in document:
            known = document.get("extractor_id", "")  # not noted by versions of before
            goal = Goal(document["metric"], document["higher_is_better"], document["extractor"], known)
        best = Best(folder / document["checkpoint"], document["value" if "metric" in document else goal.figure], goal)
        types = type(goal.figure) is str and type(goal.higher) is bool and isinstance(goal.extractor, str | None)
        types = types and type(goal.extractor_id) is str
        if best.path != checkpoint_path(folder, step_of(best.path)) or not math.isfinite(best.value) or not types:
            raise ValueError
        return best
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise DamagedCheckpointError(f"{path} is damaged") from None


def best_by_evaluations(folder: Path, last_step: float = math.inf, goal: Goal | None = None) -> Best | None:
    """Finds the best of the undamaged checkpoints of a folder by what the run's evaluations say of them.

    Args:
      folder: the run's checkpoints.
      last_step: step up to which evaluations count.
      goal: what they are compared by; None for what the last evaluation has of the run's `--best_by`.
    """
    records = read_records(folder.parent / EVALUATIONS_FILE)
    if goal is None:
        goal = _goal_of_run(folder.parent, records[-1] if records else {})
    if goal is None:
        return None
    found = [(_number(record.get(goal.figure)), record["step"]) for record in records if goal.describes(record)]
    present = set(list_checkpoints(folder))
    for value, step in sorted(
        ((v, s) for v, s in found if v is not None), key=lambda each: each[0], reverse=goal.higher
    ):
        path = checkpoint_path(folder, step)
        if step <= last_step and path in present:
            with contextlib.suppress(DamagedCheckpointError):
                check_checkpoint(path)
                return Best(path, value, goal)
    return None


def _number(value: Any) -> float | None:
    """A figure that has a place in an order, as NaN has not."""
    try:
        return float(value) if type(value) in (int, float) and math.isfinite(value) else None
    except OverflowError:
        return None


def _goal_of_run(run_dir: Path, judged: Mapping[str, Any]) -> Goal | None:
    """By what a run keeps its best checkpoint; None if that can't be known any more."""
    try:
        config, _ = read_run(run_dir)
        goal = goal_of(config.best_by, config.metrics, judged.get("extractor"))
        return goal._replace(extractor_id=judged.get("extractor_id") or "")
    except MirageError:
        return None


def _extractor_of_before(run_dir: Path) -> str | None:
    """What a version that didn't note it compared by, if that is still there."""
    try:
        config, data = read_run(run_dir)
    except MirageError:
        return None
    classified = config.extractor == "classifier" or (config.extractor == "auto" and len(data.class_names) > 1)
    return f"{'stacked ' * config.dataset.startswith('stacked:')}classifier" if classified else None


def goal_of(figure: str, metrics: Any, extractor: str | None = None) -> Goal:
    """Finds out in which direction a figure gets better.

    Args:
      figure: the value of `--best_by`.
      metrics: those that are measured, see `pipeline.metrics.choice.choose`.
      extractor: name of what describes images.

    Raises:
      MirageError: naming the figures that could be, if this can't.
    """
    known = {name: higher for each in choose(metrics) if each.quick for name, higher in each.directions.items()}
    if figure not in known:
        raise MirageError(unknown_figure(figure, known))
    return Goal(figure, known[figure], extractor)


def read_best(folder: Path) -> Best | None:
    """Returns the best checkpoint; a damaged note is named, and the evaluations are asked instead."""
    try:
        return noted_best(folder)
    except DamagedCheckpointError as error:
        best = best_by_evaluations(folder)
        warn_of_best(error, best)
        return best


def warn_of_best(error: DamagedCheckpointError, best: Best | None) -> None:
    """Says what is taken for the best checkpoint instead of the one that can't be used."""
    remedy = "none of the others is known to be good" if best is None else f"{best.path.name} is the best of the others"
    print(f"warning: {error}; by {EVALUATIONS_FILE}, {remedy}.", file=sys.stderr, flush=True)
