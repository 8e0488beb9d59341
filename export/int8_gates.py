"""Whether a quantised generator's pictures are as good as the float32 one's."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from export.source import Draw, Gate, Verdict
from pipeline.evaluation.judge import Judge
from serving.contract.latents import latents
from serving.contract.manifest import ModelInfo

_MAX_FRECHET_RATIO, _MAX_FRECHET_GROWTH = 1.2, 0.5
_MAX_ACCURACY_LOSS = 0.005
_BATCH = 16
# Of generators without data to judge by: how close pictures must be to those of float32.
_LEVELS = (2, 8, 32)
_MIN_PSNR, _MIN_WITHIN_8 = 30.0, 0.95
_MOST = 1024


def by_distance(judge: Judge, latent_dim: int, conditional: bool) -> Gate:
    """Makes the gate of generators whose training data are at hand: distance to them, and label accuracy.

    Args:
      judge: what scores pictures.
      latent_dim: components of a latent.
      conditional: whether labels mean something.

    Returns:
      A function of both generators; it draws the pictures of the seeds 0, 1, ...
    """
    z = latents(np.arange(judge.num_samples), latent_dim)

    def score(draw: Draw) -> dict[str, Any]:
        parts = [slice(start, start + _BATCH) for start in range(0, len(z), _BATCH)]
        pixels = [draw(z[part], judge.labels[part].astype(np.int64)) for part in parts]
        scores = judge.quick(np.concatenate(pixels), conditional=conditional)
        rounded = {name: round(value, 5) for name, value in scores.items() if not isinstance(value, list)}
        facts = {name: value for name, value in judge.facts().items() if not isinstance(value, list)}
        return {**facts, **rounded}  # without intervals, which both generators share

    def gate(float32: Draw, int8: Draw) -> Verdict:
        scores = {"float32": score(float32), "int8": score(int8)}
        return Verdict(scores, list(failed_gates(scores["float32"], scores["int8"])))

    return gate


def by_pixels(info: ModelInfo, num_samples: int) -> Gate:
    """Makes the gate of generators without data to judge by: how close pictures are to those of float32.

    Args:
      info: the generator's description.
      num_samples: number of pictures, of which at most 1,024 are made.

    Returns:
      A function of both generators. Its scores of int8 are `psnr`, in decibels of 255 levels over all values, and the
      shares of values that are at most 2, 8 and 32 levels apart.
    """
    count = min(num_samples, _MOST)
    z = latents(np.arange(count), info.latent_dim, info.latent_distribution)
    labels = np.arange(count, dtype=np.int64) % max(1, len(info.class_names))

    def gate(float32: Draw, int8: Draw) -> Verdict:
        squares, within, values = 0.0, np.zeros(len(_LEVELS)), 0
        for start in range(0, count, _BATCH):
            part = slice(start, start + _BATCH)
            apart = np.abs(float32(z[part], labels[part]).astype(np.int32) - int8(z[part], labels[part]))
            squares += float(np.square(apart, dtype=np.float64).sum())
            within += [np.count_nonzero(apart <= level) for level in _LEVELS]
            values += apart.size
        psnr = 10 * np.log10(255**2 * values / max(squares, 1e-9))
        shares = {
            f"within_{level}": round(float(each / values), 5) for level, each in zip(_LEVELS, within, strict=True)
        }
        scores = {"num_samples": count, "psnr": round(float(psnr), 2), **shares}
        return Verdict({"float32": {}, "int8": scores}, list(too_far(scores)))

    return gate


def too_far(scores: Mapping[str, float]) -> Iterator[str]:
    """Says by which figures of `by_pixels` int8 pictures are too far from those of float32.

    Yields:
      A clause for each.
    """
    if not scores["psnr"] >= _MIN_PSNR:
        yield f"its pictures are {scores['psnr']:.1f} dB from those of float32 (at least {_MIN_PSNR:g})"
    if not scores["within_8"] >= _MIN_WITHIN_8:
        yield f"{scores['within_8']:.1%} of its values are within 8 levels of float32's (at least {_MIN_WITHIN_8:.0%})"


def failed_gates(before: Mapping[str, float], after: Mapping[str, float]) -> Iterator[str]:
    """Says which of the conditions for shipping an int8 file do not hold, and by how much.

    Args:
      before: scores of the float32 generator, see `pipeline.evaluation.judge`.
      after: those of the int8 generator, with the same latents.

    Yields:
      A clause for each condition that fails.
    """
    limit = max(before["frechet_distance"] * _MAX_FRECHET_RATIO, before["frechet_distance"] + _MAX_FRECHET_GROWTH)
    if not after["frechet_distance"] <= limit:
        yield (
            f"its Fréchet distance is {after['frechet_distance']:.3f} instead of {before['frechet_distance']:.3f} (at "
            f"most {limit:.3f})"
        )
    if "label_accuracy" in before:
        lowest = before["label_accuracy"] - _MAX_ACCURACY_LOSS
        if not after["label_accuracy"] >= lowest:
            yield f"its label accuracy is {after['label_accuracy']:.4f} (at least {lowest:.4f})"
