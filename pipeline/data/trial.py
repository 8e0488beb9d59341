"""A part of a data set for a trial of a training: pictures for some steps, and the memory that all would take."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.data.dataset import Dataset, as_seen, centred, decoded_into_a_file
from pipeline.data.objects import origin_of
from pipeline.data.options import DataOptions
from pipeline.data.prepared import folder_of, form_of
from pipeline.data.source import Source, room_for_labels
from pipeline.data.spec import DataSpec

_IMAGES, _LABELS, _SPEC = "images.npy", "labels.npy", "spec.json"
_MOST_BYTES = 2**26  # of pictures that are decoded
_COMPRESSED = 0.4  # of the bytes of photographs, as lossless WebP


def write_trial(options: DataOptions, batch_size: int, folder: Path, data_dir: str) -> tuple[DataSpec, int]:
    """Writes the first pictures of a data set into a folder, as networks will see them.

    Args:
      options: which data.
      batch_size: at least twice as many are written, if there are.
      folder: an existing one.
      data_dir: where a training would prepare all of them.

    Returns:
      (the description of all data, the bytes that are still to be written to `data_dir`).

    Raises:
      MirageError: if they can't be had.
      OSError: if they can't be written.
    """
    source = origin_of(None, options).open()
    spec = source.spec
    each = spec.num_bytes // spec.num_examples
    most = min(spec.num_examples, max(2 * batch_size, _MOST_BYTES // each))
    images, labels = np.empty((most, *spec.image_shape), np.uint8), room_for_labels(spec, most)
    for index, (image, label) in enumerate(itertools.islice(source, most)):
        images[index], labels[index] = image, label
    np.save(folder / _IMAGES, images)
    np.save(folder / _LABELS, labels)
    seen = as_seen(spec, options)
    (folder / _SPEC).write_text(json.dumps([spec.to_dict(), seen.to_dict()]), encoding="utf-8")
    return seen, _to_prepare(dataclasses.replace(options, data_dir=data_dir), source)


def _to_prepare(options: DataOptions, source: Source) -> int:
    folder = folder_of(options, source)
    if source.arrays is not None or not decoded_into_a_file(source.spec, options) or folder.exists():
        return 0
    there = next(path for path in folder.parents if path.exists())
    return round(source.spec.num_bytes * (1 if form_of(options, source, there) == "pixels" else _COMPRESSED))


def read_trial(folder: Path, device_data_mb: int) -> Dataset:
    """Reads what `write_trial` wrote.

    Args:
      folder: the same.
      device_data_mb: up to which size all pictures are kept on each device; as many as there are in all then stand in
        memory, the same ones again and again. Of more, the few are streamed.

    Raises:
      MirageError: if that takes more memory than there is.
    """
    images, labels = np.load(folder / _IMAGES), np.load(folder / _LABELS)
    spec, seen = map(DataSpec.from_dict, json.loads((folder / _SPEC).read_text(encoding="utf-8")))
    if spec.num_bytes > device_data_mb * 2**20:
        few = dataclasses.replace(spec, num_examples=len(images), fingerprint="")
        return centred(Dataset(few, images, labels, streamed=True), dataclasses.replace(seen, num_examples=len(images)))
    try:
        pixels = np.resize(images, (spec.num_examples, *spec.image_shape))
        marks = np.resize(labels, (spec.num_examples, *labels.shape[1:]))
        return centred(Dataset(spec, pixels, marks), seen)
    except MemoryError:
        raise MirageError(
            f"--dataset={spec.name} needs {spec.num_bytes / 2**30:,.1f} GiB of memory, and there is less; lower "
            "--device_data_mb, so that it is streamed."
        ) from None
