"""Labels are looked up as they are."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from export.rewrites.inputs import direct_labels, guarded
from serving.runtime import ort
from tests.export.rewrites.models import model_of, operators, uniform

CLASSES = 4


def embedded(moves, *, known=CLASSES):
    """A model that multiplies z with a row of a table, and its picture with ones for known labels."""
    rng = np.random.default_rng(0)
    constants = {"table": uniform(rng, CLASSES, 5), "flat": np.array([-1, 5]), "one": np.array([1])}
    nodes, value = [], "label"
    for place, move in enumerate(moves):
        more = {"Unsqueeze": ["one"], "Squeeze": ["one"], "Cast": []}[move]
        first = "Cast" not in moves[:place]
        kind = {"to": TensorProto.FLOAT if first else TensorProto.INT32} if move == "Cast" else {}
        nodes.append(helper.make_node(move, [value, *more], [f"moved{place}"], **kind))
        value = f"moved{place}"
    nodes += [
        helper.make_node("Gather", ["table", value], ["rows"]),
        helper.make_node("Reshape", ["rows", "flat"], ["told"]),
        helper.make_node("Mul", ["x", "told"], ["y" if not known else "picture"]),
    ]
    if known:
        constants["ones"] = np.ones((known, 1), np.float32)
        nodes.append(helper.make_node("Gather", ["ones", "label"], ["known"]))
        nodes.append(helper.make_node("Mul", ["picture", "known"], ["y"]))
    model = model_of(nodes, constants, [5], label=True)
    for value in model.graph.input:  # as rewrites know them
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return model


def drawn(model, x, label):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = next(value.name for value in session.get_inputs() if value.name != "label")
    return session.run(None, {name: x, "label": label})[0]


@pytest.mark.parametrize("moves", [["Unsqueeze"], ["Cast", "Cast", "Unsqueeze"], ["Unsqueeze", "Cast", "Cast"], []])
def test_a_label_is_looked_up_as_it_is(moves):
    before = embedded(moves)
    after = direct_labels(before)
    assert operators(after).count("Gather") == 1
    assert not {"Cast", "Unsqueeze"} & set(operators(after))
    assert operators(after).count("Mul") == 1
    x, label = uniform(np.random.default_rng(1), 6, 5), np.array([0, 3, 1, 2, 2, 0])
    np.testing.assert_array_equal(drawn(before, x, label), drawn(after, x, label))


def test_labels_that_are_no_classes_are_still_refused():
    model = embedded(["Cast", "Cast", "Unsqueeze"])
    for node in model.graph.node:
        node.input[:] = ["z" if name == "x" else name for name in node.input]
    model.graph.input[0].name = "z"
    after = guarded(direct_labels(model))
    x = uniform(np.random.default_rng(1), 1, 5)
    for wrong in (-1, CLASSES, 2**40):
        with pytest.raises(Exception, match="indices element out of data bounds"):
            drawn(after, x, np.array([wrong]))


def test_a_table_of_more_rows_refuses_too_little():
    before = embedded(["Unsqueeze"], known=CLASSES - 1)
    after = direct_labels(before)
    assert operators(after).count("Mul") == 2
    x, label = uniform(np.random.default_rng(1), 3, 5), np.array([0, 2, 1])
    np.testing.assert_array_equal(drawn(before, x, label), drawn(after, x, label))
