"""What the doctor reads of a machine: its own, and pretended ones."""

import importlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from pipeline.base import hardware
from pipeline.base.hardware import cpu_quota, memory_limit
from pipeline.diagnosis import tensorflow_facts
from pipeline.diagnosis.child import Outcome, run_child, unstamped
from pipeline.diagnosis.children import see_driver
from pipeline.diagnosis.environment import read_environment
from pipeline.diagnosis.facts import Libraries, Software, Step, TensorFlow
from pipeline.diagnosis.machine import read_machine, try_folder
from pipeline.diagnosis.network import read_network, try_peer
from pipeline.diagnosis.software import read_software
from pipeline.diagnosis.tensorflow_facts import read_libraries, read_tensorflow, try_step


def pretend(folder, source):
    """Puts a package into TensorFlow's place; returns the environment in which it is found."""
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow" / "__init__.py").write_text(source)
    return {**os.environ, "PYTHONPATH": str(folder)}


LOG = "I0000 00:00:1795700967.322030    5288 dso_loader.cc:144] Could not load dynamic library"
BUILD = """
import os, types
__version__ = "2.21.0"
sysconfig = types.SimpleNamespace(get_build_info=lambda: {
    "is_cuda_build": True, "cuda_version": "12.5.1", "cudnn_version": "9", "cuda_compute_capabilities": ["sm_80"]})
gpu = types.SimpleNamespace(name="/physical_device:GPU:0")
config = types.SimpleNamespace(
    list_physical_devices=lambda kind: LIST,
    experimental=types.SimpleNamespace(get_device_details=lambda gpu: {"device_name": "A GPU"}))
"""


def test_what_tensorflow_says_is_understood(tmp_path):
    said = (
        f"{LOG} 'libcublas.so.12'; dlerror: libcublas.so.12: no such file; LD_LIBRARY_PATH: /x\\n"
        "I0000 00:00:1.5 1 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will not be used.\\n"
        "W0000 00:00:1.5 1 gpu.cc:1] Something else\\n"
    )
    seen = read_tensorflow(pretend(tmp_path, f'{BUILD.replace("LIST", "[gpu]")}\nos.write(2, b"""{said}""")'))
    assert (seen.version, seen.cuda, seen.cudnn, seen.capabilities) == ("2.21.0", "12.5.1", "9", ("sm_80",))
    assert seen.gpus == ("A GPU",)
    assert seen.missing == {"libcublas.so.12": "libcublas.so.12: no such file"}
    assert seen.said == ("Could not find cuda drivers on your machine, GPU will not be used.",)
    assert seen.failure == ""
    assert seen.keras_failure  # Keras wants more of it


def test_an_import_that_aborts_is_told_with_its_reason(tmp_path):
    fatal = "F0000 00:00:1795700967.322030 cpu_feature_guard.cc:1] compiled to use AVX instructions"
    code = f"import os\nos.write(2, b'{fatal}\\n*** a stack trace ***\\n')\nos.abort()"
    seen = read_tensorflow(pretend(tmp_path, code))
    assert (seen.version, seen.failure) == ("", "it was ended by SIGABRT: compiled to use AVX instructions")


def test_an_abort_while_it_looks_for_gpus_leaves_what_was_known(tmp_path):
    seen = read_tensorflow(pretend(tmp_path, BUILD.replace("LIST", "os.abort()")))
    assert (seen.version, seen.gpus, seen.failure) == ("2.21.0", (), "it was ended by SIGABRT")


def test_an_import_that_fails_is_told_without_a_traceback(tmp_path):
    seen = read_tensorflow(pretend(tmp_path, "raise ImportError('libfoo.so: no such file')"))
    assert seen.failure == "it ended with status 1: ImportError: libfoo.so: no such file"


def test_a_process_that_hangs_is_ended(tmp_path):
    environment = pretend(tmp_path, "import time\ntime.sleep(100)")
    outcome = run_child("see_tensorflow", patience_s=1.5, environment=environment)
    assert outcome.failure == "it said nothing for 1.5 seconds"


def test_children_run_this_package_wherever_they_are_started(tmp_path, monkeypatch):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("raise RuntimeError('another one')")
    monkeypatch.chdir(tmp_path)
    outcome = run_child("see_libraries", ["", []], patience_s=30)
    assert outcome.failure == ""
    assert "cudart" in outcome.facts


@pytest.mark.parametrize(
    "line",
    [
        "I0000 00:00:1795712346.550866    4442 cudart_stub.cc:31] what it says",
        "2026-03-01 10:00:00.123456: E external/local_xla/stream.cc:12] what it says",
        "what it says\n",
    ],
)
def test_lines_of_the_log_without_their_stamps(line):
    assert unstamped(line) == "what it says"


@pytest.fixture
def site(tmp_path):
    """A site-packages folder with some of NVIDIA's libraries: any library will do, if it can be opened."""
    real = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libm" in line)
    for name, part in (("libcudart.so.12", "cuda_runtime"), ("libcufft.so.11", "cufft")):
        (tmp_path / "nvidia" / part / "lib").mkdir(parents=True)
        shutil.copy(real, tmp_path / "nvidia" / part / "lib" / name)
    (tmp_path / "nvidia" / "cublas" / "lib").mkdir(parents=True)
    (tmp_path / "nvidia" / "cublas" / "lib" / "libcublas.so.12").write_text("no library")
    (tmp_path / "nvidia" / "cuda_nvcc" / "nvvm" / "libdevice").mkdir(parents=True)
    (tmp_path / "nvidia" / "cuda_nvcc" / "nvvm" / "libdevice" / "libdevice.10.bc").touch()
    return tmp_path


def opened(site, **environment):
    seen = TensorFlow(version="2.21.0", cuda="12.5.1")
    return read_libraries(Software(tensorflow_folder=str(site)), seen, {**os.environ, **environment})


def test_libraries_are_opened_beside_tensorflow(site):
    found = opened(site)
    assert found.failure == ""
    assert found.opened["libcudart.so.12"] == f"{site}/nvidia/cuda_runtime/lib/libcudart.so.12"
    assert "libcufft.so.11" in found.opened
    assert "too short" in found.failed["libcublas.so.12"] or "invalid ELF" in found.failed["libcublas.so.12"]
    assert "12" in found.cudart


def test_ld_library_path_comes_before_what_is_beside_tensorflow(site, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(site / "nvidia" / "cufft" / "lib" / "libcufft.so.11", other / "libcufft.so.11")
    assert opened(site, LD_LIBRARY_PATH=f":{other}").opened["libcufft.so.11"] == f"{other}/libcufft.so.11"


def test_a_tensorflow_without_cuda_opens_nothing():
    assert read_libraries(Software(), TensorFlow(version="2.21.0"), os.environ) == Libraries()


@pytest.mark.parametrize(
    ("version", "taken"), [("12.5.82", True), ("13.0.88", True), ("11.7.99", False), ("12.3.103", False)]
)
def test_xla_takes_the_first_ptxas_that_is_neither_old_nor_broken(site, tmp_path, version, taken):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ptxas").write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release, V{version}'\n")
    (tools / "ptxas").chmod(0o755)
    found = opened(site, PATH=str(tools))
    assert (found.ptxas == str(tools / "ptxas") and found.ptxas_version == version) is taken
    if not taken and not found.ptxas:
        assert found.ptxas_version == f"{tools}/ptxas XLA does not take version {version}"
    assert found.libdevice.endswith("nvvm/libdevice/libdevice.10.bc")


class FakeNvml:
    """Answers as libnvidia-ml does on a machine with one GPU, that a process uses; knows nothing of MIG."""

    def nvmlDeviceGetName(self, handle, text, size):  # noqa: N802
        text.value = b"A GPU"
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle, memory):  # noqa: N802
        memory._obj.total, memory._obj.free = 80, 70
        return 0

    def nvmlDeviceGetCudaComputeCapability(self, handle, major, minor):  # noqa: N802
        major._obj.value, minor._obj.value = 9, 0
        return 0

    def nvmlDeviceGetMigMode(self, handle, current, pending):  # noqa: N802
        return 3

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle, count, processes):  # noqa: N802
        processes[0].pid, processes[0].memory = 4242, 10
        processes[1].pid, processes[1].memory = 4243, 2**64 - 1
        count._obj.value = 2
        return 0


def test_what_nvml_says_of_a_gpu():
    assert see_driver._gpu(FakeNvml(), 1) == {
        "name": "A GPU",
        "total": 80,
        "free": 70,
        "capability": [9, 0],
        "processes": [(4242, 10), (4243, None)],
    }


def distribution(folder, name, version, *requirements):
    """Writes the metadata of an installed package."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requirements)]
    (place / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))


def test_installed_packages_are_found_by_their_metadata(tmp_path, monkeypatch):
    distribution(tmp_path, "tensorflow", "2.99.0", 'nvidia-cudnn-cu12<10.0,>=9.3; extra == "and-cuda"', "numpy")
    distribution(tmp_path, "tf_nightly", "2.99.0.dev1")
    distribution(tmp_path, "tensorflow-datasets", "4.9.9")
    distribution(tmp_path, "nvidia-cudnn-cu12", "9.10.2")
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").touch()
    (tmp_path / "PIL.py").touch()  # copied without its metadata
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = read_software()
    assert found.tensorflows == {"tensorflow": "2.99.0", "tf-nightly": "2.99.0.dev1"}
    assert found.wanted == ("nvidia-cudnn-cu12<10.0,>=9.3",)
    assert found.nvidia == {"nvidia-cudnn-cu12": ("9.10.2", str(tmp_path))}
    assert (found.tensorflow_folder, found.tensorflow_broken) == (str(tmp_path), False)
    assert (found.keras, found.onnxruntime) == ("", "")
    assert {"tensorflow-datasets", "pillow"} & {*found.absent} == set()
    assert "tqdm" in found.absent
    (tmp_path / "tensorflow" / "__init__.py").unlink()
    assert (read_software().tensorflow_folder, read_software().tensorflow_broken) == ("", True)
    (tmp_path / "tensorflow").rmdir()
    importlib.invalidate_caches()
    assert (read_software().tensorflow_folder, read_software().tensorflow_broken) == ("", False)


@pytest.mark.parametrize(
    ("own", "files", "quota", "limit"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n", "a/memory.max": "7\n"}, 1.5, 7),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        (
            "4:memory:/x\n3:cpu,cpuacct:/\n0::/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "50000\n", "memory/x/memory.limit_in_bytes": "9223372036854771712\n"},
            0.5,
            None,
        ),
        ("4:memory:/gone\n3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "memory/memory.limit_in_bytes": "9\n"}, None, 9),
        ("", {}, None, None),
    ],
)
def test_limits_of_control_groups(tmp_path, monkeypatch, own, files, quota, limit):
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(hardware, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(hardware, "_CGROUPS", tmp_path)
    assert (cpu_quota(), memory_limit()) == (quota, limit)


def test_a_folder_is_tried_and_left_as_it_was(tmp_path):
    found = try_folder(tmp_path / "not" / "there", size=2**20)
    assert (found.path, found.probed, found.failure) == (str(tmp_path / "not" / "there"), str(tmp_path), "")
    assert found.free > 0
    assert found.write > 0
    assert found.read > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be(tmp_path):
    (tmp_path / "file").touch()
    assert try_folder(tmp_path / "file" / "below").failure == f"{tmp_path}/file is no folder"
    assert try_folder(Path("/proc/doctor")).failure
    assert "can't be found" not in read_machine(str(tmp_path)).folders[0].failure
    assert "give a path" in read_machine("gs://bucket").folders[0].failure


def test_this_machine():
    found = read_machine("")
    assert found.cpu
    assert 1 <= found.allowed <= found.cores
    assert 0 < found.available <= found.memory
    assert len(found.folders) == 2


def test_peers_that_answer_refuse_or_have_no_name():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert try_peer(1, address).result == "answers"
    found = try_peer(1, address)
    assert (found.result, found.addresses) == ("refused", ("127.0.0.1",))
    assert try_peer(1, "a..b:80").result == "unknown"  # no name at all, so that nobody is asked


def tf_config(*workers):
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}})}


def test_this_workers_own_port():
    with socket.create_server(("", 0)) as server:
        workers = [f"127.0.0.1:{server.getsockname()[1]}", "127.0.0.1:1"]
        found = read_network(tf_config(*workers))
        assert [(peer.own, peer.result) for peer in found.peers] == [(True, "used"), (False, "refused")]
    assert read_network(tf_config(*workers)).peers[0].result == "free"
    assert read_network({}) == read_network({"TF_CONFIG": ""})
    assert "can't be understood" in read_network({"TF_CONFIG": "x"}).failure


def test_passwords_and_keys_stay_here():
    told = {"CUDA_VISIBLE_DEVICES": "", "TF_XLA_FLAGS": "x", "NVIDIA_VISIBLE_DEVICES": "all", "SLURM_PROCID": "0"}
    keys = {"NVIDIA_API_KEY": "secret", "SLURM_JWT": "secret", "TF_VAR_password": "secret", "HOME": "/home/me"}
    proxy = {"http_proxy": "http://me:secret@proxy:3128"}
    assert read_environment({**told, **keys, **proxy}) == {**told, "http_proxy": "http://...@proxy:3128"}


@pytest.mark.parametrize(
    ("devices", "gpus"), [(["cpu:0"], []), (["gpu:3"], [3]), (["gpu:0", "gpu:1", "gpu:10"], [0, 1, 10])]
)
def test_a_trial_is_given_its_gpus_and_no_cluster(monkeypatch, devices, gpus):
    stages = []

    def run(module, argument, *, hear, environment, **more):
        assert argument == {"gpus": gpus, "seconds": 1.0}
        assert "TF_CONFIG" not in environment
        hear({"stage": "training"})
        hear(facts := {"images_per_s": 9.0, "steps": 3, "xla": "works"})
        return Outcome({"stage": "training", **facts}, (), "")

    monkeypatch.setattr(tensorflow_facts, "run_child", run)
    step = try_step(devices, 1.0, {"TF_CONFIG": "x"}, stages.append)
    assert step == Step(tuple(devices), 9.0, 3, xla="works", stage="training")
    assert stages == ["training"]


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        (Outcome({"stage": "training"}, (), "it was ended by SIGABRT"), "it was ended by SIGABRT"),
        (Outcome({"stage": "training", "failure": "InternalError: x"}, (), ""), "InternalError: x"),
    ],
)
def test_a_trial_that_fails_says_how_and_when(monkeypatch, outcome, failure):
    def run(module, argument, *, hear, **more):
        hear(outcome.facts)
        return outcome

    monkeypatch.setattr(tensorflow_facts, "run_child", run)
    assert try_step(["gpu:0"], 1.0, {}, print) == Step(("gpu:0",), failure=failure, stage="training")


def test_software_of_this_environment():
    found = read_software()
    assert found.python == sys.version_info[:3]
    assert len(found.tensorflows) == 1
    assert found.absent == ()
