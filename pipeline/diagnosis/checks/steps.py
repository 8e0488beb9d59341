"""What became of the trials of training steps."""

from collections.abc import Sequence

from pipeline.diagnosis.facts import Facts, Step
from pipeline.diagnosis.finding import Finding, bad, good

# Words of a failure, what they mean, and what to do.
_CAUSES = (
    (
        ("no kernel image", "CUDA_ERROR_NO_BINARY_FOR_GPU"),
        "this TensorFlow has no code for this GPU",
        "see the line of this GPU above; another TensorFlow may have it",
    ),
    (
        ("OUT_OF_MEMORY", "out of memory", "OOM when allocating", "RESOURCE_EXHAUSTED"),
        "its memory is full",
        "end other programs that use it (nvidia-smi), or leave it out with CUDA_VISIBLE_DEVICES",
    ),
    (
        ("unsupported toolchain", "UNSUPPORTED_PTX_VERSION"),
        "the driver is older than the CUDA that compiled this",
        "install a newer driver",
    ),
    (("NCCL", "nccl"), "the GPUs can't talk to each other", "NCCL_DEBUG=INFO in the environment shows why"),
    (
        ("CUDNN_STATUS_NOT_INITIALIZED", "DNN library", "libcudnn"),
        "cuDNN can't start",
        "see the line cudnn above; a GPU without free memory causes this as well",
    ),
    (("No module named",), "a package is missing", "see the line packages above"),
    (("SIGILL",), "the processor lacks an instruction", "use a TensorFlow that is built for it, or another machine"),
    (("SIGKILL",), "the system killed it, for want of memory perhaps", "see: sudo dmesg | tail"),
    (("said nothing for",), "it hangs", "see: nvidia-smi, sudo dmesg | grep -i xid"),
)


def trials(facts: Facts) -> list[list[str]]:
    """On which devices to train: each GPU that TensorFlow sees, then all of them; or the CPU."""
    seen = facts.tensorflow
    if not seen.version or seen.failure or seen.keras_failure or seen.backend not in ("", "tensorflow"):
        return []
    gpus = [f"gpu:{index}" for index in range(len(facts.tensorflow.gpus))]
    if not gpus:
        return [["cpu:0"]]
    return [*([gpu] for gpu in gpus), *([gpus] if len(gpus) > 1 else [])]


def check_step(step: Step, before: Sequence[Step] = ()) -> Finding:
    """Judges one trial.

    Args:
      step: the trial.
      before: those before it, of which the ones on single devices are compared with one on all.
    """
    name = step_name(step.devices)
    if step.failure:
        cause = f"{step.failure} (while {step.stage})"
        for words, says, do in _CAUSES:
            if any(word in step.failure for word in words):
                return bad(name, f"{says}: {cause}", do)
        return bad(name, cause, "TF_CPP_MIN_LOG_LEVEL=0 python -m pipeline --steps=10 --run_dir=/tmp/trial shows all")
    if not step.finite or step.images_per_s is None:
        do = "look for errors of this device's memory (nvidia-smi -q -d ECC) and at its driver"
        return bad(name, "a loss came out as NaN or infinite on random images, which it should not", do)
    if step.replicas_agree is False:
        do = "look at nvidia-smi topo -m and the GPUs' memory errors; NCCL_P2P_DISABLE=1 avoids a broken connection"
        return bad(name, "the replicas ended with different weights", do)
    says = f"{step.images_per_s:,.0f} images/s (dcgan, 28x28, 64 a device), the first after {step.seconds:.0f} s"
    if len(step.devices) > 1:
        alone = [each.images_per_s for each in before if len(each.devices) == 1 and each.images_per_s]
        if alone:
            says += f"; {step.images_per_s / (sum(alone) / len(alone)):.2f} times one of them"
        return good(name, f"{says}; all replicas have the same bits")
    if step.xla not in ("", "works"):
        do = "see the lines ptxas and libdevice above; --jit=off trains without it"
        return bad(name, f"{says}; but XLA can't compile for it: {step.xla}", do)
    return good(name, f"{says}; XLA works")


def step_name(devices: Sequence[str]) -> str:
    """The name of a trial: its device, or that it was all of them."""
    return f"step:{devices[0]}" if len(devices) == 1 else "step:together"
