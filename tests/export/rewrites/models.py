"""Small graphs, and what they compute."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.runtime import ort

PICTURES = {"Conv", "ConvTranspose", "Transpose", "DepthToSpace", "Resize", "Tile", "Unsqueeze"}


def model_of(nodes, constants, shape, *, label=False):
    """A model of one input `x`, [N, *shape], perhaps `label`, [N], and one output `y`."""
    rank = 4 if PICTURES & {node.op_type for node in nodes} else 2
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape]),
            *([helper.make_tensor_value_info("label", TensorProto.INT64, ["N"])] if label else []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def run(model, x):
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    # What onnxruntime itself fuses shall not be what is tested.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def assert_same(before, after, x):
    expected = run(before, x)
    actual = run(after, x)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def operators(model):
    return [node.op_type for node in model.graph.node]


def uniform(rng, *shape):
    return rng.uniform(-1, 1, shape).astype(np.float32)
