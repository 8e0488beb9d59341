"""ONNX files that are damaged, or made to do harm: by name, how each is written, and what is said of it."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def constant(value, kind=np.int64, name="c"):
    return numpy_helper.from_array(np.array(value, kind), name)


def graph_of(nodes, held=(), width=4, out=("N", 3, 4, 4)):
    return helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("z", FLOAT, ["N", width])],
        [helper.make_tensor_value_info("y", FLOAT, out)],
        [*held],
    )


def onnx_file(nodes, held=(), *, opsets=(("", 17),), functions=(), change=None, **more):
    """Writes an ONNX file of some nodes from z to y."""

    def write(path):
        opset_imports = [helper.make_opsetid(*each) for each in opsets]
        model = helper.make_model(
            graph_of(nodes, held, **more), opset_imports=opset_imports, ir_version=8, functions=[*functions]
        )
        if change:
            change(model)
        path.write_bytes(model.SerializeToString())

    return write


def node(operator, inputs, outputs=("y",), **attributes):
    return helper.make_node(operator, [*inputs], [*outputs], **attributes)


def _outside(path):
    """Has the values of a tensor lie in another file."""

    def change(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=path)
        tensor.external_data.add(key="length", value="16")

    return change


def _dims(*dims):
    def change(model):
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return change


def _cycle(model):
    model.graph.node[0].input[0] = "y"


def _recursion(name, calls):
    return helper.make_function(
        "own", name, ["x"], ["y"], [node(calls, ["x"], domain="own")], [helper.make_opsetid("own", 1)]
    )


def _loop(trips, body_operator="Tanh"):
    body = helper.make_graph(
        [node("Identity", ["keep"], ["kept"]), node(body_operator, ["x"], ["more"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT, []),
            helper.make_tensor_value_info("keep", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("kept", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", FLOAT, None),
        ],
    )
    return [node("Loop", ["trips", "yes", "z"], body=body)], [
        constant(trips, name="trips"),
        constant(True, bool, "yes"),
    ]


def _own_in_a_branch():
    branch = helper.make_graph(
        [node("Theirs", ["z"], ["b"], domain="own")], "b", [], [helper.make_tensor_value_info("b", FLOAT, None)]
    )
    return [node("If", ["yes"], then_branch=branch, else_branch=branch)], [constant(True, bool, "yes")]


def enlarged(operator, inputs, held=(), **attributes):
    """A file whose graph makes something large of z, or of p [N, 1, 2, 2], and small pictures of that."""
    return onnx_file(
        [
            node("Reshape", ["z", "s"], ["p"]),
            node(operator, inputs, ["x"], **attributes),
            node("ReduceMax", ["x"], ["r"], keepdims=0),
            node("Expand", ["r", "e"]),
        ],
        [*held, constant([-1, 1, 2, 2], name="s"), constant([1, 3, 4, 4], name="e")],
    )


_BIG = 10**10
_TOO_MUCH = "far more memory"

ONNX = {
    "text.onnx": (lambda path: path.write_text("not at all"), "as an ONNX file it can't be read"),
    "zeros.onnx": (lambda path: path.write_bytes(b"\0" * 1000), "as an ONNX file it can't be read"),
    "no_nodes.onnx": (onnx_file([]), "it has no graph"),
    "passwd.onnx": (
        onnx_file([node("Mul", ["z", "w"])], [constant([1] * 4, np.float32, "w")], change=_outside("/etc/passwd")),
        "outside of its folder",
    ),
    "parent.onnx": (
        onnx_file(
            [node("Mul", ["z", "w"])],
            [constant([1] * 4, np.float32, "w")],
            change=_outside("../../../../../../etc/passwd"),
        ),
        "outside of its folder",
    ),
    "gone.onnx": (
        onnx_file([node("Mul", ["z", "w"])], [constant([1] * 4, np.float32, "w")], change=_outside("gone.bin")),
        "as an ONNX file it can't be read",
    ),
    "huge.onnx": (
        onnx_file([node("Mul", ["z", "w"])], [constant([1] * 4, np.float32, "w")], change=_dims(_BIG)),
        "announces 10,000,000,000",
    ),
    "overflow.onnx": (
        onnx_file([node("Mul", ["z", "w"])], [constant([1] * 4, np.float32, "w")], change=_dims(2**62, 2**62)),
        "announces|is no ONNX model",
    ),
    "negative.onnx": (
        onnx_file([node("Mul", ["z", "w"])], [constant([1] * 4, np.float32, "w")], change=_dims(-4)),
        "is no ONNX model",
    ),
    "short.onnx": (
        onnx_file([node("Mul", ["z", "w"])], [constant([1] * 4, np.float32, "w")], change=_dims(400)),
        "is no ONNX model|can't be computed",
    ),
    "cycle.onnx": (onnx_file([node("Tanh", ["z"])], change=_cycle), "is no ONNX model"),
    "unknown.onnx": (onnx_file([node("Theirs", ["z"])]), "is no ONNX model"),
    "own.onnx": (onnx_file([node("Theirs", ["z"], domain="own")], opsets=(("", 17), ("own", 1))), "needs own.Theirs"),
    "ugly.onnx": (
        onnx_file([node("Their\ns", ["z"], domain="own\x1b")], opsets=(("", 17), ("own\x1b", 1))),
        r"needs own\\x1b.Their s",
    ),
    "own_branch.onnx": (onnx_file(*_own_in_a_branch(), opsets=(("", 17), ("own", 1))), "needs own.Theirs"),
    "own_function.onnx": (
        onnx_file(
            [node("F", ["z"], domain="own")],
            opsets=(("", 17), ("own", 1), ("other", 1)),
            functions=[
                helper.make_function(
                    "own", "F", ["x"], ["y"], [node("G", ["x"], domain="other")], [helper.make_opsetid("other", 1)]
                )
            ],
        ),
        "needs other.G|is no ONNX model",
    ),
    "recursion.onnx": (
        onnx_file([node("F", ["z"], domain="own")], opsets=(("", 17), ("own", 1)), functions=[_recursion("F", "F")]),
        "is no ONNX model|needs own|ended by|far more memory",
    ),
    "mutual.onnx": (
        onnx_file(
            [node("F", ["z"], domain="own")],
            opsets=(("", 17), ("own", 1)),
            functions=[_recursion("F", "G"), _recursion("G", "F")],
        ),
        "is no ONNX model|needs own|ended by|far more memory",
    ),
    "future.onnx": (onnx_file([node("Tanh", ["z"])], opsets=(("", 99),)), "is no ONNX model"),
    "no_opset.onnx": (onnx_file([node("Tanh", ["z"])], opsets=()), "is no ONNX model"),
    "no_input.onnx": (onnx_file([node("Tanh", ["nothing"])]), "is no ONNX model"),
    "fill.onnx": (enlarged("ConstantOfShape", ["c"], [constant([_BIG])]), _TOO_MUCH),
    "expand.onnx": (enlarged("Expand", ["z", "c"], [constant([_BIG, 1, 4])]), _TOO_MUCH),
    "tile.onnx": (enlarged("Tile", ["z", "c"], [constant([1, _BIG])]), _TOO_MUCH),
    "resize.onnx": (enlarged("Resize", ["p", "", "c"], [constant([1, 1, 1e5, 1e5], np.float32)]), _TOO_MUCH),
    "normal.onnx": (enlarged("RandomNormal", [], shape=[_BIG]), _TOO_MUCH),
    "like.onnx": (
        enlarged(
            "Range",
            ["a", "b", "d"],
            [constant(0, np.float32, "a"), constant(1e10, np.float32, "b"), constant(1, np.float32, "d")],
        ),
        _TOO_MUCH,
    ),
    "pad.onnx": (enlarged("Pad", ["z", "c"], [constant([0, 0, 0, _BIG])]), _TOO_MUCH),
    "output.onnx": (
        onnx_file([node("Tile", ["z", "c"])], [constant([1, _BIG])], out=("N", 4 * _BIG)),
        "is too large for a latent or a picture|far more memory",
    ),
    "endless.onnx": (onnx_file(*_loop(10**12)), "being computed takes it longer than"),
}
