"""Times Mirage's training beside what a user would pick instead, and says how its cost grows.

  python -m benchmarks.train --quick
  python -m benchmarks.train --json=results.json

Parts (--parts):

  peers        the whole trainer, with log lines, previews and checkpoints, against a bare tf.function loop,
               the classic tutorial's loop (tf-keras), Keras 3's fit, and PyTorch eager with fused Adam
  checkpoints  the trainer with a checkpoint each 30 seconds against the same without
  growth       batch 16 to 512, images of 16 to 128 pixels, 1 to 4 replicas, and what a step consists of

All sides train the same networks on the same digits with the same batch, in processes of their own, in
turn, and medians are compared: single figures of a busy machine mean little. PyTorch and tf-keras live in
an environment of their own (make peers).
"""

import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

from benchmarks.results import publish
from benchmarks.worker import Work, Worker, WorkerError
from pipeline.base.quiet_tensorflow import quiet_tensorflow

PARTS = ("peers", "checkpoints", "growth")
_ENOUGH = 10**9
_BATCH_SIZES = {"mlp": 32, "dcgan": 64}
# Steps between two log lines, previews and checkpoints of the trainer: a few seconds each, so that every
# round bears the cost of all of them.
_ROUND_STEPS = {"mlp": 1000, "dcgan": 100}
_QUICK_ROUND_STEPS = {"mlp": 200, "dcgan": 20}
_STEPS_IN_30_S = {"mlp": 6000, "dcgan": 600}

# Name in the table: (contestant, options, whether it lives in the peers' environment).
_SIDES: Mapping[str, tuple[str, Mapping[str, Any], bool]] = {
    "Mirage": ("ours", {}, False),
    "bare tf.function": ("bare", {"jit": False}, False),
    "bare tf.function, XLA": ("bare", {"jit": True}, False),
    "Keras 3 fit": ("keras_fit", {}, False),
    "PyTorch eager": ("pytorch", {}, True),
    "tutorial's loop": ("seed_loop", {}, True),
}


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    flags.DEFINE_bool("quick", False, "two minutes: short rounds of the peers only.", flag_values=values)
    flags.DEFINE_list("parts", list(PARTS), f"what to measure: {', '.join(PARTS)}.", flag_values=values)
    flags.DEFINE_integer("rounds", 7, "measurements of each side.", lower_bound=1, flag_values=values)
    flags.DEFINE_string(
        "peers_python", ".venv-peers/bin/python", "interpreter that has PyTorch and tf-keras.", flag_values=values
    )
    flags.DEFINE_string("json", "", "also write all figures into this file.", flag_values=values)


def race(sides: Mapping[str, Worker], steps: Mapping[str, int], rounds: int) -> dict[str, list[float]]:
    """Trains all sides in turn.

    Args:
      sides: running contestants by name.
      steps: how many steps of each make a round.
      rounds: number of rounds.

    Returns:
      Steps per second of each side in each round.
    """
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            figures[name].append(steps[name] / side.seconds(steps[name]))
    return figures


def peers(networks: str, images: str, peers_python: str, rounds: int, quick: bool) -> dict[str, Any]:
    """Runs the trainer beside its peers; returns steps per second and ratios."""
    round_steps = (_QUICK_ROUND_STEPS if quick else _ROUND_STEPS)[networks]
    work = {"networks": networks, "batch_size": _BATCH_SIZES[networks], "images": images, "round_steps": round_steps}
    with contextlib.ExitStack() as stack:
        sides: dict[str, Worker] = {}
        steps: dict[str, int] = {}
        sizes: dict[str, dict[str, int]] = {}
        for name, (contestant, options, foreign) in _SIDES.items():
            python = peers_python if foreign else sys.executable
            sides[name] = stack.enter_context(Worker(contestant, Work(**work, options=options), python))
        for name, side in sides.items():
            sizes[name] = side.parameters()
        for name, side in sides.items():  # one after the other, so that none is disturbed while it warms up
            if name == "Mirage":
                side.seconds(round_steps)
                steps[name] = round_steps
                seconds = side.seconds(round_steps)
            else:
                side.seconds(3)
                steps[name] = max(1, round(seconds * 10 / side.seconds(10)))
            print(f"  {name} is ready", file=sys.stderr, flush=True)
        if len({json.dumps(size, sort_keys=True) for size in sizes.values()}) > 1:
            raise WorkerError(f"the networks differ: {sizes}")
        figures = race(sides, steps, rounds)
        xla = [line for line in sides["Mirage"].said().splitlines() if line.startswith("XLA:")]
    medians = {name: statistics.median(each) for name, each in figures.items()}
    # Both ways to run the bare loop are its author's to choose.
    bare = max(medians["bare tf.function"], medians["bare tf.function, XLA"])
    return {
        "networks": networks,
        "batch_size": _BATCH_SIZES[networks],
        "parameters": sizes["Mirage"],
        "mirage_says": xla[0] if xla else "",
        "steps_per_s": {name: [round(value, 2) for value in each] for name, each in figures.items()},
        "median": {name: round(value, 2) for name, value in medians.items()},
        "mirage_over": {name: round(medians["Mirage"] / value, 3) for name, value in medians.items()},
        "mirage_over_best_bare": round(medians["Mirage"] / bare, 3),
    }


def checkpoints(networks: str, images: str, rounds: int) -> dict[str, Any]:
    """Compares training with a checkpoint in each round of about 30 seconds with training without."""
    steps = _STEPS_IN_30_S[networks]
    work = {"networks": networks, "batch_size": _BATCH_SIZES[networks], "images": images, "round_steps": steps}
    with contextlib.ExitStack() as stack:
        sides = {}
        for name, options in (("with", {}), ("without", {"checkpoint_every": _ENOUGH})):
            sides[name] = stack.enter_context(Worker("ours", Work(**work, options=options)))
            sides[name].parameters()
            sides[name].seconds(steps)
        figures = race(sides, dict.fromkeys(sides, steps), rounds)
    medians = {name: statistics.median(each) for name, each in figures.items()}
    return {
        "networks": networks,
        "steps_per_round": steps,
        "steps_per_s": {name: [round(value, 2) for value in each] for name, each in figures.items()},
        "seconds_per_round": round(steps / medians["with"], 1),
        "ratio": round(statistics.median(a / b for a, b in zip(figures["with"], figures["without"], strict=True)), 4),
    }


def growth(rounds: int) -> list[dict[str, Any]]:
    """Measures how the cost of a step grows, see `benchmarks.growth`."""
    from benchmarks import growth as study

    rows = []
    for point in study.points():
        ms = study.measure(point, rounds, round_s=1.0)
        rows.append({**vars(point), **{name: round(value, 3) for name, value in ms.items()}})
        print(f"  {point} {ms['total']:.1f} ms", file=sys.stderr, flush=True)
    return rows


def machine() -> dict[str, Any]:
    """Describes where the figures come from."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    versions = {}
    for name in ("tensorflow-cpu", "tensorflow", "keras"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), **versions}


def _save_images(path: str) -> None:
    from pipeline.config import Config
    from pipeline.data.dataset import load

    np.save(path, load(Config()).images)


def report(results: Mapping[str, Any]) -> str:
    """Writes the figures as Markdown tables."""
    lines = [", ".join(f"{name} {value}" for name, value in results["machine"].items())]
    for row in results.get("peers", ()):
        lines += ["", f"{row['networks']}, batch {row['batch_size']}: {row['mirage_says']}", ""]
        lines += ["| side | steps/s, median | Mirage is ... times as fast |", "| --- | --- | --- |"]
        lines += [f"| {name} | {row['median'][name]:,.1f} | {row['mirage_over'][name]:.2f} |" for name in _SIDES]
        lines.append(f"| the better bare loop | | {row['mirage_over_best_bare']:.3f} |")
    if results.get("checkpoints"):
        lines += ["", "| networks | seconds per round | speed with a checkpoint per round / without |"]
        lines.append("| --- | --- | --- |")
        lines += [f"| {c['networks']} | {c['seconds_per_round']} | {c['ratio']:.4f} |" for c in results["checkpoints"]]
    if results.get("growth"):
        columns = ("total", "compute", "all_reduce", "input", "launch")
        lines += ["", f"| study | batch | pixels | replicas | images/s | {' | '.join(f'{c} ms' for c in columns)} |"]
        lines.append("|" + " --- |" * (5 + len(columns)))
        for row in results["growth"]:
            rate = row["batch_size"] / row["total"] * 1e3
            shares = " | ".join(f"{row[column]:.2f}" for column in columns)
            facts = f"{row['study']} | {row['batch_size']} | {row['image_size']} | {row['replicas']}"
            lines.append(f"| {facts} | {rate:,.0f} | {shares} |")
    return "\n".join(lines)


def run(parts: Sequence[str], rounds: int, quick: bool, peers_python: str) -> dict[str, Any]:
    """Measures the parts; returns all figures."""
    results: dict[str, Any] = {"machine": machine()}
    if "growth" in parts:
        from benchmarks.growth import split_cpu

        split_cpu()  # before anything starts TensorFlow
    with tempfile.TemporaryDirectory() as folder:
        images = str(Path(folder) / "images.npy")
        _save_images(images)
        for part in parts:
            print(f"{part} ...", file=sys.stderr, flush=True)
            if part == "growth":
                results[part] = growth(rounds)
            elif part == "checkpoints":
                results[part] = [checkpoints(networks, images, rounds) for networks in _BATCH_SIZES]
            else:
                results[part] = [peers(networks, images, peers_python, rounds, quick) for networks in _BATCH_SIZES]
    return results


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark."""
    logging.set_verbosity(logging.ERROR)  # tensorflow-datasets tells much that helps nobody
    values = flags.FLAGS
    parts = ["peers"] if values.quick else values.parts
    mistake = ""
    if len(argv) > 1 or not set(parts) <= set(PARTS):
        mistake = f"--parts={','.join(parts)} is not known; choose from {', '.join(PARTS)}."
    elif "peers" in parts and not Path(values.peers_python).exists():
        mistake = f"--peers_python={values.peers_python} is missing; make peers installs PyTorch and tf-keras there."
    if mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 1
    try:
        results = run(parts, 3 if values.quick else values.rounds, values.quick, values.peers_python)
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    publish(results, report(results), values.json)
    return 0


if __name__ == "__main__":
    quiet_tensorflow()
    define_flags(flags.FLAGS)
    app.run(main)
