"""Nothing that a bundle holds is computed on a GPU. TensorFlow lists one that it hasn't, as it would a real one."""

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from export.bundle import export_bundle
from export.formats import Format
from export.run_source import RunSource
from pipeline.base.errors import TERMINATED, MirageError
from serving.contract.manifest import read_manifest
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
from export import bundle, onnx_export
from export.formats import saved_model
def watched(module, name):
    function = getattr(module, name)
    def call(*args, **more):
        result = function(*args, **more)
        sees = [tf.config.get_visible_devices("GPU"), tf.config.list_logical_devices("GPU")]
        tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
        print(name, *sees, os.environ["CUDA_VISIBLE_DEVICES"], tf32, flush=True)
        return result
    setattr(module, name, call)
watched(saved_model, "write_saved_model")
watched(onnx_export, "write_onnx_files")
for name in ("check_formats", "write_golden", "_write_sheet"):
    watched(bundle, name)
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
    monkeypatch.setattr("export.bundle.RunSource.load", lambda *args: pytest.fail("it computes here"))
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
    original = subprocess.Popen

    def popen(*args, **more):
        started.append(original(*args, **more))
        return started[-1]

    def interrupted(line, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr("export.apart.print", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(run, tmp_path / "out")
    assert [process.returncode for process in started] == [TERMINATED]
    assert list(tmp_path.iterdir()) == []


class Described(Format):
    """A format of somebody's: a text file. Says in which process it was written."""

    name = "described"
    help = "a text file"

    def __init__(self, text=""):
        self.text = text

    def write(self, folder, work):
        (folder / "described.txt").write_text(f"{self.text} {work.source.step}")
        return {"process": os.getpid()}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, where it saves
def test_the_other_process_is_given_generators_and_formats(run, reference, tmp_path, gpu, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    (tmp_path / "my_formats.py").write_text(
        "import os\nfrom export.formats import Format\n\n\n" + inspect.getsource(Described)
    )
    monkeypatch.syspath_prepend(tmp_path)
    source = RunSource.load(run, "newest")
    export_bundle(source, tmp_path / "out", ["onnx", importlib.import_module("my_formats").Described("mine")])
    manifest = read_manifest(tmp_path / "out").document
    assert manifest["described"]["process"] != os.getpid()
    written = content(tmp_path / "out")
    assert written["described.txt"] == b"mine 3"
    for name in ("generator.onnx", "sampler.onnx", "golden.npz", "samples.png"):
        assert written[name] == reference[name]


def test_what_the_other_process_cannot_be_given_is_said(run, tmp_path, gpu, capfd):
    class Local(Described):
        pass

    with pytest.raises(
        MirageError, match=r"another one exports, which can't be given .*Local.*define them in a module"
    ):
        export_bundle(run, tmp_path / "out", [Local()])
    gone = type("Gone", (Described,), {"__module__": "export.formats"})
    with pytest.MonkeyPatch.context() as patch:  # as what is defined in a notebook, which only this process knows
        patch.setattr("export.formats.Gone", gone, raising=False)
        with pytest.raises(MirageError, match=r"can't be given .*AttributeError.*Gone"):
            export_bundle(run, tmp_path / "out", [gone()])
    assert capfd.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []
