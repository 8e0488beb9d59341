"""Why no GPU is seen, and what is wrong with those that are: verdicts on machines that nobody has here."""

import dataclasses

import pytest

from pipeline.diagnosis.checks.steps import trials
from pipeline.diagnosis.examination import diagnose
from tests.pipeline.diagnosis.doctor_machines import (
    COMPLETE,
    DRIVER,
    GIB,
    H200,
    NODES,
    PACKAGES,
    PLAIN,
    SITE,
    change,
    failed,
    the_only_bad,
    verdicts,
)

NOTHING = {"gpus": (), "said": ("Could not find cuda drivers on your machine, GPU will not be used.",)}
MISSING = ("libcudart.so.12", "libcublas.so.12", "libcudnn.so.9")
NO_LIBRARY = {
    "libcuda": "",
    "libcuda_failure": "libcuda.so.1: cannot open shared object file",
    "nvml_failure": "libnvidia-ml.so.1: cannot open shared object file",
    "version": "",
    "cuda": None,
    "init": None,
    "visible": 0,
    "gpus": (),
}

# name of the line, part of what it says, part of what it says to do, facts
CAUSES = {
    "no driver": (
        "driver",
        "NVIDIA's driver isn't loaded (but: nouveau)",
        "install NVIDIA's driver 525",
        {"driver": {**NO_LIBRARY, "pci": ("nouveau",), "nodes": {}, "module": ""}, "tensorflow": NOTHING},
    ),
    "driver too old": (
        "driver",
        "470.82.01 is too old: it supports CUDA 11.4, and this TensorFlow is built for CUDA 12",
        "install driver 525.60.13 or newer",
        {"driver": {"version": "470.82.01", "cuda": (11, 4), "visible": 0}, "tensorflow": NOTHING},
    ),
    "container without --gpus": (
        "driver",
        "it was started without GPUs",
        "docker run --gpus all",
        {"driver": {**NO_LIBRARY, "nodes": {}, "container": True}, "tensorflow": NOTHING},
    ),
    "container that is told to have none": (
        "driver",
        "NVIDIA_VISIBLE_DEVICES=void keeps all GPUs out",
        "NVIDIA_VISIBLE_DEVICES=all",
        {
            "driver": {**NO_LIBRARY, "nodes": {}, "container": True},
            "tensorflow": NOTHING,
            "environment": {"NVIDIA_VISIBLE_DEVICES": "void"},
        },
    ),
    "container without the driver's library": (
        "driver",
        "this container lacks the driver's library: libcuda.so.1: cannot open",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        {"driver": {**NO_LIBRARY, "container": True}, "tensorflow": NOTHING},
    ),
    "container without NVML": (
        "nvml",
        "without it TensorFlow sees no GPU",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        {
            "driver": {"container": True, "gpus": (), "version": "", "nvml_failure": "libnvidia-ml.so.1: cannot open"},
            "tensorflow": NOTHING,
        },
    ),
    "no right to the device files": (
        "driver",
        "this user may not use /dev/nvidia0",
        "sudo chmod a+rw /dev/nvidia0",
        {"driver": {**NO_LIBRARY, "nodes": {**NODES, "/dev/nvidia0": False}}, "tensorflow": NOTHING},
    ),
    "module and library of different versions": (
        "cuda",
        "are of different versions",
        "restart the machine",
        {"driver": {"init": 803, "visible": 0}, "tensorflow": NOTHING},
    ),
    "no fabric manager": (
        "cuda",
        "fabric manager must run",
        "systemctl enable --now nvidia-fabricmanager",
        {"driver": {"init": 802, "visible": 0}, "tensorflow": NOTHING},
    ),
    "no unified memory": (
        "cuda",
        "there is no /dev/nvidia-uvm",
        "sudo nvidia-modprobe -u -c 0",
        {"driver": {"init": 999, "visible": 0, "nodes": {"/dev/nvidia0": True}}, "tensorflow": NOTHING},
    ),
    "CUDA_VISIBLE_DEVICES=-1": (
        "visible",
        "CUDA_VISIBLE_DEVICES=-1 hides all GPUs",
        "unset CUDA_VISIBLE_DEVICES",
        {"driver": {"init": 100, "visible": 0}, "tensorflow": NOTHING, "environment": {"CUDA_VISIBLE_DEVICES": "-1"}},
    ),
    "CUDA_VISIBLE_DEVICES is empty": (
        "visible",
        "CUDA_VISIBLE_DEVICES= hides all GPUs",
        "unset CUDA_VISIBLE_DEVICES",
        {"driver": {"init": 100, "visible": 0}, "tensorflow": NOTHING, "environment": {"CUDA_VISIBLE_DEVICES": ""}},
    ),
    "CUDA_VISIBLE_DEVICES names a GPU that isn't there": (
        "visible",
        "CUDA_VISIBLE_DEVICES=4 leaves 0 of 1 GPU: 4 is none of them",
        "unset CUDA_VISIBLE_DEVICES",
        {"driver": {"init": 100, "visible": 0}, "tensorflow": NOTHING, "environment": {"CUDA_VISIBLE_DEVICES": "4"}},
    ),
    "CUDA 13 only": (
        "cuda-libraries",
        "it is built for CUDA 12, and here is CUDA 13, which can stay beside it",
        COMPLETE,
        {
            "libraries": failed(*MISSING, cudart=("13",), cudnn=None),
            "software": {"nvidia": {"nvidia-cudnn-cu13": ("9.13.0.50", SITE), "nvidia-cublas": ("13.0.2.14", SITE)}},
            "tensorflow": NOTHING,
        },
    ),
    "packages of CUDA 13 only": (
        "cuda-libraries",
        "it is built for CUDA 12, and here is packages such as nvidia-cudnn-cu13",
        COMPLETE,
        {
            "libraries": failed(*MISSING, cudart=(), cudnn=None),
            "software": {"nvidia": {"nvidia-cudnn-cu13": ("9.13.0.50", SITE)}},
            "tensorflow": NOTHING,
        },
    ),
    "no libraries": (
        "cuda-libraries",
        "TensorFlow can't open libcudart.so.12, libcublas.so.12, libcudnn.so.9",
        COMPLETE,
        {"libraries": failed(*MISSING, cudart=(), cudnn=None), "software": {"nvidia": {}}, "tensorflow": NOTHING},
    ),
    "libraries where nobody looks": (
        "cuda-libraries",
        "libcudart.so.12 is at /usr/local/cuda-12.5/lib64/libcudart.so.12, where nobody looks",
        "export LD_LIBRARY_PATH=/usr/local/cuda-12.5/lib64, or python -m pip install",
        {
            "libraries": failed(
                *MISSING,
                cudart=("12",),
                cudnn=None,
                elsewhere={"libcudart.so.12": "/usr/local/cuda-12.5/lib64/libcudart.so.12"},
            ),
            "software": {"nvidia": {}},
            "tensorflow": NOTHING,
        },
    ),
    "packages in another folder": (
        "cuda-libraries",
        f"its packages are in /home/me/.local, and TensorFlow looks beside itself, in {SITE}",
        COMPLETE,
        {
            "libraries": failed(*MISSING, cudart=(), cudnn=None),
            "software": {"nvidia": {name: (version, "/home/me/.local") for name, (version, _) in PACKAGES.items()}},
            "tensorflow": NOTHING,
        },
    ),
    "a library of a library": (
        "cuda-libraries",
        "TensorFlow can't open libcusolver.so.11 (libnvJitLink.so.12: cannot open)",
        COMPLETE,
        {
            "libraries": {"failed": {"libcusolver.so.11": "libnvJitLink.so.12: cannot open"}},
            "tensorflow": {**NOTHING, "missing": {"libcusolver.so.11": "libnvJitLink.so.12: cannot open"}},
        },
    ),
    "what only TensorFlow knows": (
        "cuda-libraries",
        "TensorFlow can't open libcudart.so.14",
        COMPLETE,
        {
            "libraries": {"opened": {}, "cudart": (), "cudnn": None},
            "tensorflow": {
                **NOTHING,
                "missing": {"libcudart.so.14": "libcudart.so.14: no file", "libnvidia-ml.so.1": "no"},
            },
            "software": {"nvidia": {}},
        },
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_why_no_gpu_is_seen(cause):
    name, says, do, parts = CAUSES[cause]
    found = verdicts(change(**parts))
    # That TensorFlow sees none is the consequence, and said last.
    assert set(found) == {name, "tensorflow-gpu"}
    assert says in found[name].says
    assert do in found[name].do
    assert found["tensorflow-gpu"].do == "mend what is bad, and run this again"
    assert trials(change(**parts)) == [["cpu:0"]]


@pytest.mark.parametrize(("value", "verdict"), [("all", "note"), ("void", "good"), (None, "good")])
def test_a_container_without_any_sign_of_a_gpu(value, verdict):
    environment = {} if value is None else {"NVIDIA_VISIBLE_DEVICES": value}
    facts = change(PLAIN, driver={"container": True}, environment=environment)
    (line,) = (each for each in diagnose(facts) if each.name == "gpu")
    assert line.verdict == verdict
    assert line.says.endswith("training runs on the CPU")


def test_a_driver_that_works_is_good_however_its_files_look():
    assert verdicts(change(driver={"nodes": {}, "pci": (), "module": "", "container": True})) == {}


def test_tensorflow_cpu_on_a_machine_with_a_gpu():
    facts = change(PLAIN, driver=dataclasses.asdict(DRIVER) | {"gpus": (H200,)})
    finding = the_only_bad(facts)
    assert (finding.name, finding.says) == ("tensorflow-gpu", "tensorflow-cpu is built without CUDA, so it uses no GPU")
    assert finding.do == (
        "python -m pip uninstall -y tensorflow-cpu && python -m pip install 'tensorflow[and-cuda]>=2.20,<2.22'"
    )


TWO = (H200, dataclasses.replace(H200, index=1, uuid="GPU-bbbb", free=GIB, processes=((4242, 138 * GIB),)))
SEES_TWO = {"gpus": ("NVIDIA H200",) * 2}


def test_two_gpus_of_which_one_is_full():
    facts = change(driver={"gpus": TWO, "visible": 2}, tensorflow=SEES_TWO)
    finding = the_only_bad(facts)
    assert finding.name == "gpu:1"
    assert "has 1.0 of 140.0 GiB free (used by process 4242 with 138.0 GiB)" in finding.says
    assert "CUDA_VISIBLE_DEVICES" in finding.do
    assert trials(facts) == [["gpu:0"], ["gpu:1"], ["gpu:0", "gpu:1"]]


@pytest.mark.parametrize("chosen", ["0", "GPU-aa", "0 "])
def test_a_full_gpu_that_is_left_out_is_no_reason_to_fail(chosen):
    facts = change(driver={"gpus": TWO}, environment={"CUDA_VISIBLE_DEVICES": chosen})
    assert verdicts(facts) == {}
    assert set(verdicts(facts, "note")) == {"gpu:1", "visible"}


@pytest.mark.parametrize(
    ("chosen", "bad", "says"),
    [
        ("0,1", False, "leaves 2 of 2 GPU"),
        ("1,0", False, "leaves 2 of 2 GPU"),
        ("0,7,1", True, "leaves 1 of 2 GPU: 7 is none of them, and hides all that stand behind it"),
        ("0,-1,1", True, "leaves 1 of 2 GPU: -1 is none of them"),
        ("GPU-cc", True, "leaves 0 of 2 GPU: GPU-cc is none of them"),
        ("cuda:0", True, "leaves 0 of 2 GPU: cuda:0 is none of them"),
    ],
)
def test_cuda_visible_devices(chosen, bad, says):
    pair = (H200, dataclasses.replace(H200, index=1, uuid="GPU-bbbb"))
    facts = change(
        driver={"gpus": pair, "visible": 2}, tensorflow=SEES_TWO, environment={"CUDA_VISIBLE_DEVICES": chosen}
    )
    (line,) = (each for each in diagnose(facts) if each.name == "visible")
    assert (line.verdict == "bad") is bad
    assert says in line.says


def test_numbers_of_different_gpus_are_those_of_cuda_only_in_the_order_of_the_bus():
    pair = (H200, dataclasses.replace(H200, index=1, name="NVIDIA T400"))
    parts = {"driver": {"gpus": pair, "visible": 1}}
    facts = change(**parts, environment={"CUDA_VISIBLE_DEVICES": "1"})
    assert verdicts(facts, "note")["order"].do == "export CUDA_DEVICE_ORDER=PCI_BUS_ID"
    ordered = change(**parts, environment={"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert "order" not in verdicts(ordered, "note")


@pytest.mark.parametrize(
    ("gpu", "verdict", "says"),
    [
        ({"capability": (5, 2)}, "bad", "compute capability 5.2, and this TensorFlow is built for 6.0 or newer"),
        ({"capability": (12, 0)}, "note", "no machine code for compute capability 12.0: the driver compiles"),
        ({"compute_mode": 2}, "bad", "lets nobody compute"),
        ({"compute_mode": 3, "processes": ((7, GIB),)}, "bad", "process 7 has NVIDIA H200 for itself"),
        ({"ecc_errors": 3}, "bad", "had 3 memory errors that it could not correct"),
        ({"mig": True}, "bad", "is to be cut into instances (MIG), and there is none"),
        ({"mig": True, "instances": 7}, "note", "cut into 7 instances (MIG)"),
        ({"processes": ((7, 10 * GIB),), "free": 130 * GIB}, "note", "used by process 7 with 10.0 GiB"),
        ({"processes": ((7, None),), "free": 0}, "bad", "used by process 7)"),
        ({"free": 0}, "bad", "used by processes that can't be seen from here"),
    ],
)
def test_the_state_of_a_gpu(gpu, verdict, says):
    facts = change(driver={"gpus": (dataclasses.replace(H200, **gpu),)})
    assert says in verdicts(facts, verdict)["gpu:0"].says
    assert bool(verdicts(facts)) is (verdict == "bad")


@pytest.mark.parametrize("capability", [(6, 1), (7, 5), (8, 6), (8, 9), (9, 0), None])
def test_gpus_for_which_there_is_machine_code(capability):
    facts = change(driver={"gpus": (dataclasses.replace(H200, capability=capability),)})
    assert verdicts(facts) == verdicts(facts, "note") == {}


def test_tensorflow_sees_fewer_gpus_than_cuda():
    pair = (H200, dataclasses.replace(H200, index=1))
    line = "Ignoring visible gpu device (device: 1) with core count: 4. The minimum required count is 8."
    finding = the_only_bad(change(driver={"gpus": pair, "visible": 2}, tensorflow={"said": (line,)}))
    assert (finding.name, finding.do) == ("tensorflow-gpu", line)


@pytest.mark.parametrize(
    ("name", "verdict", "says", "parts"),
    [
        ("cudnn", "bad", "9.1.0 is older than 9.3", {"libraries": {"cudnn": (9, 1, 0)}}),
        ("ptxas", "bad", "no ptxas that XLA could use", {"libraries": {"ptxas": "", "ptxas_version": ""}}),
        (
            "ptxas",
            "bad",
            "(/usr/bin/ptxas XLA does not take version 11.2.1)",
            {"libraries": {"ptxas": "", "ptxas_version": "/usr/bin/ptxas XLA does not take version 11.2.1"}},
        ),
        ("libdevice", "bad", "libdevice.10.bc is not found", {"libraries": {"libdevice": ""}}),
        ("libcupti", "note", "--profile_steps sees nothing", {"libraries": failed("libcupti.so.12")}),
        ("libnvrtc", "note", "cuDNN can't compile", {"libraries": failed("libnvrtc.so.12")}),
        (
            "libnccl",
            "bad",
            "several GPUs can't add up",
            {
                "libraries": failed("libnccl.so.2"),
                "driver": {"visible": 2, "gpus": (H200, dataclasses.replace(H200, index=1))},
                "tensorflow": SEES_TWO,
            },
        ),
        (
            "cuda-packages",
            "note",
            "nvidia-cuda-nvcc-cu12 is missing, nvidia-cudnn-cu12 is 8.9.7 and should be <10.0,>=9.3.0.75",
            {"software": {"nvidia": {"nvidia-cublas-cu12": ("12.9.1.4", SITE), "nvidia-cudnn-cu12": ("8.9.7", SITE)}}},
        ),
        (
            "cuda-libraries",
            "bad",
            "failed: it was ended by SIGSEGV",
            {"libraries": {"failure": "it was ended by SIGSEGV"}},
        ),
        ("driver", "bad", "could not be asked: it said nothing", {"driver": {"failure": "it said nothing"}}),
    ],
)
def test_libraries_that_are_not_the_reason(name, verdict, says, parts):
    facts = change(**parts)
    assert says in verdicts(facts, verdict)[name].says
    assert verdicts(facts, verdict)[name].do
    assert set(verdicts(facts)) == ({name} if verdict == "bad" else set())


def test_one_gpu_needs_no_nccl():
    assert verdicts(change(libraries=failed("libnccl.so.2"))) == {}


def test_little_shared_memory_matters_to_several_gpus_only():
    pair = {"driver": {"visible": 2, "gpus": (H200, dataclasses.replace(H200, index=1))}, "tensorflow": SEES_TWO}
    assert "--shm-size" in verdicts(change(**pair, machine={"shm_free": 2**26}), "note")["shared-memory"].do
    assert verdicts(change(machine={"shm_free": 2**26}), "note") == {}
