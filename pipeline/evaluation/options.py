"""When and how generators are evaluated. Needs only the standard library."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters, parameter
from pipeline.metrics.names import check_extractor, check_figure, check_metrics, check_weights

PROTOCOLS = {"default": 10_000, "paper": 50_000}
"""By name, how many images are generated; "paper" compares them with all training images, "default" with others."""
_FEWEST = 10


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
    metrics: str = parameter(
        "",
        "what evaluations measure: names or import paths (my_package.my_metrics:MyMetric), joined by commas; auto, or "
        "empty, is all of Mirage's that apply, see Evaluate.",
        may_change=True,
        may_differ=True,
    )
    extractor: str = parameter(
        "auto",
        "what describes images in evaluations: classifier, efficientnet, inception, inception_pytorch, "
        "inception_clean, an ONNX file, an import path, or auto, see Evaluate.",
        may_change=True,
        may_differ=True,
    )
    inception_weights: str = parameter(
        "",
        "file with the weights of the Inception network of 2015, for evaluations, see Evaluate.",
        may_change=True,
        may_differ=True,
    )
    download: bool = parameter(
        False, "may fetch those weights (91 MB) and keep them below --data_dir.", may_change=True, may_differ=True
    )
    keep_best: bool = parameter(
        False,
        "keep the best checkpoint so far by --best_by, for python -m export --checkpoint=best.",
        may_change=True,
        may_differ=True,
    )
    best_by: str = parameter(
        "frechet_distance",
        "figure of the evaluations by which --keep_best and --patience go, such as recall.",
        may_change=True,
        may_differ=True,
    )
    patience: int = parameter(
        0,
        "evaluations without a better --best_by after which the training ends; 0 never ends it.",
        minimum=0,
        may_change=True,
    )

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        check_extractor(self.extractor)
        check_metrics(self.metrics)
        if self.keep_best and not self.eval_every:
            raise MirageError("--keep_best needs evaluations; set --eval_every, such as --eval_every=2000.")
        if self.patience and not self.eval_every:
            raise MirageError(
                f"--patience={self.patience} counts evaluations; set --eval_every, such as --eval_every=2000."
            )
        if self.compares or self.best_by != "frechet_distance":
            check_figure(self.best_by, self.metrics)

    @property
    def compares(self) -> bool:
        """Whether evaluations are compared with one another."""
        return bool(self.keep_best or self.patience)


@dataclasses.dataclass(frozen=True)
class ScoringOptions(Parameters):
    """How trained generators are scored. Field names are flag names."""

    checkpoint: str = parameter(
        "newest",
        "which checkpoint to score: newest, or best, which --keep_best kept.",
        choices=("newest", "best"),
    )
    protocol: str = parameter(
        "default",
        "default: 10,000 images against the test split, or all images where there is none; paper: what papers do, "
        "50,000 against all of the training images.",
        choices=(*PROTOCOLS,),
    )
    num_samples: int = parameter(0, "number of generated images; 0: as --protocol says.", minimum=0)
    repeats: int = parameter(
        1, "independent sets of images; figures are means over them, with intervals of 95 %.", minimum=1
    )
    seed: int = parameter(0, "seed of the first image; image i has the seed + i.", minimum=-(2**63), below=2**63)
    metrics: str = parameter(
        "",
        "what to measure: names or import paths (my_package.my_metrics:MyMetric), joined by commas; auto is all of "
        "Mirage's that apply; empty takes the run's own.",
    )
    extractor: str = parameter(
        "auto",
        "what describes images: classifier, a small one, trained once on the run's own labelled data; efficientnet, "
        "EfficientNet-Lite0; inception, inception_pytorch or inception_clean, the network of 2015 with one of three "
        "ways to resize; an ONNX file; an import path; auto: as in training, where auto means the classifier for grey "
        "data with labels, else efficientnet.",
    )
    inception_weights: str = parameter(
        "", "file with the weights of the Inception network of 2015, see Evaluate; empty takes the run's own."
    )
    download: bool = parameter(False, "may fetch those weights (91 MB) and keep them below --data_dir.")
    reference: str = parameter(
        "",
        "file of statistics (.npz with mu and sigma, as pytorch-fid and clean-fid write it) to compare with instead of "
        "images; what needs more of real images than that is left out.",
    )
    dataset: str = parameter(
        "",
        "where the folder that the run was trained on is now, such as folder:/path; empty takes the run's own.",
    )
    data_dir: str = parameter("", "as for training; empty takes the run's own.")
    manual_dir: str = parameter("", "as for training; empty takes the run's own.")

    def given(self, trained_with: str) -> dict[str, Any]:
        """What takes the place of the training's own parameters; `trained_with` is its `extractor`.

        Raises:
          MirageError: if weights are passed that the extractor doesn't take.
        """
        extractor = trained_with if self.extractor == "auto" else self.extractor
        check_weights(extractor, self.inception_weights, self.download)
        names = ("dataset", "data_dir", "manual_dir", "inception_weights", "metrics", "download")
        given = {name: getattr(self, name) for name in names if getattr(self, name)}
        return given if self.extractor == "auto" else {**given, "extractor": self.extractor}

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        check_extractor(self.extractor)
        check_metrics(self.metrics)
        if 0 < self.num_samples < _FEWEST:
            raise MirageError(f"--num_samples={self.num_samples} is too small; expected at least {_FEWEST}.")

    @property
    def count(self) -> int:
        """Number of images in a set."""
        return self.num_samples or PROTOCOLS[self.protocol]
