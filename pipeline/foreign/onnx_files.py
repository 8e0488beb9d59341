"""Opens ONNX files, whoever exported them, and computes them with onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.names import printable
from pipeline.foreign.conversion import OPSET, nodes_of
from pipeline.foreign.integers import as_floats
from pipeline.foreign.network import Arrays, Foreign, Port
from pipeline.foreign.safety import check_size

if TYPE_CHECKING:
    import onnx


def open_onnx(path: Path, wanted: str) -> Foreign:
    """Opens an ONNX file.

    Args:
      path: the file; weights beside it, in files that it names, may lie in its folder only.
      wanted: what would be expected instead, for errors.

    Raises:
      MirageError: if it is none, is damaged, or holds operators that aren't ONNX's own.
    """
    import onnx

    name = printable(str(path))
    try:
        proto = onnx.load(str(path), load_external_data=False)
        if not proto.graph.node or not proto.graph.output:
            raise ValueError("it has no graph")
        _check_places(proto, name)
        onnx.load_external_data_for_model(proto, str(path.parent))
    except MirageError:
        raise
    except Exception as error:  # protobuf's own, the system's, or onnx's
        reason = in_a_line(error, 150)
        raise MirageError(f"{name} is none of {wanted}: as an ONNX file it can't be read ({reason}).") from None
    check_size([tuple(each.dims) for each in _tensors(proto)], name, proto.ByteSize())
    _check_operators(proto, name)
    proto = _of_opset(proto, name)
    weights = {each.name for each in proto.graph.initializer}
    given = [each for each in proto.graph.input if each.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(given)
    return of_graph(proto, f"ONNX file of {proto.producer_name} {proto.producer_version}".strip(), name)


def of_graph(proto: onnx.ModelProto, kind: str, name: str) -> Foreign:
    """Describes a graph, which onnxruntime computes.

    Args:
      proto: a model whose inputs are no initialisers.
      kind: what it was saved as.
      name: what it is called in errors.

    Raises:
      MirageError: if onnxruntime refuses it.
    """
    from serving.runtime import ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = in_a_line(error, 200)
        raise MirageError(f"{name} can't be computed by onnxruntime ({reason}).") from None

    def run(values: Arrays) -> dict[str, NDArray]:
        names = [each.name for each in proto.graph.output]
        return dict(zip(names, session.run(names, dict(values)), strict=True))

    return Foreign(
        kind=kind,
        framework=f"onnxruntime {ort.__version__}",
        inputs=tuple(_port(each) for each in proto.graph.input),
        outputs=tuple(_port(each) for each in proto.graph.output),
        run=run,
        graph=lambda: _copy(proto),
    )


def _copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return copy


def _port(value: onnx.ValueInfoProto) -> Port:
    import onnx

    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return Port(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape)


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yields all tensors that a model holds, those of branches, functions and attributes too."""
    left: list[Any] = [proto.graph, *proto.functions]
    while left:
        graph = left.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for each in node.attribute:
                yield from (each.t, *each.tensors, each.sparse_tensor.values)
                left += [each.g, *each.graphs]


def _check_places(proto: onnx.ModelProto, name: str) -> None:
    """Refuses tensors that lie in files elsewhere than in the folder of theirs."""
    for tensor in _tensors(proto):
        places = [each.value for each in tensor.external_data if each.key == "location"]
        for place in places:
            parts = place.replace("\\", "/").split("/")
            if ".." in parts or parts[0] == "" or ":" in parts[0]:
                raise MirageError(
                    f"{name} has values of {tensor.name} in {place!r}, outside of its folder; it is not opened."
                )


def _check_operators(proto: onnx.ModelProto, name: str) -> None:
    others = sorted(
        {f"{node.domain}.{node.op_type}" for node in nodes_of(proto.graph) if node.domain not in ("", "ai.onnx")}
    )
    if others and not proto.functions:
        raise MirageError(
            f"{name} needs {', '.join(others[:5])}, which are no operators of ONNX's own; it is not opened."
        )


def _move_constants(graph: onnx.GraphProto) -> None:
    """Makes initialisers of nodes that hold a constant, as the rewrites expect them."""
    import numpy as np
    from onnx import helper, numpy_helper

    kept = []
    for node in graph.node:
        if node.op_type != "Constant" or node.attribute[0].name.startswith(("sparse", "value_string")):
            kept.append(node)
            continue
        held = node.attribute[0]
        if held.name == "value":
            value = numpy_helper.to_array(held.t)
        else:
            value = np.array(helper.get_attribute_value(held), np.int64 if "int" in held.name else np.float32)
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)


def _widen(proto: onnx.ModelProto) -> None:
    """Has a graph of 16-bit floats computed in float32, as runtimes do on CPUs wherever they like."""
    from onnx import TensorProto, numpy_helper

    narrow = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    for tensor in _tensors(proto):
        if tensor.data_type in narrow:
            value = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    for node in nodes_of(proto.graph):
        for each in node.attribute:
            if each.name in ("to", "dtype") and each.i in narrow:
                each.i = TensorProto.FLOAT
    for value in [*proto.graph.input, *proto.graph.output]:
        if value.type.tensor_type.elem_type in narrow:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del proto.graph.value_info[:]


def _of_opset(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Brings a graph to the opset that the rewrites know, with its functions put where they are called."""
    import onnx
    from onnx import inliner, version_converter

    try:
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
            _check_operators(proto, name)
        version = next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 0)
        if version != OPSET:
            proto = version_converter.convert_version(proto, OPSET)
        proto.graph.name = proto.graph.name or "generator"
        proto.ir_version = max(proto.ir_version, 8)  # of which weights are no inputs
        _widen(proto)
        _move_constants(proto.graph)
        as_floats(proto, name)
        onnx.checker.check_model(proto, full_check=True)
    except MirageError:
        raise
    except Exception as error:  # it has several, and one of shape inference
        reason = in_a_line(error, 200)
        raise MirageError(f"{name} is no ONNX model that opset {OPSET} can hold ({reason}).") from None
    return proto
