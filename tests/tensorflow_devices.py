"""Four logical CPU devices, so that replicas can be tested without GPUs: imported before TensorFlow is used."""

from pipeline.quiet_tensorflow import quiet_tensorflow

quiet_tensorflow()

import tensorflow as tf  # noqa: E402

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)
tf.config.list_logical_devices()  # from now on they stay, whatever a test asks for
