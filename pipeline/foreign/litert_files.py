"""Opens .tflite files, and computes them with LiteRT's interpreter."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.names import printable
from pipeline.base.quiet_tensorflow import without_noise
from pipeline.foreign.conversion import OPSET, converting, named, not_converted
from pipeline.foreign.integers import as_floats
from pipeline.foreign.network import Arrays, Foreign, Port

if TYPE_CHECKING:
    import onnx


def open_litert(path: Path) -> Foreign:
    """Opens a .tflite file.

    Raises:
      MirageError: if ai-edge-litert isn't installed, or the file is damaged.
    """
    name = printable(str(path))
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MirageError(f"{name} needs ai-edge-litert; pip install 'mirage-gan[litert]'.") from None
    try:
        with without_noise():
            interpreter = Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
        inputs = tuple(_port(each) for each in interpreter.get_input_details())
        outputs = tuple(_port(each) for each in interpreter.get_output_details())
    except (ValueError, RuntimeError, TypeError) as error:
        reason = in_a_line(error, 200)
        raise MirageError(f"{name} can't be opened by LiteRT ({reason}).") from None

    def run(values: Arrays) -> dict[str, NDArray]:
        for detail, port in zip(interpreter.get_input_details(), inputs, strict=True):
            value = np.ascontiguousarray(values[port.name])
            if tuple(detail["shape"]) != value.shape:
                interpreter.resize_tensor_input(detail["index"], value.shape)
        interpreter.allocate_tensors()
        for detail, port in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], np.ascontiguousarray(values[port.name]))
        interpreter.invoke()
        made = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
        return {port.name: value for port, value in zip(outputs, made, strict=True)}

    return Foreign(
        kind="LiteRT file",
        framework=f"LiteRT {importlib.metadata.version('ai-edge-litert')}",
        inputs=inputs,
        outputs=outputs,
        run=run,
        graph=lambda: _graph(path, inputs, outputs),
    )


def _port(detail: dict[str, Any]) -> Port:
    signature = [int(each) for each in detail.get("shape_signature", detail["shape"])]
    return Port(detail["name"], np.dtype(detail["dtype"]).name, tuple(None if each < 0 else each for each in signature))


def _graph(path: Path, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> onnx.ModelProto:
    import tf2onnx

    try:
        with converting():
            proto, _ = tf2onnx.convert.from_tflite(str(path), opset=OPSET)
    except Exception as error:  # it has none of its own
        raise not_converted(error) from error
    proto = as_floats(proto, printable(str(path)))
    return named(proto, [port.name for port in inputs], [port.name for port in outputs])
