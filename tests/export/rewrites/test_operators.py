"""Other exporters' operators are said in those that the rewrites know."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from export.rewrites.affine import fold_affine
from export.rewrites.layouts import session_of
from export.rewrites.operators import (
    batch_norms,
    gemm_as_matmul,
    means_as_products,
    tanh_for_sigmoid,
    without_idle,
)
from tests.export.rewrites.models import assert_same, model_of, operators, uniform

NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@settings(max_examples=60, deadline=None)
@given(
    st.booleans(),
    st.sampled_from([None, (), (3,), (1, 3), (1,)]),
    st.floats(0.5, 2),
    st.floats(0.5, 2),
    st.integers(0, 2**31),
)
def test_gemm_becomes_a_matrix_product(turned, bias, alpha, beta, seed):
    rng = np.random.default_rng(seed)
    constants = {"w": uniform(rng, *((3, 5) if turned else (5, 3)))}
    if bias is not None:
        constants["b"] = uniform(rng, *bias)
    nodes = [helper.make_node("Gemm", ["x", *constants], ["y"], alpha=alpha, beta=beta, transB=int(turned))]
    before = model_of(nodes, constants, [5])
    after = gemm_as_matmul(before)
    assert operators(after) == (["MatMul"] if bias is None else ["MatMul", "Add"])
    assert_same(before, after, uniform(rng, 4, 5))


@pytest.mark.parametrize(("bias", "attributes"), [((4, 3), {}), ((3,), {"transA": 1})])
def test_other_gemms_are_left_alone(bias, attributes):
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], **attributes)]
    before = model_of(nodes, {"w": np.ones((4, 3), np.float32), "b": np.ones(bias, np.float32)}, [4])
    assert gemm_as_matmul(before).graph == before.graph


@pytest.mark.parametrize(("size", "axis"), [(6, 1), (7, -1), (48, 1)])
def test_means_do_not_depend_on_where_a_row_lies(size, axis):
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("ReduceMean", ["a", "axes"], ["y"])]
    before = model_of(nodes, {"axes": np.array([axis])}, [size])
    after = means_as_products(before)
    assert operators(after) == ["Abs", "MatMul"]
    x = uniform(rng, 64, size)
    assert_same(before, after, x)
    run = session_of(after).run
    for count in (1, 3, 16):
        parts = [run(None, {"x": x[start : start + count].copy()})[0] for start in range(0, 64, count)]
        np.testing.assert_array_equal(np.concatenate(parts), run(None, {"x": x})[0])


@pytest.mark.parametrize(
    ("axes", "attributes", "shape"), [([1], {"keepdims": 0}, [6]), ([0], {}, [6]), ([1], {}, [6, 2])]
)
def test_other_means_are_left_alone(axes, attributes, shape):
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("ReduceMean", ["a", "axes"], ["y"], **attributes)]
    before = model_of(nodes, {"axes": np.array(axes)}, shape)
    assert operators(means_as_products(before)) == ["Abs", "ReduceMean"]


def norm_of(rng, channels, source="v", result="y"):
    names = ["scale", "shift", "mean", "variance"]
    constants = {name: uniform(rng, channels) + (2 if name == "variance" else 0) for name in names}
    return helper.make_node("BatchNormalization", [source, *names], [result], epsilon=1e-3), constants


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["MatMul", "Conv", "ConvTranspose"]), st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_batch_norms_go_into_layers(kind, bias, enlarged, seed):
    rng = np.random.default_rng(seed)
    shape = [4] if kind == "MatMul" else [2, 5, 5]
    size = {"MatMul": (4, 24), "Conv": (3, 2, 3, 3), "ConvTranspose": (2, 3, 3, 3)}[kind]
    constants = {"w": uniform(rng, *size), "picture": np.array([-1, 3, 2, 4])}
    constants |= {"scales": np.array([1, 1, 2, 3], np.float32)}
    nodes = [helper.make_node(kind, ["x", "w"], ["a"])]
    if bias and kind != "MatMul":
        constants["b"] = uniform(rng, 3)
        nodes[0].input.append("b")
    if bias and kind == "MatMul":
        constants["b"] = uniform(rng, 24)
        nodes.append(helper.make_node("Add", ["a", "b"], ["ab"]))
    if kind == "MatMul":
        nodes.append(helper.make_node("Reshape", [nodes[-1].output[0], "picture"], ["p"]))
    if enlarged:
        nodes.append(helper.make_node("Resize", [nodes[-1].output[0], "", "scales"], ["up"], **NEAREST))
    norm, more = norm_of(rng, 3, nodes[-1].output[0])
    before = model_of([*nodes, norm], {**constants, **more}, shape)
    after = fold_affine(batch_norms(before))
    kept = [*(["Add", "Reshape"] if kind == "MatMul" else []), *(["Resize"] if enlarged else [])]
    assert operators(after) == [kind, *kept]
    assert_same(before, after, uniform(rng, 3, *shape))


def test_batch_norms_behind_something_else_stay():
    rng = np.random.default_rng(0)
    for kind, more in (("Relu", []), ("Conv", ["w"])):
        norm, constants = norm_of(rng, 2)
        constants["w"] = uniform(rng, 2, 1, 1, 1)
        layer = helper.make_node(kind, ["x", *more], ["v"], **({"group": 2} if more else {}))
        before = model_of([layer, norm], constants, [2, 3, 3])
        assert batch_norms(before).graph.node == before.graph.node
    norm, constants = norm_of(rng, 2)
    constants["w"] = uniform(rng, 2, 2, 1, 1)
    nodes = [helper.make_node("Conv", ["x", "w"], ["v"]), norm, helper.make_node("Add", ["v", "n"], ["y"])]
    norm.output[0] = "n"
    before = model_of(nodes, constants, [2, 3, 3])
    assert batch_norms(before).graph == before.graph


@pytest.mark.parametrize("moved", [[], ["Transpose"]])
def test_a_sigmoid_brought_to_both_sides_of_zero_is_a_tanh(moved):
    rng = np.random.default_rng(0)
    constants = {"w": uniform(rng, 2, 2, 1, 1), "two": np.full([1, 1, 1, 1], 2, np.float32)}
    constants["less"] = np.full([1, 1, 1, 1], -1, np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["v"]), helper.make_node("Sigmoid", ["v"], ["s"])]
    nodes += [helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 3, 1]) for _ in moved]
    nodes.append(helper.make_node("Mul", [nodes[-1].output[0], "two"], ["m"]))
    nodes.append(helper.make_node("Add", ["m", "less"], ["y"]))
    before = model_of(nodes, constants, [2, 3, 3])
    after = fold_affine(tanh_for_sigmoid(before))
    assert operators(after) == ["Conv", "Tanh", *moved]
    assert_same(before, after, 3 * uniform(rng, 2, 2, 3, 3))


def test_other_sigmoids_stay():
    for two, less in ((2.0, -0.5), (1.5, -1.0)):
        nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["s", "two"], ["m"])]
        nodes.append(helper.make_node("Add", ["m", "less"], ["y"]))
        before = model_of(nodes, {"two": np.float32([two]), "less": np.float32([less])}, [3])
        assert tanh_for_sigmoid(before).graph == before.graph


def test_nodes_that_change_nothing_go():
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Identity", ["w"], ["w1"]),
        helper.make_node("Cast", ["x"], ["x1"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["x1"], ["x2"]),
        helper.make_node("MatMul", ["x2", "w1"], ["v"]),
        helper.make_node("Dropout", ["v"], ["d"]),
        helper.make_node("Identity", ["d"], ["y"]),
    ]
    before = model_of(nodes, {"w": uniform(rng, 4, 3)}, [4])
    after = without_idle(before)
    assert operators(after) == ["MatMul"]
    assert_same(before, after, uniform(rng, 2, 4))


def test_nodes_between_an_input_and_an_output_stay():
    before = model_of([helper.make_node("Identity", ["x"], ["y"])], {}, [4])
    assert without_idle(before).graph == before.graph
    nodes = [helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64)]
    nodes.append(helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT))
    before = model_of(nodes, {}, [4])
    assert without_idle(before).graph == before.graph
