"""ONNX files of all exporters and times."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.rewrites.layouts import session_of
from pipeline.base.errors import MirageError
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Opening

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(0)


def held(name, value, kind=np.float32):
    return numpy_helper.from_array(np.asarray(value).astype(kind), name)


def upsampling(opset):
    """How 2 x 2 pixels become 4 x 4 in an opset: (nodes, constants)."""
    if opset < 9:
        return [helper.make_node("Upsample", ["x"], ["u"], mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])], []
    scales = held("scales", [1, 1, 2, 2])
    if opset < 11:
        return [helper.make_node("Resize" if opset > 9 else "Upsample", ["x", "scales"], ["u"], mode="nearest")], [
            scales
        ]
    region = [held("region", [])] if opset < 13 else []
    inputs = ["x", "region" if region else "", "scales"]
    return [helper.make_node("Resize", inputs, ["u"], mode="nearest")], [scales, *region]


def generator(opset=17, *, batch="N", kind=FLOAT, dtype=np.float32, end=None, ir_version=8, more=(), functions=()):
    """A generator of 3 x 4 x 4 pixels, of latents of 7 values."""
    nodes, constants = upsampling(opset)
    nodes = [
        helper.make_node("Gemm", ["z", "w"], ["h"]),
        helper.make_node("Reshape", ["h", "sizes"], ["x"]),
        *nodes,
        *(end or [helper.make_node("Tanh", ["u"], ["y"])]),
    ]
    constants = [held("w", RNG.normal(size=[7, 12]), dtype), held("sizes", [-1, 3, 2, 2], np.int64), *constants]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("z", kind, [batch, 7]), *more],
        [helper.make_tensor_value_info("y", kind, [batch, 3, 4, 4])],
        constants,
    )
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("own", 1)] if functions else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, functions=[*functions])


def opened(model, folder):
    onnx.save(model, folder / "theirs.onnx")
    return open_network(folder / "theirs.onnx", Opening())


def agrees(network, batch=3, **more):
    values = {"z": RNG.standard_normal([batch, 7]).astype(np.float32), **more}
    expected = network.run(values)["y"]
    session = session_of(network.graph())
    np.testing.assert_allclose(session.run(["y"], values)[0], expected, atol=1e-5)
    assert expected.shape == (batch, 3, 4, 4)
    return values, expected


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 21, 22])
def test_of_any_opset(tmp_path, opset):
    agrees(opened(generator(opset, ir_version=4 if opset < 10 else 8), tmp_path))


@pytest.mark.parametrize("batch", ["batch_size", "", None, "z", 1, 3])
def test_whatever_the_batch_is_called(tmp_path, batch):
    network = opened(generator(batch=batch), tmp_path)
    assert network.inputs[0].shape == (batch if isinstance(batch, int) else None, 7)
    agrees(network, batch if isinstance(batch, int) else 3)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(TensorProto.FLOAT16, np.float16), (TensorProto.BFLOAT16, onnx.helper.tensor_dtype_to_np_dtype(16))],
)
def test_floats_of_16_bits_are_computed_in_float32(tmp_path, kind, dtype):
    network = opened(generator(kind=kind, dtype=dtype), tmp_path)
    assert network.inputs[0].dtype == network.outputs[0].dtype == "float32"
    agrees(network)


def test_values_in_files_beside_it(tmp_path):
    onnx.save(generator(), tmp_path / "t.onnx", save_as_external_data=True, location="values", size_threshold=0)
    agrees(open_network(tmp_path / "t.onnx", Opening()))
    (tmp_path / "values").write_bytes(b"\0" * 4)
    with pytest.raises(MirageError, match=r"as an ONNX file it can't be read|is no ONNX model|announces"):
        open_network(tmp_path / "t.onnx", Opening())


def test_functions_of_their_own(tmp_path):
    nodes = [helper.make_node("Tanh", ["a"], ["t"]), helper.make_node("Identity", ["t"], ["b"])]
    function = helper.make_function("own", "End", ["a"], ["b"], nodes, [helper.make_opsetid("", 17)])
    end = [helper.make_node("End", ["u"], ["y"], domain="own")]
    agrees(opened(generator(end=end, functions=[function]), tmp_path))


def test_weights_that_are_inputs_and_no_name(tmp_path):
    model = generator(ir_version=3, opset=9)
    for each in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(each.name, each.data_type, each.dims))
    model.graph.name = ""
    network = opened(model, tmp_path)
    assert [port.name for port in network.inputs] == ["z"]
    agrees(network)


def branching(condition):
    """Ends of a generator that differ by a condition."""

    def branch(factor):
        node = helper.make_node("Mul", ["u", f"f{factor}"], [f"o{factor}"])
        out = helper.make_tensor_value_info(f"o{factor}", FLOAT, None)
        return helper.make_graph([node], f"b{factor}", [], [out], [held(f"f{factor}", factor)])

    made = helper.make_node("If", [condition], ["q"], then_branch=branch(3), else_branch=branch(1))
    return [made, helper.make_node("Tanh", ["q"], ["y"])]


def test_names_are_changed_in_branches_too(tmp_path):
    from pipeline.foreign.conversion import named

    flag = helper.make_tensor_value_info("training", TensorProto.BOOL, [])
    network = opened(generator(end=branching("training"), more=[flag]), tmp_path)
    values, expected = agrees(network, training=np.array(False))
    proto = named(network.graph(), ["u", "t"], ["out"])  # a name that is taken within
    (image,) = session_of(proto).run(None, {"u": values["z"], "t": np.array(False)})
    np.testing.assert_allclose(image, expected, atol=1e-6)


def test_integer_weights_become_floats(tmp_path):
    model = generator()
    weights = RNG.integers(-127, 127, [7, 12])
    del model.graph.initializer[0]
    model.graph.initializer.extend(
        [held("q", weights, np.int8), held("s", np.arange(1, 13) / 500), held("o", [3] * 12, np.int8)]
    )
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s", "o"], ["w"], axis=1))
    network = opened(model, tmp_path)
    values, image = agrees(network)
    assert "DequantizeLinear" not in {node.op_type for node in network.graph().graph.node}
    small = np.tanh((values["z"] @ ((weights - 3) * np.arange(1, 13) / 500)).reshape(-1, 3, 2, 2))
    np.testing.assert_allclose(image[:, :, ::2, ::2], small, atol=1e-4)


def test_what_computes_with_integers_is_refused(tmp_path):
    end = [
        helper.make_node("Tanh", ["u"], ["t"]),
        helper.make_node("QuantizeLinear", ["t", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    model = generator(end=end)
    model.graph.initializer.append(held("s", 0.01))
    with pytest.raises(
        MirageError, match=r"computes with integers \(DequantizeLinear, QuantizeLinear\); adopt the netw"
    ):
        opened(model, tmp_path)
