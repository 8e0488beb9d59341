"""NVIDIA's driver, and what TensorFlow sees through it."""

from pipeline.diagnosis.checks.software import install_tensorflow, numbers
from pipeline.diagnosis.facts import Driver, Facts
from pipeline.diagnosis.finding import Finding, bad, good, note

# The oldest driver for each CUDA: docs.nvidia.com/deploy/cuda-compatibility.
_DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
_NO_DEVICE, _UNKNOWN = 100, 999
_INIT = {
    3: ("CUDA could not be initialised", "restart the machine, or the container"),
    34: (
        "libcuda.so.1 is the empty one that comes with the CUDA toolkit for linking",
        "remove the folder stubs from LD_LIBRARY_PATH",
    ),
    46: (
        "the GPUs are taken: another process has them for itself",
        "end that process, or: sudo nvidia-smi --compute-mode=0",
    ),
    802: (
        "the system is not ready: on machines with NVSwitch, NVIDIA's fabric manager must run",
        "sudo systemctl enable --now nvidia-fabricmanager (of the driver's own version)",
    ),
    803: (
        "the library libcuda.so.1 and the kernel's module are of different versions",
        "restart the machine after the driver's update; in a container, take no driver from the image",
    ),
    804: (
        "a compatibility package of CUDA is installed that this GPU can't use",
        "remove the folder compat of CUDA from LD_LIBRARY_PATH and /etc/ld.so.conf.d",
    ),
    _UNKNOWN: (
        "CUDA failed without a reason (often after the machine slept)",
        "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm, or restart the machine",
    ),
}


def check_driver(facts: Facts) -> list[Finding]:
    """Judges what stands between the hardware and CUDA."""
    driver = facts.driver
    if driver.failure:
        return [bad("driver", f"it could not be asked: {driver.failure}", "look at: nvidia-smi, sudo dmesg")]
    return _driver(facts) if driver.hardware else [_none(facts)]


def check_sight(facts: Facts) -> list[Finding]:
    """Judges what TensorFlow makes of the GPUs: whether it could use any, and which it sees."""
    seen, there = facts.tensorflow, facts.driver.visible
    if not seen.version or not facts.driver.hardware:
        return []
    name = "tensorflow-gpu"
    if not seen.cuda:
        build = next(iter(facts.software.tensorflows), "this TensorFlow")
        return [bad(name, f"{build} is built without CUDA, so it uses no GPU", install_tensorflow(facts))]
    if seen.gpus and len(seen.gpus) >= there:
        return [good(name, f"TensorFlow sees {len(seen.gpus)}: {', '.join(seen.gpus)}")]
    ignored = [line for line in seen.said if line.startswith("Ignoring visible gpu")]
    if seen.gpus:
        says = f"TensorFlow sees {len(seen.gpus)} of the {there} GPU that CUDA sees here"
        loud = "TF_CPP_MIN_LOG_LEVEL=0 in the environment shows what it says of the others"
        return [bad(name, says, ignored[0] if ignored else loud)]
    why = next(iter([*ignored, *seen.said, seen.failure]), "")
    return [bad(name, f"TensorFlow sees no GPU{f' ({why})' if why else ''}", "mend what is bad, and run this again")]


def _none(facts: Facts) -> Finding:
    if facts.driver.container and facts.environment.get("NVIDIA_VISIBLE_DEVICES") not in (None, "", "none", "void"):
        says = "no NVIDIA GPU can be seen from this container, whose image is made for one; training runs on the CPU"
        return note("gpu", says, "if the machine has one: docker run --gpus all ...")
    return good("gpu", "no NVIDIA GPU in this machine; training runs on the CPU")


def _driver(facts: Facts) -> list[Finding]:
    driver = facts.driver
    if driver.visible or driver.gpus:  # it works, whatever the rest looks like
        return [_version(facts), *_nvml(driver), *_init(facts)]
    if not driver.module and not driver.nodes and not driver.container:
        names = " and ".join({name or "none": None for name in driver.pci})
        return [
            bad(
                "driver",
                f"this machine has {len(driver.pci)} NVIDIA GPU, and NVIDIA's driver isn't loaded (but: {names})",
                "install NVIDIA's driver 525 or newer (such as: sudo apt-get install nvidia-driver-580), and restart",
            )
        ]
    if not driver.nodes:
        return [_no_nodes(facts)]
    if closed := [path for path, usable in driver.nodes.items() if not usable]:
        return [
            bad(
                "driver",
                f"this user may not use {', '.join(closed)}",
                f"sudo chmod a+rw {' '.join(closed)}, or join the group that owns them (ls -l /dev/nvidia*)",
            )
        ]
    if not driver.libcuda:
        return [_no_library(driver)]
    return [_version(facts), *_nvml(driver), *_init(facts)]


def _no_nodes(facts: Facts) -> Finding:
    hidden = facts.environment.get("NVIDIA_VISIBLE_DEVICES")
    if hidden in ("", "none", "void"):
        return bad(
            "driver",
            f"NVIDIA_VISIBLE_DEVICES={hidden} keeps all GPUs out of this container",
            "start the container with NVIDIA_VISIBLE_DEVICES=all, and --gpus all",
        )
    if facts.driver.container:
        return bad(
            "driver",
            "the machine has an NVIDIA GPU, and this container has no /dev/nvidia*: it was started without GPUs",
            "docker run --gpus all ... (Kubernetes: resources.limits; Podman: --device nvidia.com/gpu=all)",
        )
    return bad(
        "driver",
        "the driver's module is loaded, and there is no /dev/nvidia*",
        "sudo nvidia-modprobe -u -c 0, or run once: sudo nvidia-smi",
    )


def _no_library(driver: Driver) -> Finding:
    if driver.container:
        return bad(
            "driver",
            f"this container lacks the driver's library: {driver.libcuda_failure}",
            "start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility, by NVIDIA's container toolkit",
        )
    return bad(
        "driver",
        f"the driver's library can't be opened: {driver.libcuda_failure}",
        "install the driver's compute part, of the same version (such as: sudo apt-get install libnvidia-compute-580)",
    )


def _version(facts: Facts) -> Finding:
    driver, built = facts.driver, numbers(facts.tensorflow.cuda)
    version = driver.version or driver.module or "of unknown version"
    supports = ".".join(map(str, driver.cuda or ())) or "an unknown version"
    if driver.cuda and built and driver.cuda[0] < built[0]:
        return bad(
            "driver",
            f"{version} is too old: it supports CUDA {supports}, and this TensorFlow is built for CUDA {built[0]}",
            f"install driver {_DRIVERS.get(built[0], 'of this year')} or newer",
        )
    return good("driver", f"{version}, supports CUDA {supports}")


def _nvml(driver: Driver) -> list[Finding]:
    if not driver.nvml_failure:
        return []
    do = "install the driver's utilities, of the same version (nvidia-smi must run)"
    if driver.container:
        do = "start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    return [
        bad(
            "nvml",
            f"libnvidia-ml.so.1 can't be used ({driver.nvml_failure}), and without it TensorFlow sees no GPU",
            do,
        )
    ]


def _init(facts: Facts) -> list[Finding]:
    status = facts.driver.init
    if status in (None, 0) or (status == _NO_DEVICE and "CUDA_VISIBLE_DEVICES" in facts.environment):
        return []  # `_visible` says it better
    if status == _NO_DEVICE:
        mig = any(gpu.mig for gpu in facts.driver.gpus)
        says = "CUDA finds no GPU, though the driver is there"
        return [] if mig else [bad("cuda", says, "look at: nvidia-smi -L, sudo dmesg | grep -i nvrm")]
    if status == _UNKNOWN and "/dev/nvidia-uvm" not in facts.driver.nodes and "/dev/dxg" not in facts.driver.nodes:
        return [bad("cuda", "CUDA can't start, as there is no /dev/nvidia-uvm", "sudo nvidia-modprobe -u -c 0")]
    says, do = _INIT.get(int(status or 0), (f"CUDA can't start (error {status})", "look at: nvidia-smi, sudo dmesg"))
    return [bad("cuda", says, do)]
