"""`python -m pipeline` as users call it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

import pipeline.__main__
from pipeline.base.errors import PREEMPTED, TERMINATED
from pipeline.runs.checkpoint_files import read_checkpoint
from pipeline.training import trainer
from tests.processes import ENVIRONMENT, ROOT, saved, wait_for


def command(*arguments):
    return [sys.executable, "-m", "pipeline", *map(str, arguments)]


def call(*arguments):
    return subprocess.run(command(*arguments), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def tiny(folder, run_dir):
    return (
        f"--dataset=folder:{folder}",
        "--model=mlp",
        "--latent_dim=2",
        "--batch_size=2",
        "--steps=400",
        "--steps_per_call=5",
        "--checkpoint_every=40",
        "--log_every=40",
        "--preview_every=200",
        f"--run_dir={run_dir}",
    )


@pytest.mark.parametrize(
    ("module", "taught"),
    [
        ("pipeline", "python -m pipeline --conditional"),
        ("pipeline.compare", "python -m pipeline.compare runs/gan runs/vae"),
        ("pipeline.doctor", "python -m pipeline.doctor"),
        ("pipeline.evaluate", "python -m pipeline.evaluate --run_dir=runs/digits"),
        ("pipeline.launch", "python -m pipeline.launch --workers=2 --"),
    ],
)
def test_help_teaches_and_loads_nothing_heavy(module, taught):
    code = f"import sys, runpy; sys.argv = [{module!r}, '--help']; runpy.run_module({module!r}, run_name='__main__')"
    heavy = "{'tensorflow', 'keras', 'matplotlib', 'onnxruntime'}"
    probe = f"import atexit, sys; atexit.register(lambda: print({heavy} & set(sys.modules))); {code}"
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert taught in result.stdout
    assert result.stdout.rstrip().endswith("set()")
    if module == "pipeline":
        assert "--dataset: what to learn" in result.stdout


def test_dry_run_of_the_classic_preset_counts_its_parameters(tmp_path):
    result = call(
        "--flagfile=configs/seed_mlp.flags", "--dry_run", f"--data_dir={tmp_path}", f"--run_dir={tmp_path}/run"
    )
    assert result.returncode == 0, result.stderr
    assert "discriminator: 533,505 parameters: 533,505 trainable, 0 not" in result.stdout
    assert "generator: 1,493,520 parameters: 1,489,936 trainable, 3,584 not" in result.stdout
    assert '"batch_size": 32' in result.stdout
    assert "Memory of the CPU, estimated for --batch_size=32 over 1 replica, in MiB:" in result.stdout
    assert f"Adam's moments {2 * 4 * (533_505 + 1_489_936) / 2**20:29,.1f}" in result.stdout
    assert "Without the data set it fits: " in result.stdout  # it isn't prepared yet
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--batch_size=0"], "--batch_size=0"),
        (["--batch_sise=8"], "batch_sise"),
        (["--model=vgg"], "model"),
        (["stray"], "stray"),
        (["--dataset=folder:/does/not/exist"], "/does/not/exist"),
    ],
)
def test_mistakes_end_without_traceback(tmp_path, arguments, named):
    result = call(*arguments, f"--run_dir={tmp_path}/run")
    assert result.returncode == 1
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("run_dir", ["runs/my cat's", "runs/my cat's/", ".", "runs/$(x)"])
def test_the_commands_that_are_printed_can_be_pasted(tmp_path, monkeypatch, capsys, run_dir):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer, "train", lambda config, *_, **__: trainer.Outcome(config.steps, None))
    values = flags.FlagValues()
    pipeline.__main__.define_flags(values)
    values(["pipeline", f"--run_dir={run_dir}"])
    assert pipeline.__main__.main(values, ["pipeline"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert shlex.split(lines["curves"]) == ["tensorboard", f"--logdir={os.path.join(run_dir, 'tensorboard')}"]
    name = tmp_path.name if run_dir == "." else run_dir.rstrip("/").removeprefix("runs/")
    expected = ["python", "-m", "export", f"--run_dir={run_dir}", f"--out=bundles/{name}"]
    assert shlex.split(lines["next"]) == expected


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Images, and the last checkpoint of a run over them that nothing interrupted."""
    root = tmp_path_factory.mktemp("uninterrupted")
    (root / "images").mkdir()
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{index}.png")
    result = call(*tiny(root / "images", root / "run"))
    assert result.returncode == 0, result.stderr
    return root / "images", last_checkpoint(root / "run")


def last_checkpoint(run_dir):
    """Every array of the last checkpoint."""
    arrays = read_checkpoint(run_dir / "checkpoints" / "step_0000400")
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGKILL,
        *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGHUP)),
    ],
    ids=lambda number: number.name,
)
def test_a_stopped_run_goes_on_to_the_same_end(uninterrupted, tmp_path, number):
    images, expected = uninterrupted
    run_dir = tmp_path / "run"
    arguments = tiny(images, run_dir)
    with subprocess.Popen(command(*arguments), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: saved(run_dir), timeout=120, process=process)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == (130 if number == signal.SIGINT else PREEMPTED)
        assert f"{number.name}: saved at step" in printed
    assert not (run_dir / "checkpoints" / "step_0000400").exists()
    again = call(*arguments)
    assert again.returncode == 0, again.stderr
    assert "from the checkpoint of step" in again.stdout
    # The whole state: networks, optimisers, average generator.
    assert len(expected) > 60
    assert last_checkpoint(run_dir) == expected
    steps = [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 400


def hears(process, number):
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return bool(int(re.search(r"SigCgt:\s+(\w+)", status)[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(
    ("number", "after_s"), [(signal.SIGTERM, 0), (signal.SIGINT, 0.7), (signal.SIGHUP, 1.5)], ids=str
)
def test_a_run_that_is_stopped_before_its_first_step_says_so_in_one_line(uninterrupted, tmp_path, number, after_s):
    images, _ = uninterrupted
    arguments = (*tiny(images, tmp_path / "run"), "--steps=100000", "--jit=auto")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command(*arguments), cwd=ROOT, env=ENVIRONMENT, text=True, **pipes) as process:
        wait_for(lambda: hears(process, signal.SIGTERM), process=process)
        time.sleep(after_s)  # amid imports
        process.send_signal(number)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else TERMINATED)
    assert errors.splitlines()[-1] == f"{number.name}: stopped."
    assert "Traceback" not in errors
    assert "saved" not in printed


def test_training_outlives_whoever_reads_its_output(uninterrupted, tmp_path):
    images, expected = uninterrupted
    line = f"{shlex.join(command(*tiny(images, tmp_path / 'run')))} | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0
    assert result.stdout.count("\n") == 1
    assert "roken" not in result.stderr
    assert last_checkpoint(tmp_path / "run") == expected
