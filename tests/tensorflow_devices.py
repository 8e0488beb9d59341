"""Four logical devices of the CPU, so that replicas can be tested without GPUs, and of a GPU: imported before
TensorFlow is used.
"""

from pipeline.base.quiet_tensorflow import quiet_tensorflow

quiet_tensorflow()

import tensorflow as tf  # noqa: E402

for kind, memory_limit in (("CPU", None), ("GPU", 2048)):
    for device in tf.config.list_physical_devices(kind)[:1]:
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration(memory_limit)] * 4)
tf.config.list_logical_devices()  # from now on they stay, whatever a test asks for
