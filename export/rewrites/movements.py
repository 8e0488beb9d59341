"""What only moves values of a picture around: found out by letting numbers take its way, and said in few operators.

Exporters enlarge, crop and transpose pictures in many ways, such as ones that repeat rows by Tile and Reshape with
shapes that the graph computes. Whatever they do, output value i is input value map[i].
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.rewrites.graph import Graph, attribute, inferred
from serving.runtime import ort

_MOVING = {
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Identity",
    "Reshape",
    "Resize",
    "Slice",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
_BATCHES = (2, 3)  # what holds for both holds for any
_EXACT = 2**24  # whole numbers below it are float32
_KINDS = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}
_FLOATS = (1, 10, 11, 16)


class _Tried(NamedTuple):
    """What came of computing a model once.

    Attributes:
      shapes: of all values.
      values: those that aren't of pictures: shapes, indices, factors.
    """

    shapes: Mapping[str, tuple[int, ...]]
    values: Mapping[str, NDArray]


def plain_movements(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replaces movements of pictures by Transpose, Resize and Slice, and computed shapes by constants.

    Args:
      model: a model whose inputs have one axis without a size, the batch.

    Returns:
      A model that computes the same; the same model, if it can't be tried.
    """
    tried = [each for each in (_try(model, batch) for batch in _BATCHES) if each is not None]
    if len(tried) < len(_BATCHES):
        return model
    graph = Graph(model)
    _constant_shapes(graph, tried)
    for node in graph.nodes:
        if node.op_type in _MOVING and _is_end(graph, node.output[0]):
            _restate(graph, node, tried)
    return graph.finish()


def _try(model: onnx.ModelProto, batch: int) -> _Tried | None:
    """Computes a model, of latents drawn at random and labels 0; None if that fails."""
    shown, feeds = onnx.ModelProto(), dict[str, NDArray]()
    shown.CopyFrom(model)
    for value in model.graph.input:
        kind = value.type.tensor_type
        if kind.elem_type not in _KINDS:
            return None
        shape = [dim.dim_value or batch for dim in kind.shape.dim]
        drawn = np.random.default_rng(0).standard_normal(shape) if kind.elem_type in _FLOATS else np.zeros(shape)
        feeds[value.name] = drawn.astype(_KINDS[kind.elem_type])
    kinds = {value.name: value.type.tensor_type for value in inferred(model).value_info}
    names = [name for node in model.graph.node for name in node.output if name]
    small = [
        name
        for name in names
        if name in kinds and (kinds[name].elem_type not in _FLOATS or len(kinds[name].shape.dim) < 2)
    ]
    # Not the values of pictures, all of which together may not fit into memory.
    shown.graph.node.extend(helper.make_node("Shape", [name], [f"shape of {name}"]) for name in names)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in [*small, *(f"shape of {x}" for x in names)])
    made = _run(shown, feeds)
    if made is None:
        return None
    shapes = {name: tuple(each.tolist()) for name, each in zip(names, made[len(small) :], strict=True)}
    shapes |= {name: value.shape for name, value in feeds.items()}
    return _Tried(shapes, dict(zip(small, made[: len(small)], strict=True)))


def _run(model: onnx.ModelProto, feeds: Mapping[str, NDArray]) -> list[NDArray] | None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    # Shapes first, so that no picture waits for its shape to be asked; the arena would keep what large ones took.
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = False
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, dict(feeds))
    except Exception:  # onnxruntime's exceptions share no better base class
        return None


def _rest(name: str, tried: Sequence[_Tried]) -> tuple[int, ...] | None:
    """Sizes of a value but the batch; None if it isn't of a batch, or they depend on it."""
    shapes = [each.shapes.get(name, ()) for each in tried]
    same = all(shape[:1] == (batch,) for shape, batch in zip(shapes, _BATCHES, strict=True))
    return shapes[0][1:] if same and shapes[0][1:] == shapes[1][1:] else None


def _constant_shapes(graph: Graph, tried: Sequence[_Tried]) -> None:
    for node in graph.nodes:
        rest = _rest(node.output[0], tried) if node.op_type in ("Reshape", "Flatten") else None
        if rest is not None and rest == _rest(node.input[0], tried):
            graph.replace([node], [helper.make_node("Identity", [node.input[0]], list(node.output))])
            continue
        before = graph.maker(node.input[0])
        twice = before is not None and before.op_type == "Reshape"
        if rest is None or (node.op_type == "Reshape" and graph.constant(node.input[1]) is not None and not twice):
            continue
        source = before.input[0] if before is not None and twice else node.input[0]
        target = graph.add_constant(np.array([-1, *rest]))
        graph.replace([node], [helper.make_node("Reshape", [source, target], list(node.output))])


def _is_end(graph: Graph, name: str) -> bool:
    """Whether a value is used for something else than being moved on."""
    users = [node.op_type for node in graph.nodes if name in node.input]
    return not users or any(each not in _MOVING and each != "Shape" for each in users)


@dataclasses.dataclass(frozen=True)
class _Movement:
    """How a picture comes from another one: axis i becomes axis `places[i]`, of which `spans[i]` is kept.

    Attributes:
      places: a permutation, of the axes without the batch.
      factors: by which each axis of the source is enlarged.
      spans: (start, stop) of what is kept of each enlarged axis.
    """

    places: tuple[int, ...]
    factors: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def _restate(graph: Graph, end: onnx.NodeProto, tried: Sequence[_Tried]) -> None:
    chain: list[onnx.NodeProto] = []
    node: onnx.NodeProto | None = end
    start, name = 0, ""
    while node is not None and node.op_type in _MOVING:
        chain.insert(0, node)
        rest = _rest(node.input[0], tried)
        if rest is not None and len(rest) == 3:
            start, name = len(chain), node.input[0]
        node = graph.maker(node.input[0])
    chain = chain[len(chain) - start :]
    target = _rest(end.output[0], tried)
    if not chain or target is None or len(target) != 3:
        return
    source = _rest(name, tried)
    assert source is not None
    found = _found([_map(graph, chain, each) for each in tried], source, target)
    nodes = _said(graph, found, source, name, end.output[0]) if found else []
    if nodes and (len(nodes) < len(chain) or not all(_is_plain(graph, each) for each in chain)):
        graph.replace([end], nodes)


def _is_plain(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type == "Resize":
        return len(node.input) == 3 and graph.constant(node.input[2]) is not None
    known = all(graph.constant(each) is not None for each in node.input[1:])
    return node.op_type in ("Reshape", "Transpose", "Slice", "DepthToSpace") and known


def _map(graph: Graph, chain: list[onnx.NodeProto], tried: _Tried) -> NDArray[np.int64] | None:
    """Lets numbers take the way of a picture; None if it mixes them."""
    first, last = chain[0].input[0], chain[-1].output[0]
    shape = tried.shapes[first]
    count = int(np.prod(shape))
    if count >= _EXACT:
        return None
    held = {}
    for node in chain:
        for name in filter(None, node.input[1:]):
            value = graph.constant(name)
            value = tried.values.get(name) if value is None else value
            if value is None:
                return None
            held[name] = numpy_helper.from_array(value, name)
        if node.op_type == "Resize" and attribute(node, "mode", b"nearest") != b"nearest":
            return None
    model = helper.make_model(
        helper.make_graph(
            chain,
            "movement",
            [helper.make_tensor_value_info(first, onnx.TensorProto.FLOAT, shape)],
            [onnx.ValueInfoProto(name=last)],
            list(held.values()),
        ),
        opset_imports=graph.model.opset_import,
        ir_version=graph.model.ir_version,
    )
    made = _run(model, {first: np.arange(count, dtype=np.float32).reshape(shape)})
    return None if made is None else made[0].astype(np.int64)


def _found(maps: list[NDArray | None], source: tuple[int, ...], target: tuple[int, ...]) -> _Movement | None:
    """Finds the movement that maps are of."""
    size, first = int(np.prod(source)), maps[0]
    if first is None:
        return None
    one = first[0]
    for each in maps:
        if each is None or any(not np.array_equal(picture - i * size, one) for i, picture in enumerate(each)):
            return None
    places: list[int] = []
    factors, spans = [], []
    lines: list[tuple[int, NDArray] | None] = []
    for coordinate in np.unravel_index(one, source):
        moving = [axis for axis in range(3) if np.any(np.diff(coordinate, axis=axis))]
        if len(moving) > 1:
            return None
        lines.append((moving[0], np.moveaxis(coordinate, moving[0], 0)[:, 0, 0]) if moving else None)
    free = [axis for axis in range(3) if axis not in [found[0] for found in lines if found]]
    for axis, found in enumerate(lines):
        place, line = found or (free[0], np.full(target[free[0]], np.unravel_index(one, source)[axis].flat[0]))
        free = [each for each in free if each != place]
        span = _span(line, source[axis])
        if span is None or place in places:
            return None
        places.append(place)
        factors.append(span[0])
        spans.append(span[1:])
    return _Movement(tuple(places), tuple(factors), tuple(spans))


def _span(line: NDArray[np.int64], size: int) -> tuple[int, int, int] | None:
    """Finds (factor, start, stop) so that a line is what is between them of 0 .. size - 1, each repeated."""
    for factor in range(1, len(line) + 1):
        enlarged = np.repeat(np.arange(size), factor)
        for start in np.flatnonzero(enlarged == line[0])[:factor]:
            if np.array_equal(enlarged[start : start + len(line)], line):
                return factor, int(start), int(start) + len(line)
    return None


def _said(graph: Graph, movement: _Movement, source: tuple[int, ...], first: str, last: str) -> list[onnx.NodeProto]:
    """Nodes of a movement that enlarges axes 2 and 3 only, as those of pictures lie for convolutions; [] for others."""
    perm = [0, *(1 + movement.places.index(axis) for axis in range(3))]
    before = perm != [0, 1, 2, 3] and movement.factors[movement.places.index(0)] == 1
    order = [movement.places.index(axis) for axis in range(3)] if before else [0, 1, 2]
    factors = [1, *(movement.factors[axis] for axis in order)]
    cut = [axis for axis in range(3) if movement.spans[order[axis]] != (0, source[order[axis]] * factors[1 + axis])]
    if factors[1] != 1:
        return []
    nodes: list[onnx.NodeProto] = []

    def add(operator: str, *more: str, **attributes: object) -> None:
        value = nodes[-1].output[0] if nodes else first
        nodes.append(helper.make_node(operator, [value, *more], [graph.fresh("moved")], **attributes))

    def transpose() -> None:
        if perm != [0, 1, 2, 3]:
            add("Transpose", perm=perm)

    if before:
        transpose()
    if factors != [1, 1, 1, 1]:
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        add("Resize", "", graph.add_constant(np.array(factors, np.float32)), **mode)
    if cut:
        bounds = [[movement.spans[order[axis]][end] for axis in cut] for end in (0, 1)]
        add("Slice", *(graph.add_constant(np.array(each)) for each in (*bounds, [1 + axis for axis in cut])))
    if not before:
        transpose()
    if nodes:
        nodes[-1].output[0] = last
    return nodes
