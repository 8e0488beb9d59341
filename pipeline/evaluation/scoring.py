"""From a configuration to a judge of its generator: which images to compare with, and what describes them."""

import dataclasses
import functools
import os
import sys

import keras
import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import Dataset, base_options, folder_of, load, load_test, numbering
from pipeline.data.spec import DataSpec, is_folder
from pipeline.devices.numerics import full_float32
from pipeline.evaluation.judge import Images, Judge
from pipeline.metrics.extractor import Extractor
from pipeline.metrics.modes import Stacked
from pipeline.runs.preview import to_pixels

_BATCH = 100
# Chosen at random once; keeps these latents apart from training noise of the same seed.
_STREAM = 0x4556_414C
_HELD_OUT = 0.1  # of data without a test split
_FEWEST = 20


def load_known(config: Config, data: DataSpec) -> Dataset:
    """Loads the data that a run was trained on, wherever they are now.

    Args:
      config: the run's; its `dataset`, `data_dir` and `manual_dir` may name other places.
      data: what the run says of its data.

    Returns:
      The data set.

    Raises:
      MirageError: if the data can't be had, or are others.
    """
    folder = folder_of(config.dataset)
    if folder is not None and not os.path.isdir(folder):  # which a folder that can't be entered is not
        raise MirageError(
            f"the run's pictures are not at --dataset={config.dataset}: there is no folder {folder}; where they have "
            "moved, pass --dataset= with their new place."
        )
    dataset = load(config)
    dataset = dataset.renumbered(numbering(dataset.spec, data.class_names))
    known = data
    if not data.fingerprint and folder is not None and is_folder(data.name):
        # Of a version that knew data by their description alone: that a folder has moved can't be proved.
        known = dataclasses.replace(data, name=dataset.spec.name)
    difference = dataset.spec.difference_from(known)
    if difference:
        raise MirageError(
            f"--dataset={config.dataset} is not what the run was trained on: {difference}; pass the data that it was "
            "trained on."
        )
    if known.name != data.name:
        print(
            f"warning: that --dataset={config.dataset} is what was {data.name} is taken on trust: the run is of a "
            "version that noted number, shape and classes of its images, which agree, but not their content.",
            file=sys.stderr,
            flush=True,
        )
    return dataset


def chosen_extractor(extractor: str, data: DataSpec) -> str:
    """What "auto" means for a data set: the classifier if it has labels, else inception."""
    if extractor != "auto":
        return extractor
    return "classifier" if len(data.class_names) > 1 else "inception"


def make_judge(
    config: Config, dataset: Dataset, num_samples: int, extractor: str = "auto", inception_weights: str = ""
) -> Judge:
    """Prepares to score generators of a data set.

    The reference is the data's test split. Data without one is its own reference; then the classifier is
    trained on nine tenths of it, and one half of it against the other gives the floor.

    Args:
      config: `dataset`, `data_dir`, `manual_dir` and `image_size` count.
      dataset: what the generator is trained on.
      num_samples: number of generated images.
      extractor: "classifier", "inception", or "auto": the classifier if the data has labels.
      inception_weights: see `pipeline.metrics.inception`.

    Returns:
      The judge.

    Raises:
      MirageError: if the extractor doesn't suit the data or can't be had.
    """
    train, test, has_test = _sets(config, dataset)
    described_by = _extractor(config, dataset, chosen_extractor(extractor, dataset.spec), inception_weights)
    if has_test:
        return Judge(described_by, train, test, num_samples, (train, test))
    half = len(train.pixels) // 2
    return Judge(described_by, train, train, num_samples, (train.part(0, half), train.part(half, len(train.pixels))))


def _sets(config: Config, dataset: Dataset) -> tuple[Images, Images, bool]:
    """Returns (training images, images held out, whether those are a test split)."""
    train = Images(config.split, np.asarray(dataset.images), dataset.labels)
    test_set = load_test(config, dataset.spec.class_names)
    if test_set is not None:
        return train, Images("test", np.asarray(test_set.images), test_set.labels), True
    count = len(train.pixels)
    if count < _FEWEST:
        raise MirageError(
            f"--dataset={config.dataset} has {count} images, too few to be judged; expected {_FEWEST} or more."
        )
    return train, train.part(round((1 - _HELD_OUT) * count), count), False


def _extractor(config: Config, dataset: Dataset, extractor: str, inception_weights: str) -> Extractor:
    if extractor == "inception":
        from pipeline.metrics.inception import Inception

        return Inception(inception_weights)
    from pipeline.metrics.classifier import classifier

    base = base_options(config)
    stacked = base.dataset != config.dataset
    if stacked:  # each channel is an image of the base
        dataset = load(base)
    train, test, has_test = _sets(base, dataset)
    fit = train if has_test else train.part(0, len(train.pixels) - len(test.pixels))
    trained = classifier(dataset.spec, (fit.pixels, fit.labels), (test.pixels, test.labels), config.data_dir)
    return Stacked(trained) if stacked else trained


class Evaluation:
    """Scores a generator again and again, always with the same latents."""

    def __init__(self, config: Config, dataset: Dataset, generator: keras.Model) -> None:
        """Prepares the judge, which may train a classifier first.

        Args:
          config: `eval_samples`, `extractor`, `inception_weights`, `latent_dim`, `conditional` and what `make_judge`
            needs.
          dataset: what the generator is trained on.
          generator: the network to score.
        """
        self._judge = make_judge(config, dataset, config.eval_samples, config.extractor, config.inception_weights)
        self._conditional = config.conditional
        self._z = tf.random.stateless_normal(
            [config.eval_samples, config.latent_dim], [config.seed, _STREAM], alg="philox"
        )
        self._generate = tf.function(functools.partial(generator, training=False), reduce_retracing=True)

    @full_float32()
    def __call__(self) -> dict[str, float]:
        """Returns the scores of the generator as it is now, with the floor of the distance."""
        labels = tf.constant(self._judge.labels)
        parts = []
        for start in range(0, self._judge.num_samples, _BATCH):
            part = slice(start, start + _BATCH)
            parts.append(
                to_pixels(self._generate([self._z[part], labels[part]] if self._conditional else self._z[part]).numpy())
            )
        scores = self._judge.quick(np.concatenate(parts), conditional=self._conditional)
        return {**scores, "frechet_floor": self._judge.floor}
