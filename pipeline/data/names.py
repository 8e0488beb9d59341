"""What a value of `--dataset=` is: an entry of `SOURCES`, an import path, or a name for tensorflow-datasets.

Needs only the standard library.
"""

from typing import Any

from pipeline.data import OTHERS, SOURCES
from pipeline.data.spec import is_place


def source_key(dataset: str) -> str:
    """The entry of `SOURCES` that a value of `--dataset` means; empty if none."""
    if dataset in SOURCES:
        return dataset
    prefix = dataset.partition(":")[0] + ":"
    return prefix if prefix in SOURCES and dataset.startswith(prefix) else ""


def source_of(dataset: str) -> Any:
    """What a value of `--dataset` leads to: an import path, or the object itself."""
    key = source_key(dataset)
    return SOURCES[key] if key else dataset if is_import_path(dataset) else OTHERS


def is_ours(dataset: str) -> bool:
    """Whether the source is one of Mirage's own, which take all that they need from `DataOptions`."""
    found = source_of(dataset)
    return isinstance(found, str) and found.startswith("pipeline.data.")


def is_tfds(dataset: str) -> bool:
    """Whether the source is tensorflow-datasets."""
    return source_of(dataset) == OTHERS


def is_import_path(dataset: str) -> bool:
    """Whether a value of `--dataset` is package.module:name, rather than `mnist:3.0.1` or `folder:pictures`."""
    module, colon, name = dataset.partition(":")
    parts = [*module.split("."), *name.split(".")]
    return bool(colon) and not source_key(dataset) and all(part.isidentifier() for part in parts)


def may_be_the_same(one: str, other: str) -> bool:
    """Whether two values of `--dataset` may be the same pictures in another place, which their content then tells.

    So it is of two folders, stacked or not, and of what Python gives, which is passed or imported.
    """
    if is_place(one) and is_place(other):
        return one.startswith("stacked:") == other.startswith("stacked:")
    return all(is_import_path(each) or each.startswith("python:") for each in (one, other))
