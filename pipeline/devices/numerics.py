"""How floats are computed on GPUs: with TF32 or without, always the same or not; and how to do without GPUs.

CPUs have no TF32, and compute the same thing the same way each time, so nothing here changes what they do.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence

import tensorflow as tf
from tensorflow.python.framework import config as tensorflow_config

from pipeline.devices.options import DeviceOptions

_FIRST_WITH_TF32 = (8, 0)  # compute capability


@contextlib.contextmanager
def prepared(config: DeviceOptions) -> Iterator[None]:
    """Does what `prepare` does, and in the end sets all as it was, for what else the process computes.

    Args:
      config: see `prepare`.
    """
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    deterministic = tensorflow_config.is_op_determinism_enabled()
    try:
        prepare(config)
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        if not deterministic:
            tensorflow_config.disable_op_determinism()


def prepare(config: DeviceOptions) -> None:
    """Sets how GPUs compute in this process; call it before TensorFlow starts its devices.

    Args:
      config: `tf32` and `deterministic` count. Where TensorFlow is deterministic already, it stays so.
    """
    if not tf.config.get_visible_devices("GPU"):
        return
    tf.config.experimental.enable_tensor_float_32_execution(config.tf32)
    if config.deterministic:
        # TensorFlow tells cuDNN and XLA too (`xla_gpu_deterministic_ops`): neither times kernels to choose among them.
        tf.config.experimental.enable_op_determinism()
        # Logical GPUs share a handle of cuBLAS, which chooses by what runs beside unless each has memory of its own.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def described(config: DeviceOptions, devices: Sequence[str]) -> str:
    """Says what `prepare` set, for the first line of a training.

    Args:
      config: the run's.
      devices: names of the devices that it computes on.

    Returns:
      A clause for each thing, with a comma before it; empty on CPUs.
    """
    if not any("GPU" in device for device in devices):
        return ""
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.get_visible_devices("GPU")]
    able = any(each.get("compute_capability", _FIRST_WITH_TF32) >= _FIRST_WITH_TF32 for each in details)
    clauses = [", with TF32" if config.tf32 and able else ", without TF32"]
    if not config.deterministic and not tensorflow_config.is_op_determinism_enabled():
        clauses.append(", not deterministic: a continued run ends with other bits than one that was never stopped")
    return "".join(clauses)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """While it is entered, or as a decorator, GPUs compute float32 without TF32.

    But cuDNN's algorithm for a convolution is chosen once in a process: of those that training has done with the same
    shapes, it stays. So use it where shapes are others, or nothing was trained before.
    """
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def cpu_only() -> None:
    """Hides all GPUs from this process, for good, and turns TF32 off.

    Raises:
      RuntimeError: if TensorFlow has already started with GPUs.
    """
    # Besides what TensorFlow's eager runtime shows: sessions and graph rewriting look for CUDA's devices themselves.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    tf.config.set_visible_devices([], "GPU")
    tf.config.experimental.enable_tensor_float_32_execution(False)
