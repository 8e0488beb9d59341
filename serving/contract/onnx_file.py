"""What an ONNX file contains, read without running it and without the onnx package.

An onnxruntime that is given a damaged or hostile file may read other files, ask for all memory or end the
process. So a file is looked through first: its seal, a SHA-256 of all that stands before it, and what it asks for.
Only the standard library is needed.
"""

import hashlib
import math
from collections.abc import Iterator

from serving.contract.manifest import BundleError

SEAL_KEY = "mirage.sha256"
MAX_BYTES = 2**31 - 1  # of a protobuf message, and so of a model without external data
_MAX_NODES = 100_000
_MAX_RANK = 64  # numpy's, too
_DOMAINS = (b"", b"ai.onnx")

# Fields of onnx.proto3.
_GRAPH, _OPSET_IMPORT, _METADATA, _TRAINING, _FUNCTIONS = 7, 8, 14, 20, 25
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_ATTRIBUTE, _DOMAIN = 5, 7
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS, _SPARSE, _SPARSES = 5, 6, 10, 11, 22, 23
_DIMS, _DATA_TYPE, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 9, 13, 14

_ITEM_SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}


def seal(data: bytes) -> bytes:
    """Appends to a serialised model a metadata entry that holds the SHA-256 of what stands before it."""
    return data + _seal_of(data)


def check_onnx_file(data: bytes) -> None:
    """Refuses a model that is damaged, or asks for what no generator of Mirage needs.

    Args:
      data: the whole file.

    Raises:
      BundleError: if the seal is missing or broken; if it refers to other files, holds operators of other domains,
        functions, loops or branches; or if a tensor's size and its data disagree.
    """
    length = len(_seal_of(b""))
    if len(data) > MAX_BYTES:
        raise BundleError(f"it has {len(data):,} bytes; expected at most {MAX_BYTES:,}.")
    if len(data) < length or data[-length:] != _seal_of(memoryview(data)[:-length]):
        raise BundleError("its seal is missing or broken: the file is damaged, or was changed after its export.")
    try:
        _check_model(memoryview(data))  # of which a part is no copy
    except ValueError as error:
        raise BundleError(f"it is no ONNX model ({error}).") from None


def _seal_of(data: bytes | memoryview) -> bytes:
    key, digest = SEAL_KEY.encode(), hashlib.sha256(data).hexdigest().encode()
    entry = bytes([0x0A, len(key)]) + key + bytes([0x12, len(digest)]) + digest
    return bytes([_METADATA << 3 | 2, len(entry)]) + entry


def _check_model(data: memoryview) -> None:
    graphs = []
    for field, value in _fields(data):
        if field == _OPSET_IMPORT and isinstance(value, memoryview):
            _check_domain(_last(value, 1))
        elif field in (_TRAINING, _FUNCTIONS):
            raise BundleError("it holds functions or training graphs; expected none.")
        elif field == _GRAPH and isinstance(value, memoryview):
            graphs.append(value)
    if len(graphs) != 1:
        raise BundleError(f"it holds {len(graphs)} graphs; expected one.")
    nodes = 0
    for field, value in _fields(graphs[0]):
        if field == _NODE and isinstance(value, memoryview):
            nodes += 1
            _check_node(value)
        elif field == _INITIALIZER and isinstance(value, memoryview):
            _check_tensor(value)
        elif field == _SPARSE_INITIALIZER:
            raise BundleError("it holds sparse tensors; expected none.")
    if not nodes:
        raise BundleError("it has no operators; expected a generator.")
    if nodes > _MAX_NODES:
        raise BundleError(f"it has {nodes:,} operators; expected at most {_MAX_NODES:,}.")


def _check_node(data: memoryview) -> None:
    _check_domain(_last(data, _DOMAIN))
    for field, value in _fields(data):
        if field != _ATTRIBUTE or not isinstance(value, memoryview):
            continue
        for kind, content in _fields(value):
            if kind in (_SUBGRAPH, _SUBGRAPHS, _SPARSE, _SPARSES):
                raise BundleError("it holds loops, branches or sparse tensors; expected none.")
            if kind in (_TENSOR, _TENSORS) and isinstance(content, memoryview):
                _check_tensor(content)


def _check_tensor(data: memoryview) -> None:
    dims: list[int] = []
    kind, raw = 0, None
    for field, value in _fields(data):
        if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0):
            raise BundleError("it keeps weights in another file; expected all in one.")
        if field == _DIMS:
            dims += _integers(value)
            if len(dims) > _MAX_RANK:
                raise BundleError(f"it has a tensor of more than {_MAX_RANK} dimensions.")
        elif field == _DATA_TYPE and isinstance(value, int):
            kind = value
        elif field == _RAW_DATA and isinstance(value, memoryview):
            raw = len(value)
    count = math.prod(dims)
    if any(dim >= 2**31 for dim in dims) or count > MAX_BYTES:
        raise BundleError(f"it has a tensor of the shape {dims[:8]}, which is too large.")
    if raw is not None and kind in _ITEM_SIZES and raw != count * _ITEM_SIZES[kind]:
        raise BundleError(f"it has a tensor of the shape {dims[:8]} with {raw:,} bytes, which do not fit together.")


def _check_domain(domain: bytes) -> None:
    if domain not in _DOMAINS:
        raise BundleError(f"it needs operators of the domain {domain.decode(errors='replace')!r}; expected ONNX's own.")


def _last(data: memoryview, number: int) -> bytes:
    """Value of a field of bytes, which is the last one given; empty if there is none."""
    found = data[:0]
    for field, value in _fields(data):
        if field == number and isinstance(value, memoryview):
            found = value
    return bytes(found)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields number and value of each field of a protobuf message; what is no number as a view of its bytes."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == 2:
            size, position = _varint(data, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"unknown wire type {wire}")
        if position + size > len(data):
            raise ValueError("it ends too early")
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """Returns (the number at a position, the position behind it)."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("it ends too early")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise ValueError("a number has too many bytes")


def _integers(value: int | memoryview) -> list[int]:
    """A repeated integer field: one number, or several packed ones, of which no more are read than are allowed."""
    if isinstance(value, int):
        return [value]
    numbers: list[int] = []
    position = 0
    while position < len(value) and len(numbers) <= _MAX_RANK:
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers
