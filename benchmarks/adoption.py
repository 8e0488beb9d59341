"""Adopts generators that other people's tutorials save, and times each bundle beside what it was made of.

  python -m benchmarks.adoption
  python -m benchmarks.adoption --files=theirs.h5,generators/*.onnx

Sides, all of which make the same uint8 pictures from the same arrays of latents and labels, at batches of 1 and 64:

  source  the network in its own framework: a tf.function around Keras's, TensorFlow's and tf-keras's, which is faster
          than calling them, let alone `predict`; LiteRT's interpreter. Of an ONNX file it would be the next side
  plain   the graph as it came, from tf2onnx or from the file's own exporter, in onnxruntime
  bundle  `Generator.decode` of the bundle

They take turns in one process, and medians are compared. With one thread, processor time is measured, which others
on the same machine don't make longer; with several, time passes for all, and the machine should be idle.
"""

import contextlib
import dataclasses
import functools
import glob
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from numpy.typing import NDArray

from benchmarks.adoption_zoo import SAVED
from benchmarks.results import place, publish
from benchmarks.train import machine
from export.adoption.meaning import Asked
from export.adoption.source import AdoptedSource
from export.bundle import export_bundle
from export.rewrites.layouts import session_of
from export.timing import in_turn, timed
from pipeline.base.errors import MirageError
from pipeline.base.quiet_tensorflow import quiet_tensorflow
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Opening
from serving.contract.latents import latents
from serving.contract.manifest import read_manifest
from serving.contract.pixels import to_pixels
from serving.generator import Generator

DOCUMENT = Path(__file__).parent / "RESULTS.md"
BEGIN, END = "<!-- adoption: written by benchmarks/adoption.py -->", "<!-- end of adoption -->"
BATCHES = (1, 64)
_INT8_MS = 5.0  # of networks that take longer, calibrating int8 would take minutes
_INT8_SAMPLES = 256
_SECONDS = 20.0
Call = Callable[[], NDArray[np.uint8]]


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    flags.DEFINE_list("files", [], "what to adopt, patterns too; empty makes the networks here.", flag_values=values)
    flags.DEFINE_integer("rounds", 15, "measurements of each side.", lower_bound=3, flag_values=values)
    flags.DEFINE_integer("threads", 1, "threads of each side.", lower_bound=1, flag_values=values)
    flags.DEFINE_bool("int8", True, "also judge int8, of networks that are small enough.", flag_values=values)
    flags.DEFINE_string(
        "peers_python",
        ".venv-peers/bin/python",
        "interpreter with PyTorch and onnx, which makes its files; empty leaves them out.",
        flag_values=values,
    )
    flags.DEFINE_bool("publish", False, "write the table into benchmarks/RESULTS.md too.", flag_values=values)
    flags.DEFINE_string("json", "", "also write all figures into this file.", flag_values=values)


def make_files(folder: Path, peers_python: str) -> list[Path]:
    """Makes the networks, each library in a process of its own; returns what they saved."""
    commands = [[sys.executable, "-m", "benchmarks.adoption_zoo", library, str(folder)] for library in SAVED]
    if peers_python:
        commands.append([peers_python, str(Path(__file__).parent / "adoption_torch.py"), str(folder)])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MirageError(f"{command[-2]} failed:\n{done.stderr[-2000:]}")
    return sorted(folder.iterdir())


def adopt(path: Path, out: Path, *, int8: bool) -> tuple[AdoptedSource, dict[str, Any]]:
    """Makes a bundle as `python -m export --generator` does; returns the source, and what was found out."""
    source = AdoptedSource(open_network(path, Opening()), path.name, "", Asked())
    sides = Sides(source, None, 1)
    small = min(timed(sides.plain(1))() for _ in range(3)) * 1e3 < _INT8_MS
    formats = ["onnx", "int8"] if int8 and small else ["onnx"]
    with contextlib.redirect_stdout(io.StringIO()):
        export_bundle(source, out, formats, layout="measured", num_samples=_INT8_SAMPLES)
    document = read_manifest(out).document
    meaning = source.meaning
    height, width, channels = source.info.image_shape
    label = f", {len(source.info.class_names)} classes" if source.info.class_names else ""
    return source, {
        "file": path.name,
        "kind": source.network.kind,
        "framework": source.network.framework,
        "understood": f"{source.info.latent_dim}{label} to {meaning.layout} {height} x {width} x {channels}",
        "form": document["onnx"]["layout"]["form"] if "onnx" in document else "",
        "int8": document["int8"]["verdict"] if "int8" in formats else "not tried",
    }


@dataclasses.dataclass
class Sides:
    """Ways to make the pictures of one generator: functions that take a batch size and return a call to time."""

    source: AdoptedSource
    bundle: Path | None
    threads: int

    def __post_init__(self) -> None:
        """Loads the files."""
        self._session = session_of(self.source.plain, self.threads)
        self._generator = Generator.load(self.bundle, threads=self.threads) if self.bundle else None

    def makers(self) -> dict[str, Callable[[int], Call]]:
        """All sides by name."""
        own = {} if self.source.network.framework.startswith("onnxruntime") else {"source": self.own}
        return {**own, "plain": self.plain, "bundle": self.ours}

    def inputs(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Latents and labels of the seeds 0, 1, ..."""
        info = self.source.info
        label = np.arange(count, dtype=np.int64) % max(1, len(info.class_names))
        return latents(np.arange(count), info.latent_dim, info.latent_distribution), label

    def _of_feeds(self, run: Callable[[dict[str, NDArray]], NDArray], count: int) -> Call:
        """What makes the source's inputs, in batches that it takes, runs it, and makes pixels of its output."""
        meaning = self.source.meaning
        size = meaning.batch or count
        z, label = self.inputs(-(-count // size) * size)  # the last batch is filled up

        def part(start: int = 0) -> NDArray[np.uint8]:
            feeds = meaning.feeds(z[start : start + size], label[start : start + size])
            return to_pixels(meaning.image(run(feeds)))

        if len(z) == size:
            return lambda: part()[:count]
        return lambda: np.concatenate([part(start) for start in range(0, len(z), size)])[:count]

    def plain(self, count: int) -> Call:
        """The graph as it came."""
        wanted = {each.name for each in self._session.get_inputs()}
        output = [self.source.meaning.output.name]

        def run(feeds: dict[str, NDArray]) -> NDArray:
            return self._session.run(output, {name: feeds[name] for name in wanted})[0]

        return self._of_feeds(run, count)

    def own(self, count: int) -> Call:
        """The source's framework."""
        network, output = self.source.network, self.source.meaning.output.name
        if network.tensors is None:
            return self.direct(count)
        import tensorflow as tf

        function = tf.function(network.tensors, autograph=False)

        def run(feeds: dict[str, NDArray]) -> NDArray:
            return function({name: tf.constant(value) for name, value in feeds.items()})[output].numpy()

        return self._of_feeds(run, count)

    def direct(self, count: int) -> Call:
        """The source's framework as it is called without more ado."""
        network, output = self.source.network, self.source.meaning.output.name
        return self._of_feeds(lambda feeds: network.run(feeds)[output], count)

    def ours(self, count: int) -> Call:
        """The bundle."""
        assert self._generator is not None
        z, label = self.inputs(count)
        return functools.partial(self._generator.decode, z, label if self.source.info.class_names else None)


def measure(sides: Sides, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of all sides, a row for each batch size; and how far the bundle's pictures are from the source's."""
    rows = []
    for count in BATCHES:
        makers = sides.makers()
        if "source" in makers and sides.source.network.tensors is not None:
            makers["direct call"] = sides.direct
        calls = {name: make(count) for name, make in makers.items()}
        pictures = {name: call() for name, call in calls.items()}
        apart = np.abs(pictures["bundle"].astype(int) - pictures[next(iter(pictures))])
        fastest = min(timed(calls[name])() for name in ("plain", "bundle"))
        repeat = max(1, min(100, int(2e-3 / fastest)))
        clock = time.process_time if sides.threads == 1 else time.perf_counter
        work = {name: timed(call, repeat, clock) for name, call in calls.items()}
        medians = in_turn(work, rounds, seconds=_SECONDS)
        milliseconds = {name: round(seconds * 1e3, 4) for name, seconds in medians.items()}
        rows.append(
            {"batch": count, "ms": milliseconds, "levels": int(apart.max()), "share": float(np.mean(apart > 0))}
        )
    return rows


def means(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Geometric means, and the least, of how many times as fast bundles are, by what they are compared with."""
    found = {}
    for other in ("source", "direct call", "plain"):
        ratios = [
            row["ms"][other] / row["ms"]["bundle"] for each in results for row in each["rows"] if other in row["ms"]
        ]
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            found[other] = {"mean": round(mean, 3), "least": round(min(ratios), 3), "figures": len(ratios)}
    return found


def report(results: Mapping[str, Any]) -> str:
    """Writes the figures as Markdown."""
    how = "processor time of one thread" if results["threads"] == 1 else f"{results['threads']} threads"
    lines = [
        ", ".join(f"{name} {value}" for name, value in results["machine"].items()) + f"; {how}.",
        "",
        "Milliseconds, and how many times as fast the bundle is, at batches of 1 / 64; pixels that differ from the "
        "source's, by a level at most where nothing else is said.",
        "",
        "| file | understood | pixels apart | source | direct call | plain graph | bundle | source / bundle "
        "| plain / bundle | form | int8 |",
        "|" + " --- |" * 11,
    ]
    for each in results["files"]:
        rows = each["rows"]
        levels = max(row["levels"] for row in rows)
        apart = f"{max(row['share'] for row in rows):.3%}" + (f", by {levels} levels" if levels > 1 else "")

        def shown(value: Callable[[Mapping[str, float]], float], name: str, digits: int, rows: Any = rows) -> str:
            return " / ".join(f"{value(row['ms']):.{digits}f}" for row in rows if name in row["ms"])

        cells = [each["file"], each["understood"], apart]
        cells += [shown(lambda ms, n=name: ms[n], name, 3) for name in ("source", "direct call", "plain", "bundle")]
        cells += [shown(lambda ms, n=name: ms[n] / ms["bundle"], name, 2) for name in ("source", "plain")]
        lines.append(f"| {' | '.join([*cells, each['form'], each['int8']])} |")
    names = {"source": "the source in its own runtime", "direct call": "the source called directly"}
    lines.append("")
    for other, figures in results["means"].items():
        mean, least = f"{figures['mean']:.2f}", f"{figures['least']:.2f}"
        name = names.get(other, "the plain graph")
        lines.append(f"Against {name}: geometric mean {mean} of {figures['figures']} figures, at least {least}.")
    return "\n".join(lines)


def run(values: flags.FlagValues) -> dict[str, Any]:
    """Adopts and measures."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(values.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    results: dict[str, Any] = {"machine": machine(), "threads": values.threads, "files": []}
    with tempfile.TemporaryDirectory(prefix="mirage-adoption-") as name:
        folder = Path(name)
        (folder / "made").mkdir()
        files = [Path(path) for each in values.files for path in sorted(glob.glob(each)) or [each]]
        for path in files or make_files(folder / "made", values.peers_python):
            print(f"{path.name} ...", file=sys.stderr, flush=True)
            out = folder / "bundles" / path.name
            out.parent.mkdir(exist_ok=True)
            source, facts = adopt(path, out, int8=values.int8)
            results["files"].append({**facts, "rows": measure(Sides(source, out, values.threads), values.rounds)})
            print(json.dumps(results["files"][-1]["rows"]), file=sys.stderr, flush=True)
    return {**results, "means": means(results["files"])}


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark."""
    values = flags.FLAGS
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        if not values.files and values.peers_python and not Path(values.peers_python).exists():
            raise MirageError(f"--peers_python={values.peers_python} is missing; make peers installs PyTorch there.")
        results = run(values)
        text = report(results)
        if values.publish:
            place(text, DOCUMENT, BEGIN, END)
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    publish(results, text, values.json)
    return 0


if __name__ == "__main__":
    quiet_tensorflow()
    define_flags(flags.FLAGS)
    app.run(main)
