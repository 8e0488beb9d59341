"""Generators to score, and a run's other networks, as functions of arrays."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.devices.numerics import full_float32
from pipeline.metrics.metric import Images
from pipeline.metrics.reconstruction import reconstructed
from pipeline.networks import build as networks
from pipeline.objectives.composition import compose
from pipeline.runs.checkpoint import load_network, load_sampler
from pipeline.runs.preview import to_pixels
from pipeline.runs.run_file import read_run

BATCH = 100


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A generator to score.

    Attributes:
      make: function of (latents, labels) that returns uint8 images.
      step: step of its checkpoint; None if that isn't known.
      latent_dim: components of a latent.
      conditional: whether it looks at labels.
    """

    make: Callable[[np.ndarray, np.ndarray], np.ndarray]
    step: int | None
    latent_dim: int
    conditional: bool

    def images(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Makes many images, a hundred at a time.

        Args:
          z: latents, float32 [n, latent_dim].
          labels: int32 [n].

        Returns:
          uint8 [n, H, W, C].
        """
        parts = [slice(start, start + BATCH) for start in range(0, len(z), BATCH)]
        return np.concatenate([self.make(z[part], labels[part]) for part in parts])


def sampler_of(model: keras.Model, step: int | None = None) -> Sampler:
    """Makes a sampler of a generator: the one place where a generator is called.

    Args:
      model: a model of `z` or of `[z, label]`; its weights may change later.
      step: step of its checkpoint, if that is known.
    """
    by_name = {each.name: each for each in model.inputs}
    latent = next(each for name, each in by_name.items() if name != "label")

    @functools.partial(tf.function, reduce_retracing=True)
    def generate(z: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        inputs = [labels if each.name == "label" else z for each in model.inputs]
        return model(inputs if len(inputs) > 1 else inputs[0], training=False)

    @full_float32()
    def make(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return to_pixels(generate(tf.constant(z), tf.constant(labels)).numpy())

    return Sampler(make, step, latent.shape[-1], "label" in by_name)


def sample_run(run_dir: Path, checkpoint: str = "newest") -> Sampler:
    """Loads a run's generator, of its "newest" or "best" checkpoint."""
    _, _, model, step = load_sampler(run_dir, checkpoint)
    return sampler_of(model, step)


def networks_of_run(run_dir: Path, checkpoint: str = "newest") -> dict[str, Callable[[np.ndarray, np.ndarray], Any]]:
    """Makes functions of the networks that a run trains beside its generator.

    Args:
      run_dir: the run directory.
      checkpoint: "newest" or "best".

    Returns:
      Functions by name, see `pipeline.metrics.metric.Evidence`; a network is loaded when it is first used. Besides
      `encoder` and `discriminator`, as far as they are there, `classes` is the latter where it names classes though
      networks are told none.
    """
    config, data = read_run(run_dir)
    needs = compose(config.to_dict()).needs((), len(data.class_names), config.latent_dim)
    models = networks.build_networks(config, data, needs)
    functions = {
        name: _function(functools.partial(load_network, run_dir, name, checkpoint))
        for name in models
        if name != "generator"
    }
    outputs = getattr(models.get("discriminator"), "output", None)
    if not config.conditional and isinstance(outputs, Mapping) and "classes" in outputs:
        functions["classes"] = functions["discriminator"]
    return functions


def _function(load: Callable[[], keras.Model]) -> Callable[[np.ndarray, np.ndarray], Any]:
    loaded = functools.cache(load)

    @full_float32()
    def call(images: np.ndarray, labels: np.ndarray) -> Any:
        model = loaded()
        given = {"label": labels, "noise": np.zeros([len(images), networks.noise_size(model)], np.float32)}
        inputs = [tf.constant(given.get(each.name, images)) for each in model.inputs]
        outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), outputs)

    return call


def reconstruct(run_dir: Path, images: Images, checkpoint: str = "newest") -> np.ndarray | None:
    """Encodes and decodes images with a run's autoencoder.

    Args:
      run_dir: the run directory.
      images: the images.
      checkpoint: "newest" or "best".

    Returns:
      uint8 [n, H, W, C]; None if the run has no encoder.
    """
    others = networks_of_run(run_dir, checkpoint)
    if "encoder" not in others:
        return None
    sampler = sample_run(run_dir, checkpoint)
    return reconstructed(images, others["encoder"], sampler.make, sampler.latent_dim)
