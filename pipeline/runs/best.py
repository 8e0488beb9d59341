"""`best.json`: which checkpoint `--keep_best` keeps."""

import contextlib
import json
import math
import sys
from pathlib import Path
from typing import NamedTuple

from pipeline.base.files import write_file
from pipeline.runs.checkpoint_files import (
    DamagedCheckpointError,
    check_checkpoint,
    checkpoint_path,
    list_checkpoints,
    step_of,
)
from pipeline.runs.run_log import EVALUATIONS_FILE, read_records

BEST_FILE = "best.json"


class Best(NamedTuple):
    """The best checkpoint so far."""

    path: Path
    distance: float


def write_best(folder: Path, best: Best | None) -> None:
    """Notes the best checkpoint of a folder, or that there is none."""
    if best is None:
        (folder / BEST_FILE).unlink(missing_ok=True)
    else:
        document = {"checkpoint": best.path.name, "frechet_distance": best.distance}
        write_file(folder / BEST_FILE, (json.dumps(document) + "\n").encode(), sync=True)


def noted_best(folder: Path) -> Best | None:
    """Returns the best checkpoint, which may be damaged; None if none was kept.

    Raises:
      DamagedCheckpointError: if the note can't be understood.
    """
    path = folder / BEST_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        best = Best(folder / document["checkpoint"], document["frechet_distance"])
        if best.path != checkpoint_path(folder, step_of(best.path)) or not math.isfinite(best.distance):
            raise ValueError
        return best
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise DamagedCheckpointError(f"{path} is damaged") from None


def best_by_evaluations(folder: Path, last_step: float = math.inf) -> Best | None:
    """Finds the best of the undamaged checkpoints of a folder by what the run's evaluations say of them.

    Args:
      folder: the run's checkpoints.
      last_step: step up to which evaluations count.
    """
    records = read_records(folder.parent / EVALUATIONS_FILE, ["frechet_distance"])
    present = set(list_checkpoints(folder))
    finite = [record for record in records if math.isfinite(record["frechet_distance"])]  # NaN has no place in an order
    for record in sorted(finite, key=lambda record: record["frechet_distance"]):
        path = checkpoint_path(folder, record["step"])
        if record["step"] <= last_step and path in present:
            with contextlib.suppress(DamagedCheckpointError):
                check_checkpoint(path)
                return Best(path, record["frechet_distance"])
    return None


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
