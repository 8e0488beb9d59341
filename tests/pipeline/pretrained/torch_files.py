"""Writes files as `torch.save` and `torch.jit.save` do, without PyTorch, so that tests can make good and bad ones."""

import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

STORAGES = {
    "<f8": "DoubleStorage",
    "<f4": "FloatStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
    "|u1": "ByteStorage",
}


class Called:
    """What a pickle has a function return."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.function = (module, name)
        self.arguments = arguments


class Module:
    """An object of TorchScript."""

    def __init__(self, name: str, **state: Any) -> None:
        self.name = name
        self.state = state


class Stored:
    """A storage as a pickle refers to it; what differs from the truth is told in `changes`."""

    def __init__(self, key: str, array: np.ndarray, **changes: Any) -> None:
        self.key = key
        self.array = array
        self.kind = changes.get("kind", STORAGES[array.dtype.str])
        self.count = changes.get("count", array.size)


def tensor(key: str, array: np.ndarray, **changes: Any) -> Called:
    """A tensor that is the whole of its storage, but for `changes`."""
    strides = tuple(step // array.itemsize for step in array.strides)
    place = (changes.get("offset", 0), changes.get("shape", array.shape), changes.get("strides", strides))
    stored = Stored(key, array, **changes)
    return Called("torch._utils", "_rebuild_tensor_v2", stored, *place, False, Called("collections", "OrderedDict"))


def pickled(thing: Any, legacy: bool = False) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + _part(thing, legacy) + b"."


def _name(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def _part(thing: Any, legacy: bool) -> bytes:
    def parts(values):
        return b"".join(_part(each, legacy) for each in values)

    if isinstance(thing, Called):
        return _name(*thing.function) + _part(thing.arguments, legacy) + b"R"
    if isinstance(thing, Module):
        return _name("__torch__", thing.name) + b")\x81" + _part(thing.state, legacy) + b"b"
    if isinstance(thing, Stored):
        kind = _name("torch", thing.kind)
        more = b"N" if legacy else b""
        return b"(" + parts(["storage"]) + kind + parts([thing.key, "cpu", thing.count]) + more + b"tQ"
    if thing is None or isinstance(thing, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[thing]
    if isinstance(thing, int):
        data = thing.to_bytes((thing.bit_length() + 8) // 8, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data
    if isinstance(thing, float):
        return b"G" + struct.pack(">d", thing)
    if isinstance(thing, str):
        return b"X" + struct.pack("<I", len(thing.encode())) + thing.encode()
    if isinstance(thing, tuple):
        return b"(" + parts(thing) + b"t"
    if isinstance(thing, list):
        return b"](" + parts(thing) + b"e"
    assert isinstance(thing, Mapping)
    return b"}(" + parts(each for item in thing.items() for each in item) + b"u"


def _stored(thing: Any) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    inner: Any = ()
    if isinstance(thing, Stored):
        found[thing.key] = thing
    elif isinstance(thing, Called):
        inner = thing.arguments
    elif isinstance(thing, Module):
        inner = thing.state.values()
    elif isinstance(thing, Mapping):
        inner = thing.values()
    elif isinstance(thing, list | tuple):
        inner = thing
    for each in inner:
        found |= _stored(each)
    return found


def zipped(thing: Any, folder: str = "archive", **more: bytes) -> bytes:
    """What `torch.save` writes today, and `torch.jit.save` but for its code."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled(thing))
        for key, stored in _stored(thing).items():
            archive.writestr(f"{folder}/data/{key}", stored.array.tobytes())
        for name, content in {"version": b"3\n", **more}.items():
            archive.writestr(f"{folder}/{name}", content)
    return file.getvalue()


def legacy(thing: Any) -> bytes:
    """What `torch.save` wrote until PyTorch 1.5."""
    stored = _stored(thing)
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}]
    parts = [pickled(each) for each in head] + [pickled(thing, legacy=True), pickled([*stored])]
    parts += [struct.pack("<q", each.array.size) + each.array.tobytes() for each in stored.values()]
    return b"".join(parts)
