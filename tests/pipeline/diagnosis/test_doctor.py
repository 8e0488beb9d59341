"""The command `python -m pipeline.doctor`, as it is run; and its training steps."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tests.tensorflow_devices  # noqa: F401
from pipeline.base.errors import INTERRUPTED, MISTAKE
from pipeline.config import Config
from pipeline.diagnosis.children import train_steps
from pipeline.networks.options import NetworkOptions
from pipeline.objectives import NSGAN
from pipeline.training.configured import trainee_of
from tests.no_network import UNDER_THE_FILTER
from tests.processes import ROOT, wait_for

COMMAND = [sys.executable, "-m", "pipeline.doctor"]


def run(*arguments, before=(), **environment):
    kept = {name: value for name, value in os.environ.items() if name not in ("TF_CONFIG", "KERAS_BACKEND")}
    return subprocess.run(
        [*before, *COMMAND, *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_it_tells_what_it_found_as_lines_and_as_json_and_reaches_no_host(tmp_path):
    file = tmp_path / "doctor.json"
    data_dir = tmp_path / "data"
    result = run(f"--data_dir={data_dir}", "--seconds=0.2", f"--json={file}", before=UNDER_THE_FILTER)
    report = json.loads(file.read_text())
    checks = {each["name"]: each for each in report["checks"]}
    assert result.stderr == ""
    assert result.returncode == (MISTAKE if report["verdict"] == "bad" else 0)
    lines = [line for line in result.stdout.splitlines() if re.match(r"(good|bad |note)  ", line)]
    assert [line.split()[:2] for line in lines] == [[each["verdict"], each["name"]] for each in report["checks"]]
    for name in ("python", "mirage", "tensorflow", "keras", "onnxruntime", "cpu", "memory", "disk"):
        assert checks[name]["verdict"] == "good", checks[name]
    (step, *_) = report["facts"]["steps"]
    assert step["failure"] == ""
    assert step["images_per_s"] > 0
    assert step["xla"] == "works"
    assert checks[f"step:{step['devices'][0]}"]["verdict"] == "good"
    assert {path.name for path in tmp_path.iterdir()} == {"doctor.json"}


@pytest.fixture
def broken(tmp_path):
    """The environment of a machine where all sorts of things are wrong; TensorFlow's import aborts."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("import os\nos.abort()")
    return {"PYTHONPATH": f"{ROOT}:{tmp_path}", "KERAS_BACKEND": "jax", "TF_CONFIG": "{"}


def test_it_is_of_use_where_tensorflow_is_broken(broken):
    result = run("--seconds=5", **broken)
    assert (result.returncode, result.stderr) == (MISTAKE, "")
    bad = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("bad ")]
    assert bad == ["tensorflow", "keras", "cluster"]
    assert "can't be imported: it was ended by SIGABRT\n      do: " in result.stdout
    assert "      do: unset KERAS_BACKEND\n" in result.stdout
    assert "Bad: 3 of " in result.stdout
    assert "step:" not in result.stdout


def test_json_alone_on_standard_output(broken):
    result = run("--seconds=5", "--json=-", **broken)
    report = json.loads(result.stdout)
    assert (result.returncode, result.stderr, report["verdict"]) == (MISTAKE, "", "bad")
    assert report["facts"]["tensorflow"]["failure"] == "it was ended by SIGABRT"
    assert report["facts"]["steps"] == []


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("gpu", "error: gpu is no flag; this command takes flags only, see --help.\n"),
        ("--json=/nowhere/at/all.json", "because there is no folder /nowhere/at; make it first.\n"),
    ],
)
def test_bad_flags_are_refused_at_once(argument, says):
    start = time.monotonic()
    result = run(argument)
    assert (result.returncode, result.stdout) == (MISTAKE, "")
    assert result.stderr.endswith(says)
    assert time.monotonic() - start < 5


def test_it_stops_when_it_is_told_to_and_leaves_no_process(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [*COMMAND, "--seconds=60", f"--data_dir={tmp_path}"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: children.read_text().split(), process=process)
    child = int(children.read_text().split()[0])
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (INTERRUPTED, "", "SIGINT: stopped.\n")
    wait_for(lambda: not Path(f"/proc/{child}").exists(), timeout=10)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def told(monkeypatch):
    """What the steps told; they train small networks."""
    collected = []
    monkeypatch.setattr(train_steps, "tell", lambda **facts: collected.append(facts))
    monkeypatch.setattr(train_steps, "NetworkOptions", functools.partial(NetworkOptions, model="mlp", latent_dim=4))
    monkeypatch.setattr(train_steps, "R3GAN", NSGAN)
    return collected


def test_replicas_train_together_and_agree(told):
    found = train_steps._train(0.1)
    assert found["replicas_agree"] is True
    assert found["finite"] is True
    assert found["steps"] >= 1
    assert found["images_per_s"] > 0
    assert [each["stage"] for each in told][:2] == ["building the step", "training"]


def test_replicas_that_disagree_are_found():
    strategy = train_steps.make_strategy("mirrored")
    with strategy.scope():
        trainee = trainee_of(Config(model="mlp", latent_dim=4), train_steps._DATA)
    assert train_steps._agree(strategy, trainee)
    variable = next(iter(trainee.networks["generator"].trainable_variables)).value
    copy = strategy.experimental_local_results(variable)[2]
    copy.assign(np.nextafter(copy.numpy(), np.float32(9)))
    assert not train_steps._agree(strategy, trainee)


def test_losses_that_are_not_finite_are_told_at_once(told, monkeypatch):
    class Diverges:
        images_per_step = 64

        def __init__(self, *arguments):
            self._means = iter([1.0, 1.0, np.nan])

        def __call__(self, count, stop):
            return train_steps.tf.constant([0.5, next(self._means)]), None

    monkeypatch.setattr(train_steps, "TrainStep", Diverges)
    found = train_steps._train(60.0)
    assert found["finite"] is False
    assert found["steps"] >= 2


def test_an_error_is_told_in_one_line(told, monkeypatch):
    message = (
        "Graph execution error:\n\nDetected at node f defined at (most recent call last):\n"
        '  File "x.py", line 1, in f\n\nOOM when allocating tensor with shape[9]\n\t [[{{node f}}]] [Op:__inference_f]'
    )

    def fail(seconds):
        raise train_steps.tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr(train_steps, "_train", fail)
    monkeypatch.setattr(train_steps, "argument", lambda: {"gpus": [], "seconds": 1.0})
    train_steps.main()
    assert told[-1] == {"failure": "ResourceExhaustedError: OOM when allocating tensor with shape[9]"}


def test_xla_that_fails_is_told(told, monkeypatch):
    def fail(*arguments, **more):
        raise train_steps.tf.errors.InternalError(None, None, "libdevice not found at ./libdevice.10.bc\nmore")

    assert train_steps._compile() == "works"
    monkeypatch.setattr(train_steps.tf, "function", lambda **how: lambda function: fail)
    assert train_steps._compile() == "InternalError: libdevice not found at ./libdevice.10.bc"
