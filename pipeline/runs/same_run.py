"""Whether a run directory's run can be continued with the flags and data of now."""

import sys
from pathlib import Path

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters
from pipeline.data.names import may_be_the_same
from pipeline.data.spec import DataSpec
from pipeline.runs.best import BEST_FILE
from pipeline.runs.checkpoint import CHECKPOINT_DIR, newest_step
from pipeline.runs.run_file import CONFIG_FILE, read_run


def check_same_flags(run_dir: Path, config: Parameters) -> None:
    """Refuses to continue a run with other flags than its own, as far as they matter.

    Args:
      run_dir: the run directory.
      config: all flags now.

    Raises:
      MirageError: naming the flags and both values.
    """
    if not (run_dir / CONFIG_FILE).exists():
        if newest_step(run_dir):
            print(
                f"warning: --run_dir={run_dir} has checkpoints but no {CONFIG_FILE}; that these flags are the run's "
                "own can't be checked, and it is made again from them.",
                file=sys.stderr,
                flush=True,
            )
        return
    earlier, _ = read_run(run_dir)
    changes = [
        f"--{name}={now} (the run has {was})"
        for name, was, now in config.changes_from(earlier)
        if name != "dataset" or not may_be_the_same(now, was)  # else see `check_same_data`
    ]
    if changes:
        listing = ", ".join(changes)
        raise MirageError(
            f"--run_dir={run_dir} holds a run with other flags, so it can't be continued with {listing}; choose "
            "another --run_dir, or pass the run's own flags."
        )


def check_same_judge(run_dir: Path, eval_samples: int) -> None:
    """Refuses to choose a run's best checkpoint by distances of other numbers of samples than those so far.

    Where the figure or the extractor is another one, the best begins anew.

    Args:
      run_dir: the run directory.
      eval_samples: `--eval_samples` now.

    Raises:
      MirageError: naming the flag and both values.
    """
    best = run_dir / CHECKPOINT_DIR / BEST_FILE
    if not best.exists() or not (run_dir / CONFIG_FILE).exists():
        return
    was = read_run(run_dir)[0].eval_samples
    if was != eval_samples:
        raise MirageError(
            f"--eval_samples={eval_samples} can't be compared with {was}, by which the best checkpoint was chosen; "
            f"pass --eval_samples={was}, or remove {best}."
        )


def classes_of_run(run_dir: Path) -> tuple[str, ...]:
    """The classes of the run that is continued, in the order of its labels."""
    return read_run(run_dir)[1].class_names if (run_dir / CONFIG_FILE).exists() else ()


def check_same_data(run_dir: Path, dataset: str, data: DataSpec) -> None:
    """Refuses to continue a run on other data than its own.

    Args:
      run_dir: the run directory.
      dataset: `--dataset` now.
      data: the data's description now.

    Raises:
      MirageError: naming what differs.
    """
    if not (run_dir / CONFIG_FILE).exists():
        return
    _, earlier = read_run(run_dir)
    difference = data.difference_from(earlier)
    if difference:
        raise MirageError(
            f"--run_dir={run_dir} was trained on other data than --dataset={dataset} has now: "
            f"{difference}; pass the data that it was trained on, or choose another --run_dir."
        )
