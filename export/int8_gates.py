"""Whether a quantised generator's pictures are as good as the float32 one's."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from export.source import Draw, Gate, Verdict
from pipeline.evaluation.judge import Judge
from serving.contract.latents import latents

_MAX_FRECHET_RATIO, _MAX_FRECHET_GROWTH = 1.2, 0.5
_MAX_ACCURACY_LOSS = 0.005
_BATCH = 16


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
