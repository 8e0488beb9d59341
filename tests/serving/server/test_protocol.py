"""The protocol's JSON and binary forms, and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.protocol import HEADER_LENGTH, ProtocolError, Request, TensorSpec, format_answer, parse_request

INPUTS = (TensorSpec("z", "FP32", (-1, 3)), TensorSpec("label", "INT64", (-1,)))
OUTPUTS = (TensorSpec("image", "FP32", (-1, 2, 2, 1)), TensorSpec("pixels", "UINT8", (-1, 2, 2, 1)))


def parse(document, tail=b"", length=None, inputs=INPUTS):
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    if tail and length is None:
        length = str(len(head))
    return parse_request(head + tail, length, inputs, OUTPUTS, 16)


def tensors(count=2, **changes):
    z = {"name": "z", "datatype": "FP32", "shape": [count, 3], "data": list(range(3 * count))}
    label = {"name": "label", "datatype": "INT64", "shape": [count], "data": list(range(count))}
    return [{**z, **changes}, label]


def test_flat_and_nested_data():
    flat = parse({"id": "a", "inputs": tensors()})
    nested = parse({"inputs": tensors(data=[[0, 1, 2], [3, 4, 5]])})
    for request in (flat, nested):
        np.testing.assert_array_equal(request.inputs["z"], np.arange(6, dtype=np.float32).reshape(2, 3))
        assert request.inputs["z"].dtype == np.float32
        np.testing.assert_array_equal(request.inputs["label"], [0, 1])
        assert request.inputs["label"].dtype == np.int64
        assert request.count == 2
        assert request.outputs == {"image": False, "pixels": False}
    assert (flat.id, nested.id) == ("a", None)


def test_a_column_counts_as_a_batch_of_numbers():
    label = {"name": "label", "datatype": "INT64", "shape": [2, 1], "data": [[5], [6]]}
    request = parse({"inputs": [tensors()[0], label]})
    np.testing.assert_array_equal(request.inputs["label"], [5, 6])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 16), st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_binary_tensors_in_any_mixture(count, z_binary, label_binary, seed):
    rng = np.random.default_rng(seed)
    z, label = rng.standard_normal((count, 3)).astype(np.float32), rng.integers(-(2**63), 2**63 - 1, count)
    document, tail = {"inputs": tensors(count)}, b""
    for tensor, array, binary in zip(document["inputs"], (z, label), (z_binary, label_binary), strict=True):
        tensor["data"] = array.ravel().tolist()
        if binary:
            del tensor["data"]
            tensor["parameters"] = {"binary_data_size": array.nbytes}
            tail += array.tobytes()
    request = parse(document, tail)
    np.testing.assert_array_equal(request.inputs["z"], z)
    np.testing.assert_array_equal(request.inputs["label"], label)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.booleans(), st.booleans(), st.none() | st.text(max_size=5))
def test_answers_can_be_read_back(count, image_binary, pixels_binary, identifier):
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.standard_normal((count, 2, 2, 1)).astype(np.float32),
        "pixels": rng.integers(0, 256, (count, 2, 2, 1), dtype=np.uint8),
    }
    wanted = {"image": image_binary, "pixels": pixels_binary}
    body, headers = format_answer("g", "1", Request(identifier, {}, wanted, count), arrays)
    length = int(headers.get(HEADER_LENGTH, len(body)))
    document, tail = json.loads(body[:length]), body[length:]
    assert (document["model_name"], document["model_version"], document.get("id")) == ("g", "1", identifier)
    for tensor in document["outputs"]:
        expected = arrays[tensor["name"]]
        assert tensor["shape"] == list(expected.shape)
        if wanted[tensor["name"]]:
            size = tensor["parameters"]["binary_data_size"]
            actual, tail = np.frombuffer(tail[:size], expected.dtype), tail[size:]
        else:
            actual = np.array(tensor["data"], expected.dtype)
        np.testing.assert_array_equal(actual.reshape(expected.shape), expected)
    assert tail == b""
    assert (HEADER_LENGTH in headers) == (image_binary or pixels_binary)


def test_requested_outputs():
    def outputs(**document):
        return dict(parse({"inputs": tensors(), **document}).outputs)

    assert outputs(outputs=[{"name": "pixels"}]) == {"pixels": False}
    assert outputs(parameters={"binary_data_output": True}) == {"image": True, "pixels": True}
    both = [{"name": "pixels", "parameters": {"binary_data": False}}, {"name": "image"}]
    assert outputs(outputs=both, parameters={"binary_data_output": True}) == {"pixels": False, "image": True}
    assert outputs(outputs=[]) == {"image": False, "pixels": False}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "expected a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": [{"name": "z", "data": [NaN]}]}', "NaN"),
        ({}, "inputs is null"),
        ({"inputs": []}, "list of objects"),
        ({"inputs": [1]}, "list of objects"),
        ({"inputs": tensors(name="x")}, 'input "x"'),
        ({"inputs": tensors(name=None)}, "input null"),
        ({"inputs": [*tensors(), tensors()[0]]}, "z is given twice"),
        ({"inputs": tensors()[1:]}, "z is missing"),
        ({"inputs": tensors(datatype="FP64")}, "expected FP32"),
        ({"inputs": tensors(shape=[2, 4])}, "expected ['n', 3]"),
        ({"inputs": tensors(shape=[-2, -3])}, "expected ['n', 3]"),
        ({"inputs": tensors(shape=[2.0, 3])}, "shape"),
        ({"inputs": tensors(shape=[True, 3])}, "shape"),
        ({"inputs": tensors(shape="23")}, "shape"),
        ({"inputs": tensors(shape=[0, 3], data=[])}, "batch of 0"),
        ({"inputs": tensors(shape=[17, 3])}, "1 to 16"),
        ({"inputs": tensors(shape=[10**30, 3])}, "1 to 16"),
        ({"inputs": tensors(shape=[1, 3], data=[1, 2, 3])}, "batches of 1 and 2"),
        ({"inputs": tensors(data=[1, 2])}, "data of the shape [2]"),
        ({"inputs": tensors(data=[[0, 1], [2, 3], [4, 5]])}, "data of the shape [3, 2]"),
        ({"inputs": tensors(data=[[0, 1, 2], [3, 4]])}, "regular array"),
        ({"inputs": tensors(data=["a"] * 6)}, "no FP32 numbers"),
        ({"inputs": tensors(data=[True] * 6)}, "no FP32 numbers"),
        ({"inputs": tensors(data=[None] * 6)}, "no FP32 numbers"),
        ({"inputs": tensors(data=[1e300] * 6)}, "beyond float32"),
        ({"inputs": tensors(data=[10**40] * 6)}, "numbers"),
        ({"inputs": tensors(data=5)}, "expected a list"),
        ({"inputs": [tensors()[0], {**tensors()[1], "data": [1.5, 2]}]}, "no INT64 numbers"),
        ({"inputs": [tensors()[0], {**tensors()[1], "data": [2**63, 2]}]}, "no INT64 numbers"),
        ({"inputs": tensors(parameters=[])}, "parameters is []"),
        ({"inputs": tensors(parameters={"binary_data_size": 24})}, "both data and"),
        ({"inputs": tensors(), "id": 5}, "id is 5"),
        ({"inputs": tensors(), "outputs": [{"name": "x"}]}, 'output "x"'),
        ({"inputs": tensors(), "outputs": [{"name": "image"}, {"name": "image"}]}, "each once"),
        ({"inputs": tensors(), "outputs": 3}, "outputs is 3"),
        ({"inputs": tensors(), "parameters": {"binary_data_output": 1}}, "true or false"),
    ],
)
def test_what_is_refused(document, named):
    with pytest.raises(ProtocolError) as caught:
        parse(document)
    assert named in str(caught.value)
    assert caught.value.status == 400
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("size", "tail", "length", "named"),
    [
        (24, b"\0" * 23, None, "24"),
        (25, b"\0" * 25, None, "takes 24"),
        (24, b"\0" * 30, None, "6 bytes of binary data are left over"),
        (-1, b"\0" * 24, None, "takes 24"),
        ("24", b"\0" * 24, None, "takes 24"),
        (True, b"\0" * 24, None, "takes 24"),
        (24, b"\0" * 24, "99999", HEADER_LENGTH),
        (24, b"\0" * 24, "-1", HEADER_LENGTH),
        (24, b"\0" * 24, "x", HEADER_LENGTH),
        (24, b"\0" * 24, "3", "not JSON"),
        (24, np.full(6, np.nan, "<f4").tobytes(), None, "NaN"),
    ],
)
def test_lying_sizes_are_refused(size, tail, length, named):
    document = {"inputs": tensors(parameters={"binary_data_size": size})}
    del document["inputs"][0]["data"]
    with pytest.raises(ProtocolError) as caught:
        parse(document, tail, length)
    assert named in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["name", "datatype", "shape", "data", "parameters"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "outputs", "parameters", "inputs"]), JSON), KEYS, JSON, st.binary())
def test_any_document_is_understood_or_refused(document, key, value, tail):
    for body in (document, {"inputs": tensors(**{key: value}), **document}):
        try:
            parse(body, tail)
        except ProtocolError as error:
            assert error.status == 400  # noqa: PT017 - it may also be understood


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100), st.none() | st.text(max_size=5))
def test_any_bytes_are_refused(body, length):
    with pytest.raises(ProtocolError):
        parse_request(body, length, INPUTS, OUTPUTS, 16)
