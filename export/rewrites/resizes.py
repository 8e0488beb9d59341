"""Enlarging by whole factors, said in the way that every runtime knows."""

import numpy as np
import onnx
from onnx import helper

from export.rewrites.graph import Graph, attribute

_OLD = b"tf_half_pixel_for_nn"


def asymmetric(model: onnx.ModelProto) -> onnx.ModelProto:
    """Restates what TensorFlow's nearest-neighbour resizing becomes, where it enlarges by whole factors.

    Of the coordinate (x + 1/2) / s the floor is taken, and that of x / s is the same for whole x and s; the former is a
    mode that ONNX has deprecated, and that its reference implementation lacks.

    Args:
      model: any model.

    Returns:
      A model that computes the same.
    """
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type != "Resize" or attribute(node, "coordinate_transformation_mode", b"") != _OLD:
            continue
        scales = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if scales is None or np.any(scales < 1) or np.any(scales != np.round(scales)):
            continue
        new = onnx.NodeProto()
        new.CopyFrom(node)
        kept = [each for each in node.attribute if each.name not in ("coordinate_transformation_mode", "nearest_mode")]
        del new.attribute[:]
        new.attribute.extend(kept)
        new.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
        new.attribute.append(helper.make_attribute("nearest_mode", "floor"))
        graph.replace([node], [new])
    return graph.finish()
