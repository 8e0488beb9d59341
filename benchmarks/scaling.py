"""Counts what a training step does on each replica, and models how it scales.

  python -m benchmarks.scaling --batch_size=256 --image_size=64 --images_per_s=26250 --local_batch=256
  python -m benchmarks.scaling --model=resnet --width=896 --image_size=32 --latent_dim=64 --batch_size=512
  python -m benchmarks.scaling --flagfile=configs/multi_gpu_64.flags
  python -m benchmarks.scaling --parts=check

Parts (--parts):

  count  collectives, arithmetic, input, random numbers and checkpoint of a step, read from its traced graph
  model  from these and from given speeds, the efficiency on 8 to 1,000 GPUs
  check  the model beside what this machine measures: 1, 2, 4 replicas on logical devices, processes on loopback

Flags of python -m pipeline choose what is trained; its data are not read (--channels, --classes and --examples
describe them). Nothing here is measured on a GPU: the speeds are flags, whose defaults BUILD.md explains. --width=896
gives `resnet` the size of the networks of arXiv 2501.05441 for 32 pixels: 21 million weights, 7 billion multiply-adds.
"""

import dataclasses
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from benchmarks.results import publish
from benchmarks.scaling_model import Device, Wire, step_seconds
from pipeline import __main__ as training
from pipeline.base.errors import MirageError
from pipeline.base.quiet_tensorflow import quiet_tensorflow
from pipeline.config import Config
from pipeline.data.spec import DataSpec

PARTS = ("count", "model", "check")
MACHINES = {
    "1 GPU": 1,
    "8 GPUs, NVLink": 8,
    "2 machines of 8": 16,
    "8 machines of 8": 64,
    "125 machines of 8": 1000,
}
_GPUS = 8  # of each machine
_CHECK_STEPS, _LOOPBACK_STEPS = 6, 2


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    flags.DEFINE_list("parts", ["count", "model"], f"what to do: {', '.join(PARTS)}.", flag_values=values)
    for name, default, text in (
        ("replicas", 8, "replicas among which the batch of `count` is shared."),
        ("local_batch", 0, "images of each replica where their number stays; 0 takes batch_size / replicas."),
        ("channels", 3, "channels of the images, 1 or 3."),
        ("classes", 10, "number of classes, of conditional networks."),
        ("examples", 50000, "number of training images."),
        ("width", 0, "feature planes of resnet at every size; 0 leaves its own."),
        ("rounds", 5, "measurements of each side of the check."),
    ):
        lowest = 0 if default == 0 else 1
        flags.DEFINE_integer(name, default, text, lower_bound=lowest, flag_values=values)
    for name, number, text in (
        ("peak_tflops", 494.0, "a GPU's peak, in 10^12 operations per second."),
        ("peak_share", 0.35, "share of the peak that training reaches."),
        ("launch_us", 2.4, "shortest time of an operation on the GPU, in microseconds."),
        ("link_gb_s", 370.0, "bus bandwidth of collectives within a machine, in 10^9 bytes per second."),
        ("network_gb_s", 11.7, "the same between machines, for each machine."),
        ("start_us", 30.0, "time of an empty collective within a machine, in microseconds."),
        ("hop_us", 10.0, "time from one machine to another, in microseconds."),
        ("disk_gb_s", 1.0, "speed at which the chief writes checkpoints; 0 measures the folder for temporary files."),
        ("images_per_s", 0.0, "measured speed of one GPU at --local_batch; takes the place of the peak's share."),
    ):
        flags.DEFINE_float(name, number, text, lower_bound=0.0, flag_values=values)
    flags.DEFINE_string("json", "", "also write all figures into this file.", flag_values=values)


def count(plan: Any, config: Config) -> dict[str, Any]:
    """Says what a step of one replica does, from its `StepPlan`."""
    gradients, norms = plan.messages(gradients=True), plan.messages(gradients=False)
    return {
        "images of a replica": plan.local_batch,
        "weights": plan.weights,
        "collectives of gradients and metrics": gradients,
        "of these, bytes of metrics": 4 * plan.metrics,
        "collectives of batch norm": norms,
        "bytes reduced": sum(gradients) + sum(norms),
        "multiply-adds": plan.macs,
        "multiply-adds per image": round(plan.macs / plan.local_batch),
        "operations started": plan.launches,
        "random numbers drawn": plan.random_numbers,
        "bytes of input": plan.input_bytes,
        "calls from Python": round(1 / config.steps_per_call, 3),
        "bytes of a checkpoint": plan.checkpoint_bytes,
    }


def model(plan: Any, config: Config, local_batch: int, device: Device, wire: Wire) -> list[dict[str, Any]]:
    """Models a step on each of `MACHINES`, at the same global and at the same local batch.

    Args:
      plan: one replica's step.
      config: its batch size is the global batch that is kept.
      local_batch: the local batch that is kept.
      device: what computes.
      wire: what carries the collectives.

    Returns:
      A row for each; `efficiency` is images per second over those of as many single GPUs with the global batch
      (kept global batch) or the local batch (kept local batch); `without_overlap` is the same if nothing were computed
      while something is reduced. Rows with fewer images than GPUs have None.
    """
    rows = []
    for kept in ("global", "local"):
        one = (config.batch_size if kept == "global" else local_batch) / plan.local_batch
        alone = step_seconds(plan.tasks, device, wire, 1, growth=one)[0]
        for name, replicas in MACHINES.items():
            images = config.batch_size / replicas if kept == "global" else local_batch
            row = {"kept": kept, "machines": name, "replicas": replicas, "local_batch": images}
            if images < 1:
                rows.append({**row, "ms": None, "efficiency": None, "without_overlap": None})
                continue
            total, computing = step_seconds(plan.tasks, device, wire, replicas, growth=images / plan.local_batch)
            apart = computing + sum(wire.seconds(task.message, replicas) for task in plan.tasks if task.message)
            fair = alone / replicas if kept == "global" else alone
            rows.append({**row, "ms": total * 1e3, "efficiency": fair / total, "without_overlap": fair / apart})
    return rows


def disk_bytes_per_s() -> float:
    """Writes 256 MB to the folder for temporary files."""
    block = bytes(2**24)
    folder = Path(tempfile.mkdtemp())
    try:
        start = time.perf_counter()
        with open(folder / "block", "wb", buffering=0) as file:
            for _ in range(16):
                file.write(block)
        return 16 * len(block) / (time.perf_counter() - start)
    finally:
        shutil.rmtree(folder)


def report(results: Mapping[str, Any]) -> str:
    """Writes the figures as Markdown tables."""
    lines: list[str] = []
    if "count" in results:
        lines += ["| in a step, on each replica (counted) | |", "| --- | --- |"]
        lines += [f"| {name} | {_shown(value)} |" for name, value in results["count"].items()]
        lines.append(f"| seconds to write a checkpoint | {results['checkpoint_s']:.2f} |")
    if "model" in results:
        lines += ["", "| batch kept | machines (modelled) | images of a GPU | ms | efficiency | without overlap |"]
        lines.append("|" + " --- |" * 6)
        for row in results["model"]:
            figures = [row["ms"], row["efficiency"], row["without_overlap"]]
            if row["ms"] is None:
                shown = "fewer images than GPUs | | "
            else:
                shown = f"{figures[0]:.2f} | {figures[1]:.1%} | {figures[2]:.1%}"
            lines.append(f"| {row['kept']} | {row['machines']} | {row['local_batch']:g} | {shown} |")
    if "check" in results:
        lines += ["", "| checked here | replicas | images each | delay ms | measured ms | modelled ms | ratio |"]
        lines.append("|" + " --- |" * 7)
        for row in results["check"]:
            ratio = row["modelled"] / row["measured"]
            shown = f"{row['measured']:.1f} | {row['modelled']:.1f} | {ratio:.3f}"
            lines.append(f"| {row['what']} | {row['replicas']} | {row['local_batch']} | {row['delay_ms']} | {shown} |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:,}" for name, number in value.items())
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(f'{number:,}' for number in value)}" if value else "none"
    return f"{value:,}"


def run(values: flags.FlagValues) -> dict[str, Any]:
    """Does the parts that the flags name; returns all figures.

    Raises:
      MirageError: if the flags contradict each other.
    """
    config = training.config_from_flags(values).plain()
    config.validate()
    if unknown := set(values.parts) - set(PARTS):
        raise MirageError(f"--parts={','.join(sorted(unknown))} is not known; choose from {', '.join(PARTS)}.")
    if config.batch_size % values.replicas:
        raise MirageError(
            f"--batch_size={config.batch_size} can't be shared by --replicas={values.replicas}; choose a multiple."
        )
    if values.width and config.model != "resnet":
        raise MirageError(f"--width={values.width} is for --model=resnet, not for --model={config.model}.")
    if values.images_per_s and not values.local_batch:
        raise MirageError("--images_per_s needs the --local_batch at which it was measured.")
    results: dict[str, Any] = {}
    data = _data(config, values)
    from benchmarks.growth import split_cpu

    split_cpu()  # before anything starts TensorFlow
    if {"count", "model"} & set(values.parts):
        _count_and_model(config, data, values, results)
    if "check" in values.parts:
        from benchmarks import scaling_check

        rows = scaling_check.on_logical_devices(config, data, values.rounds, _CHECK_STEPS)
        rows += scaling_check.on_loopback(config, data, 2, _LOOPBACK_STEPS)
        results["check"] = [vars(row) for row in rows]
    return results


def _count_and_model(config: Config, data: DataSpec, values: flags.FlagValues, results: dict[str, Any]) -> None:
    from benchmarks.step_plan import TRACED_REPLICAS, plan_step

    local = config.batch_size // values.replicas
    # A replica's graph is the same, however many there are.
    traced = dataclasses.replace(config, batch_size=local * TRACED_REPLICAS)
    plan = plan_step(traced, data, width=values.width)
    if "count" in values.parts:
        results["count"] = count(plan, config)
        results["checkpoint_s"] = plan.checkpoint_bytes / (values.disk_gb_s * 1e9 or disk_bytes_per_s())
    if "model" in values.parts:
        per_image = plan.macs / plan.local_batch
        reached = values.images_per_s * per_image or values.peak_share * values.peak_tflops * 1e12 / 2
        device = Device(reached, values.launch_us * 1e-6)
        wire = Wire(
            _GPUS, values.link_gb_s * 1e9, values.network_gb_s * 1e9, values.start_us * 1e-6, values.hop_us * 1e-6
        )
        results["model"] = model(plan, config, values.local_batch or local, device, wire)


def _data(config: Config, values: flags.FlagValues) -> DataSpec:
    size = config.picture_size or (28, 28)
    classes = tuple(map(str, range(values.classes))) if config.conditional else ()
    return DataSpec("described by flags", "", (*size, values.channels), classes, values.examples)


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark."""
    logging.set_verbosity(logging.ERROR)  # TensorFlow tells of each collective that it traces
    values = flags.FLAGS
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        results = run(values)
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    publish(results, report(results), values.json)
    return 0


if __name__ == "__main__":
    quiet_tensorflow()
    training.define_flags(flags.FLAGS)
    define_flags(flags.FLAGS)
    app.run(main)
