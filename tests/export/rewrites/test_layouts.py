"""All forms of a graph compute the same, and none is chosen that is slower than what it was made of."""

import numpy as np
import pytest
from onnx import helper

from export.rewrites import layouts
from tests.export.rewrites.models import model_of, operators, uniform


def foreign():
    """A generator with what other people's have: a dense layer by Gemm, batch norms, enlarged pictures, a sigmoid."""
    rng = np.random.default_rng(0)
    constants = {"w": uniform(rng, 5, 4 * 3 * 3), "b": uniform(rng, 4 * 3 * 3), "picture": np.array([-1, 4, 3, 3])}
    constants |= {f"n{i}": uniform(rng, 4) + (2 if i == 3 else 0) for i in range(4)}
    constants |= {"scales": np.array([1, 1, 2, 2], np.float32), "v": uniform(rng, 6, 4, 3, 3)}
    constants |= {"u": uniform(rng, 6, 3, 4, 4), "two": np.full([1] * 4, 2.0, np.float32)}
    constants["less"] = np.full([1] * 4, -1.0, np.float32)
    nodes = [
        helper.make_node("Gemm", ["z", "w", "b"], ["a"]),
        helper.make_node("Reshape", ["a", "picture"], ["p"]),
        helper.make_node("BatchNormalization", ["p", "n0", "n1", "n2", "n3"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node(
            "Resize",
            ["r", "", "scales"],
            ["up"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Conv", ["up", "v"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["c"], ["l"]),
        helper.make_node("ConvTranspose", ["l", "u"], ["t"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["t"], ["s"]),
        helper.make_node("Transpose", ["s"], ["h"], perm=[0, 2, 3, 1]),
        helper.make_node("Mul", ["h", "two"], ["m"]),
        helper.make_node("Add", ["m", "less"], ["y"]),
    ]
    model = model_of([helper.make_node("Identity", ["x"], ["z"]), *nodes], constants, [5])
    for node in model.graph.node:
        node.input[:] = ["z" if name == "x" else "inner" if name == "z" else name for name in node.input]
        node.output[:] = ["inner" if name == "z" else name for name in node.output]
    model.graph.input[0].name = "z"
    return model


def test_forms_compute_the_same():
    before = foreign()
    forms = layouts.forms_of(before)
    z = uniform(np.random.default_rng(1), 3, 5)
    (expected,) = layouts.session_of(before).run(None, {"z": z})
    for name, model in forms.items():
        (actual,) = layouts.session_of(model).run(None, {"z": z})
        np.testing.assert_allclose(actual, expected, atol=1e-5, err_msg=name)
    assert "Resize" in operators(forms[layouts.AS_IT_CAME])
    others = {name: operators(model) for name, model in forms.items() if name != layouts.AS_IT_CAME}
    gone = {"BatchNormalization", "Gemm", "Identity", "Mul", "Resize", "Sigmoid"}
    assert all(not gone & set(names) for names in others.values()), others


@pytest.mark.parametrize(
    ("milliseconds", "best"),
    [
        ({"a": (1.0, 1.0), layouts.AS_IT_CAME: (2.0, 2.0)}, "a"),
        ({"a": (0.1, 2.1), "b": (1.5, 1.5), layouts.AS_IT_CAME: (2.0, 2.0)}, "b"),
        ({"a": (0.1, 2.1), layouts.AS_IT_CAME: (2.0, 2.0)}, layouts.AS_IT_CAME),
        ({"a": (1.0, 2.03), layouts.AS_IT_CAME: (2.0, 2.0)}, "a"),
    ],
)
def test_none_is_chosen_that_is_slower_than_the_graph_as_it_came(monkeypatch, milliseconds, best):
    table = {name: dict(zip(("1", "16"), figures, strict=True)) for name, figures in milliseconds.items()}
    monkeypatch.setattr(layouts, "fastest_first", lambda forms, feeds: table)
    monkeypatch.setattr(layouts, "fastest_chunk", lambda model, feeds: 32)
    forms = dict.fromkeys(table, foreign())
    form, said = layouts.choose(forms, lambda size: {}, "measured")
    assert form == best
    assert said == {"rule": "measured", "form": best, "milliseconds": table, "chunk": 32}
    dense = model_of([helper.make_node("Relu", ["x"], ["y"])], {}, [3])
    assert "chunk" not in layouts.choose(dict.fromkeys(table, dense), lambda size: {}, "measured")[1]


@pytest.mark.parametrize(("seconds", "best"), [((3, 2, 1), 64), ((1.01, 1, 1), 16), ((2, 1, 1.5), 32)])
def test_the_smallest_part_is_taken_that_is_as_good(monkeypatch, seconds, best):
    def in_turn(calls, rounds, **more):
        for call in calls.values():
            call()
        return dict(zip(calls, seconds, strict=True))

    monkeypatch.setattr(layouts, "in_turn", in_turn)
    assert layouts.fastest_chunk(foreign(), lambda size: {"z": np.zeros([size, 5], np.float32)}) == best


def test_equal_forms_are_timed_once(monkeypatch):
    seen = []

    def in_turn(calls, rounds, **more):
        seen.extend(calls)
        return dict.fromkeys(calls, 0.001)

    monkeypatch.setattr(layouts, "in_turn", in_turn)
    model = foreign()
    z = {"z": np.zeros([1, 5], np.float32)}
    assert layouts.measure({"a": model, "b": model, "c": layouts.forms_of(model)["phases"]}, z) == dict.fromkeys(
        "abc", 1
    )
    assert seen == ["a", "c"]
