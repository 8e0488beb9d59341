"""Networks: generators, discriminators and encoders. Needs only the standard library.

An architecture is any object with

    build_generator(latent_dim, image_shape, num_classes)     a Keras model of `z` and, if conditional, `label`
    build_features(image_shape, num_classes)                  a Keras model of `image` (and `label`), whose output is
                                                              features [N, F]; the heads are Mirage's

or, instead of the latter, with `build_discriminator(image_shape, num_classes)` and, for autoencoders,
`build_encoder(image_shape, num_classes)`, which decide their heads themselves; see `pipeline.networks.build`. More
arguments may be asked for by name. To add one, write a file such as `mlp.py`, and enter it here.
"""

from typing import Any

# In a run directory: what its networks are built from, without the code that made them.
NETWORKS_FILE = "networks.json"

# By their name for `--model`: import paths, or classes, objects and modules themselves.
ARCHITECTURES: dict[str, Any] = {
    "dcgan": "pipeline.networks.dcgan:DCGAN",
    "mlp": "pipeline.networks.mlp:MLP",
    "noisy_mlp": "pipeline.networks.noisy_mlp:NoisyMLP",
    "resnet": "pipeline.networks.resnet:ResNet",
}
