"""Times the presets of R3GAN's and StyleGAN2's networks on a GPU: images/s, memory, share of the card's peak.

  python -m benchmarks.gpu_networks
  python -m benchmarks.gpu_networks --seconds=20 --json=results.json
  python -m benchmarks.gpu_networks --device=cpu

Each is `python -m pipeline --flagfile=configs/PRESET.flags` on random pictures, as a user would start it, watched for
--seconds after its third line of figures. --jobs of them get ready (import, trace, compile) at the same time; then all
are stopped, and one after the other goes on alone. The share counts the multiplications and additions of convolutions
and matrix products in TensorFlow's graph of a step, without the terms that are not in every step.
"""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.gpu_card import card, peak, process_mib, visible_gpus
from benchmarks.ladder_run import Child, read_lines
from benchmarks.results import save
from benchmarks.worker import Work, Worker, WorkerError
from pipeline.base.errors import MISTAKE

_EXAMPLES, _LOG_EVERY, _LINES = 4096, 20, 3
_PAUSE_S = 0.5  # in which what a stopped process has begun on the GPU ends
_COUNTED_BATCH = 4
_TABLE = "| preset | pixels | batch | images/s | MiB held | operations per image, 10^9 | share of peak |"


@dataclasses.dataclass(frozen=True)
class Preset:
    """What is timed.

    Attributes:
      file: its path below configs/, without the suffix.
      size: side of the pictures in pixels.
      precision: as `gpu_card.peak` knows it, of the same speed as the preset's.
      more: flags besides, so that it fits one GPU.
    """

    file: str
    size: int
    precision: str
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.file.rpartition("/")[2]


PRESETS = (
    Preset("r3gan_cifar10", 32, "mixed_bfloat16"),
    Preset("r3gan_256", 256, "mixed_bfloat16", ("--batch_size=32",)),
    Preset("stylegan2_auto", 128, "mixed_bfloat16"),
    Preset("stylegan2_ffhq256", 256, "mixed_bfloat16", ("--batch_size=32", "--strategy=auto")),
    Preset("ladder/cifar10-32-5-gpu", 32, "tf32"),
    Preset("ladder/cats-128-5-gpu", 128, "tf32"),
)
# So small that all can be tried on a CPU.
_TINY = {
    "ladder/": ("--model_args=width=4",),
    "r3gan": ("--model_args=width=16,group=8,blocks=1",),
    "stylegan2": ("--model_args=channel_base=128,channel_max=8,w_dim=8,mapping_layers=1", "--r1=0.1"),
}


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    known = ", ".join(each.file for each in PRESETS)
    flags.DEFINE_list("presets", [each.file for each in PRESETS], f"which: {known}.", flag_values=values)
    flags.DEFINE_float("seconds", 15, "how long each is watched.", lower_bound=0, flag_values=values)
    flags.DEFINE_float("timeout_s", 240, "how long each may take until then.", lower_bound=1, flag_values=values)
    help_text = "how many get ready at the same time: all must find room in the GPU's memory."
    flags.DEFINE_integer("jobs", 1, help_text, lower_bound=1, flag_values=values)
    help_text = "where; cpu tries all with tiny networks."
    flags.DEFINE_enum("device", "gpu", ["gpu", "cpu"], help_text, flag_values=values)
    flags.DEFINE_string("json", "", "also write all figures into this file.", flag_values=values)


def command(preset: Preset, folder: Path, *, tiny: bool) -> list[str]:
    """What `python -m` is called with to train.

    Args:
      preset: what.
      folder: where pictures and run directory lie.
      tiny: whether for a CPU.
    """
    size = 32 if tiny else preset.size
    data = (f"--dataset=array:{folder}/{size}.npz", f"--image_size={size}", "--split=train")
    often = (f"--log_every={2 if tiny else _LOG_EVERY}", "--preview_every=1000000", "--checkpoint_every=1000000")
    more = preset.more
    if tiny:
        networks = next(flags for start, flags in _TINY.items() if preset.file.startswith(start))
        more = (*networks, "--batch_size=4", "--precision=float32")
    flagfile = f"--flagfile=configs/{preset.file}.flags"
    return ["pipeline", flagfile, *data, "--steps=1000000", *often, *more, f"--run_dir={folder}/{preset.name}"]


@dataclasses.dataclass
class Training:
    """One preset's process, until it has been timed.

    Attributes:
      child: says what it has said.
      process: the process.
      run_dir: what it writes.
      error: why it can't be timed, if so.
    """

    child: Child
    process: subprocess.Popen
    run_dir: Path
    error: str = ""

    def lines(self) -> list[dict[str, Any]]:
        """Its figures so far."""
        return read_lines(self.run_dir / "metrics.jsonl")

    def config(self) -> dict[str, Any] | None:
        """What it trains; None as long as it hasn't told."""
        try:
            return json.loads((self.run_dir / "config.json").read_text())["config"]
        except FileNotFoundError:
            return None

    def goes_on(self) -> bool:
        """Whether it still runs and can be timed; else why not is noted."""
        if not self.error and self.process.poll() is not None:
            self.error = self.child.said()
        return not self.error

    def get_ready(self, deadline: float) -> None:
        """Waits for its third line, and stops it there."""
        while self.goes_on() and len(self.lines()) < _LINES:
            if time.monotonic() > deadline:
                self.error = "it took too long to begin (--timeout_s)"
            time.sleep(0.1)
        self.send(signal.SIGSTOP)

    def time(self, seconds: float, deadline: float) -> dict[str, Any]:
        """Lets it go on, alone.

        Returns:
          `images_per_s`, `batch_size`, `start_s`, `mib` (None where nvidia-smi doesn't tell), `xla`, what --jit=auto
          found; nothing if it ended before that.
        """
        self.send(signal.SIGCONT)
        # What was begun before the stop, and the line after it, count for nothing.
        first, most = len(self.lines()) + 1, None
        while self.goes_on():
            held = process_mib(self.process.pid)
            most = held if most is None else max(most, held or 0)
            lines = self.lines()
            if len(lines) > first + 1 and lines[-1]["seconds"] - lines[first]["seconds"] >= seconds:
                break
            if time.monotonic() > deadline:
                self.error = "its steps took too long (--timeout_s)"
            time.sleep(0.5)
        else:
            return {}
        begun, last, config = lines[first], lines[-1], self.config() or {}
        return {
            "images_per_s": (last["images"] - begun["images"]) / (last["seconds"] - begun["seconds"]),
            "batch_size": config["batch_size"],
            "start_s": lines[_LINES - 1]["seconds"],
            "mib": most,
            "xla": next(
                (line for line in self.child.log.read_text(errors="replace").splitlines() if line.startswith("XLA: ")),
                "",
            ),
        }

    def send(self, number: int) -> None:
        """Sends a signal, if there still is a process."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


def operations(training: Training, size: int, timeout_s: float) -> int | None:
    """Multiplications and additions for each picture of a step; None, and a line, where they can't be counted."""
    while (config := training.config()) is None:
        if not training.goes_on():
            return None
        time.sleep(0.1)
    kept = ("model", "model_args", "objective", "gamma", "conditional", "conditioning", "latent_dim")
    values = {**{name: config[name] for name in kept}, "batch_size": _COUNTED_BATCH}
    options = {"image_shape": (size, size, 3), "config": values}
    try:
        with Worker("gpu_operations", Work(config["model"], _COUNTED_BATCH, "", 0, options), timeout_s=timeout_s) as it:
            return it.parameters()["operations"] // _COUNTED_BATCH
    except WorkerError as error:
        print(f"the operations of {config['model']} can't be counted: {error.reason}", file=sys.stderr)
        return None


def measure(presets: Sequence[Preset], values: Any) -> dict[str, Any]:
    """Times presets in turn; returns all figures, `error` where one failed."""
    tiny, rows = values.device == "cpu", []
    name = "" if tiny else card()
    with tempfile.TemporaryDirectory(prefix="mirage-networks-") as place, tempfile.TemporaryFile() as lock:
        folder = Path(place)
        for size in {32} if tiny else {each.size for each in presets}:
            images = np.random.default_rng(0).integers(0, 256, (64 if tiny else _EXAMPLES, size, size, 3), np.uint8)
            np.savez(folder / f"{size}.npz", images=images, labels=np.arange(len(images)) % 10)
        for start in range(0, len(presets), values.jobs):
            together = presets[start : start + values.jobs]
            for each, row in zip(together, _time(together, folder, lock.fileno(), values), strict=True):
                row = {"preset": each.file, "pixels": 32 if tiny else each.size, **row}
                best = peak(name, each.precision)
                if best and row.get("operations"):
                    row["share"] = row["operations"] * row["images_per_s"] / best
                rows.append(row)
                print(_line(row), flush=True)
            results = {"card": name, "rows": rows}
            save(results, values.json)  # what is there, should the rest be stopped
    return results


def _time(presets: Sequence[Preset], folder: Path, lock: int, values: Any) -> list[dict[str, Any]]:
    """Starts presets at the same time, and times each alone; returns what is known of each, or its `error`."""
    tiny, deadline = values.device == "cpu", time.monotonic() + values.timeout_s
    # Else TensorFlow takes all memory from the start.
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if tiny else {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(len(presets)) as pool, contextlib.ExitStack() as stack:
        trainings = []
        for each in presets:
            log = folder / f"{each.name}.log"
            child = Child(
                command(each, folder, tiny=tiny), log, lock, hidden, signal.SIGKILL
            )  # others reach none that is stopped
            trainings.append(Training(child, stack.enter_context(child), folder / each.name))
            stack.callback(trainings[-1].send, signal.SIGCONT)  # stopped, it could not end
        sizes = [32 if tiny else each.size for each in presets]
        counting = [pool.submit(operations, *each, values.timeout_s) for each in zip(trainings, sizes, strict=True)]
        for training in trainings:
            training.get_ready(deadline)
        counts = [each.result() for each in counting]
        for training, count in zip(trainings, counts, strict=True):
            time.sleep(_PAUSE_S)
            row = (
                training.time(values.seconds, time.monotonic() + values.timeout_s + values.seconds)
                if training.goes_on()
                else {}
            )
            rows.append({"error": training.error} if training.error else {**row, "operations": count})
            training.process.kill()
            training.process.wait()  # which gives back its memory
    return rows


def _line(row: Mapping[str, Any]) -> str:
    if "error" in row:
        return f"| {row['preset']} | {row['pixels']} | | {row['error']} | | | |"
    mib = "" if row["mib"] is None else f"{row['mib']:,.0f}"
    work = "" if row["operations"] is None else f"{row['operations'] / 1e9:.2f}"
    share = f"{row['share']:.1%}" if "share" in row else ""
    figures = f"{row['batch_size']} | {row['images_per_s']:,.1f} | {mib} | {work} | {share}"
    return f"| {row['preset']} | {row['pixels']} | {figures} |"


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; returns the exit status."""
    values = flags.FLAGS
    unknown = [name for name in values.presets if name not in [each.file for each in PRESETS]]
    problem = ""
    if len(argv) > 1:
        problem = f"{argv[1]!r} is not a flag; expected only --name=value, see --help."
    elif unknown or not values.presets:
        problem = f"--presets={','.join(values.presets)} is not known; choose from those in --help."
    elif values.device == "gpu" and not visible_gpus():
        problem = "--device=gpu finds no GPU; python -m pipeline.doctor says why, and --device=cpu tries all without."
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        return MISTAKE
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    print(f"{_TABLE}\n{'| --- ' * _TABLE.count(' | ')}| --- |", flush=True)
    results = measure([each for each in PRESETS if each.file in values.presets], values)
    return int(any("error" in row for row in results["rows"]))


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    sys.modules["__main__"].__doc__ = __doc__
    app.run(main)
