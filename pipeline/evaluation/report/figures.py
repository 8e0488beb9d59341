"""What figures are called, what they mean, and which way is better."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.evaluation.report.record import COUNTS, number
from pipeline.metrics import distance_title
from pipeline.metrics.choice import choose

_TITLES = {"inception_score": "Inception score", "kl_to_uniform": "KL to uniform", "kernel_distance": "Kernel distance"}
_MEANINGS = {
    "frechet_distance": "distance of Gaussians fitted to features of generated and of reference images",
    "frechet_distance_infinity": "the distance of as many images as one likes, extrapolated (arXiv 1911.07023)",
    "intra_class_distance": "mean over the classes of the distance of each alone",
    "feature_path_length": "how much features change along paths between latents (after arXiv 1812.04948)",
    "data_copying": "how often a generated image is nearer to training images than an unseen real one; 0.5 is best",
    "intra_class_left_out": "classes with too few samples to be measured",
    "kernel_distance": "squared distance of the two sets of features in a kernel's space, without bias (KID)",
    "precision": "share of generated images that look real",
    "recall": "share of real images that the generator covers",
    "density": "how deep generated images lie among real ones; 1 where real ones do",
    "coverage": "share of real images with a generated one nearby",
    "label_accuracy": "share of images in which the classifier sees the class that was asked for",
    "attribute_accuracy": "balanced accuracy of a classifier on attributes that were asked for; 0.5 by guessing",
    "attribute_correlation": "correlation of numbers that were asked for with those that a classifier sees",
    "class_entropy": "how evenly the classifier's classes occur; 1 is even",
    "inception_score": "how decided and how varied the classifier finds the images; at most the number of classes",
    "modes": "number of combinations of classes that occur",
    "kl_to_uniform": "how unevenly they occur, in nats; 0 is even",
    "sharpness": "standard deviation of the Laplacian, in grey levels",
    "nearest_training_image": "median distance to the nearest training image, in grey levels; 0 for copies",
    "reconstruction_error": "root mean square of what is lost by encoding and decoding, in grey levels",
    "classification_error": "share of the reference whose class the discriminator names wrongly",
}
_SETTINGS = ("seed", "repeats", "num_samples", "num_reference")
_OF_REAL = ("_of_real", "_of_reference")
_SHARES = {
    "precision",
    "recall",
    "density",
    "coverage",
    "label_accuracy",
    "attribute_accuracy",
    "attribute_correlation",
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of evaluations.

    Attributes:
      name: its key in records.
      title: what it is called.
      meaning: a phrase; empty for those of others.
      better: "lower", "higher", or empty where neither is.
      floor: name of what real images get; empty if there is none.
    """

    name: str
    title: str
    meaning: str = ""
    better: str = ""
    floor: str = ""

    @property
    def is_share(self) -> bool:
        """Whether it belongs into one panel with others between 0 and 1."""
        return self.name in _SHARES


def title_of(name: str, extractor: str = "") -> str:
    """What a figure is called; of a Fréchet distance, the extractor's name belongs to it."""
    words = name.removesuffix("_floor").replace("_", " ")
    if name.startswith("frechet_"):
        rest = words.removeprefix("frechet").removeprefix(" distance").strip()
        return f"{distance_title(extractor)}{f' ({rest})' * bool(rest)}"
    return _TITLES.get(name, words[:1].upper() + words[1:])


def figures_of(scores: Mapping[str, Any], metrics: str, extractor: str) -> list[Figure]:
    """Finds the figures of a record, in their order there.

    Args:
      scores: the record of an evaluation.
      metrics: the value of `--metrics`, where those that are not Mirage's say which way is better.
      extractor: the name of what describes images.
    """
    better, floors = _known(metrics)
    found = []
    for name, value in scores.items():
        if (
            number(value) is None
            or name in (*COUNTS, *_SETTINGS, *floors.values())
            or _belongs_to_another(name, scores)
        ):
            continue
        of_real = (floors.get(name, ""), *(f"{name}{ending}" for ending in _OF_REAL))
        floor = next((each for each in of_real if number(scores.get(each)) is not None), "")
        found.append(Figure(name, title_of(name, extractor), _MEANINGS.get(name, ""), better.get(name, ""), floor))
    return found


def _belongs_to_another(name: str, scores: Mapping[str, Any]) -> bool:
    """Whether it says something of another figure, or of the extractor."""
    endings = [ending for ending in ("_error", *_OF_REAL) if name.endswith(ending)]
    of_another = any(name.removesuffix(ending) in scores for ending in endings)
    return of_another or name.endswith("_floor") or name.startswith("extractor_")


def _known(metrics: str) -> tuple[dict[str, str], dict[str, str]]:
    """Which way is better, and the floor, by figure."""
    try:
        chosen = choose(metrics)
    except MirageError:  # somebody's code that isn't here any more
        chosen = choose()
    better: dict[str, str] = {}
    floors: dict[str, str] = {}
    for each in chosen:
        for figure in each.figures:
            better[figure] = each.better(figure) or ""
        floors.update(zip(each.figures, each.floors, strict=False))
    return better, floors
