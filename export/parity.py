"""The parity gate: the source and all formats, in all their readers, make the same pictures, or there is no export."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.closeness import closeness
from export.conditions import conditions
from export.formats import Generate, Reader, Sample
from export.source import Reference
from pipeline.base.errors import MirageError
from serving.contract.latents import latents
from serving.contract.manifest import ModelInfo
from serving.contract.pixels import to_pixels

BATCH_SIZES = (1, 3, 64)
_FIGURES = ("max_difference", "pixel_share")

Figures = dict[str, Any]


def check_formats(
    reference: Reference, formats: Mapping[str, Sequence[Reader]], info: ModelInfo
) -> tuple[dict[str, Figures], list[str]]:
    """Compares every format, in all its readers, with the trained network.

    Args:
      reference: what is right.
      formats: the readers of each, by the format's name.
      info: the generators' description.

    Returns:
      (for each format the figures of `check_parity`, the largest of its readers', and `readers`, their names; the
      names of the readers in which samplers were compared).

    Raises:
      MirageError: if one makes other pictures.
    """
    figures = {}
    for name, readers in formats.items():
        found = [
            check_parity(reference, {f"{name} in {each.name}": each.generate}, info, each.max_batch) for each in readers
        ]
        largest = {key: max(each[key] for one in found for each in one.values()) for key in _FIGURES}
        figures[name] = {**largest, "readers": [each.name for each in readers]}
    samplers = []
    for each in (each for readers in formats.values() for each in readers):
        if each.sample is not None:
            check_samplers(reference, {each.name: each.sample}, info, each.max_batch)
            samplers.append(each.name)
    return figures, samplers


def check_samplers(
    reference: Reference,
    samplers: Mapping[str, Sample],
    info: ModelInfo,
    max_batch: int | None = None,
) -> None:
    """Compares samplers with a generator that is given the latents of their seeds.

    Args:
      reference: what is right.
      samplers: what is compared with it, by name.
      info: the generators' description.
      max_batch: number of seeds to compare; None compares all.

    Raises:
      MirageError: if pixels differ by more than one level, or in more than 0.1 % of places (but one may always).
    """

    def expected_images(z: NDArray[np.float32], truncation: float) -> NDArray[np.float32]:
        if reference.truncated is not None:
            return reference.truncated(z, label, truncation)
        return reference.generate(z * np.float32(truncation), label)

    seed = np.array([0, -(2**40) - 5, 1, 7, -1, 2**31, 2**63 - 1, -(2**63)], np.int64)[:max_batch]
    label = conditions(np.arange(len(seed)), info)
    for truncation in (1.0, 0.5):
        z = latents(seed, info.latent_dim, info.latent_distribution)
        expected = to_pixels(expected_images(z, truncation), info.alpha)
        for name, sample in samplers.items():
            _compare_pixels(f"the sampler of {name}", expected, sample(seed, label, truncation), reference)


def check_parity(
    reference: Reference,
    others: Mapping[str, Generate],
    info: ModelInfo,
    max_batch: int | None = None,
) -> dict[str, dict[str, float]]:
    """Compares generators on fixed latents, in batches of 1, 3 and 64.

    Args:
      reference: what is right.
      others: what is compared with it, by name.
      info: the generators' description.
      max_batch: the largest batch to compare; None compares all.

    Returns:
      For each name: `max_difference`, the largest difference of images in units of the largest value, at least 1, and
      `pixel_share`, the largest share of uint8 values that differ in a batch.

    Raises:
      MirageError: if images differ by more than 1e-5 so, or uint8 values by more than one level or in more
        than 0.1 % of places (but one may always).
    """
    figures = {name: dict.fromkeys(_FIGURES, 0.0) for name in others}
    for batch_size in sorted({min(size, max_batch or size) for size in BATCH_SIZES}):
        z = latents(np.arange(batch_size), info.latent_dim, info.latent_distribution)
        label = conditions(np.arange(batch_size), info)
        expected = reference.generate(z, label)
        for name, generate in others.items():
            _compare(name, (expected, generate(z, label)), figures[name], reference, info.alpha)
    return figures


def _compare(
    name: str, images: tuple[NDArray, NDArray], figures: dict[str, float], reference: Reference, alpha: str | None
) -> None:
    """Compares what is expected with what was made."""
    expected, actual = images
    batch_size = len(expected)
    if actual.shape != expected.shape:
        raise MirageError(
            f"parity: {name} returns {actual.shape} where {reference.framework} returns {expected.shape}; not exported."
        )
    if not np.isfinite(actual).all():
        raise MirageError(f"parity: at batch size {batch_size} {name} makes NaN or Inf; nothing was exported.")
    # Networks without a last tanh make values beyond [-1, 1], whose rounding is as much coarser.
    difference = float(np.abs(actual - expected).max() / max(1.0, float(np.abs(expected).max())))
    if difference > reference.tolerance:
        raise MirageError(
            f"parity: at batch size {batch_size} {name} differs from {reference.framework} by {difference:.2g} "
            f"(at most {reference.tolerance:g}); nothing was exported."
        )
    before, after = (to_pixels(each, alpha) for each in images)
    share = _compare_pixels(f"at batch size {batch_size} {name}", before, after, reference)
    figures["max_difference"] = max(figures["max_difference"], difference)
    figures["pixel_share"] = max(figures["pixel_share"], share)


def _compare_pixels(what: str, expected: NDArray[np.uint8], actual: NDArray[np.uint8], reference: Reference) -> float:
    """Returns the share of uint8 values that differ."""
    apart = closeness(actual, expected)
    if not apart.same:
        raise MirageError(f"parity: {what} differs from {reference.framework} {apart}; nothing was exported.")
    return apart.share
