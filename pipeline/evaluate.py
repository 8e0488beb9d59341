"""Measures the quality of a trained generator.

  python -m pipeline.evaluate --run_dir=runs/digits
  python -m pipeline.evaluate --run_dir=runs/digits --bundle=bundles/digits

Prints a table and one JSON line. With --bundle the exported ONNX file itself makes the images; the run
then only tells what data it learned from, which must be what the bundle's own run learned from.

A Fréchet distance says nothing alone: compare it with its floor, the distance of real training images
from the same reference, and only with distances of the same extractor, reference and number of samples.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pipeline.base import command_line
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.base.names import printable
from pipeline.config import Config
from pipeline.data.spec import DataSpec, is_folder
from pipeline.runs.run_file import read_run

if TYPE_CHECKING:
    import numpy as np

    from pipeline.evaluation.judge import Images, Judge

_BATCH = 100


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    string("run_dir", "runs/default", "folder of the training run.", flag_values=values)
    string("bundle", "", "score this bundle's ONNX generator instead of the checkpoint.", flag_values=values)
    flags.DEFINE_enum(
        "checkpoint",
        "newest",
        ["newest", "best"],
        "which checkpoint to score: newest, or best, which --keep_best kept.",
        flag_values=values,
    )
    integer("num_samples", 10000, "number of generated images.", lower_bound=10, flag_values=values)
    integer(
        "seed",
        0,
        "seed of the first image; image i has the seed + i.",
        lower_bound=-(2**63),
        upper_bound=2**63 - 1,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "extractor",
        "auto",
        ["auto", "classifier", "inception"],
        "what describes images: a small classifier, trained once on the run's own labelled data, or Keras's "
        "InceptionV3; auto: as in training, where auto means the classifier if the data has labels.",
        flag_values=values,
    )
    string(
        "inception_weights",
        "",
        "file with InceptionV3's weights (no top); empty takes the run's own, or fetches them.",
        flag_values=values,
    )
    string(
        "dataset",
        "",
        "where the folder that the run was trained on is now, such as folder:/path; empty takes the run's own.",
        flag_values=values,
    )
    string("data_dir", "", "as for training; empty takes the run's own.", flag_values=values)
    string("manual_dir", "", "as for training; empty takes the run's own.", flag_values=values)


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A generator to score.

    Attributes:
      make: function of (latents, labels) that returns uint8 images.
      step: step of its checkpoint; None if that isn't known.
      latent_dim: components of a latent.
      conditional: whether it looks at labels.
    """

    make: Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]
    step: int | None
    latent_dim: int
    conditional: bool


def sample_run(run_dir: Path, checkpoint: str = "newest") -> Sampler:
    """Loads a run's generator, of its "newest" or "best" checkpoint."""
    import numpy as np
    import tensorflow as tf

    from pipeline.devices.numerics import full_float32
    from pipeline.networks.models import function_of
    from pipeline.runs.checkpoint import load_sampler
    from pipeline.runs.preview import to_pixels

    config, _, model, step = load_sampler(run_dir, checkpoint)
    generate = tf.function(function_of(model, training=False))

    @full_float32()
    def make(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return to_pixels(generate(tf.constant(z), tf.constant(labels)).numpy())

    return Sampler(make, step, config.latent_dim, config.conditional)


def reconstruct(run_dir: Path, images: "Images", checkpoint: str = "newest") -> "np.ndarray":
    """Encodes and decodes images with a run's autoencoder; returns uint8 [n, H, W, C]."""
    import numpy as np
    import tensorflow as tf

    from pipeline.devices.numerics import full_float32
    from pipeline.networks.models import function_of
    from pipeline.runs.checkpoint import load_network

    config, _ = read_run(run_dir)
    encode = function_of(load_network(run_dir, "encoder", checkpoint), training=False)
    decode = sample_run(run_dir, checkpoint).make
    parts = []
    for start in range(0, len(images.pixels), _BATCH):
        pixels, labels = images.pixels[start : start + _BATCH], images.labels[start : start + _BATCH]
        x = tf.cast(pixels, tf.float32) / 127.5 - 1
        with full_float32():
            codes = encode(x, tf.constant(labels)).numpy()
        parts.append(decode(codes[:, : config.latent_dim], labels))  # of a VAE, the means
    return np.concatenate(parts)


def classification_error(run_dir: Path, images: "Images", checkpoint: str = "newest") -> float:
    """Share of images whose class a semi-supervised run's discriminator names wrongly."""
    import numpy as np
    import tensorflow as tf

    from pipeline.devices.numerics import full_float32
    from pipeline.networks.models import function_of, noise_size
    from pipeline.runs.checkpoint import load_network

    discriminator = load_network(run_dir, "discriminator", checkpoint)
    judge = function_of(discriminator, training=False)
    wrong = []
    for start in range(0, len(images.pixels), _BATCH):
        x = tf.cast(images.pixels[start : start + _BATCH], tf.float32) / 127.5 - 1
        silence = tf.zeros([len(x), noise_size(discriminator)])
        with full_float32():
            named = judge(x, silence)["classes"].numpy().argmax(axis=1)
        wrong.append(named != images.labels[start : start + _BATCH])
    return float(np.concatenate(wrong).mean())


def sample_bundle(bundle: Path, config: Config, data: DataSpec) -> Sampler:
    """Loads a bundle's ONNX generator.

    Args:
      bundle: its folder, or a single .onnx file, which doesn't say which run it is of.
      config: the run's on whose data it is scored; where the bundle is of another, a line says so.
      data: that run's data.

    Returns:
      The generator.

    Raises:
      MirageError: if the bundle can't be used, or was trained on other data.
    """
    from serving.contract.manifest import BundleError, read_manifest
    from serving.generator import Generator

    try:
        generator = Generator.load(bundle)
        document = read_manifest(bundle).document if bundle.suffix != ".onnx" else {}
    except BundleError as error:
        raise MirageError(f"--bundle={bundle}: {error}") from None
    info, provenance = generator.info, Provenance.of(document.get("provenance"))
    shape, names = info.image_shape, info.class_names
    described = dataclasses.replace(data, image_shape=shape, class_names=names or data.class_names)
    difference = data.difference_from(described) or (provenance.data and provenance.other_data(data))
    if difference:
        raise MirageError(
            f"--bundle={bundle} was trained on other data than the run: the run has {difference}; pass the --run_dir "
            "that it was exported from."
        )
    changes = provenance.other_flags(config)
    if changes or not provenance.config:
        what = f"is of another run, which had {', '.join(changes[:3])}" if changes else "doesn't say which run it is of"
        print(f"note: --bundle={bundle} {what}; it is scored on this run's data.", file=sys.stderr, flush=True)
    return Sampler(
        lambda z, labels: generator.decode(z, [names[label] for label in labels] if names else None),
        provenance.step,
        info.latent_dim,
        info.conditional,
    )


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a bundle says of its origin, as far as it can be understood.

    Attributes:
      config: the training's flags, without those that are paths.
      data: what it was trained on, under a name without path; or None.
      step: step of the checkpoint, or None.
    """

    config: Mapping[str, Any]
    data: DataSpec | None
    step: int | None

    @classmethod
    def of(cls, section: Any) -> "Provenance":
        """Reads the manifest's section of that name."""
        section = section if isinstance(section, Mapping) else {}
        config, step = section.get("config"), section.get("step")
        try:
            data = DataSpec.from_dict(section["data"])
        except (KeyError, TypeError, ValueError):
            data = None
        return cls(config if isinstance(config, Mapping) else {}, data, step if type(step) is int else None)

    def other_data(self, data: DataSpec) -> str:
        """Says in what a run's data are others than these; empty if they are the same as far as that is known."""
        assert self.data is not None
        name = data.name if is_folder(data.name) and is_folder(self.data.name) else self.data.name
        return data.difference_from(dataclasses.replace(self.data, name=name))

    def other_flags(self, config: Config) -> list[str]:
        """Lists the training's flags that are others than a run's, such as "--seed=3 instead of 1"."""
        return [
            f"--{field.name}={self.config[field.name]} instead of {getattr(config, field.name)}"
            for field in dataclasses.fields(config)
            if not field.metadata["may_change"]
            and field.name != "dataset"  # here without its path; its content is compared
            and self.config.get(field.name, getattr(config, field.name)) != getattr(config, field.name)
        ]


def settings(values: flags.FlagValues, run_dir: Path) -> tuple[Config, DataSpec]:
    """Reads a run, with what flags say of it.

    Args:
      values: parsed flags.
      run_dir: the training run.

    Returns:
      (its configuration, where flags that were given replace those of the training; its data).

    Raises:
      MirageError: if there is no run.
    """
    config, data = read_run(run_dir)
    given = {name: getattr(values, name) for name in ("dataset", "data_dir", "manual_dir", "inception_weights")}
    if values.extractor != "auto":
        given["extractor"] = values.extractor
    return dataclasses.replace(config, **{name: value for name, value in given.items() if value}), data


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
    import numpy as np

    from pipeline.devices import numerics
    from pipeline.evaluation.scoring import load_known, make_judge
    from pipeline.metrics.reconstruction import reconstruction_error
    from serving.contract.latents import latents

    config, data = settings(values, run_dir)
    numerics.prepare(config)
    if bundle and values.checkpoint != "newest":
        raise MirageError(f"--checkpoint={values.checkpoint} does not go with --bundle, which holds one; leave it out.")
    sampler = sample_bundle(Path(bundle), config, data) if bundle else sample_run(run_dir, values.checkpoint)
    dataset = load_known(config, data)
    judge = make_judge(config, dataset, values.num_samples, config.extractor, config.inception_weights)
    z = latents(values.seed + np.arange(values.num_samples), sampler.latent_dim)
    parts = [slice(start, start + _BATCH) for start in range(0, len(z), _BATCH)]
    pixels = np.concatenate([sampler.make(z[part], judge.labels[part]) for part in parts])
    scores = {"step": sampler.step, **judge.facts(), **judge.full(pixels, conditional=sampler.conditional)}
    if config.one_loss and not bundle:
        reference = judge.reference.some(values.num_samples)
        scores["reconstruction_error"] = reconstruction_error(
            reference.pixels, reconstruct(run_dir, reference, values.checkpoint)
        )
    if config.objective == "sgan" and not bundle:
        scores["classification_error"] = classification_error(run_dir, judge.reference, values.checkpoint)
    return {"source": printable(bundle or run_dir), **scores}, judge


def table(scores: Mapping[str, Any]) -> str:
    """Lays figures out for people, a line each."""
    lines = []
    for name, value in scores.items():
        if isinstance(value, float):
            text = f"{value:.4g}"
        elif isinstance(value, list):
            text = " ".join(f"{each:.3f}" for each in value)
        else:
            text = "unknown" if value is None else str(value)
        lines.append(f"{name.replace('_', ' '):36}{text}")
    return "\n".join(lines)


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit status."""
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        from pipeline.devices.out_of_memory import EVALUATION, out_of_memory

        with out_of_memory("evaluating", EVALUATION):
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
