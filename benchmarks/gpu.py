"""Times Mirage's training on a GPU beside PyTorch, eager and compiled, and says how it grows.

  python -m benchmarks.gpu --quick
  python -m benchmarks.gpu --networks=dcgan64 --precisions=tf32 --json=results.json
  python -m benchmarks.gpu --device=cpu

Parts (--parts):

  same     whether PyTorch's networks, losses, penalties and gradients are ours, on the CPU, at the same weights
  peers    every way to train, with R3GAN's two penalties: Mirage with and without XLA, PyTorch eager, torch.compile,
           each with and without CUDA graphs
  batch    batch 64 to 1024
  devices  1, 2 and 4 logical GPUs

Each side trains in a process of its own, all of one precision in turn, and medians of rounds are compared. Mirage is
the whole trainer with default flags; PyTorch is a loop that does nothing but train, at its best: data on the GPU,
channels last, cuDNN's benchmark, fused Adam, TF32 or autocast bfloat16, and with `torch.compile` one graph for each
update, second-order gradients included (`benchmarks/torch_r3gan.py` says how). All is compiled anew each time.

PyTorch's interpreter may need another environment than TensorFlow's: --peers_python takes a command, such as
"env -u PYTHONPATH -u LD_LIBRARY_PATH python3".
"""

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.gpu_card import driver, visible_gpus
from benchmarks.gpu_race import PRECISIONS, SIDES, Case, Entry, Settings, count_operations, race, say
from benchmarks.gpu_report import TOLERANCE, ratios, report, with_shares
from benchmarks.results import save
from benchmarks.train import machine
from benchmarks.worker import Work, Worker, WorkerError, command_of

PARTS = ("same", "peers", "batch", "devices")
_TRAINED = ("peers", "batch", "devices")
NETWORKS = {
    "dcgan28": Case("dcgan", 28, 1, 64),
    "dcgan64": Case("dcgan", 64, 3, 256),
    "resnet64": Case("resnet", 64, 3, 256),
}
# So small that every path can be tried on a CPU.
ON_CPU = {
    "dcgan28": Case("dcgan", 28, 1, 4),
    "dcgan64": Case("dcgan", 16, 3, 4),
    "resnet64": Case("resnet", 16, 3, 4),
}
_BATCHES, _BATCHES_ON_CPU = (64, 128, 256, 512, 1024), (2, 4)
_DEVICES, _DEVICES_ON_CPU = (1, 2, 4), (1, 2)
_QUICK_SIDES = ("Mirage, XLA", "PyTorch eager", "torch.compile, CUDA graph")
_GROWN_SIDES = ("Mirage, XLA", "torch.compile, CUDA graph")
_EXAMPLES = 4096


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    flags.DEFINE_bool("quick", False, "three minutes: dcgan, three sides, short rounds.", flag_values=values)
    flags.DEFINE_list("parts", list(PARTS), f"what to measure: {', '.join(PARTS)}.", flag_values=values)
    flags.DEFINE_list("networks", list(NETWORKS), f"of which: {', '.join(NETWORKS)}.", flag_values=values)
    flags.DEFINE_list("precisions", list(PRECISIONS), f"in which: {', '.join(PRECISIONS)}.", flag_values=values)
    flags.DEFINE_integer("rounds", 7, "measurements of each side.", lower_bound=1, flag_values=values)
    flags.DEFINE_float("round_s", 2.0, "about how long each takes.", lower_bound=0, flag_values=values)
    flags.DEFINE_integer(
        "jobs",
        1,
        "how many sides get ready at the same time; more are sooner ready, and disturb each other where they choose "
        "kernels by timing them.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_float("timeout_s", 300, "how long a side may keep silent.", lower_bound=1, flag_values=values)
    flags.DEFINE_enum("device", "gpu", ["gpu", "cpu"], "where; cpu tries all with tiny sizes.", flag_values=values)
    flags.DEFINE_string(
        "peers_python",
        ".venv-peers/bin/python",
        "what starts an interpreter that has PyTorch; empty leaves it out.",
        flag_values=values,
    )
    flags.DEFINE_string("json", "", "also write all figures into this file.", flag_values=values)


def groups(part: str, values: Any) -> Iterator[list[Entry]]:
    """Yields who trains at the same time.

    Args:
      part: "peers", "batch" or "devices".
      values: the flags.
    """
    on_cpu = values.device == "cpu"
    cases = ON_CPU if on_cpu else NETWORKS
    sides = [side for side in SIDES if not (side.needs_gpu and on_cpu) and (values.peers_python or not side.foreign)]
    if part == "peers":
        for name in values.networks:
            by_precision = [[Entry(cases[name], each, side) for side in sides] for each in values.precisions]
            if values.quick:
                yield [entry for row in by_precision for entry in row if entry.side.name in _QUICK_SIDES]
            else:
                yield from by_precision
        return
    networks, size, channels = cases["dcgan64"].networks, cases["dcgan64"].image_size, cases["dcgan64"].channels
    if part == "batch":
        for batch in _BATCHES_ON_CPU if on_cpu else _BATCHES:
            case = Case(networks, size, channels, batch)
            yield [Entry(case, "tf32", side) for side in sides if side.name in _GROWN_SIDES]
        return
    for devices in _DEVICES_ON_CPU if on_cpu else _DEVICES:
        case = Case(networks, size, channels, cases["dcgan64"].batch_size, devices)
        for side in sides:
            # XLA can't compile across several CPU devices.
            if not side.foreign and not (on_cpu and devices > 1 and side.options["flags"]["jit"] == "on"):
                yield [Entry(case, "tf32", side)]


def compare(networks: Sequence[str], peers_python: str, timeout_s: float) -> list[dict[str, Any]]:
    """Compares PyTorch's networks, losses and gradients with ours, on the CPU.

    Args:
      networks: of which, by their names in `NETWORKS`.
      peers_python: what starts the interpreter that has PyTorch.
      timeout_s: how long a process may keep silent.

    Returns:
      For each: its name, the largest differences, and the counts of operations: ours, theirs, theirs as they are
      compiled; or error.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in networks:
            case = NETWORKS[name]
            options = {"exchange": str(Path(folder) / f"{name}.npz"), "image_shape": case.image_shape}
            work = Work(case.networks, 4, "", 0, options)
            rows.append({"name": name, "error": ""})
            try:
                counted = count_operations([case], timeout_s)[case.networks, case.image_shape] * work.batch_size
                with Worker("gpu_same_ours", work, timeout_s=timeout_s) as ours:
                    ours.parameters()
                with Worker("gpu_same_pytorch", work, peers_python, timeout_s) as theirs:
                    theirs.parameters()
                    facts = theirs.facts()
                rows[-1]["operations"] = [counted, facts.pop("operations"), facts.pop("operations (torch.func)")]
                rows[-1]["differences"] = facts
                say(f"{name}: differs from PyTorch by at most {max(facts.values()):.1e}")
            except WorkerError as error:
                rows[-1]["error"] = error.reason
                say(f"{name} can't be compared: {error}")
    return rows


def run(parts: Sequence[str], values: Any) -> dict[str, Any]:
    """Measures the parts; returns all figures."""
    raced = {part: list(groups(part, values)) for part in parts if part in _TRAINED}
    cases = {entry.case: None for part in raced.values() for group in part for entry in group}
    results: dict[str, Any] = {"machine": {**machine(), "driver": driver()}, "versions": {}, "uncounted": ""}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        counting = pool.submit(_counted, list(cases), values.timeout_s)
        images = {case.image_shape: str(Path(folder) / f"{case.image_size}.npy") for case in cases}
        for shape, path in images.items():
            np.save(path, np.random.default_rng(0).integers(0, 256, (_EXAMPLES, *shape), np.uint8))
        settings = Settings(
            values.device, values.peers_python, values.rounds, values.round_s, values.jobs, values.timeout_s, images
        )
        for part in parts:
            say(f"{part} ...")
            if part == "same":
                results[part] = compare(values.networks, values.peers_python, values.timeout_s)
            else:
                results[part] = []
            for group in raced.get(part, ()):
                rows = race(group, settings)
                counts, results["uncounted"] = counting.result()
                results[part] += with_shares(rows, counts)
                save(results, values.json)  # what is there, should the rest be stopped
    for row in _rows(results):
        results["machine"]["card"] = row.get("card", "none")
        results["versions"]["Mirage" if row["family"] == "Mirage" else "PyTorch"] = row["versions"]
    results["ratios"] = ratios(results.get("peers", ()))
    save(results, values.json)
    return results


def _counted(cases: Sequence[Case], timeout_s: float) -> tuple[dict[tuple[str, tuple[int, int, int]], int], str]:
    """The operations of each pair of networks, or why they are not known."""
    try:
        return count_operations(cases, timeout_s), ""
    except WorkerError as error:
        say(f"the operations can't be counted: {error}")
        return {}, error.reason


def _rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for part in _TRAINED for row in results.get(part, ()) if not row["error"]]


def failures(results: Mapping[str, Any]) -> list[str]:
    """Lists what went wrong: sides that failed, networks that differ, operations that could not be counted."""
    failed = [f"{row['side']}: {row['error']}" for part in _TRAINED for row in results.get(part, ()) if row["error"]]
    for row in results.get("same", ()):
        failed += [f"{row['name']}: {row['error']}"] if row["error"] else []
        different = [(what, x) for what, x in row.get("differences", {}).items() if not x <= TOLERANCE]
        failed += [f"{row['name']}: {what} differ by {x:.1e}" for what, x in different]
    if results["uncounted"]:
        failed.append(f"operations: {results['uncounted']}")
    sizes: dict[tuple[Any, ...], set[str]] = {}
    for row in _rows(results):
        sizes.setdefault(_pair(row), set()).add(json.dumps(row["parameters"], sort_keys=True))
    failed += [f"the networks differ: {', '.join(sorted(each))}" for each in sizes.values() if len(each) > 1]
    return failed


def _pair(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["networks"], row["image_size"], row["channels"]


def _mistake(parts: Sequence[str], values: Any) -> str:
    for name, given, known in (
        ("parts", parts, PARTS),
        ("networks", values.networks, NETWORKS),
        ("precisions", values.precisions, PRECISIONS),
    ):
        if not given or not set(given) <= set(known):
            return f"--{name}={','.join(given)} is not known; choose from {', '.join(known)}."
    if not values.peers_python and "same" in parts:
        return "--parts=same compares with PyTorch, and --peers_python is empty; name an interpreter, or other --parts."
    if values.peers_python and shutil.which(command_of(values.peers_python)[0]) is None:
        return f"--peers_python={values.peers_python} is missing; make peers installs PyTorch there."
    if values.json and not Path(values.json).absolute().parent.is_dir():
        return f"--json={values.json} is in a folder that is missing; make it, or name another file."
    if values.device == "gpu" and not visible_gpus():
        return "--device=gpu finds no GPU; python -m pipeline.doctor says why, and --device=cpu tries all without one."
    return ""


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark."""
    values = flags.FLAGS
    if values.quick:
        values.networks, values.precisions = ["dcgan28", "dcgan64"], ["tf32", "mixed_bfloat16"]
        values.rounds, values.round_s, values.jobs, values.timeout_s = 3, 0.5, 6, 120
    parts = ["peers"] if values.quick else values.parts
    mistake = f"unexpected argument {argv[1]}." if len(argv) > 1 else _mistake(parts, values)
    if mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 1
    # As an interrupt, so that processes and files go away when a time limit ends this.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    results = run(parts, values)
    print(report(results))
    failed = failures(results)
    for failure in failed:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    app.run(main)
