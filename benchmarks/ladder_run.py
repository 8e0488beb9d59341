"""One training of the ladder: started as users start it, timed, and what the machine did besides."""

import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ladder_rungs import ROOT
from pipeline.base.errors import MirageError
from pipeline.base.interrupt import end_with_parent
from pipeline.runs.checkpoint_files import list_checkpoints

_STOP_S = 60  # in which a training that is told to stop has saved
_TICKS = os.sysconf("SC_CLK_TCK")


class ChildFailedError(MirageError):
    """A training or an evaluation that did not succeed."""


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads JSON lines, of which the last may be cut off, as a sudden end leaves it.

    Raises:
      MirageError: if another line can't be understood.
    """
    if not path.exists():
        return []
    records, lines = [], path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError
            records.append(record)
        except ValueError:
            if number < len(lines):
                raise MirageError(
                    f"line {number} of {path} is no JSON object; remove that line, which is then measured again."
                ) from None
    return records


def end_last_line(path: Path) -> None:
    """Drops what a sudden end has left of a last line, so that others can be added."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(path.read_bytes().rfind(b"\n") + 1)


def busy_s(cores: Sequence[int]) -> float | None:
    """Returns the seconds that these CPU cores have computed since the machine's start; None where nobody counts."""
    with contextlib.suppress(OSError, ValueError):
        counts = {}
        for line in Path("/proc/stat").read_text().splitlines():
            name, *ticks = line.split()
            if name.startswith("cpu") and name != "cpu":
                user, nice, system, _, _, irq, soft, steal = map(int, ticks[:8])
                counts[int(name.removeprefix("cpu"))] = user + nice + system + irq + soft + steal
        if cores and all(core in counts for core in cores):
            return sum(counts[core] for core in cores) / _TICKS
    return None


def _own_s() -> float:
    """Processor seconds of this process and of all that it has started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Others:
    """Watches how much others compute on the cores that this process may use."""

    def __init__(self) -> None:
        """Starts to watch."""
        self._cores = sorted(os.sched_getaffinity(0))
        self._start = time.perf_counter(), busy_s(self._cores), _own_s()

    def cores(self) -> float:
        """Returns how many of these cores others took, on average since the start.

        Where nobody counts, as in some sandboxes, that is the load average of the last minute.
        """
        seconds, busy, own = self._start
        now = busy_s(self._cores)
        if busy is None or now is None:
            return os.getloadavg()[0]
        return max(0.0, (now - busy) - (_own_s() - own)) / max(1e-6, time.perf_counter() - seconds)


def foreign_load(seconds: float) -> float:
    """Returns how many cores others take now, watched for some seconds in which this process waits."""
    others = Others()
    time.sleep(seconds)
    return others.cores()


@dataclasses.dataclass
class Child:
    """A command of Mirage's in a process of its own, which ends with this one, however that ends.

    Attributes:
      arguments: what `python -m` is called with.
      log: file for what it says, to which it adds.
      lock: number of an open file that it keeps open, and so locked, as long as it lives.
      environment: variables that it gets besides.
      ended_by: the signal that it gets when this process ends before it.
    """

    arguments: Sequence[str]
    log: Path
    lock: int
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ended_by: signal.Signals = signal.SIGTERM

    def __enter__(self) -> subprocess.Popen:
        """Starts it."""
        self._file = self.log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self.arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent(self.ended_by),
            pass_fds=(self.lock,),
        )
        return self._process

    def __exit__(self, *exception: object) -> None:
        """Ends it, which saves what it has done."""
        self._file.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def run(self) -> None:
        """Runs it to its end.

        Raises:
          ChildFailedError: if it fails, with the end of what it said.
        """
        with self as process:
            status = process.wait()
        if status:
            raise ChildFailedError(f"python -m {self.arguments[0]} failed ({self.said()}); all of it is in {self.log}.")

    def said(self) -> str:
        """Returns what it said last, preferably of an error."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines[-20:] if line.startswith("error: ")]
        return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ").rstrip(".")[-500:]


def train(child: Child, run_dir: Path) -> dict[str, Any]:
    """Trains, or goes on where that was interrupted.

    Args:
      child: `python -m pipeline` with its flags.
      run_dir: the run directory among them.

    Returns:
      `seconds`, from the start of the process to its end, of which `training_s` went into steps, pictures and
      checkpoints; `steps`, `images`, `images_per_s`; `others`, the cores that others took meanwhile; `resumed`, whether
      it was interrupted: then the seconds are those of all parts, without what was lost and done again.

    Raises:
      ChildFailedError: if it fails.
    """
    metrics = run_dir / "metrics.jsonl"
    checkpoints = list_checkpoints(run_dir / "checkpoints")
    step = int(checkpoints[-1].name.removeprefix("step_")) if checkpoints else 0
    done = [record for record in read_lines(metrics) if record["step"] <= step]
    before_s = done[-1]["seconds"] if done else 0.0
    others, start = Others(), time.perf_counter()
    child.run()
    seconds = time.perf_counter() - start
    last = read_lines(metrics)[-1]
    return {
        "seconds": round(before_s + seconds, 1),
        "training_s": last["seconds"],
        "steps": last["step"],
        "images": last["images"],
        "images_per_s": round(last["images"] / last["seconds"], 1),
        "others": round(others.cores(), 2),
        "resumed": step > 0,
    }


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a preset is on a machine.

    Attributes:
      images_per_s: once it is under way.
      overhead_s: what start, compilation and the last checkpoint take besides.
      images_per_step: real images of a step.
    """

    images_per_s: float
    overhead_s: float
    images_per_step: int

    def steps(self, minutes: float) -> int:
        """Returns the steps that fit, to two or three digits; 2 % stay for pictures, checkpoints and a slower minute.

        Raises:
          MirageError: if none does.
        """
        steps = int(0.98 * (60 * minutes - self.overhead_s) * self.images_per_s / self.images_per_step)
        if steps < 1:
            raise MirageError(
                f"{minutes:g} minutes hold no step here: the start takes {self.overhead_s:.0f} s and a step "
                f"{self.images_per_step / self.images_per_s:.1f} s; choose a faster machine or a smaller --batch_size."
            )
        unit = 10 ** max(0, len(str(steps)) - 3)
        return steps // unit * unit


def measure(child: Child, run_dir: Path, seconds: float) -> Pace:
    """Trains for a while in a new run directory, and sees how fast that is.

    Args:
      child: `python -m pipeline` with its flags.
      run_dir: the run directory among them.
      seconds: how long to watch once it is under way, at least.

    Raises:
      ChildFailedError: if it fails, or ends before.
    """
    start = time.perf_counter()
    with child as process:
        while process.poll() is None:
            lines = read_lines(run_dir / "metrics.jsonl")
            if len(lines) >= 3 and lines[-1]["seconds"] - lines[0]["seconds"] >= seconds:
                break
            time.sleep(0.2)
        else:
            raise ChildFailedError(f"the training ended while it was measured ({child.said()}).")
    wall = time.perf_counter() - start
    rate = (lines[-1]["images"] - lines[0]["images"]) / (lines[-1]["seconds"] - lines[0]["seconds"])
    images_per_step = lines[-1]["images"] // lines[-1]["step"]
    step = int(list_checkpoints(run_dir / "checkpoints")[-1].name.removeprefix("step_"))
    return Pace(round(rate, 1), round(max(0.0, wall - step * images_per_step / rate), 1), images_per_step)
