"""Image data sets of tensorflow-datasets, by name."""

import contextlib
import difflib
import hashlib
import io
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import tensorflow_datasets as tfds

from pipeline.base.errors import MirageError
from pipeline.base.folders import local_folder
from pipeline.base.names import printable
from pipeline.config import Config
from pipeline.data.fingerprint import fingerprint_of
from pipeline.data.mnist5k import Mnist5k, table_path
from pipeline.data.pixels import fit_array
from pipeline.data.source import Source
from pipeline.data.spec import DataSpec


def describe_tfds(config: Config) -> DataSpec:
    """Describes a data set without preparing it.

    Args:
      config: `dataset`, `data_dir`, `split` and `image_size` count.

    Returns:
      Its description; `num_examples` is 0 as long as the data set isn't prepared.

    Raises:
      MirageError: if there is no such image data set.
    """
    builder = _builder(config)
    return _describe(config, builder, _num_examples(config, builder) if builder.info.splits else 0)


def open_tfds(config: Config) -> Source:
    """Prepares a data set if necessary, and opens it.

    Args:
      config: `dataset`, `data_dir`, `manual_dir`, `split` and `image_size` count.

    Returns:
      The split's images, always in the same order.

    Raises:
      MirageError: if the data can't be had or used.
    """
    builder = _builder(config)
    _describe(config, builder, 0)  # refuses unusable features before anything is downloaded
    builder = _prepared(config, builder)
    spec = _describe(config, builder, _num_examples(config, builder))
    image_key, label_key = _keys(config, builder)

    def examples() -> Iterator[tuple[np.ndarray, int]]:
        for example in _read(config, builder):
            image = example[image_key]
            yield (
                fit_array(image, config.image_size) if config.image_size else image,
                example[label_key] if label_key else 0,
            )

    return Source(spec, examples(), lambda: _fingerprint(config, builder))


def _read(config: Config, builder: tfds.core.DatasetBuilder, decoders: Any = None) -> Iterator[dict[str, Any]]:
    """Reads the split's examples, whose checksums tensorflow-datasets verifies."""
    try:
        yield from tfds.as_numpy(builder.as_dataset(split=config.split, decoders=decoders, shuffle_files=False))
    except Exception as error:  # of TensorFlow, of files that are damaged or gone
        raise MirageError(
            f"--dataset={config.dataset} can't be read ({_told(error)}); remove {builder.data_dir}, so that it is "
            "prepared anew, or pass another --data_dir."
        ) from None


def split_names(config: Config) -> list[str]:
    """Returns the names of a data set's splits, preparing it first if necessary."""
    return list(_prepared(config, _builder(config)).info.splits)


def _builder(config: Config) -> tfds.core.DatasetBuilder:
    data_dir = _data_dir(config)
    try:
        if config.dataset == Mnist5k.name:
            return Mnist5k(data_dir=data_dir)
        return tfds.builder(config.dataset, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError:
        names = [*tfds.list_builders(with_community_datasets=False), Mnist5k.name]
        close = difflib.get_close_matches(config.dataset, names, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see tensorflow.org/datasets, or use folder:/path."
        raise MirageError(f"--dataset={printable(config.dataset)} is unknown to tensorflow-datasets; {hint}") from None
    except Exception as error:  # builders raise what they like, of the name as of prepared files that are damaged
        raise MirageError(
            f"--dataset={printable(config.dataset)} can't be used ({_told(error)}); choose another data set, or "
            "another --data_dir."
        ) from None


def _data_dir(config: Config) -> str | None:
    if config.data_dir:
        return str(local_folder(f"--data_dir={config.data_dir}", config.data_dir))
    if "TFDS_DATA_DIR" not in os.environ:  # otherwise tensorflow-datasets would write into a folder named ~
        local_folder("--data_dir= is empty, and its default ~/tensorflow_datasets", "~/tensorflow_datasets")
    return None


def _told(error: Exception) -> str:
    """The first line of what another library says, with the kind of error where it is no sentence for users."""
    text = getattr(error, "strerror", None) or str(error).strip() or "no reason given"
    line = printable(text, "\n").splitlines()[0][:300]
    return line if isinstance(error, ValueError | ImportError) else f"{type(error).__name__}: {line}"


def _keys(config: Config, builder: tfds.core.DatasetBuilder) -> tuple[str, str | None]:
    """Names of the image feature and of the label feature, if there is one."""
    features = builder.info.features
    items: dict[str, Any] = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    supervised = builder.info.supervised_keys or ()

    def first(kind: type) -> str | None:
        names = [name for name, feature in items.items() if isinstance(feature, kind)]
        return next((name for name in supervised if name in names), names[0] if names else None)

    image_key = first(tfds.features.Image)
    if image_key is None:
        raise MirageError(f"--dataset={config.dataset} has no images; choose an image data set.")
    return image_key, first(tfds.features.ClassLabel)


def _describe(config: Config, builder: tfds.core.DatasetBuilder, num_examples: int) -> DataSpec:
    image_key, label_key = _keys(config, builder)
    feature = builder.info.features[image_key]
    height, width, channels = feature.shape
    if channels not in (1, 3) or feature.np_dtype != np.uint8:
        raise MirageError(
            f"--dataset={config.dataset} has images of {channels} channels of {np.dtype(feature.np_dtype).name}; "
            "expected 1 or 3 channels of uint8."
        )
    if config.image_size:
        height = width = config.image_size
    elif height is None or width is None:
        raise MirageError(f"--dataset={config.dataset} has images of various sizes; set --image_size.")
    names = tuple(builder.info.features[label_key].names) if label_key else ()
    return DataSpec(config.dataset, str(builder.version), (height, width, channels), names, num_examples)


def _prepared(config: Config, builder: tfds.core.DatasetBuilder) -> tfds.core.DatasetBuilder:
    """Prepares the data set unless that has been done; returns a builder that knows its splits."""
    if builder.is_prepared():
        return builder
    # A builder of the user's own may need no download.
    stock = type(builder).__module__.startswith("tensorflow_datasets.")
    manual_dir = _manual_dir(config)
    if stock and not manual_dir and _offline():
        raise MirageError(
            f"--dataset={config.dataset} is not prepared and there is no network; pass --manual_dir= with its original "
            "files, or --data_dir= where it is prepared, or use --dataset=mnist5k, which needs neither."
        )
    download = tfds.download.DownloadConfig(manual_dir=manual_dir)
    folder = Path(builder.data_dir).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # tensorflow-datasets has no lock of its own: two processes would fail over each other's files.
        with filelock.FileLock(folder / ".prepare.lock"):
            if not _builder(config).is_prepared():
                print(f"Preparing {config.dataset} below {folder}, once", flush=True)
                if not sys.stderr.isatty():
                    tfds.disable_progress_bar()
                with contextlib.redirect_stdout(io.StringIO()):  # it says the same, in more words
                    builder.download_and_prepare(download_config=download)
        return _builder(config)
    except Exception as error:  # builders raise what they like: it becomes one sentence, nothing is hidden
        raise MirageError(
            f"--dataset={config.dataset} can't be prepared in {folder} ({_told(error)}); pass --manual_dir= with its "
            "original files, or --data_dir= where you may write."
        ) from error


def _fingerprint(config: Config, builder: tfds.core.DatasetBuilder) -> str:
    """Identifies a split, wherever it was prepared: by the recorded checksums of what it is prepared from.

    The examples of a builder that records none are read, as they are stored: its files are other bytes each time that
    it prepares them.
    """
    if isinstance(builder, Mnist5k):
        originals = [hashlib.sha256(table_path().read_bytes()).hexdigest()]
    else:
        originals = sorted(each.checksum for each in (builder.url_infos or {}).values())
    if not originals:
        image_key, label_key = _keys(config, builder)
        stored = {image_key: tfds.decode.SkipDecoding()}
        for example in _read(config, builder, stored):
            content = hashlib.sha256(example[image_key]).hexdigest()
            originals.append(f"{content} {example[label_key] if label_key else 0}")
    return fingerprint_of([builder.info.full_name, config.split, *originals])


def _manual_dir(config: Config) -> str | None:
    if not config.manual_dir:
        return None
    folder = local_folder(f"--manual_dir={config.manual_dir}", config.manual_dir)
    try:
        files = os.listdir(folder)
    except OSError as error:
        raise MirageError(
            f"--manual_dir={printable(config.manual_dir)} can't be looked through ({error.strerror}); give a folder "
            f"with the original files of --dataset={config.dataset}."
        ) from None
    if not files:  # tensorflow-datasets would try to fetch them, for minutes
        raise MirageError(
            f"--manual_dir={printable(config.manual_dir)} is empty; expected the original files of "
            f"--dataset={config.dataset}."
        )
    return str(folder)


def _num_examples(config: Config, builder: tfds.core.DatasetBuilder) -> int:
    try:
        count = builder.info.splits[config.split].num_examples
    except Exception:  # tensorflow-datasets has a kind for each way in which a split can be wrong
        names = ", ".join(sorted(builder.info.splits))
        raise MirageError(
            f"--split={printable(config.split)} is not a split of --dataset={config.dataset}; choose from {names}, or "
            "a slice such as train[:50%]."
        ) from None
    if count <= 0:
        raise MirageError(f"--split={config.split} of --dataset={config.dataset} has no examples; widen it.")
    return count


def _offline() -> bool:
    """Whether no name can be resolved, so that a download would only retry for minutes and then fail."""
    for host in ("storage.googleapis.com", "example.org"):
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            continue
        return False
    return True
