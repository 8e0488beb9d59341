"""Measures the quality of a trained generator.

  python -m pipeline.evaluate --run_dir=runs/digits
  python -m pipeline.evaluate --run_dir=runs/digits --bundle=bundles/digits

Prints a table and one JSON line. With --bundle the exported ONNX file itself makes the images; the run
then only tells what data it learned from.

A Fréchet distance says nothing alone: compare it with its floor, the distance of real training images
from the same reference, and only with distances of the same extractor, reference and number of samples.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pipeline import command_line
from pipeline.errors import MISTAKE, MirageError
from pipeline.run_file import read_run

if TYPE_CHECKING:
    import numpy as np

    from pipeline.metrics.judge import Images, Judge

_BATCH = 100


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    string("run_dir", "runs/default", "folder of the training run.", flag_values=values)
    string("bundle", "", "score this bundle's ONNX generator instead of the checkpoint.", flag_values=values)
    integer("num_samples", 10000, "number of generated images.", lower_bound=10, flag_values=values)
    integer("seed", 0, "seed of the first image; image i has the seed + i.", flag_values=values)
    flags.DEFINE_enum(
        "extractor",
        "auto",
        ["auto", "classifier", "inception"],
        "what describes images: a small classifier, trained once on the run's own labelled data, or Keras's "
        "InceptionV3; auto: the classifier if the data has labels.",
        flag_values=values,
    )
    string("inception_weights", "", "file with InceptionV3's weights (no top); empty fetches them.", flag_values=values)
    string("data_dir", "", "as for training; empty takes the run's own.", flag_values=values)
    string("manual_dir", "", "as for training; empty takes the run's own.", flag_values=values)


def sample_run(run_dir: Path) -> Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]:
    """Loads a run's generator; returns a function of (latents, labels) that makes uint8 images."""
    import numpy as np
    import tensorflow as tf

    from pipeline.checkpoint import load_sampler
    from pipeline.preview import to_pixels

    config, _, model, _ = load_sampler(run_dir)
    generate = tf.function(lambda *inputs: model(list(inputs) if config.conditional else inputs[0], training=False))

    def make(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        inputs = (tf.constant(z), tf.constant(labels)) if config.conditional else (tf.constant(z),)
        return to_pixels(generate(*inputs).numpy())

    return make


def reconstruct(run_dir: Path, images: "Images") -> "np.ndarray":
    """Encodes and decodes images with a run's autoencoder; returns uint8 [n, H, W, C]."""
    import numpy as np
    import tensorflow as tf

    from pipeline.checkpoint import load_network

    config, _ = read_run(run_dir)
    encoder, decode = load_network(run_dir, "encoder"), sample_run(run_dir)
    parts = []
    for start in range(0, len(images.pixels), _BATCH):
        pixels, labels = images.pixels[start : start + _BATCH], images.labels[start : start + _BATCH]
        x = tf.cast(pixels, tf.float32) / 127.5 - 1
        codes = encoder([x, tf.constant(labels)] if config.conditional else x, training=False).numpy()
        parts.append(decode(codes[:, : config.latent_dim], labels))  # of a VAE, the means
    return np.concatenate(parts)


def classification_error(run_dir: Path, images: "Images") -> float:
    """Share of images whose class a semi-supervised run's discriminator names wrongly."""
    import numpy as np
    import tensorflow as tf

    from pipeline.checkpoint import load_network
    from pipeline.networks import noise_size

    discriminator = load_network(run_dir, "discriminator")
    wrong = []
    for start in range(0, len(images.pixels), _BATCH):
        x = tf.cast(images.pixels[start : start + _BATCH], tf.float32) / 127.5 - 1
        silence = tf.zeros([len(x), noise_size(discriminator)])
        named = discriminator([x, silence], training=False)["classes"].numpy().argmax(axis=1)
        wrong.append(named != images.labels[start : start + _BATCH])
    return float(np.concatenate(wrong).mean())


def sample_bundle(bundle: Path) -> Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]:
    """Loads a bundle's ONNX generator; returns the same kind of function as `sample_run`."""
    from serving.generator import Generator
    from serving.manifest import BundleError

    try:
        generator = Generator.load(bundle)
    except BundleError as error:
        raise MirageError(f"--bundle={bundle}: {error}") from None
    return lambda z, labels: generator.decode(z, labels if generator.info.conditional else None)


def evaluate(values: flags.FlagValues, run_dir: Path, bundle: str) -> tuple[dict[str, Any], "Judge"]:
    """Scores a generator.

    Args:
      values: parsed flags.
      run_dir: the training run.
      bundle: score this bundle's generator instead; empty for the run's own.

    Returns:
      (all measures, with what must be known to read them; the judge).

    Raises:
      MirageError: if the run, the bundle or the data can't be used.
    """
    import dataclasses

    import numpy as np

    from pipeline.checkpoint import newest_step
    from pipeline.data import load
    from pipeline.evaluation import make_judge
    from pipeline.metrics.reconstruction import reconstruction_error
    from serving.latents import latents

    config, data = read_run(run_dir)
    config = dataclasses.replace(
        config, data_dir=values.data_dir or config.data_dir, manual_dir=values.manual_dir or config.manual_dir
    )
    make = sample_bundle(Path(bundle)) if bundle else sample_run(run_dir)
    dataset = load(config)
    if dataset.spec != data:
        raise MirageError(f"{run_dir} was trained on other data: then {data}, now {dataset.spec}.")
    judge = make_judge(config, dataset, values.num_samples, values.extractor, values.inception_weights)
    z = latents(values.seed + np.arange(values.num_samples), config.latent_dim)
    pixels = np.concatenate(
        [make(z[start : start + _BATCH], judge.labels[start : start + _BATCH]) for start in range(0, len(z), _BATCH)]
    )
    scores = {"step": newest_step(run_dir), **judge.facts(), **judge.full(pixels, conditional=config.conditional)}
    if config.one_loss and not bundle:
        reference = judge.reference.some(values.num_samples)
        scores["reconstruction_error"] = reconstruction_error(reference.pixels, reconstruct(run_dir, reference))
    if config.objective == "sgan" and not bundle:
        scores["classification_error"] = classification_error(run_dir, judge.reference)
    return {"source": bundle or str(run_dir), **scores}, judge


def table(scores: Mapping[str, Any]) -> str:
    """Lays figures out for people, a line each."""
    lines = []
    for name, value in scores.items():
        if isinstance(value, float):
            text = f"{value:.4g}"
        elif isinstance(value, list):
            text = " ".join(f"{each:.3f}" for each in value)
        else:
            text = str(value)
        lines.append(f"{name.replace('_', ' '):36}{text}")
    return "\n".join(lines)


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit status."""
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        scores, _ = evaluate(values, Path(values.run_dir), values.bundle)
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    print(table(scores))
    print(json.dumps(scores))
    return 0


def run() -> None:
    """Entry point of `python -m pipeline.evaluate` and of `mirage-evaluate`."""
    command_line.run(__doc__, define_flags, main, prints_result=True)


if __name__ == "__main__":
    run()
