"""Generators to score, and a run's other networks, as functions of arrays."""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.devices.numerics import full_float32
from pipeline.evaluation.progress import progress
from pipeline.metrics.metric import Images
from pipeline.metrics.reconstruction import reconstructed
from pipeline.networks.models import function_of, noise_size
from pipeline.runs.checkpoint import build_network, load_network, load_sampler, network_names
from pipeline.runs.run_file import read_run
from serving.contract.pixels import straight

# Pixels, and images, that a device makes at once: more are hardly faster, and their activations take memory.
_PIXELS = 2**20
_IMAGES = 512

Make = Callable[[np.ndarray, np.ndarray], np.ndarray]
Latents = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A generator to score.

    Attributes:
      make: function of (latents, labels) that returns uint8 images.
      step: step of its checkpoint; None if that isn't known.
      latent_dim: components of a latent.
      conditional: whether it looks at labels.
      uniform: whether its latents are uniform in [-1, 1], rather than normal.
      block: images to make at once.
      devices: the same as `make` on each device of the machine, where there are several; they are called at once.
    """

    make: Make
    step: int | None
    latent_dim: int
    conditional: bool
    uniform: bool = False
    block: int = 100
    devices: tuple[Make, ...] = ()

    def read(self, latents: Latents, labels: np.ndarray, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Makes images block by block, on all devices.

        Args:
          latents: of some numbers of images, float32 [k, latent_dim].
          labels: int32 [n], or of attributes float32 [n, A], of all images.
          indices: the numbers of those to make, int64 [k].
          size: most images to give at once.

        Returns:
          Iterator of uint8 [at most size, H, W, C].
        """
        size = min(size, self.block)
        parts = [indices[start : start + size] for start in range(0, len(indices), size)]
        if not self.devices:
            yield from (self.make(latents(part), labels[part]) for part in parts)
            return
        with concurrent.futures.ThreadPoolExecutor(len(self.devices)) as pool:
            for start in range(0, len(parts), len(self.devices)):
                at_once = parts[start : start + len(self.devices)]
                with full_float32():  # of the process, so not by each thread for itself
                    made = pool.map(lambda make, part: make(latents(part), labels[part]), self.devices, at_once)
                    images = list(made)
                yield from images

    def generated(self, latents: Latents, labels: np.ndarray, *, shown: bool = False) -> "Generated":
        """Returns the images of some latents, none of which is made yet.

        Args:
          latents: of some numbers of images, as for `read`.
          labels: int32 [n], or of attributes float32 [n, A], of all of them.
          shown: whether a progress bar shows how far they are.
        """
        return Generated(self, latents, labels, shown)


@dataclasses.dataclass(frozen=True)
class Generated:
    """A generator's images, which are made whenever they are read; see `pipeline.metrics.metric.Source`."""

    sampler: Sampler
    latents: Latents
    labels: np.ndarray
    shown: bool = False
    name: str = "generated"

    def read(self, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """See `pipeline.metrics.metric.Source`."""
        with progress("samples", "image", len(indices), shown=self.shown) as bar:
            for images in self.sampler.read(self.latents, self.labels, indices, size):
                yield images
                bar.update(len(images))


def sampler_of(model: keras.Model, step: int | None = None) -> Sampler:
    """Makes a sampler of a generator, on all devices of this machine: the one place where a generator is called.

    Args:
      model: a model of `z` or of `[z, label]`; its weights may change later.
      step: step of its checkpoint, if that is known.
    """
    names = [each.name for each in model.inputs]
    height, width = model.outputs[0].shape[1:3]
    devices = _devices()
    makes = [_make_on(device, model) for device in devices]
    return Sampler(
        full_float32()(makes[0]),
        step,
        model.inputs[0].shape[-1],
        "label" in names,
        block=max(1, min(_IMAGES, _PIXELS // (height * width))),
        devices=tuple(makes) if len(makes) > 1 else (),
    )


def _devices() -> list[str]:
    """Names this process's GPUs or, where it has none, CPU devices: logical ones."""
    # In a cluster TensorFlow lists those of the other workers too, which wait meanwhile, under their full names.
    own = tf.DeviceSpec.from_string(tf.constant(0).device)
    for kind in ("GPU", "CPU"):
        specs = [tf.DeviceSpec.from_string(each.name) for each in tf.config.list_logical_devices(kind)]
        here = [each.to_string() for each in specs if each.job is None or (each.job, each.task) == (own.job, own.task)]
        if here:
            break
    return here


def _make_on(device: str, model: keras.Model) -> Make:
    call = function_of(model, training=False)

    def pixels(z: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        images = call(z, labels)
        return tf.cast(tf.round(tf.clip_by_value((images + 1.0) * 127.5, 0, 255)), tf.uint8)  # as `to_pixels`

    generate = tf.function(pixels, reduce_retracing=True)  # one for each device, since it takes their weights

    def make(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        with tf.device(device):
            made = generate(tf.constant(z), tf.constant(labels)).numpy()
        return straight(made) if made.shape[-1] == 4 else made

    return make


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
    config, _ = read_run(run_dir)
    names = network_names(run_dir)
    functions = {
        name: _function(functools.partial(load_network, run_dir, name, checkpoint))
        for name in names
        if name != "generator"
    }
    if not config.conditional and "discriminator" in names:
        outputs = build_network(run_dir, "discriminator").output
        if isinstance(outputs, Mapping) and "classes" in outputs:
            functions["classes"] = functions["discriminator"]
    return functions


def _function(load: Callable[[], keras.Model]) -> Callable[[np.ndarray, np.ndarray], Any]:
    loaded = functools.cache(load)

    @full_float32()
    def call(images: np.ndarray, labels: np.ndarray) -> Any:
        model = loaded()
        silence = noise_size(model)
        given = np.zeros([len(images), silence], np.float32) if silence else labels
        outputs = function_of(model, training=False)(tf.constant(images), tf.constant(given))
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
