"""From a configuration to a judge of its generator: which images to compare with, and what describes them."""

import dataclasses
import functools
import os
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
import tqdm

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.dataset import Dataset, base_options, folder_of, load, load_test, numbering, open_data
from pipeline.data.options import DataOptions
from pipeline.data.spec import DataSpec, is_place
from pipeline.evaluation.judge import Judge
from pipeline.evaluation.options import EvaluationOptions
from pipeline.evaluation.references import described, read_moments
from pipeline.evaluation.sampling import sampler_of
from pipeline.metrics import chosen_extractor
from pipeline.metrics.choice import as_text, choose
from pipeline.metrics.extractor import Extractor, Labelled, identity, make_extractor
from pipeline.metrics.metric import Images, Naming, Samples
from pipeline.metrics.moments import Moments
from pipeline.metrics.rows import as_shown, divided

# Chosen at random once; keeps these latents apart from training noise of the same seed.
_STREAM = 0x4556_414C
_HELD_OUT = 0.1  # of data without a test split
_FEWEST = 20


_Data = TypeVar("_Data", bound=DataOptions)


def placed(config: _Data, passed: Any) -> _Data:
    """Takes the name under which data are now, where they were passed by name, into a configuration."""
    return dataclasses.replace(config, dataset=passed) if isinstance(passed, str) and passed else config


def load_known(config: DataOptions, data: DataSpec, passed: Any = None) -> Dataset:
    """Loads the data that a run was trained on, wherever they are now.

    Args:
      config: the run's; its `dataset`, `data_dir` and `manual_dir` may name other places, see `placed`.
      data: what the run says of its data.
      passed: the data themselves, where they have no name; None, or a name, for what `config` names.

    Returns:
      The data set.

    Raises:
      MirageError: if the data can't be had, or are others.
    """
    passed = None if isinstance(passed, str) else passed
    folder = folder_of(config.dataset)
    if (
        passed is None and folder is not None and not os.path.exists(folder)
    ):  # which a folder that can't be entered is not
        raise MirageError(
            f"the run's pictures are not at --dataset={config.dataset}: there is no folder {folder}; where they have "
            "moved, pass --dataset= with their new place."
        )
    dataset = open_data(passed, config)
    dataset = dataset.renumbered(numbering(dataset.spec, data.class_names))
    known = data
    if not data.fingerprint and folder is not None and is_place(data.name):
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


def make_judge(
    data: DataOptions,
    dataset: Dataset,
    num_samples: int,
    extractor: str = "auto",
    inception_weights: str = "",
    metrics: str | Iterable[Any] = "",
    *,
    protocol: str = "default",
    reference: str = "",
    thorough: bool = False,
    download: bool = False,
) -> Judge:
    """Prepares to score generators of a data set.

    The reference is the data's test split. Data without one is its own reference; then the classifier is
    trained on nine tenths of it, and one half of it against the other gives the floor.

    Args:
      data: where the data set comes from.
      dataset: what the generator is trained on.
      num_samples: number of generated images.
      extractor: the value of `--extractor`.
      inception_weights: that of `--inception_weights`.
      metrics: what is measured, see `pipeline.metrics.choice.choose`.
      download: that of `--download`.
      protocol: "paper" makes all training images the reference, whether there are others or not.
      reference: the value of `--reference`.
      thorough: whether floors have intervals at any price.

    Returns:
      The judge.

    Raises:
      MirageError: if the extractor doesn't suit the data or can't be had, or a metric can't.
    """
    chosen = choose(metrics)
    train, test = _sets(data, dataset)
    described_by = None
    if any(each.needs_extractor for each in chosen):
        described_by = _extractor(data, dataset, extractor, inception_weights, download)
    return Judge(
        described_by,
        train,
        train if test is None or protocol == "paper" else test,
        num_samples,
        None if test is None else (train, test),
        chosen,
        thorough=thorough,
        keep=functools.partial(described, extractor=described_by, data_dir=data.data_dir) if described_by else None,
        moments=_statistics(reference, train, described_by) if reference else None,
        naming=functools.partial(_naming, data, dataset) if dataset.spec.attributes else None,
    )


def _naming(data: DataOptions, dataset: Dataset) -> Naming:
    """What says which attributes images have, learnt from the training images."""
    from pipeline.metrics.attribute_classifier import attribute_classifier

    fit, test = _fitted_and_kept_apart(data, dataset)
    return attribute_classifier(dataset.spec, fit, test, data.data_dir)


def _extractor(data: DataOptions, dataset: Dataset, name: str, weights: str, download: bool) -> Extractor:
    base = base_options(data)
    return make_extractor(
        chosen_extractor(name, dataset.spec.class_names, dataset.spec.image_shape),
        labelled=lambda: _labelled(base, dataset if base.dataset == data.dataset else load(base)),
        stacked=base.dataset != data.dataset,
        data_dir=data.data_dir,
        weights=weights,
        download=download,
    )


def _statistics(reference: str, train: Images, extractor: Extractor | None) -> tuple[str, Moments]:
    if extractor is None:
        raise MirageError(f"--reference={reference} is for metrics of features; add frechet_distance to --metrics.")
    size = Samples(train.take(np.arange(1)), extractor).features.shape[1]
    return printable(reference), read_moments(reference, extractor, size)


def _sets(config: DataOptions, dataset: Dataset) -> tuple[Images, Images | None]:
    """Returns training images, and those of a test split if there is one."""
    train = _shown(config.split, dataset)
    test_set = load_test(config, dataset.spec, dataset.origin)
    if test_set is not None:
        return train, _shown("test", test_set)
    count = len(train.pixels)
    if count < _FEWEST:
        raise MirageError(
            f"--dataset={config.dataset} has {count} images, too few to be judged; expected {_FEWEST} or more."
        )
    return train, None


def _shown(name: str, dataset: Dataset) -> Images:
    return Images(name, as_shown(dataset.pixels), dataset.labels)


def _fitted_and_kept_apart(data: DataOptions, dataset: Dataset) -> tuple[Images, Images]:
    """What a classifier learns from, and what it has not seen: a test split, else a tenth of the images."""
    train, test = _sets(data, dataset)
    if test is not None:
        return train, test
    fit, rest = divided(len(train.pixels), round((1 - _HELD_OUT) * len(train.pixels)))
    return train.take(fit), train.take(rest)


def _labelled(data: DataOptions, dataset: Dataset) -> Labelled:
    fit, rest = _fitted_and_kept_apart(data, dataset)
    spec, kept_apart = dataset.spec, (rest.pixels, rest.labels)
    return Labelled(spec.name, spec.class_names, spec.image_shape, (fit.pixels, fit.labels), kept_apart)


class Evaluation:
    """Scores a generator again and again, always with the same latents."""

    def __init__(
        self,
        options: EvaluationOptions,
        data: DataOptions,
        seed: int,
        dataset: Dataset,
        generator: keras.Model,
        metrics: Iterable[Any] = (),
    ) -> None:
        """Prepares the judge, which may train a classifier first.

        Args:
          options: how to evaluate.
          data: where the data set comes from.
          seed: the run's, of the latents.
          dataset: what the generator is trained on.
          generator: the network to score.
          metrics: objects or names, instead of those of `options`.

        Raises:
          MirageError: as `make_judge`, or if no metric is quick.
        """
        chosen = list(metrics) or options.metrics
        if not any(each.quick for each in choose(chosen)):
            raise MirageError(
                f"--metrics={as_text(chosen)} has nothing that evaluations during training compute; add a quick one, "
                "such as frechet_distance, or set --eval_every=0."
            )
        self._judge = make_judge(
            data,
            dataset,
            options.eval_samples,
            options.extractor,
            options.inception_weights,
            chosen,
            download=options.download,
        )
        self._sampler = sampler_of(generator)
        self._judge.get_ready(conditional=self._sampler.conditional)
        shape = [options.eval_samples, self._sampler.latent_dim]
        self._z = tf.random.stateless_normal(shape, [seed, _STREAM], alg="philox").numpy()

    @property
    def extractor(self) -> str | None:
        """Name of what describes images, if anything does: scores of another one can't be compared with these."""
        return None if self._judge.extractor is None else self._judge.extractor.name

    @property
    def extractor_id(self) -> str:
        """What tells it from others of that name: a digest of what is known of it, such as its weights."""
        return identity(self._judge.extractor)

    @property
    def judged(self) -> dict[str, Any]:
        """What must be known of its figures: `extractor`, if there is one, `num_samples` and `reference`."""
        facts = {**self._judge.facts(), "extractor_id": self.extractor_id}
        names = ("extractor", "extractor_id", "num_samples", "reference")
        return {name: facts[name] for name in names if facts.get(name, "") != ""}

    def __call__(self) -> dict[str, float]:
        """Returns the scores of the generator as it is now, with what real images get.

        A metric that fails is told on standard error, and its figures are missing.
        """
        scores = self._judge.quick(
            self._sampler.generated(self._z.__getitem__, self._judge.labels),
            conditional=self._sampler.conditional,
            failed=_warn,
            generate=self._sampler.make,
            latent_dim=self._sampler.latent_dim,
        )
        floors = {name: value for name, value in self._judge.floors.items() if not isinstance(value, list)}
        return {**scores, **floors}


def _warn(error: MirageError) -> None:
    tqdm.tqdm.write(f"warning: {error}", file=sys.stderr)  # above a progress bar, if there is one
    sys.stderr.flush()
