"""Values of attributes: by name, in order, or left out; and what is none of an attribute."""

import contextlib
import dataclasses
import itertools
import json
import pickle

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import BundleError, Generator
from serving.attributes import Attributes, between_ends, parse
from serving.contract.attributes import Attribute
from serving.contract.latents import latents
from serving.contract.manifest import METADATA_KEY
from serving.contract.pixels import to_pixels
from tests.serving.conftest import FACES

BOTH = Attributes(FACES.attributes)
BINARY = Attributes(FACES.attributes[:2])
TYPICAL = [0, 1, 41.5]


class Table:
    """As pandas' DataFrame, which can be converted to an array too, with columns in its own order."""

    def keys(self):
        return ("age", "male")

    def __getitem__(self, name):
        return {"age": np.array([20, 30]), "male": np.array([True, False])}[name]

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("its columns have names")


@pytest.fixture(scope="module")
def generator(faces):
    return Generator.load(faces, threads=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (None, [TYPICAL] * 2),
        ({}, [TYPICAL] * 2),
        ({"male": 1}, [[1, 1, 41.5]] * 2),
        ({"male": True, "age": 16}, [[1, 1, 16]] * 2),
        ({"smiling": np.bool_(False), "age": np.float64(80)}, [[0, 0, 80]] * 2),
        ({"age": np.array(30)}, [[0, 1, 30]] * 2),
        ({"age": [16, 80]}, [[0, 1, 16], [0, 1, 80]]),
        ({"male": np.array([True, False]), "age": (16, 80.0)}, [[1, 1, 16], [0, 1, 80]]),
        ([{"male": 1}, {"age": 20}], [[1, 1, 41.5], [0, 1, 20]]),
        (iter([{"male": 1}, {}]), [[1, 1, 41.5], TYPICAL]),
        (Table(), [[1, 1, 20], [0, 1, 30]]),
        ([1, 0, 30], [[1, 0, 30]] * 2),
        (np.array([1, 0, 30], np.int8), [[1, 0, 30]] * 2),
        ([[1, 0, 30], [0, 1, 16]], [[1, 0, 30], [0, 1, 16]]),
        (np.array([[1, 0, 30], [0, 1, 16]], np.float16), [[1, 0, 30], [0, 1, 16]]),
        ({"male": 0.5}, [[0.5, 1, 41.5]] * 2),
    ],
)
def test_what_may_be_passed(values, expected):
    found = BOTH.values(values, 2)
    assert found.dtype == np.float32
    assert found.tolist() == expected


def test_truth_values_in_order_where_all_attributes_are_binary():
    assert BINARY.values(np.array([[True, False], [False, True]]), 2).tolist() == [[1, 0], [0, 1]]
    assert BINARY.values([True, True], 1).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"age": 90}, "attribute 'age' is 90; expected a number from 16 to 80."),
        ({"age": np.float64(90)}, "attribute 'age' is 90; expected a number from 16 to 80."),
        ({"age": 15.5}, "attribute 'age' is 15.5; expected a number from 16 to 80."),
        ({"male": 2}, "attribute 'male' is 2; expected a number from 0 to 1, or a truth value."),
        ({"age": float("nan")}, "attribute 'age' is nan; expected a number from 16 to 80."),
        ({"age": 10**400}, "attribute 'age' is 2\\*\\*1328 or more; expected a number"),
        ({"age": "30"}, "attribute 'age' is '30'; expected a number from 16 to 80."),
        ({"age": True}, "attribute 'age' is True; expected a number from 16 to 80."),
        ({"age": None}, "attribute 'age' is None; expected a number from 16 to 80."),
        ({"age": ["30", "40"]}, "attribute 'age' is .*; expected a number from 16 to 80."),
        ({"age": {"of": 3}}, "attribute 'age' is .*; expected a number from 16 to 80."),
        ({"age": [16, np.nan]}, "attribute 'age' is nan; expected a number from 16 to 80."),
        ({"age": [16, 81]}, "attribute 'age' is 81; expected a number from 16 to 80."),
        ({"age": [16, 17, 18]}, "has the shape \\[3\\]; expected a number, or one for each of 2 images."),
        ({"age": np.ma.array([16, 17], mask=[0, 1])}, "attribute 'age' is"),
        ({"Male": 1}, "there is no attribute 'Male'; there are male, smiling, age."),
        ({3: 1}, "there is no attribute 3; there are male, smiling, age."),
        ([{"male": 1}], "attributes has 1 mappings for 2 images"),
        ([{}] * 3, "attributes has 3 mappings|attributes has more than 2 mappings"),
        (itertools.repeat({}), "attributes has more than 2 mappings for 2 images"),
        ([{}, 3], "expected a mapping for each image"),
        ([0, 1], r"shape \[2\] and the type int64; expected a mapping of some of male, smiling, age"),
        ([[0, 1, 30]] * 3, r"expected .* numbers \[3\] or \[n, 3\] in this order"),
        ([0, 1, 90], "attribute 'age' is 90; expected a number from 16 to 80."),
        ([0, np.nan, 30], "attribute 'smiling' is nan; expected a number from 0 to 1, or a truth value."),
        ([0, 1, 1e300], "attribute 'age' is inf; expected a number from 16 to 80."),
        (np.array([True, False, True]), "the type bool; expected a mapping"),
        ([0, 1, "30"], "expected a mapping"),
        ([[0], [1, 2]], "expected a mapping"),
        ("male=1", "attributes is 'male=1'; expected a mapping"),
        (30, "expected a mapping"),
        ({"male", "age"}, "expected a mapping"),
        (np.ma.array([[0, 1, 30]] * 2), "expected a mapping"),
        (object(), "expected a mapping"),
    ],
)
def test_what_is_refused_and_how(values, said):
    with pytest.raises(ValueError, match=said):
        BOTH.values(values, 2)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.sampled_from(["male", "age"]),
        lambda each: st.lists(each) | st.dictionaries(st.sampled_from(["male", "age", "x"]) | st.text(), each),
    ),
    st.integers(0, 4),
)
def test_anything_is_within_its_range_or_refused(values, n):
    with contextlib.suppress(ValueError):
        found = BOTH.values(values, n)
        assert found.shape == (n, 3)
        assert ((found >= [0, 0, 16]) & (found <= [1, 1, 80])).all()


def test_the_ends_of_a_range_are_compared_as_generators_see_them():
    third = Attributes([Attribute("x", "number", 0.1, 0.3, 0.2)])
    assert third.values({"x": 0.3}, 1).tolist() == third.values(np.array([np.float32(0.3)]), 1).tolist()
    assert third.values({"x": 0.1}, 1)[0, 0] == np.float32(0.1)
    with pytest.raises(ValueError, match=r"expected a number from 0\.1 to 0\.3"):
        third.values({"x": 0.30001}, 1)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("male=1", {"male": (1, 1)}),
        ("male=1, age=30.5", {"male": (1, 1), "age": (30.5, 30.5)}),
        ("age=16..80,male=0", {"age": (16, 80), "male": (0, 0)}),
        ("age=80..1.5e1", {"age": (80, 15)}),
        ("hair, long=1,x=y=-2", {"hair, long": (1, 1), "x=y": (-2, -2)}),
    ],
)
def test_text_is_read(text, ends):
    assert parse(text) == ends


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "attributes ends with ''"),
        ("male", "attributes ends with 'male'; expected a name, = and a number, such as male=1,age=30."),
        ("male=1,age", "attributes ends with 'age'"),
        ("male=yes", "attributes has 'male=yes'; expected a name"),
        ("=1", "attributes has '=1'"),
        ("age=", "attributes has 'age='"),
        ("age=1_0", "attributes has 'age=1_0'"),
        ("age=nan", "attributes has 'age=nan'"),
        ("age=1e999", "attributes has 'age=1e999'"),
        ("age=16..", "attributes has 'age=16..'"),
        ("age=16..20..30", "attributes has 'age=16..20..30'"),
        ("age=16,age=17", "attributes has 'age' twice"),
    ],
)
def test_text_that_cant_be_read_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        parse(text)


@given(st.text(alphabet="ae=,.1 -+_n", max_size=12))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        for first, last in parse(text).values():
            assert type(first) is type(last) is float


def test_pictures_follow_attributes(generator):
    assert [each.name for each in generator.attributes] == ["male", "smiling", "age"]
    assert generator.class_names == ()
    z = latents(np.arange(3, 24), 6)
    values = np.stack([np.arange(21) % 2, np.ones(21), np.linspace(16, 80, 21)], axis=1).astype(np.float32)
    expected = to_pixels(generator.images(z, values))
    by_name = {"male": [place % 2 for place in range(21)], "smiling": True, "age": np.linspace(16, 80, 21)}
    for given_values in (values, by_name, [dict(zip(("male", "smiling", "age"), row, strict=True)) for row in values]):
        np.testing.assert_array_equal(generator.sample(21, 3, attributes=given_values), expected)
        np.testing.assert_array_equal(generator.decode(z, attributes=given_values), expected)
    for place in range(21):
        alone = {name: np.asarray(each)[place] if np.ndim(each) else each for name, each in by_name.items()}
        np.testing.assert_array_equal(generator.sample(1, 3 + place, attributes=alone)[0], expected[place])
    assert not np.array_equal(generator.sample(1, attributes={"age": 16}), generator.sample(1, attributes={"age": 80}))
    np.testing.assert_array_equal(generator.sample(2), generator.sample(2, attributes=TYPICAL))
    assert generator.sample(0).shape == (0, 8, 8, 1)


def test_a_walk_may_go_through_attributes(generator):
    walk = generator.interpolate(1, 2, 5, attributes={"age": np.linspace(16, 80, 5)})
    np.testing.assert_array_equal(walk[:1], generator.sample(1, 1, attributes={"age": 16}))
    np.testing.assert_array_equal(walk[-1:], generator.sample(1, 2, attributes={"age": 80}))
    np.testing.assert_array_equal(generator.interpolate(1, 2, 2), generator.sample(2, 1))
    assert between_ends({"age": (16.0, 80.0)}, np.array([0, 0.5, 1]))["age"].tolist() == [16, 48, 80]


def test_a_generator_takes_labels_or_attributes(generator, digits, flags_bundle):
    with pytest.raises(
        ValueError, match=r"labels were passed, but this generator takes attributes \(male, smiling, age\)"
    ):
        generator.sample(1, labels=0)
    with pytest.raises(ValueError, match="labels were passed, but this generator takes attributes"):
        generator.interpolate(0, 1, 2, labels=0)
    for path, what in ((digits, "takes labels"), (flags_bundle, "is unconditional")):
        with pytest.raises(ValueError, match=f"attributes were passed, but this generator {what}; leave them out."):
            Generator.load(path).sample(1, attributes={"age": 30})
    with pytest.raises(ValueError, match="leave them out"):
        generator.sample(1, labels=0, attributes={"age": 30})
    with pytest.raises(ValueError, match="leave them out"):
        Generator.load(digits).sample(1, labels=0, attributes={"age": 30})


def test_a_copy_takes_attributes_too(generator):
    again = pickle.loads(pickle.dumps(generator))
    assert again.info == FACES
    np.testing.assert_array_equal(again.sample(1, attributes={"age": 20}), generator.sample(1, attributes={"age": 20}))


@pytest.mark.parametrize(
    "values", [np.zeros((2, 2), np.float32), np.zeros(3, np.float32), [[0, 0, 90]], [[np.nan] * 3]]
)
def test_what_files_take_is_looked_at(generator, values):
    with pytest.raises(ValueError, match="attribute"):
        generator.check_condition(np.asarray(values, np.float32), 1)


@pytest.mark.parametrize("wrong", [FACES.attributes[:2], ()])
def test_a_file_that_takes_other_inputs_is_refused(write_bundle, build_model, wrong):
    info = dataclasses.replace(FACES, attributes=wrong, class_names=() if wrong else ("one", "two"))
    model = build_model(FACES)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(info.to_dict())})
    with pytest.raises(BundleError, match=r"its inputs are .*; expected .*(attributes|label)"):
        Generator.load(write_bundle(info, model))


def test_of_many_names_a_sentence_has_some():
    many = Attributes([Attribute(f"is {number}", "binary", 0, 1, 0) for number in range(40)])
    with pytest.raises(ValueError, match=r"there are is 0, is 1, .*, is 7 and 32 more\.$"):
        many.values({"x": 1}, 1)
