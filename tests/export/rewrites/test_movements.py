"""Whatever moves a picture is said in few operators."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from export.rewrites.movements import plain_movements
from export.rewrites.operators import without_idle
from tests.export.rewrites.models import assert_same, model_of, operators, uniform


class Path:
    """Nodes that move a picture, [N, *shape], on and on."""

    def __init__(self, shape):
        self.shape, self.nodes, self.constants, self.value = list(shape), [], {}, "x"
        self.add("LeakyRelu")

    def add(self, operator, *inputs, **attributes):
        made = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self.value, *inputs], [made], **attributes))
        self.value = made
        return made

    def constant(self, values, kind=np.int64):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.array(values, kind)
        return name

    def repeat(self, axis, factor):
        """As `tf.repeat` becomes: with a shape that the graph computes."""
        whole = self.value
        self.nodes.append(helper.make_node("Shape", [whole], [f"{whole}_shape"]))
        parts = []
        for start, stop in ((0, axis), (axis + 1, 4)):
            bounds = [self.constant([each]) for each in (start, stop, 0)]
            self.nodes.append(helper.make_node("Slice", [f"{whole}_shape", *bounds], [f"{whole}_{start}"]))
            parts.append(f"{whole}_{start}")
        self.shape[axis - 1] *= factor
        parts.insert(1, self.constant([self.shape[axis - 1]]))
        self.nodes.append(helper.make_node("Concat", parts, [f"{whole}_target"], axis=0))
        self.add("Unsqueeze", self.constant([axis + 1]))
        self.add("Tile", self.constant([factor if each == axis + 1 else 1 for each in range(5)]))
        self.add("Reshape", f"{whole}_target")

    def enlarge(self, axis, factor):
        scales = self.constant([factor if each == axis else 1 for each in range(4)], np.float32)
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        self.add("Resize", "", scales, **how)
        self.shape[axis - 1] *= factor

    def crop(self, axis, start, end):
        if self.shape[axis - 1] > start + end:
            stop = self.shape[axis - 1] - end
            self.add("Slice", *(self.constant([each]) for each in (start, stop, axis)))
            self.shape[axis - 1] -= start + end

    def transpose(self, order):
        self.add("Transpose", perm=[0, *(1 + each for each in order)])
        self.shape = [self.shape[each] for each in order]

    def model(self, shape):
        self.add("Relu")
        self.nodes[-1].output[0] = "y"
        return model_of(self.nodes, self.constants, shape)


steps = st.one_of(
    st.tuples(st.just("repeat"), st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.just("enlarge"), st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.just("crop"), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("transpose"), st.permutations(range(3))),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=3, max_size=3), st.lists(steps, min_size=1, max_size=5), st.integers(0, 99))
def test_any_way_ends_where_it_did(shape, way, seed):
    path = Path(shape)
    for name, *arguments in way:
        getattr(path, name)(*arguments)
    before = path.model(shape)
    after = without_idle(plain_movements(before))
    assert len(after.graph.node) <= len(before.graph.node)
    assert_same(before, after, uniform(np.random.default_rng(seed), 3, *shape))


def test_repeated_rows_and_columns_are_an_enlarged_picture():
    path = Path([4, 5, 6])
    path.repeat(1, 2)
    path.repeat(2, 2)
    path.transpose([2, 0, 1])
    path.crop(2, 1, 0)
    path.crop(3, 1, 2)
    before = path.model([4, 5, 6])
    after = plain_movements(before)
    assert operators(after) == ["LeakyRelu", "Transpose", "Resize", "Slice", "Relu"]
    assert_same(before, after, uniform(np.random.default_rng(0), 2, 4, 5, 6))


def test_a_computed_shape_becomes_a_constant():
    nodes = [
        helper.make_node("Shape", ["x"], ["count"], start=0, end=1),
        helper.make_node("Concat", ["count", "sizes"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["picture"]),
        helper.make_node("Transpose", ["picture"], ["y"], perm=[0, 2, 3, 1]),
    ]
    before = model_of(nodes, {"sizes": np.array([2, 3, 2])}, [12])
    after = plain_movements(before)
    assert operators(after) == ["Reshape", "Transpose"]
    assert_same(before, after, uniform(np.random.default_rng(0), 4, 12))


def test_what_mixes_or_turns_pictures_is_left_alone():
    turned = {"starts": np.array([-1]), "ends": np.array([-100]), "axes": np.array([2]), "steps": np.array([-1])}
    nodes = [
        helper.make_node("Slice", ["x", *turned], ["t"]),
        helper.make_node("Transpose", ["t"], ["y"], perm=[0, 2, 3, 1]),
    ]
    before = model_of(nodes, turned, [2, 3, 4])
    assert operators(plain_movements(before)) == ["Slice", "Transpose"]
    assert_same(before, plain_movements(before), uniform(np.random.default_rng(0), 2, 2, 3, 4))
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[1, 0, 2, 3]),
    ]
    before = model_of(nodes, {"shape": np.array([1, -1, 4, 3])}, [4, 3, 1])
    assert_same(before, plain_movements(before), uniform(np.random.default_rng(0), 3, 4, 3, 1))


def test_a_plain_graph_stays_as_it_is():
    path = Path([2, 3, 3])
    path.enlarge(2, 2)
    path.transpose([1, 2, 0])
    before = path.model([2, 3, 3])
    assert plain_movements(before).graph == before.graph
