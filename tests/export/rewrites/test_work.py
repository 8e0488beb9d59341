import numpy as np
from onnx import helper

from export.rewrites.work import multiplications
from tests.export.rewrites.models import model_of


def test_each_layer_is_counted_where_it_works():
    nodes = [
        helper.make_node("ConvTranspose", ["x", "up"], ["a"], strides=[2, 2]),
        helper.make_node("Conv", ["a", "same"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    constants = {"up": np.zeros([3, 4, 2, 2], np.float32), "same": np.zeros([5, 4, 3, 3], np.float32)}
    model = model_of(nodes, constants, [3, 6, 7])
    assert multiplications(model) == 3 * 4 * 2 * 2 * 6 * 7 + 5 * 4 * 3 * 3 * 12 * 14


def test_dense_layers():
    constants = {"w": np.zeros([8, 6], np.float32)}
    assert multiplications(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], constants, [8])) == 48
