"""Networks: generators, discriminators and encoders, and the layers that make any network exact over replicas."""

import importlib
from typing import Any

_RANDOM = "pipeline.networks.random_layers"
# For users' networks; imported when they are used, as this file is read before TensorFlow.
_LAYERS = {
    "AlphaDropout": _RANDOM,
    "BatchNormalization": "pipeline.networks.batch_norm",
    "Dropout": _RANDOM,
    "GaussianDropout": _RANDOM,
    "GaussianNoise": _RANDOM,
    "SpatialDropout1D": _RANDOM,
    "SpatialDropout2D": _RANDOM,
    "SpatialDropout3D": _RANDOM,
    "SpectralNormalization": "pipeline.networks.spectral_norm",
}


def __getattr__(name: str) -> Any:
    if name not in _LAYERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAYERS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAYERS})
