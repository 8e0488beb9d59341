"""Requests and answers of the Open Inference Protocol, version 2, over REST, with the binary tensor extension.

https://github.com/open-inference/open-inference-protocol (required API; binary data extension). Pure functions of
bytes. Where the documents contradict each other, what clients do decides; `tests/serving/server/test_conformance.py`
lists the places.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

HEADER_LENGTH = "Inference-Header-Content-Length"
_DTYPES: Mapping[str, np.dtype] = {
    "UINT8": np.dtype("u1"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_BINARY = "binary_data"
_BINARY_SIZE = "binary_data_size"
_BINARY_OUTPUT = "binary_data_output"


class ProtocolError(Exception):
    """A request that can't be answered; its message is one sentence, `status` the HTTP status that fits."""

    def __init__(self, message: str, status: int = 400) -> None:
        """Takes the sentence and the status."""
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or an output of a model.

    Attributes:
      name: its name.
      datatype: one of the protocol's, such as "FP32".
      shape: sizes; -1 for the batch axis, which comes first; empty for a scalar.
      optional: whether an input may be left out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As the protocol's metadata tensor."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclasses.dataclass(frozen=True)
class Request:
    """An inference request.

    Attributes:
      id: what the client calls it, or None.
      inputs: arrays by name; their batch axes are equal.
      outputs: names of the requested outputs, each with whether it shall be binary.
      count: size of the batch.
    """

    id: str | None
    inputs: Mapping[str, NDArray]
    outputs: Mapping[str, bool]
    count: int


def parse_request(
    body: bytes,
    header_length: str | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    max_count: int,
) -> Request:
    """Parses the body of `POST .../infer`.

    Args:
      body: JSON, or JSON and behind it the data of binary tensors.
      header_length: value of the header `HEADER_LENGTH`, or None.
      inputs: what the model takes.
      outputs: what it makes.
      max_count: largest batch.

    Raises:
      ProtocolError: if the request is not of the protocol, or not what the model takes.
    """
    document, rest = _split(body, header_length)
    given = _list_of_objects(document, "inputs", required=True)
    specs = {spec.name: spec for spec in inputs}
    arrays: dict[str, NDArray] = {}
    for tensor in given:
        name = tensor.get("name")
        if not isinstance(name, str) or name not in specs:
            _refuse(f"input {_show(name)} is not one of the model's: {', '.join(specs)}.")
        if name in arrays:
            _refuse(f"input {name} is given twice.")
        arrays[name], rest = _array(tensor, specs[name], rest, max_count)
    if len(rest):
        _refuse(f"{len(rest)} bytes of binary data are left over; expected as many as binary_data_size says.")
    missing = [name for name, spec in specs.items() if name not in arrays and not spec.optional]
    if missing:
        _refuse(f"input {missing[0]} is missing.")
    counts = {len(arrays[name]) for name, spec in specs.items() if name in arrays and spec.shape}
    if len(counts) != 1:
        _refuse(f"the inputs have batches of {' and '.join(map(str, sorted(counts)))}; expected equal ones.")
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        _refuse(f"id is {_show(identifier)}; expected a string.")
    return Request(identifier, arrays, _requested(document, outputs), counts.pop())


def format_answer(
    model: str, version: str, request: Request, arrays: Mapping[str, NDArray]
) -> tuple[bytes, dict[str, str]]:
    """Writes an answer.

    Args:
      model: the model's name.
      version: its version.
      request: what is answered.
      arrays: the model's outputs by name.

    Returns:
      (body, headers).
    """
    described, binary = [], []
    for name, as_binary in request.outputs.items():
        array = np.ascontiguousarray(arrays[name])
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": _NAMES[array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype],
            "shape": list(array.shape),
        }
        if as_binary:
            binary.append(array.astype(_DTYPES[tensor["datatype"]], copy=False).tobytes())
            tensor["parameters"] = {_BINARY_SIZE: len(binary[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    document = {"model_name": model, "model_version": version, "outputs": described}
    if request.id is not None:
        document["id"] = request.id
    head = json.dumps(document, separators=(",", ":")).encode()
    if not binary:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return b"".join([head, *binary]), headers


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], memoryview]:
    """Parses the JSON part; returns it and the binary data behind it."""
    length = len(body)
    if header_length is not None:
        if not header_length.isascii() or not header_length.isdigit() or int(header_length[:20]) > length:
            _refuse(f"{HEADER_LENGTH} is {_show(header_length)}; expected at most the body's {length} bytes.")
        length = int(header_length)
    try:
        document = json.loads(body[:length].decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:100]
        _refuse(f"the body is not JSON ({reason}).")
    if not isinstance(document, dict):
        _refuse(f"the body is {_show(document)}; expected a JSON object.")
    return document, memoryview(body)[length:]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _list_of_objects(document: Mapping[str, Any], name: str, *, required: bool) -> list[dict[str, Any]]:
    value = document.get(name)
    if not required and value in (None, []):
        return []
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        _refuse(f"{name} is {_show(value)}; expected a list of objects.")
    return value


def _parameters(holder: Mapping[str, Any]) -> dict[str, Any]:
    value = holder.get("parameters", {})
    if not isinstance(value, dict):
        _refuse(f"parameters is {_show(value)}; expected an object.")
    return value


def _array(tensor: Mapping[str, Any], spec: TensorSpec, rest: memoryview, max_count: int) -> tuple[NDArray, memoryview]:
    """Reads one input; returns it and the binary data that are left."""
    if tensor.get("datatype") != spec.datatype:
        _refuse(f"input {spec.name} has the datatype {_show(tensor.get('datatype'))}; expected {spec.datatype}.")
    shape = _shape(tensor.get("shape"), spec, max_count)
    size = _parameters(tensor).get(_BINARY_SIZE)
    if size is None:
        return _from_json(tensor.get("data"), spec, shape), rest
    if "data" in tensor:
        _refuse(f"input {spec.name} has both data and {_BINARY_SIZE}; expected one of them.")
    dtype = _DTYPES[spec.datatype]
    expected = math.prod(shape) * dtype.itemsize
    if type(size) is not int or size != expected or size > len(rest):
        _refuse(
            f"input {spec.name} has a {_BINARY_SIZE} of {_show(size)}, and {len(rest)} bytes are there; its shape "
            f"{list(shape)} takes {expected}."
        )
    array = np.frombuffer(rest[:size], dtype).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        _refuse(f"input {spec.name} has values that are NaN or infinite; expected finite numbers.")
    return array, rest[size:]


def _shape(value: Any, spec: TensorSpec, max_count: int) -> tuple[int, ...]:
    expected = ["n" if size == -1 else size for size in spec.shape]
    if not isinstance(value, list) or not all(type(size) is int for size in value):
        _refuse(f"input {spec.name} has the shape {_show(value)}; expected {expected}.")
    # A column, as servers want it that know no models without a second axis, is a batch of numbers too.
    shape = value[:1] if spec.shape == (-1,) and value[1:] == [1] else value
    fits = len(shape) == len(spec.shape) and all(
        mine == theirs or theirs == -1 for mine, theirs in zip(shape, spec.shape, strict=True)
    )
    if spec.shape == () and value == [1]:
        return ()
    if not fits or any(size < 0 for size in shape):
        _refuse(f"input {spec.name} has the shape {_show(value)}; expected {expected}.")
    if shape and not 1 <= shape[0] <= max_count:
        _refuse(f"input {spec.name} has a batch of {shape[0]}; expected 1 to {max_count}.")
    return tuple(shape)


def _from_json(data: Any, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray:
    if not isinstance(data, list):
        _refuse(f"input {spec.name} has the data {_show(data)}; expected a list.")
    dtype = _DTYPES[spec.datatype]
    try:
        array = np.asarray(data)
    except (ValueError, OverflowError, RecursionError):
        _refuse(f"input {spec.name} has data that are no regular array.")
    # JSON has one kind of number: some clients write 3 as 3.0. Beyond 2^53 they would have changed it by that.
    whole = array.dtype.kind != "f" or bool((np.abs(array) <= 2**53).all() and (np.rint(array) == array).all())
    if array.dtype.kind not in "iuf" or (dtype.kind != "f" and (not whole or array.dtype == np.uint64)):
        _refuse(f"input {spec.name} has data that are no {spec.datatype} numbers.")
    if array.size != math.prod(shape) or (array.ndim > 1 and array.shape[: len(shape)] != shape):
        _refuse(f"input {spec.name} has data of the shape {list(array.shape)[:8]}; expected {list(shape)}, or flat.")
    with np.errstate(over="ignore"):
        array = array.astype(dtype).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        _refuse(f"input {spec.name} has values beyond float32; expected finite numbers.")
    return array


def _requested(document: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> dict[str, bool]:
    default = _flag(_parameters(document), _BINARY_OUTPUT, False)
    names = [spec.name for spec in outputs]
    wanted = _list_of_objects(document, "outputs", required=False)
    if not wanted:
        return dict.fromkeys(names, default)
    result: dict[str, bool] = {}
    for output in wanted:
        name = output.get("name")
        if not isinstance(name, str) or name not in names or name in result:
            _refuse(f"output {_show(name)} is asked for; expected some of {', '.join(names)}, each once.")
        result[name] = _flag(_parameters(output), _BINARY, default)
    return result


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        _refuse(f"{name} is {_show(value)}; expected true or false.")
    return value


def _show(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse(message: str) -> NoReturn:
    raise ProtocolError(message)
