"""Graphs whose weights are integers become graphs of floats; those that compute with integers are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.base.errors import MirageError

if TYPE_CHECKING:
    import onnx

_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")


def as_floats(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Makes floats of weights that are kept as integers.

    Args:
      proto: a model; it is changed.
      name: what it is called in errors.

    Raises:
      MirageError: if it computes with integers, too, which no other graph does to the same bits.
    """
    from onnx import numpy_helper

    held = {each.name: each for each in proto.graph.initializer}
    kept = []
    for node in proto.graph.node:
        if node.op_type != "DequantizeLinear" or not {*filter(None, node.input)} <= {*held}:
            kept.append(node)
            continue
        value, scale, *zero = (numpy_helper.to_array(held[each]) for each in node.input if each)
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        sizes = [-1 if place == axis % value.ndim else 1 for place in range(value.ndim)] if scale.size > 1 else []
        offset = zero[0].astype(np.int32).reshape(sizes) if zero else 0
        floats = (value.astype(np.int32) - offset).astype(np.float32) * scale.astype(np.float32).reshape(sizes)
        proto.graph.initializer.append(numpy_helper.from_array(floats.astype(np.float32), node.output[0]))
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    found = sorted({node.op_type for node in kept if node.op_type in _QUANTISED or node.op_type.startswith("QLinear")})
    if found:
        raise MirageError(
            f"{name} computes with integers ({', '.join(found)}); adopt the network of floats that it was made of, and "
            "add int8 to --formats, which makes such a file of it."
        )
    return proto
