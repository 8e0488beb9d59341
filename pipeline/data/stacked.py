"""`--dataset=stacked:NAME`: three random images of a grey labelled data set as red, green and blue.

With K classes it has K to the third modes that are known by name, which makes dropped ones countable (Metz et
al. 2016, arXiv 1611.02163; `stacked:mnist` has 1,000).
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.fingerprint import fingerprint_of
from pipeline.data.objects import origin_of
from pipeline.data.options import DataOptions
from pipeline.data.source import Origin, Source, skipping
from pipeline.data.spec import DataSpec

PREFIX = "stacked:"
_Options = TypeVar("_Options", bound=DataOptions)
_CHANNELS = 3
_MAX_CLASSES = 100  # a million combinations
# Part of what the data set is: which images are stacked does not depend on the run's seed.
_SEED = 0


def stacked_origin(options: DataOptions, base: Origin | None = None) -> Origin:
    """Where a stacked data set comes from.

    Args:
      options: `dataset` counts, and what the data set that is stacked needs.
      base: that one, if it is not what `options` say.
    """
    base = base or origin_of(None, base_options(options))

    def test() -> Origin | None:
        apart = base.test()
        return apart and stacked_origin(options, apart)

    return Origin(
        lambda: open_stacked(options, base.open),
        lambda: describe_stacked(options, base.describe() if base.describe else base.open().spec),
        test,
    )


def base_options(options: _Options) -> _Options:
    """The options whose data set is the one that `options` stack, or `options` themselves."""
    return dataclasses.replace(options, dataset=base_of(options.dataset))


def describe_stacked(options: DataOptions, base: DataSpec) -> DataSpec:
    """Describes a stacked data set.

    Args:
      options: `dataset` counts.
      base: the data set that is stacked.

    Returns:
      As many examples as the base has; a class for each triple of classes.

    Raises:
      MirageError: if the base is not grey, or has no labels or too many.
    """
    if base.image_shape[2] != 1 or not base.class_names:
        raise MirageError(
            f"--dataset={printable(options.dataset)} needs grey images with labels, one class each; use "
            "stacked:mnist, stacked:mnist5k, stacked:fashion_mnist or the like."
        )
    if len(base.class_names) > _MAX_CLASSES:
        raise MirageError(
            f"--dataset={printable(options.dataset)} would have {len(base.class_names) ** _CHANNELS:,} classes; use "
            f"data of at most {_MAX_CLASSES} classes."
        )
    names = tuple("-".join(triple) for triple in itertools.product(base.class_names, repeat=_CHANNELS))
    shape = (*base.image_shape[:2], _CHANNELS)
    return DataSpec(printable(options.dataset), base.version, shape, names, base.num_examples)


def open_stacked(options: DataOptions, open_base: Callable[[], Source]) -> Source:
    """Opens a stacked data set, see `describe_stacked`."""
    base = open_base()
    spec = describe_stacked(options, base.spec)

    def examples() -> Iterator[tuple[np.ndarray, int]]:
        images = np.empty((base.spec.num_examples, *base.spec.image_shape), np.uint8)
        labels = np.empty(base.spec.num_examples, np.int64)
        for index, (image, label) in enumerate(base):
            images[index], labels[index] = image, label
        rng = np.random.default_rng(_SEED)
        triples = np.stack([rng.permutation(len(images)) for _ in range(_CHANNELS)], axis=1)
        for triple in triples:
            number = 0
            for label in labels[triple]:
                number = number * len(base.spec.class_names) + int(label)
            yield np.concatenate(images[triple], axis=-1), number

    return Source(spec, skipping(examples), lambda: fingerprint_of(["stacked", base.fingerprint]))


def base_of(dataset: str) -> str:
    """Name of the data set that is stacked."""
    return dataset.removeprefix(PREFIX)
