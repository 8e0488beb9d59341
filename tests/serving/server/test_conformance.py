"""Conformance to the Open Inference Protocol over REST, of any server.

    pytest tests/serving/server/test_conformance.py --base_url=http://host:port --model=NAME

Without `--base_url` a server of our own is started and both of its models are tested. Inputs are built from the
model's metadata: 0 and 1 in turn for integers, quarters for floats, the smallest sizes for axes of any size.

What the specification leaves open or says twice, and what is done about it. REST is its `inference_rest.md`, YAML its
`open_inference_rest.yaml`, both of kserve/open-inference-protocol; V2 the text they come from, `required_api.md` in
kserve/kserve; BIN is `extension_binary_data.md` in triton-inference-server/server.

1.  Bodies of health answers. V2 (Health) wants them empty, the status being the result. REST (Server Live, Server
    Ready) has `{"live": bool}` for both. KServe's server and `InferenceRESTClient` have `live` for the one and `ready`
    for the other; Triton's bodies are empty. Ours have both keys; here a body may be empty, and its keys be true.
2.  Not being ready. V2 (Health) says 4xx; YAML knows 200 only (kserve/open-inference-protocol#17); KServe's server
    sends 503, for which `open-inference-openapi` has an exception. Ours is 503, as load balancers expect.
3.  "Model Ready" is about the server in REST's section, about the model in its table of definitions; V2 wants no
    body, REST `name` and `ready`. Ours is about the model and has the body; here it may be empty.
4.  Server metadata are at `/v2` in REST and V2, at `/v2/` in YAML. Clients ask for `/v2`, and so do these tests.
5.  Paths without a version are optional parts in REST, missing in YAML, whose placeholders moreover begin with a
    dollar sign; REST's text has `v2/model/my_model` once where its table has `v2/models/`. Ours has both paths of the
    table. KServe's server refuses paths with a version, so they are tested only if the metadata list versions.
6.  `versions` of a model is optional in all; `inputs` and `outputs` are so in YAML only, and are required here, since
    there is no request without them.
7.  `inputs` of the metadata are "required by the model", and nothing can mark one as optional (kserve/kserve#3574).
    Ours lists the optional `truncation` too; here all are sent.
8.  Platforms. V2 (Platforms) allows seven names, with `onnx_onnxv1` for ONNX Runtime; Triton says
    `onnxruntime_onnx`. Ours says what Triton says; here any string will do.
9.  Shapes of requests hold unsigned numbers, those of metadata may hold -1 (REST). A scalar's shape is not mentioned;
    ours is `[]`, and `[1]` is taken too. The examples of REST and V2 send one value for the shape `[3]`, which is
    refused here as anywhere.
10. REST links to "Tensor Data", "Tensor Data Types", "Parameters", "Platforms" and "Response Output", but has none of
    these sections; V2 counts. By its "Tensor Data" requests may be nested or flat. It does not say which form answers
    have: flat in all examples, nested from some servers (SeldonIO/seldon-core#3156). Ours are flat; here both count.
11. Coercion. V2 (Tensor Data) lets servers convert values of other types, or refuse them. YAML knows "number" only,
    and `open-inference-openapi` sends all integers as floats. JSON has one kind of number: ours takes 3 for 3.0 and
    3.0 for 3, but no strings and booleans. Here either will do.
12. 16-bit floats. V2 (Tensor Data) calls them a problem in JSON, KServe refuses them there; BIN has no such
    restriction. BF16 is in the gRPC definition only. Such models are tested with binary data only, or not at all.
13. `id` of an answer is not marked as optional in REST and V2, but explained as the request's "if any"; KServe makes
    one up. Ours is left out if the request has none. Here only a given one must come back.
14. `model_name` of an answer is required by schema and text, but missing in the examples of REST, V2 and BIN (those
    of REST and V2 lack a comma, too). Here it is required.
15. `data` of a tensor is required in REST, V2 and YAML; BIN leaves it out where `binary_data_size` stands. So clients
    that are made from YAML, such as `open-inference-openapi`, can't read binary answers; ours sends none unasked.
16. The default of `binary_data` is false in BIN; Triton's client asks for true unless told otherwise.
17. BIN's length header "must" be there if there are binary data; nothing forbids it otherwise. Ours sends it only then
    and takes it always. A length of 0 means a "raw binary request" in later versions of BIN; ours refuses it.
18. Content-Length is the size of the JSON in REST and V2 (Inference Request Examples), of the whole body in BIN and in
    HTTP. HTTP counts; ours takes chunked bodies too.
19. Content types stand in examples only: JSON; `application/octet-stream` with binary data. Ours sends them and does
    not look at the request's. Here an answer without binary data must be JSON.
20. An empty list of `outputs` is not mentioned ("not specified" means all). Ours sends all; here that or an error.
    Nor is the order of answered outputs. Ours is that of the request; here any order will do.
21. Errors are "typically 400" (REST, V2); YAML knows 400 for some operations and no error for others; clients have
    exceptions for 404 and 503. `error` is required in all but YAML's inference errors. Here any status 4xx with
    `error` will do; of ours only one: 404 for what there is not, 400 for what is wrong.
22. "Currently no standard extensions" (REST, V2) nor parameters, yet BIN defines both, with
    `binary_tensor_data` in `extensions` to tell. Only servers that list it are tested for it.
"""

import json
import math

import httpx
import numpy as np
import pytest

BINARY = "binary_tensor_data"
HEADER = "Inference-Header-Content-Length"
DTYPES = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "UINT8": "u1", "INT8": "i1"} | {
    f"{prefix}INT{8 * size}": f"<{kind}{size}" for prefix, kind in (("U", "u"), ("", "i")) for size in (2, 4, 8)
}


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        given = metafunc.config.getoption("model")
        metafunc.parametrize("name", [given] if given else ["generator", "sampler"], scope="module")


@pytest.fixture(scope="module")
def ours(request):
    """Whether the server is the one of this repository, whose answers are known exactly."""
    return request.config.getoption("base_url") is None


@pytest.fixture(scope="module")
def api(request, ours):
    url = request.getfixturevalue("server").url if ours else request.config.getoption("base_url")
    with httpx.Client(base_url=url.rstrip("/"), timeout=30) as api:
        yield api


@pytest.fixture(scope="module")
def metadata(api, name):
    answer = api.get(f"/v2/models/{name}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def binary(api):
    if BINARY not in api.get("/v2").json()["extensions"]:
        pytest.skip("the server has no binary tensors")


def array_of(spec):
    """A valid array for a tensor of the metadata."""
    if spec["datatype"] not in (*DTYPES, "BYTES"):
        pytest.skip(f"numpy has no {spec['datatype']}")
    # A batch of two where that is possible, so that the order of elements matters.
    shape = [(2 if axis == 0 else 1) if size == -1 else size for axis, size in enumerate(spec["shape"])]
    values = np.arange(math.prod(shape))
    if spec["datatype"] == "BYTES":
        return np.array([f"text {value}".encode() for value in values], object).reshape(shape)
    values = values % 5 / 4 + 0.25 if spec["datatype"].startswith("FP") else values % 2
    return values.astype(DTYPES[spec["datatype"]]).reshape(shape)


def tensor(spec, **changes):
    return {"name": spec["name"], "datatype": spec["datatype"], "shape": list(array_of(spec).shape), **changes}


def values_of(array):
    return [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]


@pytest.fixture
def inputs(metadata):
    """Valid inputs, flat."""
    if any(spec["datatype"] == "FP16" for spec in (*metadata["inputs"], *metadata["outputs"])):
        pytest.skip("there are no 16-bit floats in JSON")
    return [tensor(spec, data=values_of(array_of(spec))) for spec in metadata["inputs"]]


def infer(api, name, document, **options):
    return api.post(f"/v2/models/{name}/infer", json=document, **options)


def post_binary(api, name, document, *tails, length=None):
    head = json.dumps(document).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER: str(len(head)) if length is None else length}
    return api.post(f"/v2/models/{name}/infer", content=b"".join([head, *tails]), headers=headers)


def to_bytes(array):
    if array.dtype != object:
        return array.tobytes()
    return b"".join(len(value).to_bytes(4, "little") + value for value in array.ravel())


def from_bytes(data, datatype):
    if datatype != "BYTES":
        return np.frombuffer(data, DTYPES[datatype])
    values = []
    while data:
        size = int.from_bytes(data[:4], "little")
        values, data = [*values, data[4 : 4 + size].decode()], data[4 + size :]
    return np.array(values, object)


def outputs_of(answer):
    """The arrays of a good answer by name, and which of them were binary."""
    assert answer.status_code == 200, answer.text
    head = int(answer.headers.get(HEADER, len(answer.content)))
    document, rest = json.loads(answer.content[:head]), answer.content[head:]
    arrays, binaries = {}, set()
    for output in document["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            array = np.array(output["data"], DTYPES.get(output["datatype"], object))
        else:
            assert "data" not in output
            array, rest = from_bytes(rest[:size], output["datatype"]), rest[size:]
            binaries.add(output["name"])
        arrays[output["name"]] = array.reshape(output["shape"])
    assert rest == b""
    assert len(arrays) == len(document["outputs"])
    return arrays, binaries


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        if array.dtype.kind == "f":
            # JSON may have fewer digits than a float.
            np.testing.assert_allclose(actual[name], array, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(actual[name], array)


def assert_refused(answer, ours, status=400):
    if ours:
        assert answer.status_code == status
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    message = answer.json().get("error")
    assert isinstance(message, str), answer.text
    assert message


@pytest.fixture(scope="module")
def expected(api, name, metadata):
    """The outputs for the valid inputs, if the model has the same for the same."""

    def run():
        return outputs_of(infer(api, name, {"inputs": [tensor(s, data=values_of(array_of(s))) for s in specs]}))[0]

    specs = metadata["inputs"]
    first, second = run(), run()
    if not all(np.array_equal(first[key], second[key]) for key in first):
        pytest.skip("the model's answers differ from time to time")
    return first


@pytest.mark.parametrize("kind", ["live", "ready"])
def test_a_good_server_is_live_and_ready(api, ours, kind):
    answer = api.get(f"/v2/health/{kind}")
    assert answer.status_code == 200
    if ours:
        assert answer.json() == {"live": True, "ready": True}
    elif answer.content:
        assert answer.json().get("live", True) is True
        assert answer.json().get("ready", True) is True


def test_server_metadata(api):
    answer = api.get("/v2")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    document = answer.json()
    assert isinstance(document["name"], str)
    assert isinstance(document["version"], str)
    assert all(isinstance(extension, str) for extension in document["extensions"])


def test_model_metadata(metadata, name):
    assert metadata["name"] == name
    assert isinstance(metadata["platform"], str)
    assert all(isinstance(version, str) for version in metadata.get("versions") or [])
    for side in ("inputs", "outputs"):
        names = [spec["name"] for spec in metadata[side]]
        assert names
        assert len(set(names)) == len(names)
        for spec in metadata[side]:
            assert spec["datatype"] in (*DTYPES, "BYTES", "BF16")
            assert all(type(size) is int and size >= -1 for size in spec["shape"])


def test_each_listed_version_can_be_asked_for(api, name, metadata):
    for version in metadata.get("versions") or []:
        answer = api.get(f"/v2/models/{name}/versions/{version}")
        assert answer.status_code == 200
        assert answer.json()["name"] == name
        assert api.get(f"/v2/models/{name}/versions/{version}/ready").status_code == 200


def test_model_readiness(api, name, ours):
    answer = api.get(f"/v2/models/{name}/ready")
    assert answer.status_code == 200
    if answer.content or ours:
        assert answer.json() == {"name": name, "ready": True}


def test_an_answer_is_as_the_metadata_say(api, name, metadata, inputs):
    answer = infer(api, name, {"inputs": inputs})
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["model_name"] == name
    arrays, binaries = outputs_of(answer)
    assert not binaries
    assert arrays.keys() == {spec["name"] for spec in metadata["outputs"]}
    answered = {output["name"]: output for output in answer.json()["outputs"]}
    for spec in metadata["outputs"]:
        assert answered[spec["name"]]["datatype"] == spec["datatype"]
        shape = answered[spec["name"]]["shape"]
        assert len(shape) == len(spec["shape"])
        assert all(size == wanted or wanted == -1 for size, wanted in zip(shape, spec["shape"], strict=True))


def test_nested_data_mean_the_same_as_flat_data(api, name, metadata, inputs, expected):
    for given, spec in zip(inputs, metadata["inputs"], strict=True):
        if given["shape"]:
            given["data"] = np.array(given["data"], object).reshape(array_of(spec).shape).tolist()
    assert_same(outputs_of(infer(api, name, {"inputs": inputs}))[0], expected)


def test_numbers_may_be_written_as_floats_or_integers(api, name, inputs, expected, ours):
    for given in inputs:
        if "INT" in given["datatype"]:
            given["data"] = [float(value) for value in given["data"]]
    answer = infer(api, name, {"inputs": inputs})
    if ours or answer.status_code == 200:
        assert_same(outputs_of(answer)[0], expected)
    else:
        assert_refused(answer, ours)


def test_inputs_may_come_in_any_order(api, name, inputs, expected):
    assert_same(outputs_of(infer(api, name, {"inputs": inputs[::-1]}))[0], expected)


def test_each_listed_version_can_be_run(api, name, metadata, inputs):
    for version in metadata.get("versions") or []:
        answer = api.post(f"/v2/models/{name}/versions/{version}/infer", json={"inputs": inputs})
        assert outputs_of(answer)[0].keys() == {spec["name"] for spec in metadata["outputs"]}
        assert answer.json()["model_version"] == version


@pytest.mark.parametrize("identifier", ["42", "", 'a "quoted" \N{SNOWMAN}'])
def test_the_id_comes_back(api, name, inputs, identifier):
    answer = infer(api, name, {"id": identifier, "inputs": inputs})
    assert answer.status_code == 200
    assert answer.json().get("id", "") == identifier


def test_requested_outputs_come_and_no_others(api, name, metadata, inputs, expected):
    for spec in metadata["outputs"]:
        arrays = outputs_of(infer(api, name, {"inputs": inputs, "outputs": [{"name": spec["name"]}]}))[0]
        assert_same(arrays, {spec["name"]: expected[spec["name"]]})
    backwards = [{"name": spec["name"]} for spec in metadata["outputs"][::-1]]
    assert_same(outputs_of(infer(api, name, {"inputs": inputs, "outputs": backwards}))[0], expected)


def test_no_requested_outputs_are_all_of_them(api, name, inputs, expected, ours):
    answer = infer(api, name, {"inputs": inputs, "outputs": []})
    if ours or answer.status_code == 200:
        assert_same(outputs_of(answer)[0], expected)
    else:
        assert_refused(answer, ours)


def test_empty_parameters_change_nothing(api, name, inputs, expected):
    inputs = [{**given, "parameters": {}} for given in inputs]
    assert_same(outputs_of(infer(api, name, {"inputs": inputs, "parameters": {}}))[0], expected)


def test_unknown_models_and_versions_are_refused(api, name, metadata, ours):
    paths = ["no-such-model"]
    if metadata.get("versions"):
        paths.append(f"{name}/versions/987654321")
    for path in paths:
        for answer in (api.get(f"/v2/models/{path}"), api.post(f"/v2/models/{path}/infer", json={"inputs": []})):
            assert_refused(answer, ours, 404)
        assert 400 <= api.get(f"/v2/models/{path}/ready").status_code < 500


WRONG = {
    "unknown name": lambda first: {**first, "name": "no-such-input"},
    "no name": lambda first: {key: value for key, value in first.items() if key != "name"},
    "unknown datatype": lambda first: {**first, "datatype": "NUMBER"},
    "other datatype": lambda first: {**first, "datatype": "INT16" if first["datatype"] != "INT16" else "FP64"},
    "no datatype": lambda first: {key: value for key, value in first.items() if key != "datatype"},
    "another axis": lambda first: {**first, "shape": [*first["shape"], 7]},
    "negative size": lambda first: {**first, "shape": [-1, *first["shape"][1:]]},
    "shape that is text": lambda first: {**first, "shape": "2"},
    "no shape": lambda first: {key: value for key, value in first.items() if key != "shape"},
    "too few data": lambda first: {**first, "data": first["data"][:-1]},
    "too many data": lambda first: {**first, "data": [*first["data"], first["data"][0]]},
    "no data": lambda first: {key: value for key, value in first.items() if key != "data"},
    "data that are objects": lambda first: {**first, "data": [{}] * len(first["data"])},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_inputs_are_refused(api, name, inputs, ours, wrong):
    assert_refused(infer(api, name, {"inputs": [WRONG[wrong](inputs[0]), *inputs[1:]]}), ours)


def test_missing_inputs_are_refused(api, name, ours):
    for document in ({}, {"inputs": []}, {"inputs": None}, {"inputs": {}}):
        assert_refused(infer(api, name, document), ours)


def test_unknown_outputs_are_refused(api, name, inputs, ours):
    assert_refused(infer(api, name, {"inputs": inputs, "outputs": [{"name": "no-such-output"}]}), ours)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b'{"inputs": [}', b"\xff\xfe", b"inputs=1"])
def test_what_is_no_json_object_is_refused(api, name, ours, body):
    answer = api.post(f"/v2/models/{name}/infer", content=body, headers={"Content-Type": "application/json"})
    assert_refused(answer, ours)


@pytest.fixture
def packed(binary, metadata):
    """All inputs as binary tensors, and their bytes."""
    data = [to_bytes(array_of(spec)) for spec in metadata["inputs"]]
    sizes = [{"binary_data_size": len(each)} for each in data]
    return [tensor(spec, parameters=size) for spec, size in zip(metadata["inputs"], sizes, strict=True)], data


def test_binary_inputs_mean_the_same_as_json(api, name, packed, expected):
    inputs, data = packed
    arrays, binaries = outputs_of(post_binary(api, name, {"inputs": inputs}, *data))
    assert_same(arrays, expected)
    assert not binaries


def test_each_input_may_be_binary_or_not(api, name, packed, inputs, expected):
    binaries, data = packed
    for chosen in range(len(inputs)):
        mixed = [binaries[index] if index == chosen else given for index, given in enumerate(inputs)]
        assert_same(outputs_of(post_binary(api, name, {"inputs": mixed}, data[chosen]))[0], expected)


def test_binary_data_come_in_the_order_of_their_inputs(api, name, packed, expected):
    inputs, data = packed
    assert_same(outputs_of(post_binary(api, name, {"inputs": inputs[::-1]}, *data[::-1]))[0], expected)


def test_all_outputs_as_binary_data(api, name, packed, expected):
    inputs, data = packed
    document = {"id": "7", "inputs": inputs, "parameters": {"binary_data_output": True}}
    answer = post_binary(api, name, document, *data)
    arrays, binaries = outputs_of(answer)
    assert_same(arrays, expected)
    assert binaries == expected.keys()
    assert answer.headers["content-type"] == "application/octet-stream"
    head = json.loads(answer.content[: int(answer.headers[HEADER])])
    assert head["id"] == "7"
    assert head["model_name"] == name
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_json_in_and_binary_out(api, name, binary, inputs, expected):
    arrays, binaries = outputs_of(infer(api, name, {"inputs": inputs, "parameters": {"binary_data_output": True}}))
    assert_same(arrays, expected)
    assert binaries == expected.keys()


@pytest.mark.parametrize("default", [None, False, True])
def test_each_output_may_be_binary_or_not(api, name, binary, inputs, expected, default):
    parameters = {} if default is None else {"binary_data_output": default}
    for wanted in expected:
        for own in (None, False, True):
            settings = [{} if own is None or output != wanted else {"binary_data": own} for output in expected]
            outputs = [{"name": n, "parameters": p} for n, p in zip(expected, settings, strict=True)]
            document = {"inputs": inputs, "outputs": outputs, "parameters": parameters}
            arrays, binaries = outputs_of(infer(api, name, document))
            assert_same(arrays, expected)
            assert (wanted in binaries) == bool(default if own is None else own)


def test_a_header_length_without_binary_data(api, name, binary, inputs, expected):
    assert_same(outputs_of(post_binary(api, name, {"inputs": inputs}))[0], expected)


@pytest.mark.parametrize("change", ["less", "more", "size too small", "size too large", "length too large", "length"])
def test_lying_lengths_are_refused(api, name, packed, ours, change):
    inputs, data = packed
    length = {"length too large": "99999999", "length": "-5"}.get(change)
    if change == "less":
        data[-1] = data[-1][:-1]
    elif change == "more":
        data.append(b"\0")
    elif change.startswith("size"):
        inputs[0]["parameters"]["binary_data_size"] += 1 if change == "size too large" else -1
    assert_refused(post_binary(api, name, {"inputs": inputs}, *data, length=length), ours)
