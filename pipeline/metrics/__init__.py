"""Measures of quality, one file each, and what describes images for them. This file needs only the standard library.

A metric is an object of the form of `pipeline.metrics.metric.Metric`; an extractor, of that of
`pipeline.metrics.extractor.Extractor`. To add one, write one file and enter it here, or give its import path to the
flag. A distance means nothing without the extractor, the numbers of samples and its value for real against real, so
`pipeline.evaluation` gives them together.
"""

__all__ = ["EXTRACTORS", "METRICS", "chosen_extractor"]

METRICS = {
    "frechet_distance": "pipeline.metrics.frechet:FrechetDistance",
    "frechet_distance_infinity": "pipeline.metrics.frechet_infinity:FrechetDistanceInfinity",
    "precision_recall": "pipeline.metrics.precision_recall:PrecisionRecall",
    "density_coverage": "pipeline.metrics.density_coverage:DensityCoverage",
    "inception_score": "pipeline.metrics.classes:InceptionScore",
    "class_entropy": "pipeline.metrics.classes:ClassEntropy",
    "label_accuracy": "pipeline.metrics.label_accuracy:LabelAccuracy",
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
    "inception": "pipeline.metrics.inception:Inception",
}
"""By name, what describes images for metrics."""


def chosen_extractor(extractor: str, class_names: tuple[str, ...]) -> str:
    """What `--extractor=auto` means for data with these classes: the classifier if there are two, else inception."""
    if extractor != "auto":
        return extractor
    return "classifier" if len(class_names) > 1 else "inception"
