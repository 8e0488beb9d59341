"""Puts numbers in the place of `auto`: those of the run that is continued, or what the rules choose."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.base.parameters import Parameters
from pipeline.data.spec import DataSpec
from pipeline.runs.checkpoint import newest_step
from pipeline.runs.run_file import CONFIG_FILE, read_run
from pipeline.training.automatic import RULES, Case

_MANY = 1_000_000  # where the number of images isn't known yet
_DIGITS = 3  # of numbers that are chosen
# What means something only if another flag's value has this word.
_ONLY_WITH = {"class_weight": ("conditioning", "acgan"), "gamma": ("objective", "r3gan"), "r1": ("model", "stylegan2")}


def choose(config: Parameters, data: DataSpec, kind: str, replicas: int) -> dict[str, Any]:
    """Chooses what is `auto` by the rules; the same wherever all of these are the same.

    Args:
      config: the configuration as it was given.
      data: what it is trained on.
      kind: what it is trained on, "GPU" or "CPU".
      replicas: number of replicas, over all workers.

    Returns:
      The values of the parameters that are `auto`, by name.
    """
    height, width, channels = data.image_shape
    pictures = data.num_examples or _MANY
    chosen: dict[str, Any] = {}
    for name in (name for name in RULES if name in config.automatic()):
        so_far = dataclasses.replace(config, **chosen).plain().to_dict()
        case = Case(so_far, max(height, width), min(height, width), channels == 1, pictures, kind == "GPU", replicas)
        value = case.rules[name](case) if name in case.rules else so_far[name]
        if name == "batch_size":
            value = _shared(value, case)
        chosen[name] = float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
    return chosen


def _shared(batch_size: int, case: Case) -> int:
    """The largest batch up to this one that all replicas can share, and that there are images for."""
    divisor = case.replicas * (2 if case.flags["d_batches"] == "split" else 1) * case.group
    return max(min(batch_size, case.pictures) // divisor, 1) * divisor


def of_run(run_dir: Path, config: Parameters) -> dict[str, Any] | None:
    """Returns a run's own values of what is `auto`; None if there is nothing to continue."""
    if not (run_dir / CONFIG_FILE).exists() or not _begun(run_dir):
        return None
    earlier, _ = read_run(run_dir)
    return {name: getattr(earlier, name) for name in RULES if name in config.automatic()}


def _begun(run_dir: Path) -> bool:
    try:
        return newest_step(run_dir) > 0
    except OSError:
        return True  # what can't be read is told when it is restored


def described(names: Sequence[str], config: Parameters, *, continued: bool) -> str:
    """Says what was chosen; empty if nothing was.

    Args:
      names: of what was `auto`.
      config: has values in their place.
      continued: whether they are those of the run that is continued.
    """
    flags = config.to_dict()
    idle = {name for name, (other, word) in _ONLY_WITH.items() if word not in flags[other]}
    listing = " ".join(f"{name}={flags[name]}" for name in names if name not in idle and flags[name] != "")
    if not listing:
        return ""
    return f"Kept from the run: {listing}." if continued else f"Chosen: {listing}; set any of them by its flag."
