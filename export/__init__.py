"""Export: from a run directory, or a generator of anybody's, to a bundle (TensorFlow, tf2onnx, onnx)."""

from typing import Any

import serving.runtime  # noqa: F401  # before onnxruntime.quantization can import onnxruntime otherwise

__all__ = ["adopt"]


def adopt(generator: Any, out: Any, formats: Any = (), **more: Any) -> None:
    """Makes a bundle of a generator that Mirage has not trained; see `export.adoption.adopt.adopt`."""
    from export.adoption.adopt import adopt as adopting

    adopting(generator, out, formats, **more)
