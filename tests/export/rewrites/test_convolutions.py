"""Convolutions as transposed ones, and those of a pixel as matrix products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from export.rewrites.convolutions import channels_in_fours, dense_of_pixels, enlarged_convolutions, thin_convolutions
from export.rewrites.transposed import one_kernel_per_phase
from tests.export.rewrites.models import assert_same, model_of, operators, uniform

NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@st.composite
def convolutions(draw):
    """Sizes of kernel and picture, paddings, channels, whether there is a bias, and a seed."""
    kernel = [draw(st.integers(1, 5)) for _ in range(2)]
    pads = [draw(st.integers(0, size - 1)) for size in kernel * 2]
    sides = [draw(st.integers(3, 6)) for _ in range(2)]
    for axis in (0, 1):  # the output must have a pixel
        if sides[axis] + pads[axis] + pads[axis + 2] < kernel[axis]:
            pads[axis] = pads[axis + 2] = kernel[axis] - 1
    return kernel, pads, sides, draw(st.integers(1, 3)), draw(st.booleans()), draw(st.integers(0, 2**31))


def convolution(case, *, scale=None, inputs=3):
    """A model of a Conv, of an enlarged picture where there is a scale, and pictures for it."""
    kernel, pads, sides, outputs, bias, seed = case
    rng = np.random.default_rng(seed)
    constants = {"w": uniform(rng, outputs, inputs, *kernel)}
    if bias:
        constants["b"] = uniform(rng, outputs)
    nodes = [helper.make_node("Conv", ["x" if scale is None else "up", *constants], ["y"], pads=pads)]
    if scale is not None:
        constants["scales"] = np.array([1, 1, *scale], np.float32)
        nodes.insert(0, helper.make_node("Resize", ["x", "", "scales"], ["up"], **NEAREST))
    return model_of(nodes, constants, [inputs, *sides]), uniform(rng, 2, inputs, *sides)


@settings(max_examples=200, deadline=None)
@given(convolutions(), st.integers(1, 3))
def test_convolutions_of_enlarged_pictures_become_transposed_ones(case, scale):
    before, x = convolution(case, scale=[scale, scale])
    after = enlarged_convolutions(before)
    kernel, pads = case[:2]
    pixels = kernel == [1, 1] and not any(pads)
    assert operators(after) == (["Conv", "Resize"] if pixels else ["ConvTranspose"])
    assert_same(before, after, x)
    assert_same(before, one_kernel_per_phase(after), x)


def test_a_convolution_of_a_picture_enlarged_otherwise_stays():
    case = ([3, 3], [1, 1, 1, 1], [4, 4], 2, True, 0)
    for changes in ({"mode": "linear"}, {"nearest_mode": "ceil"}, {"coordinate_transformation_mode": "align_corners"}):
        before, _ = convolution(case, scale=[2, 2])
        node = next(each for each in before.graph.node if each.op_type == "Resize")
        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(*each) for each in {**NEAREST, **changes}.items())
        assert enlarged_convolutions(before).graph == before.graph
    for scale in ([1.5, 1.5], [2, 1]):
        before, _ = convolution(case, scale=scale)
        assert enlarged_convolutions(before).graph == before.graph
    before, _ = convolution(([3, 3], [3, 3, 3, 3], [4, 4], 2, True, 0), scale=[2, 2])
    assert enlarged_convolutions(before).graph == before.graph


def test_the_enlarged_picture_may_be_used_elsewhere():
    rng = np.random.default_rng(1)
    constants = {"w": uniform(rng, 2, 2, 3, 3), "scales": np.array([1, 1, 2, 2], np.float32)}
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["up"], **NEAREST),
        helper.make_node("Conv", ["up", "w"], ["v"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["up", "v"], ["y"]),
    ]
    before = model_of(nodes, constants, [2, 3, 3])
    after = enlarged_convolutions(before)
    assert sorted(operators(after)) == ["Add", "ConvTranspose", "Resize"]
    assert_same(before, after, uniform(rng, 2, 2, 3, 3))


@settings(max_examples=150, deadline=None)
@given(convolutions())
def test_convolutions_of_few_channels_become_transposed_ones(case):
    before, x = convolution(case)
    after = thin_convolutions(before)
    assert operators(after) == ["ConvTranspose"]
    assert_same(before, after, x)


@pytest.mark.parametrize(
    ("attributes", "outputs"),
    [({}, 5), ({"strides": [2, 2]}, 3), ({"dilations": [2, 2]}, 3), ({"pads": [3, 0, 0, 0]}, 3), ({"group": 2}, 2)],
)
def test_other_convolutions_are_left_alone(attributes, outputs):
    group = attributes.get("group", 1)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)]
    before = model_of(nodes, {"w": np.ones((outputs, 4 // group, 3, 3), np.float32)}, [4, 6, 6])
    assert thin_convolutions(before).graph == before.graph
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER")]
    before = model_of(nodes, {"w": np.ones((3, 4, 3, 3), np.float32)}, [4, 6, 6])
    assert thin_convolutions(before).graph == before.graph


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 2**31))
def test_transposed_convolutions_of_a_pixel_become_matrix_products(size, stride, outputs, bias, seed):
    rng = np.random.default_rng(seed)
    pads = [int(each) for each in rng.integers(0, (size + 1) // 2, 4)]
    constants = {"w": uniform(rng, 6, outputs, size, size), "s": np.array([-1, 6, 1, 1])}
    if bias:
        constants["b"] = uniform(rng, outputs)
    inputs = ["pixel", "w", "b"] if bias else ["pixel", "w"]
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["pixel"]),
        helper.make_node("ConvTranspose", inputs, ["y"], strides=[stride] * 2, pads=pads),
    ]
    before = model_of(nodes, constants, [6])
    after = dense_of_pixels(before)
    assert operators(after) == ["Reshape", "Reshape", "MatMul", *(["Add"] if bias else []), "Reshape"]
    assert_same(before, after, uniform(rng, 3, 6))


@pytest.mark.parametrize("attributes", [{"output_padding": [1, 1], "strides": [2, 2]}, {"group": 2}, {"pads": [0] * 4}])
def test_transposed_convolutions_of_more_are_left_alone(attributes):
    side = 2 if "pads" in attributes else 1
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["pixel"]),
        helper.make_node("ConvTranspose", ["pixel", "w"], ["y"], **attributes),
    ]
    constants = {"w": np.ones((6, 2, 3, 3), np.float32), "s": np.array([-1, 6, side, side])}
    before = model_of(nodes, constants, [6 * side * side])
    assert dense_of_pixels(before).graph == before.graph


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(16, 24))
def test_channels_come_in_fours(case, inputs):
    before, x = convolution(case, inputs=inputs)
    after = channels_in_fours(before)
    assert operators(after) == (["Conv"] if inputs % 4 == 0 else ["Pad", "Conv"])
    assert_same(before, after, x)


def test_a_picture_is_filled_once_and_few_channels_stay():
    rng = np.random.default_rng(0)
    constants = {"w": uniform(rng, 2, 18, 1, 1), "v": uniform(rng, 2, 18, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["x", "v"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    before = model_of(nodes, constants, [18, 4, 4])
    after = channels_in_fours(before)
    assert operators(after) == ["Pad", "Conv", "Conv", "Add"]
    assert_same(before, after, uniform(rng, 2, 18, 4, 4))
    before = model_of([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": uniform(rng, 5, 3, 1, 1)}, [3, 4, 4])
    assert channels_in_fours(before).graph == before.graph
