import contextlib
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.contract.attributes import Attribute, attributes_of, number_text

SMILING = Attribute("smiling", "binary", 0, 1, 1)
AGE = Attribute("age", "number", 16, 80, 41.5)


def test_a_list_survives_json():
    document = json.loads(json.dumps([each.to_dict() for each in (SMILING, AGE)]))
    assert attributes_of(document) == (SMILING, AGE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"kind": "colour"}, "binary or number"),
        ({"low": "16"}, "low"),
        ({"high": float("inf")}, "high"),
        ({"high": 1e39}, "high"),
        ({"high": 10**400}, "high"),
        ({"typical": True}, "typical"),
        ({"low": 80}, "low < high"),
        ({"typical": 81}, "low < high"),
        ({"kind": "binary"}, "0, 1"),
    ],
)
def test_what_is_no_attribute_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(AGE, **changes)


@pytest.mark.parametrize(
    "values", [{}, [3], [{"name": "x"}], [SMILING.to_dict() | {"more": 1}], [SMILING.to_dict()] * 2]
)
def test_what_is_no_list_of_attributes_is_refused(values):
    with pytest.raises(ValueError, match=r"expected|same name"):
        attributes_of(values)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_anything_is_read_or_refused(values):
    with contextlib.suppress(ValueError):
        assert all(isinstance(each, Attribute) for each in attributes_of(values))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (16.0, "16"),
        (-1e6, "-1000000"),
        (0.1, "0.1"),
        (float(np.float32(0.1)), "0.1"),
        (41.5, "41.5"),
        (1e20, "1e+20"),
        (6.342164101883494e16, "6.3421643e+16"),
        (float("nan"), "nan"),
        (-float("inf"), "-inf"),
    ],
)
def test_numbers_are_short(value, text):
    assert number_text(value) == text


@given(st.floats(-3e38, 3e38))
def test_numbers_are_exact_in_float32(value):
    assert np.float32(number_text(value)) == np.float32(value)
