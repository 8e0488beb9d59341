"""A generator of attributes: pictures by plain URLs, and by the protocol."""

import asyncio
import base64
import io
import json

import httpx
import numpy as np
import pytest

from serving import Generator
from serving.contract import png
from serving.contract.latents import latents
from serving.server.batching import Batcher, Job
from serving.server.catalog import load
from tests.serving.conftest import FACES

TYPICAL = [0, 1, 41.5]


@pytest.fixture(scope="module")
def generator(faces):
    return Generator.load(faces, threads=1)


@pytest.fixture(scope="module")
def url(start_module_server, faces, digits):
    return start_module_server(f"--bundle={faces}", f"--bundle={digits}").url


@pytest.fixture
def client(url):
    with httpx.Client(base_url=url) as client:
        yield client


def array(answer):
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content))


def test_what_there_is_to_choose_from(client):
    faces, digits = client.get("/v1/bundles").json()["bundles"]
    assert faces["attributes"] == [each.to_dict() for each in FACES.attributes]
    assert faces["class_names"] == []
    assert "attributes" not in digits


def test_pictures_by_url(client, generator):
    address = "/v1/images?seed=7&n=40&format=npy"
    typical = array(client.get(address))
    assert np.array_equal(typical, generator.sample(40, 7))
    older = array(client.get(f"{address}&attributes=male=1,age=80"))
    assert np.array_equal(older, generator.sample(40, 7, attributes={"male": 1, "age": 80}))
    encoded = array(client.get(address, params={**httpx.QueryParams(address[11:]), "attributes": "male=1, age=80"}))
    assert np.array_equal(encoded, older)
    sheet = client.get("/v1/images?seed=7&n=4&attributes=age=16").content
    assert sheet == png.encode(png.grid(generator.sample(4, 7, attributes={"age": 16}), 2))


def test_json_says_what_each_picture_is_of(client, generator):
    document = client.get("/v1/images?seed=7&n=2&format=json&attributes=age=16").json()
    values = {"male": 0, "smiling": 1, "age": 16}
    assert [(each["seed"], each["attributes"]) for each in document["images"]] == [(7, values), (8, values)]
    picture = generator.sample(1, 8, attributes={"age": 16})[0]
    assert base64.b64decode(document["images"][1]["png"]) == png.encode(picture)


def test_a_walk_may_go_through_attributes(client, generator):
    ages = {"age": np.linspace(16, 80, 5), "male": 1}
    walk = array(client.get("/v1/interpolate?from=1&to=2&n=5&format=npy&attributes=age=16..80,male=1"))
    assert np.array_equal(walk, generator.interpolate(1, 2, 5, attributes=ages))
    walk = array(client.get("/v1/interpolate?from=1&to=2&n=5&format=npy"))
    assert np.array_equal(walk, generator.interpolate(1, 2, 5))
    document = client.get("/v1/interpolate?from=1&to=1&n=3&format=json&attributes=age=80..16").json()
    assert [each["attributes"]["age"] for each in document["images"]] == [80, 48, 16]


def test_other_attributes_are_another_picture_to_a_cache(client):
    tags = {
        client.get(f"/v1/images?seed=7{more}").headers["etag"]
        for more in ("", "&attributes=age=30", "&attributes=age=31", "&attributes=male=1")
    }
    assert len(tags) == 4


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("attributes=age=90", "attribute 'age' is 90; expected a number from 16 to 80."),
        ("attributes=age=nan", "attributes has 'age=nan'; expected a name, = and a number"),
        ("attributes=male=2", "attribute 'male' is 2; expected a number from 0 to 1, or a truth value."),
        ("attributes=Male=1", "there is no attribute 'Male'; there are male, smiling, age."),
        ("attributes=male", "attributes ends with 'male'; expected a name, = and a number, such as male=1,age=30."),
        ("attributes=age=16..80", "attribute 'age' goes from one number to another; only a walk can do that."),
        ("attributes=", "attributes ends with ''"),
        ("label=1", "labels were passed, but this generator takes attributes (male, smiling, age); leave them out."),
        ("bundle=digits&attributes=age=16", "attributes were passed, but this generator takes labels; leave them out."),
        ("attributes=age=16&attributes=age=17", "given twice"),
        ("attributes=" + "x" * 5000, "attributes ends with"),
    ],
)
def test_mistakes_are_told_in_one_sentence(client, query, said):
    answer = client.get(f"/v1/images?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert len(answer.json()["error"]) < 300


def infer(client, model, **inputs):
    kinds = {"seed": "INT64", "label": "INT64"}
    tensors = [
        {
            "name": name,
            "datatype": kinds.get(name, "FP32"),
            "shape": list(np.shape(data)),
            "data": np.ravel(data).tolist(),
        }
        for name, data in inputs.items()
    ]
    return client.post(f"/v2/models/{model}/infer", json={"inputs": tensors})


def test_the_protocol_takes_all_of_them_in_order(client, generator):
    values = np.array([[1, 0, 16], [0, 1, 80]], np.float32)
    z, expected = latents([3, 4], 6), generator.sample(2, 3, attributes=values)
    (pixels,) = infer(client, "sampler", seed=[3, 4], attributes=values).json()["outputs"]
    assert np.array_equal(np.reshape(pixels["data"], pixels["shape"]), expected)
    (image,) = infer(client, "generator", z=z, attributes=values).json()["outputs"]
    np.testing.assert_allclose(np.reshape(image["data"], image["shape"]), generator.images(z, values), atol=1e-6)


def test_the_protocol_takes_them_as_bytes(client, generator):
    values, seed = np.array([[1, 0, 16], [0, 1, 80]], "<f4"), np.array([3, 4], "<i8")
    head = json.dumps(
        {
            "inputs": [
                {"name": "seed", "datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": 16}},
                {"name": "attributes", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}},
            ]
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = client.post("/v2/models/sampler/infer", content=head + seed.tobytes() + values.tobytes(), headers=headers)
    (pixels,) = answer.json()["outputs"]
    assert np.array_equal(np.reshape(pixels["data"], pixels["shape"]), generator.sample(2, 3, attributes=values))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"seed": [3]}, "input attributes is missing."),
        ({"seed": [3], "label": [1]}, 'input "label" is not one of the model\'s: seed, attributes, truncation.'),
        ({"seed": [3], "attributes": [[0, 1]]}, 'input attributes has the shape [1, 2]; expected ["n", 3].'),
        ({"seed": [3], "attributes": [TYPICAL] * 2}, "the inputs have batches of 1 and 2; expected equal ones."),
        ({"seed": [3], "attributes": [[0, 1, 90]]}, "attribute 'age' is 90; expected a number from 16 to 80."),
        ({"seed": [3], "attributes": [[-1, 1, 30]]}, "attribute 'male' is -1; expected a number from 0 to 1"),
    ],
)
def test_the_protocol_refuses_what_the_files_would(client, inputs, said):
    answer = infer(client, "sampler", **inputs)
    assert answer.status_code == 400
    assert said in answer.json()["error"].replace("'n'", '"n"')


def test_the_models_say_what_they_take(faces):
    catalog = load([str(faces)], None, "float32")
    for name in ("generator", "sampler"):
        assert catalog.model(name, None).inputs[1].to_dict() == {
            "name": "attributes",
            "datatype": "FP32",
            "shape": [-1, 3],
        }
    assert catalog.model("generator", None).numbers == 6 + 3


def test_requests_in_one_batch_keep_their_attributes(generator):
    rng = np.random.default_rng(0)
    wanted = [
        (int(seed), rng.uniform([0, 0, 16], [1, 1, 80], (int(n), 3)).astype(np.float32))
        for seed, n in zip(rng.integers(0, 2**40, 60), rng.integers(1, 40, 60), strict=True)
    ]

    async def main():
        batcher = Batcher(asyncio.get_running_loop(), threads=2, max_queue=10_000, timeout_s=60)

        def job(seed, values):
            seeds = seed + np.arange(len(values))
            return Job(generator, values, lambda images: images.copy(), seeds=seeds, pixels=True)

        try:
            return await asyncio.gather(*(batcher.run(job(*each)) for each in wanted))
        finally:
            await asyncio.to_thread(batcher.close)

    for (seed, values), answer in zip(wanted, asyncio.run(main()), strict=True):
        assert np.array_equal(answer, generator.sample(len(values), seed, attributes=values))


def test_the_document_has_examples_that_work(client):
    document = client.get("/openapi.json").json()
    for path in ("/v1/images", "/v1/interpolate"):
        (parameter,) = (each for each in document["paths"][path]["get"]["parameters"] if each["name"] == "attributes")
        assert "male from 0 to 1, smiling from 0 to 1, age from 16 to 80" in parameter["description"]
        assert parameter["schema"]["examples"] == ["male=0,smiling=1,age=41.5"]
        given = {"attributes": parameter["schema"]["examples"][0], "from": 1, "to": 2, "seed": 1}
        known = [each["name"] for each in document["paths"][path]["get"]["parameters"]]
        assert client.get(path, params={name: given[name] for name in known if name in given}).status_code == 200
    for name in ("generator", "sampler"):
        body = document["paths"][f"/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]
        assert client.post(f"/v2/models/{name}/infer", json=body["example"]).status_code == 200
        kinds = {
            each["properties"]["name"]["const"]: each
            for each in body["schema"]["properties"]["inputs"]["items"]["oneOf"]
        }
        numbers = kinds["attributes"]["properties"]["data"]["items"]
        assert (numbers["minimum"], numbers["maximum"]) == (0, 80)
    page = client.get("/docs").text
    assert "such as male=0,smiling=1,age=41.5" in page
