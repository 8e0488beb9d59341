"""The devices to train on: real ones, or logical ones into which `--virtual_devices` splits GPUs or the CPU."""

import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.devices.gpu_memory import gpu_memory

_MIB = 2**20
# Of a GPU's memory, what is left to contexts and libraries, which take theirs beside TensorFlow's.
_RESERVE_MB = 1024
_RESERVE_PER_DEVICE_MB = 256
_LEAST_MB = 256


def kind_and_count(virtual_devices: int) -> tuple[str, int]:
    """Says on what this process computes, without starting TensorFlow.

    Args:
      virtual_devices: see `pipeline.cluster.strategy.make_strategy`.

    Returns:
      ("GPU" or "CPU", number of devices).
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    return "GPU" if gpus else "CPU", virtual_devices or max(gpus, 1)


def share_a_gpu(devices: tuple[str, ...]) -> bool:
    """Whether several of a process's logical devices lie on one GPU."""
    return "GPU" in devices[0] and len(devices) > len(tf.config.list_physical_devices("GPU"))


def configure_devices(virtual_devices: int, *, start: bool = True) -> None:
    """Splits devices, and has the memory of GPUs that aren't split be taken as it is needed.

    Args:
      virtual_devices: see `pipeline.cluster.strategy.make_strategy`.
      start: whether TensorFlow may be started to see what it has started with, if that can't be changed any more.

    Raises:
      MirageError: if TensorFlow has already started with fewer logical devices, or if the GPUs don't say how
        much memory there is, or have too little.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and virtual_devices <= len(gpus):
        _grow_memory(gpus)
    elif gpus:
        _split(gpus, virtual_devices, start)
    elif virtual_devices:
        _split(tf.config.list_physical_devices("CPU")[:1], virtual_devices, start)


def _grow_memory(gpus: list[tf.config.PhysicalDevice]) -> None:
    """Takes GPU memory as it is needed, so that a GPU can be shared and its use be seen."""
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except (RuntimeError, ValueError):
            return  # TensorFlow has started, or the GPU is split: so this has been decided


def _split(physical: list[tf.config.PhysicalDevice], count: int, start: bool) -> None:
    """Splits devices of one kind into `count` in all, as evenly as it goes."""
    kind = physical[0].device_type
    if sum(len(tf.config.get_logical_device_configuration(device) or "1") for device in physical) >= count:
        return  # by an earlier call, whose devices may have taken the memory that is asked for below
    parts = [len(range(index, count, len(physical))) for index in range(len(physical))]
    try:
        limits = _memory_limits_mb(parts) if kind == "GPU" else [None] * len(parts)
        for device, number, limit in zip(physical, parts, limits, strict=True):
            logical = [tf.config.LogicalDeviceConfiguration(memory_limit=limit)] * number
            tf.config.set_logical_device_configuration(device, logical)
    except RuntimeError:
        # Listing the devices would start TensorFlow, which a cluster's strategy does in its own way.
        present = len(tf.config.list_logical_devices(kind)) if start else 0
        if present < count:
            raise MirageError(
                f"--virtual_devices={count} came too late: TensorFlow has already started with {present}; set it in "
                "a new process."
            ) from None


def _memory_limits_mb(parts: list[int]) -> list[int]:
    """For each GPU, the memory of each of the devices into which it is split."""
    memory = gpu_memory()
    count = sum(parts)
    if len(memory) != len(parts):
        raise MirageError(
            f"--virtual_devices={count} can't split the GPU, because NVIDIA's driver doesn't say how much memory it "
            "has (nor does it where none is left); leave the flag out, or split the CPU: hide GPUs with "
            "CUDA_VISIBLE_DEVICES=-1 in the environment."
        )
    limits = [
        (each.free // _MIB - _RESERVE_MB - _RESERVE_PER_DEVICE_MB * number) // number
        for each, number in zip(memory, parts, strict=True)
    ]
    if min(limits) < _LEAST_MB:
        free = min(each.free for each in memory) // _MIB
        raise MirageError(
            f"--virtual_devices={count} leaves each logical GPU less than {_LEAST_MB} MiB: {free:,} MiB of a GPU are "
            "free; choose fewer, or end what else uses it."
        )
    return limits
