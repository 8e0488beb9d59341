"""What a picture of 64 to 1024 pixels costs on a CPU: milliseconds and memory of R3GAN's and StyleGAN2's generators."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from benchmarks.worker import WorkerError
from export.timing import in_turn, timed
from serving.generator import Generator

# As their authors have them.
KINDS: Mapping[str, Mapping[str, Any]] = {
    "stylegan2": {"latent_dim": 512, "objective": "nsgan", "model_args": "channel_base=16384"},
    "r3gan": {"latent_dim": 64},
}
_FORM = "gathered"  # what --layout=measured finds for both; to try all takes minutes
_IMPORTS = "import re; import numpy as np; import onnxruntime; from serving import Generator"
_TWO_PICTURES = {
    "Mirage": "generator = Generator.load({path!r}, threads={threads})\nfor _ in range(2): generator.decode(z)",
    "plain": """
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}
session = onnxruntime.InferenceSession({path!r}, options, providers=["CPUExecutionProvider"])
names = [each.name for each in session.get_inputs()]
for _ in range(2):
    session.run(None, dict(zip(names, (z, np.ones(1, np.float32)))))
""",
}
# Of the process alone: getrusage counts what started it, too, in its last moment as that.
_PEAK = "\nprint(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)"


def measure(kind: str, side: int, threads: int, rounds: int, model_args: str = "") -> dict[str, Any]:
    """Measures one picture at a time, of an untrained generator without labels, as Mirage's file and as converted.

    Args:
      kind: its networks, of `KINDS`.
      side: of its pictures, in pixels.
      threads: CPU threads of each side.
      rounds: measurements of each side, in turn; fewer if they take more than 20 s.
      model_args: parameters of the networks, if not those of `KINDS`.

    Returns:
      `network`, `pixels`, `threads`, `parameters`, `bytes` of Mirage's file, `layout`; by side `ms`, `MiB`, the
      peak of a process that makes two pictures, and `MiB_before`, that of one that has imported what it needs.
    """
    from benchmarks.edge_sides import plain_session, source_of
    from export.onnx_export import example_feeds, explained, write_onnx
    from export.rewrites.layouts import formed
    from export.styles import may_be_left_out

    settings = {"model": kind, **KINDS[kind]} | ({"model_args": model_args} if model_args else {})
    source = source_of(kind, (side, side, 3), (), **settings)
    feeds = example_feeds(source.info)
    plain = source.graph()
    with tempfile.TemporaryDirectory(prefix="mirage-sizes-") as parent:
        paths = {"Mirage": Path(parent, "mirage.onnx"), "plain": Path(parent, "plain.onnx")}
        facts = {"producer": "benchmark", "dataset": "none"}
        write_onnx(explained(may_be_left_out(formed(plain, _FORM)), source.info, facts), paths["Mirage"])
        onnx.save(plain, paths["plain"])
        given = feeds(1)
        generator = Generator.load(paths["Mirage"], threads=threads)
        session = plain_session(paths["plain"], threads)
        calls = {"Mirage": lambda: generator.decode(given["z"]), "plain": lambda: session.run(None, given)}
        medians = in_turn({name: timed(call) for name, call in calls.items()}, rounds, seconds=20)
        z = f"z = np.ones((1, {source.info.latent_dim}), np.float32)\n"
        peaks = {
            name: _peak_mib(z + _TWO_PICTURES[name].format(path=str(path), threads=threads))
            for name, path in paths.items()
        }
        size_bytes = paths["Mirage"].stat().st_size
    return {
        "network": kind,
        "pixels": side,
        "threads": threads,
        "parameters": source.model.count_params(),
        "bytes": size_bytes,
        "layout": _FORM,
        "ms": {name: round(1e3 * seconds, 2) for name, seconds in medians.items()},
        "MiB": peaks,
        "MiB_before": _peak_mib(""),
    }


def _peak_mib(code: str) -> float:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", f"{_IMPORTS}\n{code}{_PEAK}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise WorkerError(f"a picture failed:\n{done.stderr[-2000:]}")
    return round(float(done.stdout), 1)


def table(rows: list[Mapping[str, Any]]) -> list[str]:
    """Writes `measure`'s figures as a Markdown table, line by line."""
    names = ["network", "pixels", "weights, millions", "file, MB", "threads"]
    names += ["Mirage, ms", "plain, ms", "times as long", "Mirage, MiB", "plain, MiB"]
    lines = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    for row in rows:
        ms, peak = row["ms"], row["MiB"]
        figures = [
            row["network"],
            str(row["pixels"]),
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['bytes'] / 1e6:.1f}",
            str(row["threads"]),
            f"{ms['Mirage']:.1f}",
            f"{ms['plain']:.1f}",
            f"{ms['plain'] / ms['Mirage']:.2f}",
            f"{peak['Mirage']:.0f}",
            f"{peak['plain']:.0f}",
        ]
        lines.append(f"| {' | '.join(figures)} |")
    lines.append(
        f"\nA process that has imported what it needs, and made no picture, takes {rows[0]['MiB_before']:.0f} MiB."
    )
    return lines
