"""Nothing that a bundle holds is computed on a GPU. TensorFlow lists one that it hasn't, as it would a real one."""

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from export.bundle import export_bundle
from pipeline.base.errors import MirageError
from tests.export.tiny_runs import make_run
from tests.processes import ENVIRONMENT, ROOT

ENVIRONMENT = {**ENVIRONMENT, "SOURCE_DATE_EPOCH": "0"}

# TensorFlow lists a GPU; what a bundle is built with says what it sees of it, then all goes on.
PROGRAM = """
import os, sys
from pipeline.base.quiet_tensorflow import quiet_tensorflow
quiet_tensorflow()
import tensorflow as tf
from tensorflow.python.eager import context
here = context.context()
here._initialize_physical_devices()
gpu = context.PhysicalDevice("/physical_device:GPU:0", "GPU")
here._physical_devices.append(gpu)
here._visible_device_list.append(gpu)
assert tf.config.get_visible_devices("GPU") == [gpu]
from export import bundle
def watched(name):
    function = getattr(bundle, name)
    def call(*args, **more):
        result = function(*args, **more)
        sees = [tf.config.get_visible_devices("GPU"), tf.config.list_logical_devices("GPU")]
        tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
        print(name, *sees, os.environ["CUDA_VISIBLE_DEVICES"], tf32, flush=True)
        return result
    setattr(bundle, name, call)
for name in ("write_saved_model", "write_onnx_files", "check_formats", "write_golden", "_write_sheet"):
    watched(name)
from export.__main__ import run
run()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("apart")
    make_run(root / "run", "mlp")
    return root / "run"


@pytest.fixture
def gpu(monkeypatch):
    """Makes this process one that has a GPU."""
    found = [tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: found if kind == "GPU" else [])


def content(bundle: Path) -> dict[str, bytes]:
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def reference(run):
    """A bundle that was exported where there is no GPU."""
    command = [sys.executable, "-m", "export", f"--run_dir={run}", f"--out={run.parent / 'reference'}"]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    return content(run.parent / "reference")


def test_the_command_sees_no_gpu_and_no_tf32_and_writes_the_same_bytes(run, reference, tmp_path):
    command = [sys.executable, "-c", PROGRAM, f"--run_dir={run}", f"--out={tmp_path / 'out'}"]
    process = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    for name in ("write_saved_model", "write_onnx_files", "check_formats", "write_golden", "_write_sheet"):
        assert f"{name} [] [] -1 False" in lines
    assert content(tmp_path / "out") == reference


def test_where_this_process_has_gpus_another_one_exports_the_same_bytes(
    run, reference, tmp_path, monkeypatch, gpu, capfd
):
    monkeypatch.setattr("export.bundle.Source.load", lambda *args: pytest.fail("it computes here"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)  # the other process finds this checkout from anywhere
    export_bundle(run, tmp_path / "out")
    assert content(tmp_path / "out") == reference
    assert "parity of Keras with saved_model and onnx" in capfd.readouterr().out


def test_what_the_other_process_refuses_is_refused_here(run, tmp_path, gpu, capfd):
    with pytest.raises(MirageError, match="best"):
        export_bundle(run, tmp_path / "out", checkpoint="best")
    assert "error" not in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_how_the_other_process_died_is_said(run, tmp_path, gpu, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(MirageError, match="in a process of its own, ended with status 1"):
        export_bundle(run, tmp_path / "out")


def test_the_other_process_ends_with_what_waits_for_it(run, tmp_path, gpu, monkeypatch):
    started = []
    original = subprocess.Popen.communicate

    def interrupted(process):
        started.append(process)
        if len(started) == 1:
            raise KeyboardInterrupt
        return original(process)

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(run, tmp_path / "out")
    assert started[0].returncode
    assert list(tmp_path.iterdir()) == []
