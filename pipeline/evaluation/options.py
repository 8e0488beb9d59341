"""When and how a training is evaluated. Needs only the standard library."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters, parameter


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(Parameters):
    """When and how a training is evaluated. Field names are flag names."""

    eval_every: int = parameter(
        0,
        "steps between two evaluations of the generator, as python -m pipeline.evaluate makes them; 0 makes none.",
        minimum=0,
        may_change=True,
    )
    eval_samples: int = parameter(
        5000, "images to generate for an evaluation.", minimum=10, may_change=True, may_differ=True
    )
    extractor: str = parameter(
        "auto",
        "what describes images in evaluations: classifier, inception, or auto, see Evaluate.",
        choices=("auto", "classifier", "inception"),
        may_change=True,
        may_differ=True,
    )
    inception_weights: str = parameter(
        "",
        "file with InceptionV3's weights (no top), for evaluations; empty fetches them.",
        may_change=True,
        may_differ=True,
    )
    keep_best: bool = parameter(
        False,
        "keep the checkpoint with the smallest Frechet distance so far, for python -m export --checkpoint=best.",
        may_change=True,
        may_differ=True,
    )

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        if self.keep_best and not self.eval_every:
            raise MirageError("--keep_best needs evaluations; set --eval_every, such as --eval_every=2000.")
