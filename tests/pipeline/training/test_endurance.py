"""What takes minutes: runs that are killed again and again."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.experiments import PLAIN
from tests.processes import ENVIRONMENT, ROOT, children, last_checkpoint, saved, wait_for_saves

pytestmark = pytest.mark.slow


def flags(folder, run_dir, steps, **more):
    values = {
        "dataset": f"folder:{folder}",
        "model": "mlp",
        **PLAIN,
        "objective": "nsgan",
        "latent_dim": 2,
        "batch_size": 4,
        "jit": "off",
        "steps": steps,
        "log_every": steps,
        "preview_every": steps,
        "run_dir": run_dir,
        **more,
    }
    return [f"--{name}={value}" for name, value in values.items()]


def start(module, *arguments, log):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT)


def finish(process, log):
    assert process.wait(timeout=600) == 0, Path(log.name).read_text()[-3000:]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def result(run_dir):
    """Every bit of the last checkpoint and of the last preview."""
    arrays = last_checkpoint(run_dir)
    last_picture = sorted((run_dir / "samples").iterdir())[-1]
    return {name: array.tobytes() for name, array in arrays.items()} | {last_picture.name: last_picture.read_bytes()}


@pytest.fixture(scope="module")
def straight(request, images, tmp_path_factory):
    """What a run that is never interrupted ends with, by its flags; its data are on the device."""
    folder = tmp_path_factory.mktemp("straight")
    more = {"checkpoint_every": 50, "data_dir": folder / "data"}
    steps = 8000 if request.config.getoption("--brief") else 20000
    arguments = flags(images, folder / "run", steps, **more)
    with (folder / "log").open("w+") as log, start("pipeline", *arguments, log=log) as process:
        finish(process, log)
    return steps, result(folder / "run")


@pytest.mark.parametrize("device_data_mb", [2048, 0], ids=["resident", "streamed"])
def test_killed_at_twenty_random_moments(images, straight, tmp_path, device_data_mb, repeats):
    moments, (steps, expected) = random.Random(0), straight
    log = (tmp_path / "log").open("w+")
    more = {"checkpoint_every": 50, "device_data_mb": device_data_mb, "data_dir": tmp_path / "data"}
    arguments = flags(images, tmp_path / "broken", steps, **more)
    kills = 0
    with log:
        while kills < repeats(20):
            with start("pipeline", *arguments, log=log) as process:
                # From the imports over the first steps and saves to somewhere in the middle.
                time.sleep(moments.uniform(1.0, 6.0))
                assert process.poll() is None, "the run must be longer"
                process.kill()
            kills += 1
        assert f"step_{steps:07}" not in saved(tmp_path / "broken")
        with start("pipeline", *arguments, log=log) as process:
            finish(process, log)
    assert result(tmp_path / "broken") == expected


def test_a_cluster_that_loses_a_worker_five_times(images, tmp_path, repeats):
    moments, steps = random.Random(0), max(1000, repeats(3000))
    run_dir = tmp_path / "broken"
    arguments = flags(images, run_dir, steps, checkpoint_every=25)
    options = ("--workers=2", "--max_restarts=5", "--")
    log = (tmp_path / "log").open("w+")
    with log, start("pipeline.launch", *options, *arguments, log=log) as process:
        workers = []
        for _ in range(repeats(5)):
            wait_for_saves(process, run_dir, predecessors=workers)
            time.sleep(moments.uniform(0, 2))
            workers = children(process)
            os.kill(moments.choice(workers), signal.SIGKILL)
        finish(process, log)
        assert Path(log.name).read_text().count("starting all workers again") == repeats(5)
        with start(
            "pipeline.launch", *options, *flags(images, tmp_path / "straight", steps, checkpoint_every=25), log=log
        ) as other:
            finish(other, log)
    assert result(run_dir) == result(tmp_path / "straight")


def test_memory_does_not_grow(tmp_path, repeats):
    run_dir, steps = tmp_path / "run", max(8000, repeats(20000))
    every = {"log_every": 500, "preview_every": 500, "checkpoint_every": 500}
    arguments = flags("", run_dir, steps, dataset="mnist5k", latent_dim=100, batch_size=32, jit="auto", **every)
    resident_mib = {}  # by step
    with (tmp_path / "log").open("w+") as log, start("pipeline", *arguments, log=log) as process:
        while process.poll() is None:
            if saved(run_dir):
                status = Path(f"/proc/{process.pid}/status").read_text()
                if found := re.search(r"VmRSS:\s+(\d+) kB", status):  # a process that is ending has none
                    resident_mib[int(saved(run_dir)[-1].removeprefix("step_"))] = int(found[1]) / 1024
            time.sleep(0.2)
        finish(process, log)
    early = max(mib for step, mib in resident_mib.items() if 2000 <= step < 5000)
    # Not at the end, where what writes reports is imported.
    late = max(mib for step, mib in resident_mib.items() if 3 * steps // 4 <= step < steps)
    assert late < early + 16, resident_mib
