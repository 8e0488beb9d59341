"""Image data sets of tensorflow-datasets, by name."""

import contextlib
import dataclasses
import difflib
import hashlib
import io
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import tensorflow_datasets as tfds

from pipeline.base.errors import MirageError
from pipeline.base.folders import local_folder
from pipeline.base.names import printable
from pipeline.data.attributes import Labels
from pipeline.data.fingerprint import fingerprint_of
from pipeline.data.mnist5k import Mnist5k, table_path
from pipeline.data.options import DataOptions
from pipeline.data.pixels import fit_array, wrong_size
from pipeline.data.source import Origin, Source, skipping
from pipeline.data.spec import DataSpec
from pipeline.data.tfds_labels import labels_of_features
from serving.contract.pixels import over_white

_Make = Callable[[], tfds.core.DatasetBuilder]


def tfds_origin(options: DataOptions) -> Origin:
    """Where a data set comes from that `options.dataset` names."""
    return builder_origin(options, lambda: _builder(options))


def builder_origin(options: DataOptions, make: Callable[[], tfds.core.DatasetBuilder]) -> Origin:
    """Where a builder's data come from.

    Args:
      options: `dataset`, which is its name in errors, `manual_dir`, `split`, `image_size`, `fit`, `random_crop`,
        `transparency` and `labels` count.
      make: returns the builder, as it is now.
    """

    def test() -> Origin | None:
        if "test" not in _prepared(options, make).info.splits:
            return None
        return builder_origin(dataclasses.replace(options, split="test"), make)

    describe = None if options.labels else lambda: _describe_only(options, make)
    return Origin(lambda: _open(options, make), describe, test)


def _describe_only(options: DataOptions, make: _Make) -> DataSpec:
    """Describes a data set without preparing it.

    Args:
      options: `split`, `image_size`, `fit`, `random_crop` and `transparency` count.
      make: returns the builder.

    Returns:
      Its description; `num_examples` is 0 as long as the data set isn't prepared.

    Raises:
      MirageError: if there is no such image data set.
    """
    builder = make()
    return _describe(options, builder, _num_examples(options, builder) if builder.info.splits else 0)


def _open(options: DataOptions, make: _Make) -> Source:
    """Prepares a data set if necessary, and opens it.

    Args:
      options: `manual_dir`, `split`, `image_size`, `fit`, `random_crop`, `transparency` and `labels` count.
      make: returns the builder.

    Returns:
      The split's images, always in the same order.

    Raises:
      MirageError: if the data can't be had or used.
    """
    _describe(options, make(), 0)  # refuses unusable features before anything is downloaded
    builder = _prepared(options, make)
    spec = _describe(options, builder, _num_examples(options, builder))
    image_key, label_key = _keys(options, builder)

    def examples() -> Iterator[tuple[np.ndarray, int]]:
        for example in _read(options, builder):
            image, label = example[image_key], example[label_key] if label_key else 0
            if image.shape[2] != spec.image_shape[2]:
                image = over_white(image)
            yield fit_array(image, options, f"--dataset={options.dataset}"), label

    source = Source(spec, skipping(examples), lambda: _fingerprint(options, builder))
    if not options.labels:
        return source
    stored = {image_key: tfds.decode.SkipDecoding()}
    return _labelled(source, labels_of_features(options, builder, lambda: _read(options, builder, stored)))


def _labelled(source: Source, found: Labels) -> Source:
    """The same images with other labels."""

    def examples() -> Iterator[tuple[np.ndarray, Any]]:
        return ((image, label) for (image, _), label in zip(source.examples(0), found.values, strict=True))

    spec = dataclasses.replace(source.spec, class_names=found.class_names, attributes=found.attributes)
    return Source(spec, skipping(examples), lambda: found.fingerprint(source.identify(), found.values))


def _read(options: DataOptions, builder: tfds.core.DatasetBuilder, decoders: Any = None) -> Iterator[dict[str, Any]]:
    """Reads the split's examples, whose checksums tensorflow-datasets verifies."""
    try:
        yield from tfds.as_numpy(builder.as_dataset(split=options.split, decoders=decoders, shuffle_files=False))
    except Exception as error:  # of TensorFlow, of files that are damaged or gone
        raise MirageError(
            f"--dataset={options.dataset} can't be read ({_told(error)}); remove {builder.data_dir}, so that it is "
            "prepared anew, or pass another --data_dir."
        ) from None


def _builder(options: DataOptions) -> tfds.core.DatasetBuilder:
    data_dir = _data_dir(options)
    try:
        if options.dataset == Mnist5k.name:
            return Mnist5k(data_dir=data_dir)
        return tfds.builder(options.dataset, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError:
        names = [*tfds.list_builders(with_community_datasets=False), Mnist5k.name]
        close = difflib.get_close_matches(options.dataset, names, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see tensorflow.org/datasets, or use folder:/path."
        raise MirageError(f"--dataset={printable(options.dataset)} is unknown to tensorflow-datasets; {hint}") from None
    except Exception as error:  # builders raise what they like, of the name as of prepared files that are damaged
        raise MirageError(
            f"--dataset={printable(options.dataset)} can't be used ({_told(error)}); choose another data set, or "
            "another --data_dir."
        ) from None


def _data_dir(options: DataOptions) -> str | None:
    if options.data_dir:
        return str(local_folder(f"--data_dir={options.data_dir}", options.data_dir))
    if "TFDS_DATA_DIR" not in os.environ:  # otherwise tensorflow-datasets would write into a folder named ~
        local_folder("--data_dir= is empty, and its default ~/tensorflow_datasets", "~/tensorflow_datasets")
    return None


def _told(error: Exception) -> str:
    """The first line of what another library says, with the kind of error where it is no sentence for users."""
    text = getattr(error, "strerror", None) or str(error).strip() or "no reason given"
    line = printable(text, "\n").splitlines()[0][:300]
    return line if isinstance(error, ValueError | ImportError) else f"{type(error).__name__}: {line}"


def _keys(options: DataOptions, builder: tfds.core.DatasetBuilder) -> tuple[str, str | None]:
    """Names of the image feature and of the label feature, if there is one."""
    features = builder.info.features
    items: dict[str, Any] = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    supervised = builder.info.supervised_keys or ()

    def first(kind: type) -> str | None:
        names = [name for name, feature in items.items() if isinstance(feature, kind)]
        return next((name for name in supervised if name in names), names[0] if names else None)

    image_key = first(tfds.features.Image)
    if image_key is None:
        raise MirageError(f"--dataset={options.dataset} has no images; choose an image data set.")
    return image_key, first(tfds.features.ClassLabel)


def _describe(options: DataOptions, builder: tfds.core.DatasetBuilder, num_examples: int) -> DataSpec:
    image_key, label_key = _keys(options, builder)
    feature = builder.info.features[image_key]
    height, width, channels = feature.shape
    if channels not in (1, 3, 4) or feature.np_dtype != np.uint8:
        raise MirageError(
            f"--dataset={options.dataset} has images of {channels} channels of {np.dtype(feature.np_dtype).name}; "
            "expected 1, 3 or, with alpha, 4 channels of uint8."
        )
    if channels == 4 and options.transparency == "white":
        channels = 3
    if options.prepared_size is not None:
        if options.fit == "none" and None not in (height, width) and (height, width) != options.prepared_size:
            raise wrong_size(options, f"--dataset={options.dataset}", "each image", (height, width))
        height, width = options.prepared_size
    elif height is None or width is None:
        raise MirageError(f"--dataset={options.dataset} has images of various sizes; set --image_size.")
    names = tuple(builder.info.features[label_key].names) if label_key else ()
    return DataSpec(options.dataset, str(builder.version), (height, width, channels), names, num_examples)


def _prepared(options: DataOptions, make: _Make) -> tfds.core.DatasetBuilder:
    """Prepares the data set unless that has been done; returns a builder that knows its splits."""
    builder = make()
    if builder.is_prepared():
        return builder
    # A builder of the user's own may need no download.
    stock = type(builder).__module__.startswith("tensorflow_datasets.")
    manual_dir = _manual_dir(options)
    if stock and not manual_dir and _offline():
        raise MirageError(
            f"--dataset={options.dataset} is not prepared and there is no network; pass --manual_dir= with its "
            "original files, or --data_dir= where it is prepared, or use --dataset=mnist5k, which needs neither."
        )
    download = tfds.download.DownloadConfig(manual_dir=manual_dir)
    folder = Path(builder.data_dir).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # tensorflow-datasets has no lock of its own: two processes would fail over each other's files.
        with filelock.FileLock(folder / ".prepare.lock"):
            if not make().is_prepared():
                print(f"Preparing {options.dataset} below {folder}, once", flush=True)
                if not sys.stderr.isatty():
                    tfds.disable_progress_bar()
                with contextlib.redirect_stdout(io.StringIO()):  # it says the same, in more words
                    builder.download_and_prepare(download_config=download)
        return make()
    except Exception as error:  # builders raise what they like: it becomes one sentence, nothing is hidden
        raise MirageError(
            f"--dataset={options.dataset} can't be prepared in {folder} ({_told(error)}); pass --manual_dir= with its "
            "original files, or --data_dir= where you may write."
        ) from error


def _fingerprint(options: DataOptions, builder: tfds.core.DatasetBuilder) -> str:
    """Identifies a split, wherever it was prepared: by the recorded checksums of what it is prepared from.

    The examples of a builder that records none are read, as they are stored: its files are other bytes each time that
    it prepares them.
    """
    if isinstance(builder, Mnist5k):
        originals = [hashlib.sha256(table_path().read_bytes()).hexdigest()]
    else:
        originals = sorted(each.checksum for each in (builder.url_infos or {}).values())
    if not originals:
        image_key, label_key = _keys(options, builder)
        stored = {image_key: tfds.decode.SkipDecoding()}
        for example in _read(options, builder, stored):
            content = hashlib.sha256(example[image_key]).hexdigest()
            originals.append(f"{content} {example[label_key] if label_key else 0}")
    return fingerprint_of([builder.info.full_name, options.split, *originals])


def _manual_dir(options: DataOptions) -> str | None:
    if not options.manual_dir:
        return None
    folder = local_folder(f"--manual_dir={options.manual_dir}", options.manual_dir)
    try:
        files = os.listdir(folder)
    except OSError as error:
        raise MirageError(
            f"--manual_dir={printable(options.manual_dir)} can't be looked through ({error.strerror}); give a folder "
            f"with the original files of --dataset={options.dataset}."
        ) from None
    if not files:  # tensorflow-datasets would try to fetch them, for minutes
        raise MirageError(
            f"--manual_dir={printable(options.manual_dir)} is empty; expected the original files of "
            f"--dataset={options.dataset}."
        )
    return str(folder)


def _num_examples(options: DataOptions, builder: tfds.core.DatasetBuilder) -> int:
    try:
        count = builder.info.splits[options.split].num_examples
    except Exception:  # tensorflow-datasets has a kind for each way in which a split can be wrong
        names = ", ".join(sorted(builder.info.splits))
        raise MirageError(
            f"--split={printable(options.split)} is not a split of --dataset={options.dataset}; choose from {names}, "
            "or a slice such as train[:50%]."
        ) from None
    if count <= 0:
        raise MirageError(f"--split={options.split} of --dataset={options.dataset} has no examples; widen it.")
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
