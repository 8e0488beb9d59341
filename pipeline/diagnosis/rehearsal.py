"""A rehearsal of a training: its first steps, a checkpoint and an export, in processes of their own; one verdict."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.base.folders import cache_folder
from pipeline.base.interrupt import end_with_parent
from pipeline.diagnosis.child import command, run_child, unstamped

_SECONDS = 10.0  # of training
_PATIENCE_S = 1800.0  # XLA may compile so long
_WORTH_COMPILING = 1000  # steps, see --jit
_MIB, _GIB = 2**20, 2**30


@dataclasses.dataclass
class Rehearsal:
    """What became of it.

    Attributes:
      lines: what was measured, for people.
      obstacles: what stands in the way of the training, a sentence each.
      estimate: how long it takes and what it writes, a clause.
    """

    lines: list[str] = dataclasses.field(default_factory=list)
    obstacles: list[str] = dataclasses.field(default_factory=list)
    estimate: str = ""

    def verdict(self) -> str:
        """One line."""
        if not self.obstacles:
            return f"Verdict: ready{': ' if self.estimate else ''}{self.estimate}."
        more = f" (and {len(self.obstacles) - 1} more, above)" if len(self.obstacles) > 1 else ""
        return f"Verdict: not ready: {self.obstacles[0].rstrip('.')}{more}."


def rehearse(
    values: Mapping[str, Any], unprepared: int, done: int, folder: Path, say: Callable[[str], None]
) -> Rehearsal:
    """Trains for some seconds, saves, restores, goes on, and exports.

    Args:
      values: the run's configuration.
      unprepared: bytes of pictures that are to be written below `--data_dir` first.
      done: steps that the run has done already.
      folder: a temporary one that holds the run's `config.json` and what `pipeline.data.trial` wrote.
      say: is told what goes on.
    """
    found = Rehearsal()
    run_dir = folder / "run"
    argument = {"folder": str(folder), "run_dir": str(run_dir), "seconds": _SECONDS}
    stage = "starting"

    def hear(told: dict[str, Any]) -> None:
        nonlocal stage
        if "stage" in told:
            stage = told["stage"]
            say(f"rehearsal: {stage}")

    outcome = run_child("rehearse", argument, patience_s=_PATIENCE_S, environment=_environment(folder), hear=hear)
    facts = outcome.facts
    if "error" in facts:
        found.obstacles.append(facts["error"])
    elif outcome.failure:
        found.obstacles.append(_broken(outcome.failure, stage))
    if "steps_per_s" not in facts:
        return found
    _tell(found, facts, values)
    _estimate(found, facts, values, unprepared, done)
    say("rehearsal: exporting to ONNX")
    _export(found, folder)
    return found


def _environment(folder: Path) -> dict[str, str]:
    """This process's, with modules from where it has them, since networks and objectives may be the user's own."""
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    return {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder)}


def _broken(failure: str, stage: str) -> str:
    killed = "the system killed it, for want of memory perhaps: lower --batch_size and raise --accumulate as many times"
    why = f"; {killed}" if "SIGKILL" in failure else ""
    return f"the trial of some steps failed while {stage}: {failure.rstrip('.')}{why}."


def _tell(found: Rehearsal, facts: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    rate = facts["steps_per_s"] * facts["images_per_step"]
    may = (
        values["jit"] == "auto"
        and values["steps"] >= _WORTH_COMPILING
        and (facts["gpu_memory"] or values["model"] == "mlp")
    )
    xla = ", without XLA, which --jit=auto may choose" if may else ""
    found.lines.append(f"first step after {facts['first_step_s']:.1f} s")
    found.lines.append(f"{rate:,.1f} images/s, {facts['steps_per_s']:.3g} steps/s, over {facts['steps']} steps{xla}")
    if facts.get("memory"):
        found.lines.append(f"peak of the process's memory {facts['memory'] / _MIB:,.0f} MiB")
    if facts.get("gpu_memory"):
        found.lines.append(f"peak of a GPU's memory {facts['gpu_memory'] / _MIB:,.0f} MiB")
    size = f"{facts['checkpoint_bytes'] / _MIB:,.1f} MiB in {facts['saving_s']:.2f} s"
    if facts["restored"]:
        found.lines.append(f"a checkpoint of {size}, restored bit for bit")
    else:
        found.obstacles.append(
            "the checkpoint was restored to something else than was written; report this as a fault."
        )


def _estimate(
    found: Rehearsal, facts: Mapping[str, Any], values: Mapping[str, Any], unprepared: int, done: int
) -> None:
    """How long the training takes and what it writes, and whether there is room for that."""
    left = max(values["steps"] - done, 0)
    saves = left // values["checkpoint_every"] + 1
    seconds = facts["first_step_s"] + left / facts["steps_per_s"] + saves * facts["saving_s"]
    judged = _images_to_judge(values, left)
    seconds += judged * facts.get("judging_s", 0)
    kept = values["keep_checkpoints"] + 1 + values["keep_best"]  # one more while the newest is written
    run = {
        f"{kept} checkpoints": min(kept, saves + 1) * facts["checkpoint_bytes"],
        "previews": (left // values["preview_every"] + 2) * facts["preview_bytes"],
        "log": (left // values["log_every"] + 1) * facts["line_bytes"],
    }
    without = ", evaluations not counted" if judged and "judging_s" not in facts else ""
    total = sum(run.values())
    found.estimate = f"{duration(seconds)} for {left:,} steps{without}, {_size(total)} in {values['run_dir']}"
    parts = ", ".join(f"{name} {_size(size)}" for name, size in run.items())
    if "judging_s" in facts:
        found.lines.append(f"{judged:,} images for evaluations, {1 / facts['judging_s']:,.0f} made and described per s")
    found.lines.append(f"estimated for {left:,} steps: {duration(seconds)}{without}; disk {_size(total)} ({parts})")
    if unprepared:
        found.lines.append(f"prepared pictures {_size(unprepared)}, once, below --data_dir")
    found.obstacles += _no_room({Path(values["run_dir"]): total, cache_folder(values["data_dir"]): unprepared})


def _images_to_judge(values: Mapping[str, Any], left: int) -> int:
    """How many images evaluations make and describe: `--eval_samples` each time, and about as many real ones before."""
    times = -(-left // values["eval_every"]) if values["eval_every"] else 0  # the last step is always evaluated
    return (times + 1) * values["eval_samples"] if times else 0


def _no_room(wanted: Mapping[Path, float]) -> list[str]:
    """Says what can't be written, by folder how many bytes; those on one disk share what is free there."""
    told: list[str] = []
    disks: dict[int, list[tuple[Path, float, int]]] = {}
    for where, needed in wanted.items():
        there = next(path for path in (where.absolute(), *where.absolute().parents) if path.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            told.append(f"{there} can't be written to; choose another folder.")
        elif needed:
            disks.setdefault(there.stat().st_dev, []).append((where, needed, shutil.disk_usage(there).free))
    for shared in disks.values():
        needed, free = sum(each for _, each, _ in shared), shared[0][2]
        if needed > free:
            places = " and ".join(str(where) for where, _, _ in shared)
            told.append(f"{places} need{'s' * (len(shared) == 1)} {_size(needed)}, and {_size(free)} are free there.")
    return told


def _export(found: Rehearsal, folder: Path) -> None:
    out = folder / "bundle"
    process = subprocess.Popen(
        command("export", f"--run_dir={folder / 'run'}", f"--out={out}", "--formats=onnx"),
        env={**_environment(folder), "CUDA_VISIBLE_DEVICES": "-1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=end_with_parent(signal.SIGKILL),
    )
    try:
        said, _ = process.communicate()
    finally:
        process.kill()
        process.wait()
    if process.returncode == 0:
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        found.lines.append(f"exported to ONNX, which computes the same; a bundle of {_size(size)}")
        return
    lines = [unstamped(line) for line in said.splitlines() if line.strip()]
    error = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), "")
    why = error or (lines[-1][:300] if lines else f"status {process.returncode}")
    found.obstacles.append(f"the export to ONNX fails: {why.rstrip('.')}.")


def _size(count: float) -> str:
    return f"{count / _GIB:,.1f} GiB" if count >= _GIB else f"{count / _MIB:,.1f} MiB"


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min, 3 h 20 min or 2 d 5 h."""
    if seconds < 120:
        return f"about {seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"about {minutes} min"
    hours = minutes // 60
    return f"about {hours} h {minutes % 60} min" if hours < 48 else f"about {hours // 24} d {hours % 24} h"
