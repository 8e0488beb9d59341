"""Each rewrite computes the same function, on graphs of all shapes that it takes."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from export.rewrites.affine import fold_affine
from export.rewrites.canonical import canonical
from export.rewrites.dense import reorder_dense, widened
from export.rewrites.graph import inferred
from export.rewrites.inputs import labels_as_rows
from export.rewrites.interleaving import conv_before_interleaving, stacked
from export.rewrites.transposed import one_kernel_per_phase, one_padded_kernel
from serving.runtime import ort
from tests.export.rewrites.models import assert_same, model_of, operators, uniform


@st.composite
def transposed_convolutions(draw):
    stride = draw(st.integers(1, 4))
    kernel = [draw(st.integers(1, 7)) for _ in range(2)]
    pads = [draw(st.integers(0, size - 1)) for size in kernel * 2]
    more = [draw(st.integers(0, stride - 1)) for _ in range(2)]
    sides = [draw(st.integers(1, 6)) for _ in range(2)]
    for axis in (0, 1):  # the output must have a pixel
        if (sides[axis] - 1) * stride + kernel[axis] - pads[axis] - pads[axis + 2] + more[axis] < 1:
            pads[axis] = pads[axis + 2] = 0
    channels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    tail = draw(st.sampled_from(["none", "Relu", "LeakyRelu", "Tanh"]))
    return stride, kernel, pads, more, sides, channels, draw(st.booleans()), tail, draw(st.integers(0, 2**31))


@settings(max_examples=300, deadline=None)
@given(transposed_convolutions(), st.sampled_from([one_padded_kernel, one_kernel_per_phase]))
def test_transposed_convolutions_become_convolutions(case, rewrite):
    stride, kernel, pads, more, sides, (inputs, outputs), bias, tail, seed = case
    rng = np.random.default_rng(seed)
    constants = {"w": uniform(rng, inputs, outputs, *kernel)}
    if bias:
        constants["b"] = uniform(rng, outputs)
    last = "y" if tail == "none" else "t"
    nodes = [
        helper.make_node(
            "ConvTranspose", ["x", *constants], [last], strides=[stride] * 2, pads=pads, output_padding=more
        )
    ]
    if tail != "none":
        nodes.append(helper.make_node(tail, ["t"], ["y"]))
    before = model_of(nodes, constants, [inputs, *sides])
    after = rewrite(before)
    assert "ConvTranspose" not in operators(after)
    assert operators(after).count("Conv") == (1 if rewrite is one_padded_kernel else stride**2)
    assert_same(before, after, uniform(rng, 2, inputs, *sides))


def test_a_stride_of_one_becomes_one_convolution():
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    before = model_of(nodes, {"w": uniform(rng, 2, 3, 3, 3)}, [2, 5, 4])
    after = one_kernel_per_phase(before)
    assert operators(after) == ["Conv"]
    assert_same(before, after, uniform(rng, 3, 2, 5, 4))


@pytest.mark.parametrize(
    "attributes",
    [{"group": 2}, {"dilations": [2, 2]}, {"strides": [1, 2]}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}],
)
def test_unusual_transposed_convolutions_are_left_alone(attributes):
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)]
    before = model_of(nodes, {"w": np.ones((2, 1, 3, 3), np.float32)}, [2, 5, 4])
    assert one_kernel_per_phase(before).graph == before.graph


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["MatMul", "Conv", "ConvTranspose"]),
    st.lists(st.sampled_from(["Mul", "Add"]), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_constants_behind_a_layer_are_folded(kind, chain, bias, swapped, seed):
    rng = np.random.default_rng(seed)
    if kind == "MatMul":
        shape, constants, per_channel = [4], {"w": uniform(rng, 4, 3)}, (3,)
    else:
        size = (3, 2, 3, 3) if kind == "Conv" else (2, 3, 3, 3)
        shape, constants, per_channel = [2, 5, 5], {"w": uniform(rng, *size)}, (1, 3, 1, 1)
        if bias:
            constants["b"] = uniform(rng, 3)
    nodes = [helper.make_node(kind, ["x", *constants], ["v0"])]
    for index, operation in enumerate(chain):
        constants[f"c{index}"] = uniform(rng, *per_channel)
        operands = [f"v{index}", f"c{index}"]
        nodes.append(helper.make_node(operation, operands[::-1] if swapped else operands, [f"v{index + 1}"]))
    nodes.append(helper.make_node("Relu", [f"v{len(chain)}"], ["y"]))
    before = model_of(nodes, constants, shape)
    after = fold_affine(before)
    kept = ["Add"] if kind == "MatMul" and "Add" in chain else []
    assert operators(after) == [kind, *kept, "Relu"]
    assert_same(before, after, uniform(rng, 3, *shape))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["Mul", "Add"]), min_size=1, max_size=4), st.integers(0, 2**31))
def test_constants_before_a_matrix_product_are_folded(chain, seed):
    rng = np.random.default_rng(seed)
    constants = {"w": uniform(rng, 4, 3), **{f"c{i}": uniform(rng, 4) for i in range(len(chain))}}
    nodes = [helper.make_node("Relu", ["x"], ["v0"])]
    nodes += [helper.make_node(kind, [f"v{i}", f"c{i}"], [f"v{i + 1}"]) for i, kind in enumerate(chain)]
    nodes.append(helper.make_node("MatMul", [f"v{len(chain)}", "w"], ["y"]))
    before = model_of(nodes, constants, [4])
    after = fold_affine(before)
    assert operators(after) == ["Relu", "MatMul", *(["Add"] if "Add" in chain else [])]
    assert_same(before, after, uniform(rng, 5, 4))


def test_what_is_used_twice_or_varies_over_pixels_is_not_folded():
    rng = np.random.default_rng(1)
    constants = {"w": uniform(rng, 3, 2, 1, 1), "c": uniform(rng, 1, 3, 4, 4)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["v"]), helper.make_node("Mul", ["v", "c"], ["y"])]
    before = model_of(nodes, constants, [2, 4, 4])
    assert fold_affine(before).graph == before.graph
    constants["c"] = uniform(rng, 1, 3, 1, 1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["v"]),
        helper.make_node("Mul", ["v", "c"], ["u"]),
        helper.make_node("Add", ["u", "v"], ["y"]),
    ]
    before = model_of(nodes, constants, [2, 4, 4])
    assert fold_affine(before).graph == before.graph


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", None])
def test_dense_layers_are_reordered(bias, activation):
    rng = np.random.default_rng(2)
    constants = {"w": uniform(rng, 5, 24), "s": np.array([-1, 2, 3, 4])}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["v"])]
    if bias:
        constants["b"] = uniform(rng, 24)
        nodes.append(helper.make_node("Add", ["v", "b"], ["vb"]))
    if activation:
        nodes.append(helper.make_node(activation, [nodes[-1].output[0]], ["va"]))
    nodes += [
        helper.make_node("Reshape", [nodes[-1].output[0], "s"], ["p"]),
        helper.make_node("Transpose", ["p"], ["y"], perm=[0, 3, 1, 2]),
    ]
    before = model_of(nodes, constants, [5])
    after = reorder_dense(before)
    assert "Transpose" not in operators(after)
    assert_same(before, after, uniform(rng, 3, 5))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([5, 7]),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.booleans(),
    st.sampled_from(["none", "Relu", "LeakyRelu", "Tanh"]),
    st.integers(0, 2**31),
)
def test_a_dense_layer_makes_the_zeros_beside_a_picture(kernel, pads, bias, activation, seed):
    rng = np.random.default_rng(seed)
    constants = {"w": uniform(rng, 5, 98), "s": np.array([-1, 2, 7, 7]), "k": uniform(rng, 3, 2, kernel, kernel)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["v"])]
    if bias:
        constants["b"] = uniform(rng, 98)
        nodes.append(helper.make_node("Add", ["v", "b"], ["vb"]))
    if activation != "none":
        nodes.append(helper.make_node(activation, [nodes[-1].output[0]], ["va"]))
    nodes.append(helper.make_node("Reshape", [nodes[-1].output[0], "s"], ["p"]))
    nodes.append(helper.make_node("Conv", ["p", "k"], ["y"], pads=pads))
    before = model_of(nodes, constants, [5])
    after = widened(before)
    made = next(attribute.ints for attribute in after.graph.node[-1].attribute if attribute.name == "pads")
    assert list(made) == [pads[0], 0, pads[2], 0]
    assert_same(before, after, uniform(rng, 3, 5))


def test_other_pictures_are_not_widened():
    for activation, kernel, pad in (("Sigmoid", 5, 2), ("Relu", 3, 1), ("Relu", 5, 0)):
        constants = {"w": np.ones((5, 72), np.float32), "s": np.array([-1, 2, 6, 6])}
        constants["k"] = np.ones((3, 2, kernel, kernel), np.float32)
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["v"]),
            helper.make_node(activation, ["v"], ["a"]),
            helper.make_node("Reshape", ["a", "s"], ["p"]),
            helper.make_node("Conv", ["p", "k"], ["y"], pads=[pad] * 4),
        ]
        before = model_of(nodes, constants, [5])
        assert widened(before).graph == before.graph


def test_names_do_not_depend_on_history():
    rng = np.random.default_rng(3)
    weights, shift = uniform(rng, 4, 3), uniform(rng, 3)
    written = []
    for a, b in (("layer_7/w", "c"), ("layer_12/w", "a")):
        nodes = [
            helper.make_node("MatMul", ["x", a], [f"{a}:0"], name=f"n{a}"),
            helper.make_node("Add", [f"{a}:0", b], ["y"]),
        ]
        model = canonical(model_of(nodes, {a: weights, b: shift, "unused": shift}, [4]))
        assert_same(model_of(nodes, {a: weights, b: shift}, [4]), model, uniform(rng, 2, 4))
        written.append(model.SerializeToString(deterministic=True))
    assert written[0] == written[1]


def test_the_order_of_nodes_does_not_change_the_bytes():
    rng = np.random.default_rng(4)
    constants = {"w": uniform(rng, 4, 3), "cleft": uniform(rng, 3), "cright": uniform(rng, 3)}
    first = helper.make_node("MatMul", ["x", "w"], ["a"])
    branches = [
        [helper.make_node("Add", ["a", f"c{name}"], [name]), helper.make_node("Relu", [name], [f"{name}+"])]
        for name in ("left", "right")
    ]
    last = helper.make_node("Mul", ["left+", "right+"], ["y"])
    written = set()
    for nodes in (
        [*branches[0], *branches[1]],
        [*branches[1], *branches[0]],
        [branches[1][0], branches[0][0], branches[1][1], branches[0][1]],
    ):
        model = model_of([first, *nodes, last], constants, [4])
        assert_same(model, canonical(model), uniform(rng, 2, 4))
        written.add(canonical(model).SerializeToString(deterministic=True))
    assert len(written) == 1


def test_inputs_and_outputs_that_are_left_out_are_no_values():
    rng = np.random.default_rng(5)
    constants = {
        "w": uniform(rng, 1, 8, 6),
        "r": uniform(rng, 1, 8, 2),
        "twice": np.array([1, 1, 2], np.float32),
        "after": np.array([0]),
        "rest": np.array([-1, 2]),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["x", "after"], ["sequence"]),
        helper.make_node("Resize", ["sequence", "", "twice"], ["wide"], mode="nearest"),
        helper.make_node("LSTM", ["wide", "w", "r", "", "", "", ""], ["", "last", ""], hidden_size=2),
        helper.make_node("LSTM", ["wide", "w", "r"], ["unused", ""], hidden_size=2),
        helper.make_node("Reshape", ["last", "rest"], ["y"]),
    ]
    model = model_of(nodes, constants, [3])
    result = canonical(model)
    assert [list(node.output) for node in result.graph.node if node.op_type == "LSTM"] == [["", "LSTM_2_1", ""]]
    assert_same(model, result, uniform(rng, 2, 3))


def test_shapes_are_those_that_are_inferred_from_the_whole_model():
    rng = np.random.default_rng(6)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),
        helper.make_node("Mul", ["b", "factor"], ["c"]),
        helper.make_node("Flatten", ["c"], ["y"]),
    ]
    constants = {"w": uniform(rng, 40, 60), "shape": np.array([-1, 3, 20]), "factor": np.float32(2)}
    model = model_of(nodes, constants, [40])
    whole = onnx.shape_inference.infer_shapes(model).graph.value_info
    assert {each.name for each in whole} == {"a", "b", "c"}
    assert [each for each in inferred(model).value_info if each not in whole] == []
    assert len(inferred(model).value_info) == len(whole)
    assert not [each for each in inferred(model).initializer if each.name == "w"]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 4),
    st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 7])),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from(["none", "Tanh", "LeakyRelu"]),
    st.integers(0, 2**31),
)
def test_convolutions_move_before_the_interleaving(stride, size, outputs, bias, tail, seed):
    rng = np.random.default_rng(seed)
    constants = {"w": uniform(rng, outputs, 2, *size)}
    if bias:
        constants["b"] = uniform(rng, outputs)
    last = "y" if tail == "none" else "t"
    pads = [side // 2 for side in size] * 2
    nodes = [
        helper.make_node("DepthToSpace", ["x"], ["s"], blocksize=stride, mode="DCR"),
        helper.make_node("Conv", ["s", *constants], [last], pads=pads),
    ]
    if tail != "none":
        nodes.append(helper.make_node(tail, ["t"], ["y"]))
    before = model_of(nodes, constants, [2 * stride**2, 3, 4])
    after = conv_before_interleaving(before)
    assert operators(after)[0] == "Conv"
    assert operators(after)[-1] == "DepthToSpace"
    assert_same(before, after, uniform(rng, 2, 2 * stride**2, 3, 4))


@pytest.mark.parametrize(
    ("space", "conv", "outputs"),
    [
        ({"mode": "CRD"}, {"pads": [1, 1, 1, 1]}, 3),
        ({"mode": "DCR"}, {"pads": [0, 0, 0, 0]}, 3),
        ({"mode": "DCR"}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}, 3),
        ({"mode": "DCR"}, {"pads": [1, 1, 1, 1]}, 5),
    ],
)
def test_other_convolutions_stay_behind_the_interleaving(space, conv, outputs):
    nodes = [
        helper.make_node("DepthToSpace", ["x"], ["s"], blocksize=2, **space),
        helper.make_node("Conv", ["s", "w"], ["y"], **conv),
    ]
    before = model_of(nodes, {"w": np.ones((outputs, 2, 3, 3), np.float32)}, [8, 3, 4])
    assert conv_before_interleaving(before).graph == before.graph


@settings(max_examples=150, deadline=None)
@given(transposed_convolutions())
def test_phases_can_be_stacked(case):
    stride, kernel, pads, more, sides, (inputs, outputs), _, _, seed = case
    rng = np.random.default_rng(seed)
    attributes = {"strides": [stride] * 2, "pads": pads, "output_padding": more}
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)]
    before = model_of(nodes, {"w": uniform(rng, inputs, outputs, *kernel)}, [inputs, *sides])
    phases = one_kernel_per_phase(before)
    after = stacked(phases)
    assert "DepthToSpace" not in operators(after)
    assert ("Unsqueeze" in operators(after)) == (stride > 1)
    assert_same(before, after, uniform(rng, 2, inputs, *sides))


def test_what_is_no_row_of_phases_is_not_stacked():
    join = helper.make_node("Concat", ["x", "x", "x", "x"], ["j"], axis=1)
    for nodes in (
        [join, helper.make_node("DepthToSpace", ["j"], ["y"], blocksize=2, mode="CRD")],
        [helper.make_node("Relu", ["x"], ["j"]), helper.make_node("DepthToSpace", ["j"], ["y"], blocksize=2)],
        [
            helper.make_node("Concat", ["x", "x"], ["j"], axis=1),
            helper.make_node("DepthToSpace", ["j"], ["y"], blocksize=2),
        ],
    ):
        before = model_of(nodes, {}, [4, 3, 3])
        assert stacked(before).graph == before.graph


def labelled_model(values=(0.0, 1.0), axis=-1, bias=True):
    """One-hot labels joined to x, and a MatMul."""
    rng = np.random.default_rng(4)
    constants = {"depth": np.array([3]), "values": np.array(values, np.float32), "w": uniform(rng, 8, 6)}
    nodes = [helper.make_node("Cast", ["label"], ["narrow"], to=TensorProto.INT32)]
    nodes.append(helper.make_node("Cast", ["narrow"], ["wide"], to=TensorProto.INT64))
    nodes.append(helper.make_node("OneHot", ["wide", "depth", "values"], ["hot"], axis=axis))
    nodes.append(helper.make_node("Concat", ["x", "hot"], ["joined"], axis=1))
    nodes.append(helper.make_node("MatMul", ["joined", "w"], ["p" if bias else "y"]))
    if bias:
        constants["b"] = uniform(rng, 6)
        nodes.append(helper.make_node("Add", ["p", "b"], ["y"]))
    return model_of(nodes, constants, [5], label=True)


@pytest.mark.parametrize("bias", [True, False])
def test_one_hot_labels_become_rows_of_weights(bias):
    before = labelled_model(bias=bias)
    after = labels_as_rows(before)
    assert operators(after) == ["MatMul", "Gather", "Add"]
    x, label = uniform(np.random.default_rng(0), 7, 5), np.array([0, 1, 2, 2, 1, 0, 2])
    results = []
    for model in (before, after):
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(["y"], {"x": x, "label": label})[0])
    np.testing.assert_allclose(*results, atol=1e-5)


def test_other_codes_of_labels_are_left_alone():
    for model in (labelled_model(values=(-1.0, 1.0)), labelled_model(axis=0)):
        assert labels_as_rows(model).graph == model.graph
