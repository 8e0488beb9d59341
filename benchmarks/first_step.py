"""Measures how long a user waits for the first step, in new processes: with nothing compiled yet, and with it.

  python -m benchmarks.first_step --model=resnet --image_size=64 --json=first_step.json

Times are those of a whole process, from its start to the line that says that the first step is done; images are
random. What the run itself told, without Python and TensorFlow's import, stands beside them.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

from pipeline.base.files import write_file
from pipeline.config import Config

ROOT = Path(__file__).parent.parent
_SENTENCE = re.compile(
    r"First step done after ([\d.]+) s, of which ([\d.]+) s compiling with XLA; compiled code is (.*)"
)


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    flags.DEFINE_enum("model", "dcgan", ["dcgan", "mlp", "resnet"], "network pair.", flag_values=values)
    flags.DEFINE_integer("image_size", 28, "side in pixels.", flag_values=values)
    flags.DEFINE_integer("channels", 3, "1 or 3.", flag_values=values)
    flags.DEFINE_integer("batch_size", 64, "images per step.", flag_values=values)
    flags.DEFINE_string("precision", "float32", "see python -m pipeline --help.", flag_values=values)
    flags.DEFINE_integer("timeout_s", 600, "longest time that a process may take.", flag_values=values)
    flags.DEFINE_string("json", "", "also write all figures into this file.", flag_values=values)


def measure(
    model: str, size: int, channels: int, batch_size: int, precision: str = "float32", timeout_s: int = 600
) -> Iterator[tuple[str, dict[str, float]]]:
    """Trains one step with XLA, twice; each time is known when it has been measured, should the rest be stopped.

    Args:
      model: network pair.
      size: side of the images in pixels.
      channels: 1 or 3.
      batch_size: images per step.
      precision: what the networks compute in.
      timeout_s: longest time that a process may take.

    Yields:
      "cold", then "warm", with `process_s` from the start of the process, `first_step_s` and `compiling_s` as the run
      told them.

    Raises:
      RuntimeError: if a run fails, or keeps no compiled code.
    """
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        images.mkdir()
        rng = np.random.default_rng(0)
        for index in range(batch_size):
            shape = (size, size) if channels == 1 else (size, size, channels)
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(images / f"{index}.png")
        command = [sys.executable, "-m", "pipeline", f"--dataset=folder:{images}", f"--data_dir={folder}/data"]
        command += [
            f"--{each.name}={each.default}" for each in dataclasses.fields(Config) if each.metadata["automatic"]
        ]
        command += [f"--model={model}", f"--batch_size={batch_size}", f"--precision={precision}", "--jit=on"]
        command += ["--steps=1", "--strategy=one_device"]
        for name in ("cold", "warm"):
            yield name, _time([*command, f"--run_dir={folder}/{name}"], Path(folder, "data"), timeout_s)


def _time(command: list[str], data_dir: Path, timeout_s: int) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_XLA_FLAGS"}
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        match, seconds = None, 0.0
        for line in process.stdout:
            if match is None and (match := _SENTENCE.match(line)):
                seconds = time.perf_counter() - start
        timer.cancel()
        if process.wait() or match is None:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed: {errors.read()[-2000:]}")
    if str(data_dir) not in match[3]:
        raise RuntimeError(f"compiled code is {match[3]}")
    return {"process_s": round(seconds, 2), "first_step_s": float(match[1]), "compiling_s": float(match[2])}


def main(argv: Sequence[str]) -> int:
    """Measures, and prints the figures."""
    values = flags.FLAGS
    if len(argv) > 1:
        print(f"error: {argv[1]!r} is not a flag; expected only --name=value, see --help.", file=sys.stderr)
        return 1
    names = ("model", "image_size", "channels", "batch_size", "precision")
    what = {name: values[name].value for name in names}
    figures = {}
    title = f"{values.model} {values.image_size} px, batch {values.batch_size}, {values.precision}"
    try:
        for name, each in measure(*what.values(), values.timeout_s):
            figures[name] = each
            compiling = f"{each['compiling_s']:.1f} s of it compiling"
            seconds = f"first step {each['process_s']:.1f} s after the start of the process"
            print(f"{title}, {name}: {seconds}, {compiling}", flush=True)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if values.json:
        write_file(Path(values.json), (json.dumps({**what, **figures}, indent=2) + "\n").encode())
    return 0


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    app.run(main)
