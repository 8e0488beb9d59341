"""Machines that nobody has here, as the doctor would read them."""

import dataclasses

from pipeline.diagnosis.checks.libraries import names
from pipeline.diagnosis.examination import diagnose
from pipeline.diagnosis.facts import Driver, Facts, Folder, Gpu, Libraries, Machine, Software, TensorFlow

GIB = 2**30
SITE = "/venv/lib/python3.12/site-packages"
WANTED = (
    "nvidia-cublas-cu12<13.0,>=12.5.3.2",
    "nvidia-cuda-nvcc-cu12<13.0,>=12.5.82",
    "nvidia-cudnn-cu12<10.0,>=9.3.0.75",
)
PACKAGES = {
    "nvidia-cublas-cu12": ("12.9.1.4", SITE),
    "nvidia-cuda-nvcc-cu12": ("12.9.86", SITE),
    "nvidia-cudnn-cu12": ("9.10.2.21", SITE),
}
COMPLETE = "python -m pip install 'tensorflow[and-cuda]==2.21.0'"

SOFTWARE = Software(
    mirage="0.1.0",
    tensorflows={"tensorflow": "2.21.0"},
    tensorflow_folder=SITE,
    wanted=WANTED,
    nvidia=PACKAGES,
    keras="3.15.1",
    onnxruntime="1.32.0",
)
SEEN = TensorFlow(
    version="2.21.0",
    seconds=3.0,
    cuda="12.5.1",
    cudnn="9",
    capabilities=("sm_60", "sm_70", "sm_80", "sm_89", "compute_90"),
    gpus=("NVIDIA H200",),
    keras="3.15.1",
    backend="tensorflow",
)
H200 = Gpu(0, "NVIDIA H200", "GPU-aaaa", (9, 0), 140 * GIB, 139 * GIB)
NODES = dict.fromkeys(("/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"), True)
DRIVER = Driver(
    pci=("nvidia",),
    nodes=NODES,
    module="580.65.06",
    libcuda="/usr/lib/libcuda.so.580.65.06",
    version="580.65.06",
    cuda=(13, 0),
    init=0,
    visible=1,
    gpus=(H200,),
)
LIBRARIES = Libraries(
    opened={name: f"{SITE}/nvidia/lib/{name}" for name in names("12.5.1")},
    cudart=("12",),
    cudnn=(9, 10, 2),
    ptxas=f"{SITE}/nvidia/cuda_nvcc/bin/ptxas",
    ptxas_version="12.9.86",
    libdevice=f"{SITE}/nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc",
)
MACHINE = Machine(
    cpu="A processor",
    cores=16,
    allowed=16,
    instructions=frozenset({"sse4_2", "avx", "avx2", "fma"}),
    memory=128 * GIB,
    available=120 * GIB,
    folders=(Folder("/home/me/.cache/mirage", "/home/me", 60 * GIB, 500e6, 1e9),),
)
GOOD = Facts(software=SOFTWARE, tensorflow=SEEN, driver=DRIVER, libraries=LIBRARIES, machine=MACHINE)
# A machine without any GPU, with the build of TensorFlow that is made for it.
PLAIN = dataclasses.replace(
    GOOD,
    software=dataclasses.replace(SOFTWARE, tensorflows={"tensorflow-cpu": "2.21.0"}, wanted=(), nvidia={}),
    tensorflow=dataclasses.replace(SEEN, cuda="", cudnn="", capabilities=(), gpus=()),
    driver=Driver(libcuda_failure="libcuda.so.1: cannot open", nvml_failure="libnvidia-ml.so.1: cannot open"),
    libraries=Libraries(),
)


def change(facts=GOOD, **parts):
    """Facts with other values in some of their parts: `driver={"init": 802}`."""
    changed = {
        name: value if name == "environment" else dataclasses.replace(getattr(facts, name), **value)
        for name, value in parts.items()
    }
    return dataclasses.replace(facts, **changed)


def failed(*libraries, **more):
    """Libraries that can't be opened, and the reasons."""
    opened = {name: path for name, path in LIBRARIES.opened.items() if name not in libraries}
    return {"opened": opened, "failed": {name: f"{name}: cannot open shared object file" for name in libraries}, **more}


def verdicts(facts, kind="bad"):
    return {each.name: each for each in diagnose(facts) if each.verdict == kind}


def the_only_bad(facts):
    found = verdicts(facts)
    assert len(found) == 1, [str(each) for each in found.values()]
    return next(iter(found.values()))
