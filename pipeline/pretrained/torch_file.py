"""Tensors out of files of `torch.save` and `torch.jit.save`, without PyTorch, and without running what is in them.

Three forms: a row of pickles with the numbers behind it, as until PyTorch 1.5; a ZIP archive; and TorchScript's
archive, of which the code is left alone. What is read are views into the file's own bytes, so that no file needs more
memory than it has bytes, whatever it announces.
"""

import dataclasses
import math
import mmap
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.pretrained.torch_pickle import Global, Module, Reader, UnreadableError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
_AS_THEY_ARE = {  # functions that return their first argument, as far as tensors go
    Global("torch._utils", "_rebuild_parameter"),
    Global("torch.jit._pickle", "restore_type_tag"),
    Global("torch.jit._pickle", "build_intlist"),
    Global("torch.jit._pickle", "build_doublelist"),
    Global("torch.jit._pickle", "build_boollist"),
    Global("torch.jit._pickle", "build_tensorlist"),
    Global("torch", "Size"),
}
_TENSORS = {Global("torch._utils", "_rebuild_tensor_v2"), Global("torch._utils", "_rebuild_tensor")}
_DEEPEST = 100  # modules within one another


@dataclasses.dataclass
class _Storage:
    """Numbers of one type; in the oldest form, where they lie is known after the pickle that refers to them.

    Attributes:
      key: its name within the file.
      dtype: of its numbers.
      count: how many.
      data: their bytes; None as long as nobody knows.
    """

    key: str
    dtype: np.dtype
    count: int
    data: memoryview | None = None


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The tensor as a view; raises UnreadableError if it reaches beyond its storage."""
        storage, size = self.storage, self.storage.dtype.itemsize
        count = math.prod(self.shape)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        # By strides of zero few numbers can pretend to be many.
        if count > storage.count or (count and last >= storage.count):
            raise UnreadableError(f"has a tensor that reaches beyond the end of its storage {storage.key}")
        assert storage.data is not None
        if not count:
            return np.empty(self.shape, storage.dtype)
        data = np.frombuffer(storage.data, storage.dtype)[self.offset :]
        strides = tuple(step * size if n > 1 else 0 for n, step in zip(self.shape, self.strides, strict=True))
        return np.lib.stride_tricks.as_strided(data, self.shape, strides, writeable=False)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors of a file.

    Args:
      path: a file of `torch.save` or `torch.jit.save`.

    Returns:
      Tensors by name, as far as they lie in dictionaries, lists or modules within one another, such as
      `layers.conv.weight`; they can't be written to.

    Raises:
      MirageError: if the file can't be read, is damaged, or holds other things than tensors.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # the latter of an empty file
        what = getattr(error, "strerror", None) or "it is empty"
        raise MirageError(f"{path} can't be read ({what}); expected a file of torch.save.") from None
    try:
        view = memoryview(content)
        found = _zipped(path, view) if view[:4] == b"PK\x03\x04" else _row(view)
        return {name: tensor.array() for name, tensor in _flat(found)}
    except UnreadableError as error:
        raise MirageError(
            f"{path} {error}; expected a file of torch.save or torch.jit.save that holds tensors."
        ) from None
    except (ValueError, OverflowError):  # of NumPy, such as for more dimensions than it knows
        raise MirageError(f"{path} has a tensor that NumPy can't hold; expected a file of torch.save.") from None


def _row(content: memoryview) -> Any:
    """Reads the oldest form: magic number, version, system, object, names of storages, and those."""
    storages: dict[str, _Storage] = {}
    reader = Reader(content, _called, lambda identity: _storage(identity, storages))
    try:
        magic = reader.load()
    except UnreadableError:
        magic = None
    if magic != _MAGIC:
        raise UnreadableError("is no file of torch.save")
    protocol, system = reader.load(), reader.load()
    if protocol != _PROTOCOL or not isinstance(system, dict) or not system.get("little_endian"):
        raise UnreadableError("was written by a PyTorch, or for a machine, that is not known")
    found = reader.load()
    names = reader.load()
    if not isinstance(names, list) or {*map(str, names)} != {*storages}:
        raise UnreadableError("does not hold the storages that its tensors refer to")
    for name in names:
        storage = storages[str(name)]
        if int.from_bytes(reader.take(8), "little") != storage.count:
            raise UnreadableError(f"has a storage {storage.key} of another size than its tensors expect")
        stop = reader.position + storage.count * storage.dtype.itemsize
        if stop > len(content):
            raise UnreadableError("ends too early")
        storage.data = content[reader.position : stop]
        reader.position = stop
    return found


def _zipped(path: Path, content: memoryview) -> Any:
    """Reads an archive: `FOLDER/data.pkl`, and each storage in a file of its own below `FOLDER/data/`."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {each.filename: each for each in archive.infolist()}
            folders = [name.removesuffix("data.pkl") for name in members if name.count("/") == 1]
            folders = [name for name in folders if f"{name}data.pkl" in members]
            if len(folders) != 1:
                raise UnreadableError("is an archive without a data.pkl, as torch.save and torch.jit.save write it")

            def member(name: str) -> bytes:
                if name not in members:
                    raise UnreadableError(f"lacks {name}")
                if members[name].file_size > len(content):
                    raise UnreadableError(f"announces more bytes for {name} than the whole file has")
                return archive.read(members[name])

            folder = folders[0]
            order = member(f"{folder}byteorder") if f"{folder}byteorder" in members else b"little"
            if order != b"little":
                raise UnreadableError("was written for a machine with another order of bytes")
            storages: dict[str, _Storage] = {}
            reader = Reader(member(f"{folder}data.pkl"), _called, lambda identity: _storage(identity, storages))
            found = reader.load()
            if sum(each.count * each.dtype.itemsize for each in storages.values()) > len(content):
                raise UnreadableError("announces more numbers than the whole file has bytes")
            for storage in storages.values():
                data = member(f"{folder}data/{storage.key}")
                if len(data) != storage.count * storage.dtype.itemsize:
                    raise UnreadableError(f"has a storage {storage.key} of another size than its tensors expect")
                storage.data = memoryview(data)
            return found
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        # Of zipfile: damage, an unknown compression, a password, or an end too early.
        raise UnreadableError(f"is a damaged archive ({str(error).partition(chr(10))[0][:100]})") from None


def _storage(identity: Any, storages: dict[str, _Storage]) -> _Storage:
    """Finds what a tensor's numbers lie in: ("storage", its type, key, device, number of elements[, None])."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise UnreadableError("refers to something else than storages")
    _, kind, key, _, count = identity[:5]
    if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in _STORAGES:
        raise UnreadableError(f"has numbers of the type {kind}, which is not known")
    if len(identity) == 6 and identity[5] is not None:
        raise UnreadableError("has a storage that is part of another, as PyTorch 0.x wrote it")
    if not isinstance(key, str) or not _whole((count,)):
        raise UnreadableError("refers to something else than storages")
    known = storages.setdefault(key, _Storage(key, np.dtype(_STORAGES[kind.name]), count))
    if (known.dtype, known.count) != (np.dtype(_STORAGES[kind.name]), count):
        raise UnreadableError(f"has a storage {key} of two types or sizes")
    return known


def _called(function: Global, arguments: tuple) -> Any:
    """Makes what a function would return of those that files of tensors need."""
    if function == Global("collections", "OrderedDict"):
        pairs = arguments[0] if arguments else []
        if not isinstance(pairs, list) or not all(isinstance(each, list | tuple) and len(each) == 2 for each in pairs):
            raise ValueError
        if not all(isinstance(each[0], str | int) for each in pairs):
            raise ValueError
        return {each[0]: each[1] for each in pairs}
    if function in _AS_THEY_ARE:
        return arguments[0]
    if function in _TENSORS:
        storage, offset, shape, strides = arguments[:4]
        right = isinstance(storage, _Storage) and type(shape) is type(strides) is tuple and len(shape) == len(strides)
        if not right or not _whole((offset, *shape, *strides)):
            raise UnreadableError("has a tensor whose place, shape or strides are no whole numbers")
        return _Tensor(storage, offset, shape, strides)
    raise UnreadableError(f"asks for {function}, and nothing but tensors is read")


def _whole(values: tuple) -> bool:
    """Whether all are numbers that a place or size can be."""
    return all(type(each) is int and 0 <= each < 2**62 for each in values)


def _flat(found: Any) -> Iterator[tuple[str, _Tensor]]:
    """Finds tensors within dictionaries, lists and modules, each of which counts where it is met first."""
    waiting: list[tuple[str, Any, int]] = [("", found, 0)]
    seen: set[int] = set()
    while waiting:
        name, thing, depth = waiting.pop()
        if isinstance(thing, _Tensor):
            yield name, thing
            continue
        inner = thing.state if isinstance(thing, Module) else thing
        if isinstance(inner, Mapping):
            parts = [*inner.items()]
        elif isinstance(inner, list | tuple):
            parts = [*enumerate(inner)]
        else:
            continue
        if id(inner) in seen:
            continue
        if depth == _DEEPEST:
            raise UnreadableError(f"has more than {_DEEPEST} levels of containers within one another")
        seen.add(id(inner))
        waiting += [(f"{name}.{key}" if name else str(key), part, depth + 1) for key, part in reversed(parts)]
