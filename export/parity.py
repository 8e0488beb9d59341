"""The parity gate: Keras, SavedModel and ONNX make the same pictures, or there is no export."""

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray

from export.closeness import closeness
from export.layouts import session_of
from pipeline.errors import MirageError
from serving.generator import to_pixels
from serving.latents import latents
from serving.manifest import ModelInfo

BATCH_SIZES = (1, 3, 64)
MAX_DIFFERENCE = 1e-5  # of images in [-1, 1]

Generate = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]
# Of seeds, labels and truncation; pixels uint8.
Sample = Callable[[NDArray[np.int64], NDArray[np.int64], float], NDArray[np.uint8]]


def keras_generator(model: keras.Model, info: ModelInfo) -> Generate:
    """The trained network itself, as a function of latents and labels."""
    if info.conditional:
        return lambda z, label: np.asarray(model([tf.constant(z), tf.constant(label, tf.int32)], training=False))
    return lambda z, label: np.asarray(model(tf.constant(z), training=False))


def saved_model_functions(folder: Path, info: ModelInfo) -> tuple[Generate, Sample]:
    """A SavedModel, loaded again from its files: what its signatures for latents and for seeds compute."""
    loaded = tf.saved_model.load(str(folder))
    of_latents, of_seeds = (loaded.signatures[name] for name in ("serving_default", "sample"))

    def labels(label: NDArray) -> dict[str, tf.Tensor]:
        assert loaded is not None  # a signature alone does not keep its variables alive
        return {"label": tf.constant(label)} if info.conditional else {}

    def generate(z: NDArray, label: NDArray) -> NDArray:
        return of_latents(z=tf.constant(z), **labels(label))["image"].numpy()

    def sample(seed: NDArray, label: NDArray, truncation: float) -> NDArray:
        given = {"seed": tf.constant(seed), "truncation": tf.constant(truncation)}
        return of_seeds(**given, **labels(label))["pixels"].numpy()

    return generate, sample


def onnx_generator(path: Path, info: ModelInfo) -> Generate:
    """An ONNX file in onnxruntime, on the CPU."""
    session = session_of(onnx.load(path))

    def generate(z: NDArray, label: NDArray) -> NDArray:
        return session.run(["image"], {"z": z, **({"label": label} if info.conditional else {})})[0]

    return generate


def onnx_sampler(path: Path, info: ModelInfo) -> Sample:
    """An ONNX sampler in onnxruntime, on the CPU."""
    session = session_of(onnx.load(path))

    def sample(seed: NDArray, label: NDArray, truncation: float) -> NDArray:
        feeds = {"seed": seed, **({"label": label} if info.conditional else {})}
        if truncation != 1:
            feeds["truncation"] = np.array(truncation, np.float32)
        return session.run(["pixels"], feeds)[0]

    return sample


def check_samplers(reference: Generate, samplers: Mapping[str, Sample], info: ModelInfo) -> None:
    """Compares samplers with a generator that is given the latents of their seeds.

    Args:
      reference: what is right.
      samplers: what is compared with it, by name.
      info: the generators' description.

    Raises:
      MirageError: if pixels differ by more than one level, or in more than 0.1 % of places (but one may always).
    """
    seed = np.array([0, 1, 7, -1, 2**31, -(2**40) - 5, 2**63 - 1, -(2**63)], np.int64)
    label = np.arange(len(seed), dtype=np.int64) % max(1, len(info.class_names))
    for truncation in (1.0, 0.5):
        expected = to_pixels(reference(latents(seed, info.latent_dim) * np.float32(truncation), label))
        for name, sample in samplers.items():
            _compare_pixels(f"the sampler of {name}", expected, sample(seed, label, truncation))


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
    if difference > MAX_DIFFERENCE:
        raise MirageError(
            f"parity: at batch size {batch_size} {name} differs from Keras by {difference:.2g} (at most "
            f"{MAX_DIFFERENCE:g}); nothing was exported."
        )
    share = _compare_pixels(f"at batch size {batch_size} {name}", to_pixels(expected), to_pixels(actual))
    figures["max_difference"] = max(figures["max_difference"], difference)
    figures["pixel_share"] = max(figures["pixel_share"], share)


def _compare_pixels(what: str, expected: NDArray[np.uint8], actual: NDArray[np.uint8]) -> float:
    """Returns the share of uint8 values that differ."""
    apart = closeness(actual, expected)
    if not apart.same:
        raise MirageError(f"parity: {what} differs from Keras {apart}; nothing was exported.")
    return apart.share
