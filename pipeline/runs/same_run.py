"""Whether a run directory's run can be continued with the flags and data of now."""

import sys
from pathlib import Path

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec, is_folder
from pipeline.metrics import chosen_extractor
from pipeline.runs.best import BEST_FILE
from pipeline.runs.checkpoint import CHECKPOINT_DIR, newest_step
from pipeline.runs.run_file import CONFIG_FILE, read_run


def check_same_run(config: Config) -> None:
    """Refuses to continue a run with other flags than its own, as far as they matter.

    Args:
      config: the configuration now.

    Raises:
      MirageError: naming the flags and both values.
    """
    run_dir = Path(config.run_dir)
    if not (run_dir / CONFIG_FILE).exists():
        if newest_step(run_dir):
            print(
                f"warning: --run_dir={run_dir} has checkpoints but no {CONFIG_FILE}; that these flags are the run's "
                "own can't be checked, and it is made again from them.",
                file=sys.stderr,
                flush=True,
            )
        return
    earlier, data = read_run(run_dir)
    changes = config.changes_from(earlier)
    if _both_folders(config.dataset, earlier.dataset):
        changes = [change for change in changes if change[0] != "dataset"]  # see `check_same_data`
    if changes:
        listing = ", ".join(f"--{name}={now} (the run has {was})" for name, was, now in changes)
        raise MirageError(
            f"--run_dir={config.run_dir} holds a run with other flags, so it can't be continued with {listing}; choose "
            "another --run_dir, or pass the run's own flags."
        )
    best = run_dir / CHECKPOINT_DIR / BEST_FILE
    if not best.exists():
        return
    now, then = (
        {"extractor": chosen_extractor(each.extractor, data.class_names), "eval_samples": each.eval_samples}
        for each in (config, earlier)
    )
    for name, value in then.items():
        if now[name] != value:
            raise MirageError(
                f"--{name}={getattr(config, name)} can't be compared with {value}, by which the best checkpoint was "
                f"chosen; pass --{name}={value}, or remove {best}."
            )


def classes_of_run(config: Config) -> tuple[str, ...]:
    """The classes of the run that is continued, in the order of its labels."""
    if not (Path(config.run_dir) / CONFIG_FILE).exists():
        return ()
    return read_run(Path(config.run_dir))[1].class_names


def check_same_data(config: Config, data: DataSpec) -> None:
    """Refuses to continue a run on other data than its own.

    Args:
      config: the configuration now.
      data: the data's description now.

    Raises:
      MirageError: naming what differs.
    """
    if not (Path(config.run_dir) / CONFIG_FILE).exists():
        return
    _, earlier = read_run(Path(config.run_dir))
    difference = data.difference_from(earlier)
    if difference:
        raise MirageError(
            f"--run_dir={config.run_dir} was trained on other data than --dataset={config.dataset} has now: "
            f"{difference}; pass the data that it was trained on, or choose another --run_dir."
        )


def _both_folders(one: str, other: str) -> bool:
    """Whether two values of `--dataset` may be the same pictures in another place."""
    kinds = {dataset.partition("folder:")[0] for dataset in (one, other)}  # stacked or not
    return is_folder(one) and is_folder(other) and len(kinds) == 1
