"""Networks: generators, discriminators and encoders, and the layers that make any network exact over replicas.

An architecture is any object with

    build_generator(latent_dim, image_shape, num_classes)     a Keras model of `z` and, if conditional, `label`
    build_features(image_shape, num_classes)                  a Keras model of `image` (and `label`), whose output is
                                                              features [N, F]; the heads are Mirage's

or, instead of the latter, with `build_discriminator(image_shape, num_classes)` and, for autoencoders,
`build_encoder(image_shape, num_classes)`, which decide their heads themselves; see `pipeline.networks.build`. More
arguments may be asked for by name. To add one, write a file such as `mlp.py`, and enter it here.

Importing this doesn't load TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.networks.batch_norm import BatchNormalization
    from pipeline.networks.random_layers import (
        AlphaDropout,
        Dropout,
        GaussianDropout,
        GaussianNoise,
        SpatialDropout1D,
        SpatialDropout2D,
        SpatialDropout3D,
    )
    from pipeline.networks.spectral_norm import SpectralNormalization

__all__ = [
    "ARCHITECTURES",
    "AlphaDropout",
    "BatchNormalization",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "SpectralNormalization",
]

# In a run directory: what its networks are built from, without the code that made them.
NETWORKS_FILE = "networks.json"

ARCHITECTURES: dict[str, Any] = {
    "dcgan": "pipeline.networks.dcgan:DCGAN",
    "mlp": "pipeline.networks.mlp:MLP",
    "noisy_mlp": "pipeline.networks.noisy_mlp:NoisyMLP",
    "projected": "pipeline.networks.projected:Projected",
    "r3gan": "pipeline.networks.r3gan:R3GAN",
    "resnet": "pipeline.networks.resnet:ResNet",
    "stylegan2": "pipeline.networks.stylegan2.architecture:StyleGAN2",
}
"""By their name for `--model` and `--discriminator`: import paths, or classes, objects and modules themselves."""

_ELSEWHERE = {"BatchNormalization": "batch_norm", "SpectralNormalization": "spectral_norm"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"pipeline.networks.{_ELSEWHERE.get(name, 'random_layers')}"
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
