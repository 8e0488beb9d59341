"""Clusters of processes on this machine, as `python -m pipeline.launch` and batch systems run them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

from pipeline.__main__ import config_from_flags, define_flags
from pipeline.base.errors import INTERRUPTED, MISTAKE, PREEMPTED, TERMINATED, WORKER_LOST
from pipeline.cluster.launch import worker_environments
from pipeline.data.spec import DataSpec
from pipeline.runs.run_file import read_run, write_run
from tests.processes import ENVIRONMENT, ROOT, children, last_checkpoint, saved, wait_for, wait_for_saves


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for index in range(16):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def training(images, run_dir, steps=20, **more):
    flags = {
        "dataset": f"folder:{images}",
        "model": "mlp",
        "objective": "nsgan",
        "latent_dim": 2,
        "batch_size": 16,
        "steps": steps,
        "steps_per_call": 5,
        "log_every": 10,
        "checkpoint_every": 10,
        "run_dir": run_dir,
        **more,
    }
    return [f"--{name}={value}" for name, value in flags.items()]


def launch(*arguments, options=("--workers=2",)):
    command = [sys.executable, "-m", "pipeline.launch", *options, "--", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def alone(arguments, *, before="", **environment):
    """Starts one process; `before` is Python code that it runs first."""
    program = ["-m", "pipeline"]
    if before:
        program = ["-c", f"{before}\nfrom pipeline.__main__ import run\nrun()"]
    command = [sys.executable, *program, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def workers(*arguments, before=("", "")):
    """Starts two workers of one cluster, each with arguments of its own."""
    hosts = {"worker": [free_address(), free_address()]}
    configs = [json.dumps({"cluster": hosts, "task": {"type": "worker", "index": index}}) for index in range(2)]
    return [
        alone(each, before=code, TF_CONFIG=text) for each, code, text in zip(arguments, before, configs, strict=True)
    ]


def ends(processes):
    """Returns exit statuses and outputs of processes that end by themselves."""
    outputs = [end(process) for process in processes]
    return [process.returncode for process in processes], outputs


def end(process, timeout=120):
    """Returns what the process printed, when it has ended by itself."""
    try:
        return process.communicate(timeout=timeout)[0]
    finally:
        process.kill()


def records(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_two_workers_of_two_devices_follow_the_trajectory_of_one_device(images, tmp_path):
    # Rounding that moves an activation over zero changes a gradient, which Adam makes larger with each step: on some
    # kinds of CPU some losses and weights leave these bounds by the 20th step, but none by the 10th.
    every = {"steps": 10, "log_every": 5, "checkpoint_every": 5}
    cluster = launch(*training(images, tmp_path / "cluster", virtual_devices=2, **every))
    output = end(cluster)
    assert cluster.returncode == 0, output
    assert "[0] Training mlp with nsgan" in output
    assert "4 replicas" in output
    assert "[1] Done" not in output  # the chief alone writes and tells
    single = alone(training(images, tmp_path / "single", **every))
    output = end(single)
    assert single.returncode == 0, output
    for actual, expected in zip(records(tmp_path / "cluster"), records(tmp_path / "single"), strict=True):
        for name in ("step", "images", "d_loss", "g_loss", "d_acc_real", "d_acc_fake"):
            assert actual[name] == pytest.approx(expected[name], rel=1e-4), name
    actual, expected = (last_checkpoint(tmp_path / kind) for kind in ("cluster", "single"))
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=5e-5, err_msg=name)


def test_what_is_auto_is_the_runs_on_all_workers_though_the_chief_alone_has_it(images, tmp_path):
    arguments = training(images, tmp_path / "run", steps=2, batch_size=4, learning_rate=0.123)
    process = alone(arguments)
    assert "Kept" not in end(process)
    process = launch(*training(images, tmp_path / "run", steps=4, batch_size="auto", learning_rate="auto"))
    output = end(process)
    assert process.returncode == 0, output
    assert "[0] Kept from the run: batch_size=4 conditioning=concat learning_rate=0.123 " in output
    assert "[1] Kept" not in output
    assert [record["images"] for record in records(tmp_path / "run")] == [8, 16]
    config, _ = read_run(tmp_path / "run")
    assert (config.batch_size, config.learning_rate) == (4, 0.123)


def test_a_worker_that_is_killed_is_started_again_with_all(images, tmp_path):
    arguments = training(images, tmp_path / "run", steps=4000, checkpoint_every=20)
    process = launch(*arguments)
    wait_for_saves(process, tmp_path / "run")
    workers = children(process)
    os.kill(workers[1], signal.SIGKILL)
    wait_for_saves(process, tmp_path / "run", predecessors=workers, timeout=60)
    process.send_signal(signal.SIGTERM)
    output = end(process)
    assert process.returncode == PREEMPTED, output
    assert "worker 1 was killed by SIGKILL" in output
    assert "starting all workers again (1 of 3)" in output
    assert "from the checkpoint of step" in output


def test_sigterm_to_any_worker_has_all_save_the_same_step(images, tmp_path):
    process = launch(*training(images, tmp_path / "run", steps=100000, checkpoint_every=100000))
    wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
    os.kill(children(process)[1], signal.SIGTERM)
    output = end(process)
    assert process.returncode == PREEMPTED, output
    step = int(re.search(r"\[0\] SIGTERM: saved at step ([\d,]+)", output)[1].replace(",", ""))
    assert saved(tmp_path / "run") == [f"step_{step:07}"]


class Constant:
    """A metric that gets no better."""

    figures = ("constant",)

    def __call__(self, evidence):
        return 1.0


def test_patience_ends_all_workers_at_the_same_step(images, tmp_path):
    pictures = tmp_path / "pictures"
    shutil.copytree(images, pictures)
    for index in range(8):  # fewer than twenty are not judged
        shutil.copy(images / f"{index}.png", pictures / f"more{index}.png")
    own = {"metrics": "tests.pipeline.cluster.test_launch:Constant", "best_by": "constant", "eval_samples": 10}
    arguments = training(pictures, tmp_path / "run", steps=1000, eval_every=5, patience=2, **own)
    process = launch(*arguments)
    output = end(process)
    assert process.returncode == 0, output
    said = r"\[0\] patience: 2 evaluations without a better constant since step 5: saved at step (\d+), where the "
    step = int(re.search(said, output)[1])
    assert 15 <= step <= 20  # the others hear of it with the steps that follow
    process = launch(*arguments)
    output = end(process)
    assert process.returncode == 0, output
    assert "since step 5: nothing is trained; to go on, raise --patience." in output
    assert saved(tmp_path / "run")[-1] == f"step_{step:07}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_workers_that_have_hardly_begun_are_stopped_too(images, tmp_path, number):
    process = launch(*training(images, tmp_path / "run"))
    wait_for(lambda: len(children(process)) == 2)
    process.send_signal(number)
    output = end(process, timeout=30)
    assert process.returncode == (INTERRUPTED if number == signal.SIGINT else TERMINATED), output
    assert sorted(output.splitlines()[-2:]) == [f"[{index}] {number.name}: stopped." for index in range(2)]
    assert "Traceback" not in output
    assert "again" not in output


def test_workers_do_not_outlive_a_launcher_that_is_killed(images, tmp_path):
    process = launch(*training(images, tmp_path / "run", steps=100000, checkpoint_every=100000))
    wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
    workers = children(process)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, workers)))
    assert len(saved(tmp_path / "run")) == 1


def alive(pid):
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # of what only waits for its parent, it is empty
    except OSError:
        return False


def test_a_mistake_is_told_once_and_not_repeated(images, tmp_path):
    process = launch(*training(images, tmp_path / "run", batch_size=5))
    output = end(process)
    assert process.returncode == MISTAKE, output
    assert "--batch_size=5 can't be shared by 2 replicas" in output
    assert "again" not in output
    assert "Traceback" not in output


def test_a_peer_that_never_comes_ends_the_wait(images, tmp_path):
    cluster = {"cluster": {"worker": [free_address(), free_address()]}, "task": {"type": "worker", "index": 0}}
    process = alone(training(images, tmp_path / "run", timeout_s=4), TF_CONFIG=json.dumps(cluster))
    output = end(process, timeout=60)
    assert process.returncode == WORKER_LOST, output
    assert f"worker 1 ({cluster['cluster']['worker'][1]}) did not come within --timeout_s=4 seconds" in output
    assert "Traceback" not in output


@pytest.mark.slow  # in the default suite it is stuck amid its own work, see below
def test_a_stuck_worker_ends_the_wait_of_the_others(images, tmp_path):
    process = launch(
        *training(images, tmp_path / "run", steps=100000, timeout_s=6), options=("--workers=2", "--max_restarts=0")
    )
    wait_for(lambda: saved(tmp_path / "run"))
    os.kill(children(process)[1], signal.SIGSTOP)
    output = end(process)
    assert process.returncode == WORKER_LOST, output
    # Whichever notices first: our own clock, or the heartbeat of TensorFlow's coordination service.
    assert re.search(r"error: (nothing happened for --timeout_s=6 seconds|another worker of 2 was lost)", output)
    assert last_checkpoint(tmp_path / "run")


def test_a_lost_worker_is_told_in_one_sentence(images, tmp_path):
    first, second = workers(*[training(images, tmp_path / "run", steps=100000)] * 2)
    wait_for(lambda: saved(tmp_path / "run"))
    second.kill()
    second.communicate()
    output = end(first, timeout=60)
    assert first.returncode == WORKER_LOST, output
    assert re.search(r"^error: another worker of 2 was lost .*start all workers again", output, re.MULTILINE)
    assert "Traceback" not in output
    assert last_checkpoint(tmp_path / "run")


def test_workers_with_other_flags_are_refused_on_both_sides(images, tmp_path):
    first = training(images, tmp_path / "first", learning_rate=0.001)
    second = training(images, tmp_path / "second", learning_rate=0.002, log_every=5)
    statuses, outputs = ends(workers(first, second))
    assert statuses == [MISTAKE, MISTAKE], outputs
    for output in outputs:
        assert (
            "error: the workers differ: --learning_rate is 0.001 on worker 0 and 0.002 on worker 1; --log_every is 10 "
            "on worker 0 and 5 on worker 1; start all of them with the same flags, data and versions." in output
        )
        assert "Traceback" not in output
    assert not (tmp_path / "first").exists()


def test_workers_with_other_data_are_refused_on_both_sides(images, tmp_path):
    shutil.copytree(images, tmp_path / "images")
    pixels = np.asarray(Image.open(images / "3.png")).copy()
    pixels[4, 4] ^= 1
    Image.fromarray(pixels).save(tmp_path / "images" / "3.png")
    statuses, outputs = ends(
        workers(training(images, tmp_path / "first"), training(tmp_path / "images", tmp_path / "second"))
    )
    assert statuses == [MISTAKE, MISTAKE], outputs
    for output in outputs:
        assert re.search(
            r"error: the workers differ: the data's content is \w+ on worker 0 and \w+ on worker 1;", output
        )
        assert "Traceback" not in output


@pytest.mark.parametrize(
    ("latent_dim", "num_examples", "reason"),
    [
        pytest.param(3, 16, "holds a run with other flags, .* --latent_dim=2", marks=pytest.mark.slow, id="flags"),
        pytest.param(2, 17, "on other data", id="data"),
    ],
)
def test_why_the_chief_gives_up_is_told_by_all_at_once(images, tmp_path, latent_dim, num_examples, reason):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    arguments = training(images, run_dir, timeout_s=600)
    values = flags.FlagValues()
    define_flags(values)
    values(["", *arguments, f"--latent_dim={latent_dim}"])
    write_run(run_dir, config_from_flags(values).plain(), DataSpec("digits", "1", (8, 8, 1), (), num_examples))
    statuses, outputs = ends(workers(arguments, arguments))
    assert statuses == [MISTAKE, MISTAKE], outputs
    assert re.search(rf"^error: --run_dir={run_dir} .*{reason}", outputs[0], re.MULTILINE)
    assert re.search(rf"^error: worker 0 \(.*\) gave up: --run_dir={run_dir} .*{reason}", outputs[1], re.MULTILINE)


# Run before the command: its data, or what the chief writes, take that many seconds more.
SLOW_DATA = """
import time
import pipeline.training.trainer as trainer
open_data = trainer.open_data
trainer.open_data = lambda *given: (time.sleep({}), open_data(*given))[1]
"""
SLOW_WRITES = """
import time
from pipeline.runs.calling import Callbacks
call_due = Callbacks.call_due
Callbacks.call_due = lambda *given, **more: (print("writing", flush=True), time.sleep({}), call_due(*given, **more))
"""


@pytest.mark.slow
def test_own_work_longer_than_the_timeout_is_neither_ended_nor_blamed_on_others(images, tmp_path):
    # Each waits for the other one's work. Each has its copy of the data at a place of its own.
    shutil.copytree(images, tmp_path / "images")
    more = {"steps": 10, "steps_per_call": 10, "timeout_s": 5}
    first = training(images, tmp_path / "run", **more)
    second = training(tmp_path / "images", tmp_path / "other", strategy="multi_worker", device_data_mb=1, **more)
    statuses, outputs = ends(workers(first, second, before=(SLOW_WRITES.format(11), SLOW_DATA.format(11))))
    assert statuses == [0, 0], outputs
    assert saved(tmp_path / "run") == ["step_0000010"]
    assert not (tmp_path / "other").exists()


def test_a_worker_that_is_stuck_amid_its_own_work_ends_the_wait_of_the_others(images, tmp_path):
    arguments = training(images, tmp_path / "run", timeout_s=5)
    first, second = workers(arguments, arguments, before=(SLOW_WRITES.format(600), ""))
    with first:
        for line in first.stdout:
            if line == "writing\n":
                break
        first.send_signal(signal.SIGSTOP)
        output = end(second)
        first.kill()
    assert second.returncode == WORKER_LOST, output
    # As above: whichever notices first.
    ours = r"nothing happened for --timeout_s=5 .* \(worker 0 .* is silent\)"
    assert re.search(rf"error: ({ours}|another worker of 2 was lost)", output)


def test_each_worker_gets_its_share_of_the_gpus():
    first, second = worker_environments(2, {"CUDA_VISIBLE_DEVICES": "0,2,5,7", "HOME": "/home"})
    assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("0,2", "5,7")
    assert first["HOME"] == "/home"
    clusters = [json.loads(each["TF_CONFIG"]) for each in (first, second)]
    assert clusters[0]["cluster"] == clusters[1]["cluster"]
    assert [each["task"]["index"] for each in clusters] == [0, 1]
    assert worker_environments(1, {"TF_CONFIG": "old"}) == [{}]
