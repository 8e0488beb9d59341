"""Measures of quality, one file each, and what describes images for them. This file needs only the standard library.

A metric is an object of the form of `pipeline.metrics.metric.Metric`; an extractor, of that of
`pipeline.metrics.extractor.Extractor`. To add one, write one file and enter it here, or give its import path to the
flag. A distance means nothing without the extractor, the numbers of samples and its value for real against real, so
`pipeline.evaluation` gives them together.
"""

import itertools
from collections.abc import Sequence

__all__ = ["EXTRACTORS", "METRICS", "TITLES", "chosen_extractor", "distance_title"]

METRICS = {
    "frechet_distance": "pipeline.metrics.frechet:FrechetDistance",
    "frechet_distance_infinity": "pipeline.metrics.frechet_infinity:FrechetDistanceInfinity",
    "precision_recall": "pipeline.metrics.precision_recall:PrecisionRecall",
    "density_coverage": "pipeline.metrics.density_coverage:DensityCoverage",
    "inception_score": "pipeline.metrics.classes:InceptionScore",
    "class_entropy": "pipeline.metrics.classes:ClassEntropy",
    "label_accuracy": "pipeline.metrics.label_accuracy:LabelAccuracy",
    "attribute_accuracy": "pipeline.metrics.attributes:AttributeAccuracy",
    "attribute_correlation": "pipeline.metrics.attributes:AttributeCorrelation",
    "by_attribute": "pipeline.metrics.attributes:ByAttribute",
    "intra_class_distance": "pipeline.metrics.intra_class:IntraClassDistance",
    "modes": "pipeline.metrics.modes:Modes",
    "kernel_distance": "pipeline.metrics.kernel:KernelDistance",
    "class_histogram": "pipeline.metrics.classes:ClassHistogram",
    "sharpness": "pipeline.metrics.sharpness:Sharpness",
    "nearest_training_image": "pipeline.metrics.neighbours:NearestTrainingImage",
    "data_copying": "pipeline.metrics.data_copying:DataCopying",
    "feature_path_length": "pipeline.metrics.path_length:FeaturePathLength",
    "reconstruction_error": "pipeline.metrics.reconstruction:ReconstructionError",
    "classification_error": "pipeline.metrics.classification:ClassificationError",
}
"""By name, in the order in which figures are printed. `--metrics=auto` takes all that apply."""
EXTRACTORS = {
    "classifier": "pipeline.metrics.classifier:of_labelled_data",
    "efficientnet": "pipeline.metrics.efficientnet:EfficientNet",
    "inception": "pipeline.metrics.inception:Inception",
    "inception_pytorch": "pipeline.metrics.inception:InceptionPyTorch",
    "inception_clean": "pipeline.metrics.inception:InceptionClean",
}
"""By name, what describes images for metrics."""
TITLES = {
    "efficientnet": "EfficientNet-Lite0",
    "inception": "Inception",
    "inception_pytorch": "Inception (PyTorch resizing)",
    "inception_clean": "Inception (clean)",
}
"""What extractors are called where a figure is named for people, if that isn't their name."""


def chosen_extractor(extractor: str, class_names: Sequence[str], image_shape: Sequence[int]) -> str:
    """What `--extractor=auto` means: the classifier for labelled grey images, stacked or not, else EfficientNet.

    Args:
      extractor: the value of `--extractor`.
      class_names: the data's.
      image_shape: (height, width, channels).
    """
    if extractor != "auto":
        return extractor
    grey = image_shape[2] == 1 or _is_stacked(class_names)
    return "classifier" if grey and len(class_names) > 1 else "efficientnet"


def _is_stacked(names: Sequence[str]) -> bool:
    """Whether classes are named like those of `--dataset=stacked:...`: three of the stacked data's each."""
    count = round(len(names) ** (1 / 3))
    if count < 2 or count**3 != len(names):
        return False
    first = names[0][: (len(names[0]) - 2) // 3]  # of first-first-first
    stacked = [name.removeprefix(f"{first}-{first}-") for name in names[:count]]
    return all(name == "-".join(each) for name, each in zip(names, itertools.product(stacked, repeat=3), strict=True))


def distance_title(extractor: str) -> str:
    """What a Fréchet distance is called where people read it, such as FD-EfficientNet-Lite0.

    Args:
      extractor: the value of `--extractor`, or an extractor's `name` or `title`.

    Returns:
      FID with the graph of 2015, else FD- and the extractor's title.
    """
    path = extractor.partition(".onnx")
    title = TITLES.get(extractor, f"{path[0].rpartition('/')[2]}.onnx" if path[1] else extractor)
    return f"FID{title.removeprefix('Inception')}" if title.startswith("Inception") else f"FD-{title}"
