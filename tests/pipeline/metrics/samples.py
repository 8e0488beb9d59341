"""Samples whose features are given, for metrics that look at features."""

import numpy as np

from pipeline.metrics.extractor import Features
from pipeline.metrics.metric import Evidence, Images, Samples


def samples(features, labels=None, probabilities=None, modes=None, num_modes=0, pixels=None):
    """Samples of which an extractor has said this; their pixels are black unless they are given."""
    count = len(features)
    pixels = np.zeros((count, 3, 3, 1), np.uint8) if pixels is None else pixels
    labels = np.zeros(count, np.int32) if labels is None else np.asarray(labels, np.int32)
    made = Samples(Images("some", pixels, labels), None)
    made.__dict__["described"] = Features(np.asarray(features, np.float32), probabilities, modes, num_modes)
    return made


def evidence(generated, real, **more):
    """Evidence of samples, or of features alone."""
    generated, real = (each if isinstance(each, Samples) else samples(each) for each in (generated, real))
    return Evidence(generated, real, real.images, (real.images, real.images), **more)
