"""Checks a machine's GPU: that Mirage does there what it promises, and how fast. In short: `scripts/gpu-check`.

  python -m benchmarks.gpu_check
  python -m benchmarks.gpu_check --parts=kills --minutes=10
  python -m benchmarks.gpu_check --without_gpu --parts=tests

Parts (--parts), each a command of its own:

  doctor      python -m pipeline.doctor: what TensorFlow finds, and a step on each device
  tests       pytest -m gpu: export, kill and resume to the bit, replicas, precisions, running out of memory
  first_step  python -m benchmarks.first_step: time to the first step, with and without what XLA kept before
  speed       python -m benchmarks.gpu --quick: images/s beside PyTorch
  kills       pytest -m gpu_slow: twenty kills of a training that XLA compiles (only where --parts names it)
  kinds       pytest -m gpu_kinds: some steps of each kind of network, objective and augmentation (--quality)
  networks    python -m benchmarks.gpu_networks: images/s, memory, share of peak of large networks (--quality)
  quality     python -m benchmarks.ladder: CIFAR-10 and cats at 128 pixels after twelve minutes each (--quality)

A part that fails or takes too long is told, and the next one begins. It may take what is left of --minutes but for the
shares of those behind it; then it is ended, with all processes that it has started. Nothing needs a network.
Below --out: report.md, the table that is printed at the end; report.json, with the figures of all parts; logs, and the
files of each part. The exit status is 0 if all parts passed, 1 if one did not.
"""

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks.gpu_check_report import machine, read_tests, report

_ROOT = Path(__file__).parent.parent
# Beside an environment of TensorFlow's own that is laid over it by these variables.
_PLAIN_PYTHON = "env -u PYTHONPATH -u LD_LIBRARY_PATH python3"
# From the start of the process to the end of the first step, with nothing compiled yet, and with all.
_FIRST_STEP_S = {"cold": 45, "warm": 15}
_RUNGS, _LONG_MINUTES = ("cifar10-32:12", "cats-128:12"), 47
_GRACE_S = 3  # between the request to end and the end
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the parts are told.

    Attributes:
      without_gpu: whether they run on the CPU.
      peers_python: what starts the interpreter that has PyTorch.
      data: `--dataset` by the ladder's names of its data; empty takes those of its presets.
    """

    without_gpu: bool
    peers_python: str
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
      module: what `python -m` runs.
      arguments: makes its command line, with the part's folder.
      share_s: seconds that parts before it leave to it.
      figures: its JSON file in that folder, or empty.
      wrong: says what is wrong with figures; empty if nothing.
    """

    module: str
    arguments: Callable[[Path, Options], Sequence[str]]
    share_s: float
    figures: str = ""
    wrong: Callable[[Mapping[str, Any]], str] = lambda figures: ""


def _pytest(marker: str) -> Callable[[Path, Options], Sequence[str]]:
    def arguments(folder: Path, options: Options) -> Sequence[str]:
        # Whatever warns there: versions are the machine's, and not those that the tests are kept free of warnings with.
        quiet = ("-W", "default", "-p", "no:cacheprovider")
        more = ["--without_gpu"] if options.without_gpu else []
        return ["tests/gpu", "-m", marker, "-v", "--tb=short", *quiet, f"--gpu_out={folder}", *more]

    return arguments


def _doctor(folder: Path, options: Options) -> Sequence[str]:
    return [f"--seconds={1 if options.without_gpu else 3}", f"--json={folder}/doctor.json"]


def _first_step(folder: Path, options: Options) -> Sequence[str]:
    what = ["mlp", 16, 4] if options.without_gpu else ["resnet", 64, 64]
    values = zip(("model", "image_size", "batch_size", "json"), (*what, folder / "first_step.json"), strict=True)
    return [f"--{name}={value}" for name, value in values]


def _waits(figures: Mapping[str, Any]) -> str:
    """Says which time to the first step is too long; empty if none."""
    seconds = {name: figures[name]["process_s"] for name in _FIRST_STEP_S}
    late = [name for name, most in _FIRST_STEP_S.items() if seconds[name] > most]
    return "; ".join(f"{name} {seconds[name]:.1f} s (at most {_FIRST_STEP_S[name]})" for name in late)


def _speed(folder: Path, options: Options) -> Sequence[str]:
    device = "cpu" if options.without_gpu else "gpu"
    return ["--quick", f"--device={device}", f"--peers_python={options.peers_python}", f"--json={folder}/speed.json"]


def _networks(folder: Path, options: Options) -> Sequence[str]:
    seconds = ["--device=cpu", "--seconds=0"] if options.without_gpu else ["--device=gpu", "--seconds=20"]
    return [*seconds, f"--json={folder}/networks.json"]


def _quality(folder: Path, options: Options) -> Sequence[str]:
    # What it would do, where it can't be done.
    how = ["--dry_run"] if options.without_gpu else []
    given = [f"--{name}={dataset}" for name, dataset in options.data.items() if dataset]
    return ["--device=gpu", f"--only={','.join(_RUNGS)}", f"--out={folder}/ladder", *given, *how]


PARTS: Mapping[str, Part] = {
    "doctor": Part("pipeline.doctor", _doctor, 58, "doctor.json"),
    "tests": Part("pytest", _pytest("gpu"), 175),
    "first_step": Part("benchmarks.first_step", _first_step, 72, "first_step.json", _waits),
    "speed": Part("benchmarks.gpu", _speed, 165, "speed.json"),
    "kills": Part("pytest", _pytest("gpu_slow"), 540),
    "kinds": Part("pytest", _pytest("gpu_kinds"), 240),
    "networks": Part("benchmarks.gpu_networks", _networks, 780, "networks.json"),
    "quality": Part("benchmarks.ladder", _quality, 1800),
}
DEFAULT_PARTS = ("doctor", "tests", "first_step", "speed")
_LONG_PARTS = ("kinds", "networks", "quality")


def define_flags(values: flags.FlagValues) -> None:
    """Adds the check's flags to `values`."""
    flags.DEFINE_list("parts", list(DEFAULT_PARTS), f"what to check: {', '.join(PARTS)}.", flag_values=values)
    help_text = "folder for report, figures and logs; empty takes a new one, runs/gpu-check-TIME."
    flags.DEFINE_string("out", "", help_text, flag_values=values)
    help_text = f"{', '.join(_LONG_PARTS)} besides, which take {_LONG_MINUTES} minutes more."
    flags.DEFINE_bool("quality", False, help_text, flag_values=values)
    for name in ("cifar10", "cats"):
        help_text = f"--dataset of {name} for --quality, such as folder:/data/{name}; empty takes the preset's."
        flags.DEFINE_string(name, "", help_text, flag_values=values)
    help_text = f"time that all parts may take; {_LONG_MINUTES} are added for --quality."
    flags.DEFINE_float("minutes", 8, help_text, lower_bound=0, flag_values=values)
    flags.DEFINE_bool("without_gpu", False, "the same on the CPU, tiny, to try the check itself.", flag_values=values)
    help_text = "what starts an interpreter that has PyTorch; empty leaves PyTorch out."
    flags.DEFINE_string("peers_python", _PLAIN_PYTHON, help_text, flag_values=values)


class _StopError(Exception):
    """A request to stop, with the signal's number."""


def _on_signal(number: int, frame: object) -> None:
    for each in _STOPPING:  # a second one shall not keep the parts' processes from being ended
        signal.signal(each, signal.SIG_IGN)
    raise _StopError(number)


def limits(parts: Sequence[str], seconds: float) -> dict[str, float]:
    """Returns the time after the start at which each part must have ended."""
    behind = [sum(PARTS[name].share_s for name in parts[index + 1 :]) for index in range(len(parts))]
    # With less time than all shares, each has less in proportion.
    scale = min(1.0, seconds / sum(PARTS[name].share_s for name in parts))
    return {name: seconds - scale * each for name, each in zip(parts, behind, strict=True)}


def _end_group(process: subprocess.Popen) -> None:
    """Ends a part and all that it has started."""
    for number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)


def run_part(command: Sequence[str], log: Path, seconds: float, environment: Mapping[str, str]) -> dict[str, Any]:
    """Runs a command.

    Args:
      command: the command.
      log: file for its output.
      seconds: time after which it is ended.
      environment: its environment.

    Returns:
      `verdict` ("passed", "failed" or "timed out"), `seconds`, `status` and the end of what it `said`.

    Raises:
      _StopError: if a request to stop comes meanwhile; the command has been ended.
    """
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=_ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(max(0, seconds))
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end_group(process)
    verdict = "timed out" if status is None else "failed" if status else "passed"
    said = log.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
    return {
        "verdict": verdict,
        "seconds": round(time.monotonic() - started, 1),
        "status": process.returncode,
        "command": shlex.join(command),
        "said": said[-400:],
    }


def check(parts: Sequence[str], out: Path, seconds: float, options: Options) -> tuple[dict[str, Any], int]:
    """Runs parts in turn, and keeps the report as far as it is.

    Args:
      parts: names in `PARTS`.
      out: folder for all files.
      seconds: time that they may take together.
      options: what they are told.

    Returns:
      (what report.json holds, the exit status).
    """
    started, status, name = time.monotonic(), 0, parts[0]
    ends = limits(parts, max(0.0, seconds - _GRACE_S))
    results: dict[str, Any] = {"machine": machine(_ROOT, options.without_gpu)}
    results["parts"] = {each: {"verdict": "not run"} for each in parts}
    try:
        for name in parts:
            left = ends[name] - (time.monotonic() - started)
            print(f"{name} (at most {left:.0f} s) ...", flush=True)
            results["parts"][name] = result = _one(name, out, left, options)
            print(f"  {result['verdict']}, {result['seconds']} s", flush=True)
            _write(out, results)
    except _StopError as stopped:
        results["parts"][name] = {"verdict": "stopped", "tests": read_tests(out / name / "tests.jsonl")}
        status = 128 + stopped.args[0]
    results["seconds"] = round(time.monotonic() - started, 1)
    _write(out, results)
    passed = all(result["verdict"] == "passed" for result in results["parts"].values())
    return results, status or (0 if passed else 1)


def _one(name: str, out: Path, seconds: float, options: Options) -> dict[str, Any]:
    """Runs one part; returns what report.json says of it."""
    part, folder = PARTS[name], out / name
    folder.mkdir()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if options.without_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    command = [sys.executable, "-m", part.module, *part.arguments(folder, options)]
    result = run_part(command, out / f"{name}.log", seconds, environment)
    if part.module == "pytest":
        result["tests"] = read_tests(folder / "tests.jsonl")
    if part.figures:
        result["figures"] = figures = _read_json(folder / part.figures)
        if result["verdict"] == "passed":  # else they may be incomplete
            wrong = part.wrong(figures) if figures else f"it has written no figures into {part.figures}."
            if wrong:
                result["verdict"] = "failed"
                result["said"].append(wrong)
    return result


def _read_json(path: Path) -> Any:
    """Returns a part's figures, or None where it has not come so far."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write(out: Path, results: Mapping[str, Any]) -> None:
    (out / "report.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "report.md").write_text(report(results))


def main(argv: Sequence[str]) -> int:
    """Runs the check; returns its exit status."""
    values = flags.FLAGS
    unknown = [name for name in values.parts if name not in PARTS]
    if len(argv) > 1:
        return _mistake(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
    if unknown or not values.parts or len(set(values.parts)) < len(values.parts):
        return _mistake(f"--parts={','.join(values.parts)} is not known; choose from {', '.join(PARTS)}, each once.")
    if not values.minutes:
        return _mistake("--minutes=0 leaves no time; expected minutes, such as 8.")
    out = Path(values.out or _ROOT / "runs" / time.strftime("gpu-check-%Y%m%d-%H%M%S")).resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            return _mistake(f"--out={values.out} holds files; choose another folder, or remove them.")
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                signal.signal(number, _on_signal)
        data = {"cifar10": values.cifar10, "cats": values.cats}
        options = Options(values.without_gpu, values.peers_python, data)
        parts = [*values.parts, *(name for name in _LONG_PARTS if values.quality and name not in values.parts)]
        minutes = values.minutes + (_LONG_MINUTES if values.quality else 0)
        results, status = check(parts, out, 60 * minutes, options)
    except OSError as error:
        return _mistake(f"--out={values.out} can't be written ({error.strerror}); choose another folder.")
    print(f"\n{report(results)}\nThe report and all figures are in {out}.", flush=True)
    return status


def _mistake(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    sys.modules["__main__"].__doc__ = __doc__
    app.run(main)
