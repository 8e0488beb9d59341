"""What stands in an HDF5 file, looked at before Keras reads it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.foreign.safety import check_size

_OBJECTS = 1_000_000


class Look(NamedTuple):
    """What an HDF5 file says of itself.

    Attributes:
      config: the model's description, in JSON; None in a file of weights.
      version: of the Keras that wrote it; empty if it doesn't say.
      is_of_keras: whether it holds what any Keras has written.
    """

    config: Any
    version: str
    is_of_keras: bool


def look_at(file: Any, name: str, size: int) -> Look:
    """Reads what a file says of itself, and refuses one that leads to other files or announces too much.

    Args:
      file: a path, or an open file.
      name: what it is called in errors.
      size: its bytes.

    Returns:
      What it says.

    Raises:
      MirageError: if it is damaged, too.
    """
    import h5py

    try:
        with h5py.File(file, "r") as root:
            check_size([each.shape or () for each in _datasets(root, name)], name, size)
            version = root.attrs.get("keras_version", b"")
            version = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
            of_keras = {"layers", "_layer_checkpoint_dependencies", "vars"} & {*root}
            return Look(root.attrs.get("model_config"), version, bool(of_keras) or "layer_names" in root.attrs)
    except MirageError:
        raise
    except Exception as error:  # of many kinds
        raise MirageError(f"{name} is a damaged HDF5 file ({in_a_line(error, 200)}).") from None


def _datasets(root: Any, name: str) -> Iterator[Any]:
    """Yields all data of a file.

    Raises:
      MirageError: if something lies elsewhere.
    """
    import h5py

    left, seen = [root], {hash(root.id)}
    while left:
        group = left.pop()
        for key in group:
            where = f"{group.name.rstrip('/')}/{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise MirageError(f"{name} holds a link, {where}, which may lead to other files; save it without.")
            thing = group[key]
            if isinstance(thing, h5py.Dataset):
                if thing.external or thing.is_virtual:
                    raise MirageError(f"{name} has the values of {where} in other files; save it without.")
                yield thing
            elif isinstance(thing, h5py.Group):
                if hash(thing.id) in seen or len(seen) > _OBJECTS:
                    raise MirageError(f"{name} holds a group in itself, or more than can be; it is damaged.")
                seen.add(hash(thing.id))
                left.append(thing)


def look_at_weights(archive: zipfile.ZipFile, name: str, size: int) -> None:
    """Refuses a .keras file whose weights, an HDF5 file, lead to other files or are damaged.

    Raises:
      MirageError: as `look_at`.
    """
    try:
        with archive.open("model.weights.h5") as weights:
            look_at(weights, f"model.weights.h5 of {name}", size)
    except (zipfile.BadZipFile, RuntimeError, ValueError, OSError) as error:
        raise MirageError(f"{name} is a damaged .keras file ({in_a_line(error, 200)}); save it again.") from None
