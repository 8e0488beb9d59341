"""The parity gate: Keras, SavedModel and ONNX make the same pictures, or there is no export."""

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import onnxruntime as ort
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.errors import MirageError
from serving.generator import to_pixels
from serving.latents import latents
from serving.manifest import ModelInfo

BATCH_SIZES = (1, 3, 64)
MAX_DIFFERENCE = 1e-5  # of images in [-1, 1]
MAX_PIXEL_SHARE = 0.001  # of pixels that may differ, by one level of 255

Generate = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]


def keras_generator(model: keras.Model, info: ModelInfo) -> Generate:
    """The trained network itself, as a function of latents and labels."""
    if info.conditional:
        return lambda z, label: np.asarray(model([tf.constant(z), tf.constant(label, tf.int32)], training=False))
    return lambda z, label: np.asarray(model(tf.constant(z), training=False))


def saved_model_generator(folder: Path, info: ModelInfo) -> Generate:
    """A SavedModel, loaded again from its files."""
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def generate(z: NDArray, label: NDArray) -> NDArray:
        assert loaded is not None  # a signature alone does not keep its variables alive
        feeds = {"z": tf.constant(z), **({"label": tf.constant(label)} if info.conditional else {})}
        return signature(**feeds)["image"].numpy()

    return generate


def onnx_generator(path: Path, info: ModelInfo) -> Generate:
    """An ONNX file in onnxruntime, on the CPU."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def generate(z: NDArray, label: NDArray) -> NDArray:
        return session.run(["image"], {"z": z, **({"label": label} if info.conditional else {})})[0]

    return generate


def check_parity(reference: Generate, others: Mapping[str, Generate], info: ModelInfo) -> dict[str, dict[str, float]]:
    """Compares generators on fixed latents, in batches of 1, 3 and 64.

    Args:
      reference: what is right.
      others: what is compared with it, by name.
      info: the generators' description.

    Returns:
      For each name: `max_difference`, the largest absolute difference of images in [-1, 1], and
      `pixel_share`, the largest share of uint8 values that differ in a batch.

    Raises:
      MirageError: if images differ by more than 1e-5, or uint8 values by more than one level or in more
        than 0.1 % of places (but one may always).
    """
    figures = {name: {"max_difference": 0.0, "pixel_share": 0.0} for name in others}
    for batch_size in BATCH_SIZES:
        z = latents(np.arange(batch_size), info.latent_dim)
        label = np.arange(batch_size, dtype=np.int64) % max(1, len(info.class_names))
        expected = reference(z, label)
        for name, generate in others.items():
            _compare(name, batch_size, expected, generate(z, label), figures[name])
    return figures


def _compare(name: str, batch_size: int, expected: NDArray, actual: NDArray, figures: dict[str, float]) -> None:
    if actual.shape != expected.shape:
        raise MirageError(f"parity: {name} returns {actual.shape} where Keras returns {expected.shape}; not exported.")
    if not np.isfinite(actual).all():
        raise MirageError(f"parity: at batch size {batch_size} {name} makes NaN or Inf; nothing was exported.")
    difference = float(np.abs(actual - expected).max())
    levels = np.abs(to_pixels(actual).astype(int) - to_pixels(expected))
    share = float(np.mean(levels > 0))
    # One pixel that lies on the edge between two levels is more than 0.1 % of a small image.
    too_many = np.sum(levels > 0) > max(1, MAX_PIXEL_SHARE * levels.size)
    if difference > MAX_DIFFERENCE or levels.max() > 1 or too_many:
        raise MirageError(
            f"parity: at batch size {batch_size} {name} differs from Keras by {difference:.2g} (at most "
            f"{MAX_DIFFERENCE:g}) and by {levels.max()} levels in {share:.2%} of pixels (at most one, in "
            f"{MAX_PIXEL_SHARE:.1%}); nothing was exported."
        )
    figures["max_difference"] = max(figures["max_difference"], difference)
    figures["pixel_share"] = max(figures["pixel_share"], share)
