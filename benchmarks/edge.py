"""Times an exported generator beside what a user would pick instead.

  python -m benchmarks.edge
  python -m benchmarks.edge --networks=dcgan --threads=1 --parts=speed

Parts (--parts):

  sizes  one picture of 64 to 1024 pixels by R3GAN's and StyleGAN2's untrained generators: milliseconds and peak memory
         of Mirage's file and of the converted graph
  speed  Mirage's float32 and int8 files through its Generator, tf2onnx's plain output and Keras's own ONNX export in
         onnxruntime, the SavedModel in TensorFlow, and PyTorch eager, at batches of 1, 4, 16 and 64; of untrained
         networks
  start  process start to first picture, and memory: Generator against TensorFlow loading the SavedModel of --bundle
  call   what Generator.sample costs over a bare InferenceSession.run of the same bundle's sampler.onnx

All sides make the same uint8 pictures in turn, with the same number of threads, and medians are compared: single
figures of a busy machine mean little.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import edge_sizes
from benchmarks.results import publish
from benchmarks.train import machine
from benchmarks.worker import Work, Worker, WorkerError
from export.conditions import conditions
from export.formats.base import label_feed
from export.timing import in_turn, timed
from pipeline.base.quiet_tensorflow import quiet_tensorflow
from serving.contract.manifest import SAMPLER_FILE, BundleError
from serving.generator import Generator, open_session

PARTS = ("speed", "start", "call", "sizes")
_USUAL = PARTS[:3]  # the other one takes minutes for each network
_NETWORKS = ("mlp", "dcgan", "dcgan64", "resnet")
_SIDES = {"stylegan2": (64, 128, 256, 512, 1024), "r3gan": (64, 128, 256, 512)}
_SIZES = tuple(f"{kind}-{side}" for kind, sides in _SIDES.items() for side in sides)
_BATCH_SIZES = (1, 4, 16, 64)

_FIRST_PICTURE = {
    "Generator": "from serving import Generator; Generator.load({bundle!r}).sample(1)",
    "TensorFlow": """
import json, tensorflow as tf
conditional = json.load(open({bundle!r} + "/manifest.json"))["model"]["conditional"]
sample = tf.saved_model.load({bundle!r} + "/saved_model").signatures["sample"]
label = dict(label=tf.constant([0], tf.int64)) if conditional else dict()
sample(seed=tf.constant([0], tf.int64), truncation=tf.constant(1.0), **label)["pixels"].numpy()
""",
}
_MEMORY = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    flags.DEFINE_list("parts", list(_USUAL), f"what to measure: {', '.join(PARTS)}.", flag_values=values)
    flags.DEFINE_list("networks", list(_NETWORKS), f"of speed: {', '.join(_NETWORKS)}.", flag_values=values)
    flags.DEFINE_list("sizes", list(_SIZES), "generators of sizes, as NETWORKS-PIXELS.", flag_values=values)
    flags.DEFINE_list("threads", ["1", "2"], "numbers of threads for speed; for sizes its last.", flag_values=values)
    flags.DEFINE_string("bundle", "bundles/demo", "bundle of start and call, with both formats.", flag_values=values)
    flags.DEFINE_integer("rounds", 15, "measurements of each side.", lower_bound=3, flag_values=values)
    flags.DEFINE_string(
        "peers_python",
        ".venv-peers/bin/python",
        "interpreter with PyTorch; empty leaves it out.",
        flag_values=values,
    )
    flags.DEFINE_string("json", "", "also write all figures into this file.", flag_values=values)


def speed(network: str, threads: int, rounds: int, peers_python: str) -> list[dict[str, Any]]:
    """Milliseconds per call of all sides, a row for each batch size; TensorFlow must not have started yet."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from benchmarks.edge_sides import sides, untrained

    built = sides(untrained(network), threads)
    rows = []
    for count in _BATCH_SIZES:
        repeat = max(1, 32 // count)
        calls = {name: make(count) for name, make in built.makers.items()}
        pictures = {name: call() for name, call in calls.items()}
        for name, each in pictures.items():
            if np.abs(each.astype(int) - pictures["TensorFlow"]).mean() > (5 if "int8" in name else 0.01):
                raise WorkerError(f"{name} makes other pictures than TensorFlow")
        measured = {name: timed(call, repeat) for name, call in calls.items()}
        with contextlib.ExitStack() as stack:
            if peers_python:
                work = Work(network, count, "", 0, options={"threads": threads})
                worker = stack.enter_context(Worker("pytorch_generator", work, peers_python))
                worker.parameters()
                measured["PyTorch eager"] = lambda w=worker, n=repeat: w.seconds(n) / n
            medians = in_turn(measured, rounds)
        milliseconds = {name: round(seconds * 1e3, 4) for name, seconds in medians.items()}
        rows.append(
            {"network": network, "threads": threads, "batch": count, "ms": milliseconds, "bytes": dict(built.bytes)}
        )
    return rows


def _in_a_process(what: str, *arguments: str | int) -> Any:
    # TensorFlow's number of threads can be set only once, and its memory is never given back.
    code = f"import json, sys; from {what} as measure; print(json.dumps(measure(*json.loads(sys.argv[1]))))"
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkerError(f"{arguments[0]} failed, with the exit status {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def start(bundle: str, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds from process start to the first picture, and peak memory in MiB."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(Path(__file__).parent.parent)}
    memory: dict[str, list[float]] = {name: [] for name in _FIRST_PICTURE}

    def call(name: str) -> float:
        command = [sys.executable, "-c", _FIRST_PICTURE[name].format(bundle=str(Path(bundle).absolute())) + _MEMORY]
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        memory[name].append(int(done.stdout) / 1024)
        return time.perf_counter() - begin

    seconds = in_turn({name: lambda name=name: call(name) for name in _FIRST_PICTURE}, rounds)
    return {
        name: {"seconds": round(seconds[name], 3), "MiB": round(statistics.median(memory[name]), 1)}
        for name in _FIRST_PICTURE
    }


def call_cost(bundle: str, rounds: int) -> list[dict[str, float]]:
    """Microseconds of `Generator.sample` and of running the sampler, on one thread."""
    generator = Generator.load(bundle, threads=1)
    session = open_session(Path(bundle) / SAMPLER_FILE, 1)
    rows = []
    for count in (1, 16):
        places, info = np.arange(count), generator.info
        feeds = {"seed": places, **label_feed(conditions(places, info), info)}
        sides = {"Generator.sample": lambda n=count: generator.sample(n), "run": lambda f=feeds: session.run(None, f)}
        medians = in_turn({name: timed(side, 32 // count) for name, side in sides.items()}, 5 * rounds)
        rows.append({"batch": count, **{name: round(seconds * 1e6, 1) for name, seconds in medians.items()}})
    return rows


def report(results: Mapping[str, Any]) -> str:
    """Writes the figures as Markdown tables."""
    lines = [", ".join(f"{name} {value}" for name, value in results["machine"].items())]
    rows = results.get("speed", [])
    if rows:
        names = list(rows[0]["ms"])
        others = [name for name in names if name != "Mirage"]
        lines += ["", f"| network | threads | batch | {' | '.join(f'{name}, ms' for name in names)} |"]
        lines.append("| --- |" + " --- |" * (2 + len(names)))
        for row in rows:
            figures = " | ".join(f"{row['ms'][name]:.3f}" for name in names)
            lines.append(f"| {row['network']} | {row['threads']} | {row['batch']} | {figures} |")
        lines += ["", "Times as long as Mirage's float32:", "", f"| network | threads | batch | {' | '.join(others)} |"]
        lines.append("| --- |" + " --- |" * (2 + len(others)))
        for row in rows:
            ratios = " | ".join(f"{row['ms'][name] / row['ms']['Mirage']:.2f}" for name in others)
            lines.append(f"| {row['network']} | {row['threads']} | {row['batch']} | {ratios} |")
        sizes = {row["network"]: row["bytes"] for row in rows}
        lines += ["", "| network | float32, bytes | int8 | tf2onnx | Keras export |", "| --- | --- | --- | --- | --- |"]
        lines += [f"| {name} | {' | '.join(f'{each:,}' for each in size.values())} |" for name, size in sizes.items()]
    if results.get("sizes"):
        lines += ["", *edge_sizes.table(results["sizes"])]
    if results.get("start"):
        lines += ["", "| first picture | seconds | MiB |", "| --- | --- | --- |"]
        lines += [f"| {name} | {row['seconds']:.3f} | {row['MiB']:.1f} |" for name, row in results["start"].items()]
    if results.get("call"):
        lines += ["", "| batch | Generator.sample, us | InferenceSession.run, us |", "| --- | --- | --- |"]
        lines += [f"| {row['batch']} | {row['Generator.sample']:.1f} | {row['run']:.1f} |" for row in results["call"]]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark."""
    values = flags.FLAGS
    mistake = ""
    if len(argv) > 1 or not set(values.parts) <= set(PARTS):
        mistake = f"--parts={','.join(values.parts)} is not known; choose from {', '.join(PARTS)}."
    elif not set(values.networks) <= set(_NETWORKS):
        mistake = f"--networks={','.join(values.networks)} is not known; choose from {', '.join(_NETWORKS)}."
    elif not set(values.sizes) <= set(_SIZES):
        mistake = f"--sizes={','.join(values.sizes)} is not known; choose from {', '.join(_SIZES)}."
    elif "speed" in values.parts and values.peers_python and not Path(values.peers_python).exists():
        mistake = f"--peers_python={values.peers_python} is missing; make peers installs PyTorch there."
    if mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 1
    results: dict[str, Any] = {"machine": machine()}
    try:
        if "start" in values.parts:
            results["start"] = start(values.bundle, max(3, values.rounds // 3))
        if "call" in values.parts:
            results["call"] = call_cost(values.bundle, values.rounds)
        if "speed" in values.parts:
            results["speed"] = []
            for network in values.networks:
                for threads in map(int, values.threads):
                    print(f"{network}, threads: {threads} ...", file=sys.stderr, flush=True)
                    results["speed"] += _in_a_process(
                        "benchmarks.edge import speed", network, threads, values.rounds, values.peers_python
                    )
        if "sizes" in values.parts:
            results["sizes"] = []
            for size in values.sizes:
                print(f"{size} ...", file=sys.stderr, flush=True)
                kind, side = size.split("-")
                given = kind, int(side), int(values.threads[-1]), values.rounds
                results["sizes"].append(_in_a_process("benchmarks.edge_sizes import measure", *given))
    except (BundleError, OSError, WorkerError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    publish(results, report(results), values.json)
    return 0


if __name__ == "__main__":
    quiet_tensorflow()
    define_flags(flags.FLAGS)
    app.run(main)
