"""From flags to a `tf.distribute` strategy."""

import functools

import tensorflow as tf

from pipeline.config import MirageError


def make_strategy(name: str, virtual_devices: int = 0) -> tf.distribute.Strategy:
    """Creates the distribution strategy.

    Args:
      name: "mirrored" (a replica on each GPU, or on each logical CPU device if there is no GPU) or
        "one_device" (the first GPU, or the CPU).
      virtual_devices: number of logical devices to split the CPU into; 0 leaves devices as they are.
        They are used even where there are GPUs.

    Returns:
      The strategy.

    Raises:
      MirageError: if TensorFlow has already started with another number of logical devices.
    """
    if virtual_devices:
        _split_cpu(virtual_devices)
    gpus = [] if virtual_devices else tf.config.list_logical_devices("GPU")
    devices = tuple(device.name for device in gpus or tf.config.list_logical_devices("CPU"))
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy(devices[0])
    return _mirrored(devices)


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    # Once per process: each MirroredStrategy numbers its collective operations from the same start, so
    # those of a second one over the same devices are taken for the first one's ("Shape mismatch in the
    # collective instance").
    return tf.distribute.MirroredStrategy(devices)


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        present = len(tf.config.list_logical_devices("CPU"))
        if present != count:
            raise MirageError(
                f"--virtual_devices={count} came too late: TensorFlow has already started with {present}; set it in "
                "a new process."
            ) from None
