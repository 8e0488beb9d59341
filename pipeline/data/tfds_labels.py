"""Labels of a data set of tensorflow-datasets that are not its only ClassLabel: `--labels=Male,Smiling`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.attributes import Labels
from pipeline.data.labelling import columns_asked, labels_of
from pipeline.data.options import DataOptions

_PROGRESS_S = 3.0
_PATH = "/"


def labels_of_features(
    options: DataOptions, builder: tfds.core.DatasetBuilder, read: Callable[[], Iterable[Mapping[str, Any]]]
) -> Labels:
    """Reads the features that `--labels` names.

    Args:
      options: `dataset`, `labels` and `split` count.
      builder: of the data set.
      read: returns its examples, whose images need not be decoded.

    Returns:
      Classes of one feature that is no number, else attributes.

    Raises:
      MirageError: if there is no such feature, or it can be neither.
    """
    given = f"--labels={printable(options.labels)}"
    leaves = _leaves(builder.info.features)
    names = _names(leaves)
    groups = _groups(leaves, names)
    kinds: dict[str, str] = {}
    for entry, kind in columns_asked(options.labels, {*names, *groups}, given).items():
        if entry in names:
            kinds[entry] = kind
        elif entry in groups and not kind:
            kinds |= dict.fromkeys(groups[entry], kind)
        else:
            raise _unknown(entry, [*names, *groups], given)
    columns: dict[str, list[Any]] = {column: [] for column in kinds}
    told = {"unit": "image", "file": sys.stderr, "delay": _PROGRESS_S, "disable": None}
    for example in tqdm.tqdm(read(), "reading labels", builder.info.splits[options.split].num_examples, **told):
        for column, values in columns.items():
            values.append(_value(example, names[column]))
    for column, values in columns.items():
        if isinstance(feature := leaves[names[column]], tfds.features.ClassLabel):
            if len(columns) == 1 and not kinds[column]:
                return Labels(np.array(values, np.int32), tuple(map(printable, feature.names)))
            columns[column] = [feature.int2str(int(value)) for value in values]
    return labels_of(columns, kinds, given, apart=options.split == "test")


def _leaves(features: Any, above: str = "") -> dict[str, Any]:
    """Features that are one number or one text, by their paths, such as attributes/Male."""
    found: dict[str, Any] = {}
    for name, feature in features.items():
        if isinstance(feature, tfds.features.FeaturesDict):
            found |= _leaves(feature, f"{above}{name}{_PATH}")
        elif feature.shape == () and np.dtype(feature.np_dtype).kind in "biufOSU":
            found[f"{above}{name}"] = feature
    return found


def _names(leaves: Mapping[str, Any]) -> dict[str, str]:
    """Paths of features by what they may be called: the path, or its last part where that is clear."""
    last = [path.rpartition(_PATH)[2] for path in leaves]
    clear = {name: path for name, path in zip(last, leaves, strict=True) if last.count(name) == 1}
    return {**clear, **{path: path for path in leaves}}


def _groups(leaves: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, list[str]]:
    """What the features of each group are called, as short as may be, by the group's path."""
    called = {path: name for name, path in reversed([*names.items()])}
    found: dict[str, list[str]] = {}
    for path in leaves:
        for place in (place for place, letter in enumerate(path) if letter == _PATH):
            found.setdefault(path[:place], []).append(called[path])
    return found


def _unknown(entry: str, known: Sequence[str], given: str) -> MirageError:
    close = difflib.get_close_matches(entry, known, n=3, cutoff=0.4) or known[:10]
    hint = f"such as {', '.join(map(printable, close))}" if close else "and there is none"
    return MirageError(
        f"{given}: the data set has no feature {printable(entry)} that is a number, a class or a text; choose from its "
        f"own, {hint}."
    )


def _value(example: Any, path: str) -> Any:
    for name in path.split(_PATH):
        example = example[name]
    return example.item() if isinstance(example, np.generic | np.ndarray) else example
