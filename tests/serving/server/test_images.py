"""Pictures by plain URLs."""

import base64
import io

import httpx
import numpy as np
import pytest
from PIL import Image

from serving import Generator
from serving.contract import png
from serving.contract.latents import latents


@pytest.fixture(scope="module")
def generator(digits):
    return Generator.load(digits)


@pytest.fixture(scope="module")
def two(start_module_server, digits, flags_bundle):
    return start_module_server(f"--bundle=cats={digits}", f"--bundle={flags_bundle}")


def decoded(content):
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def array(answer):
    return np.load(io.BytesIO(answer.content))


def test_a_single_picture(client, generator):
    answer = client.get("/v1/images?seed=7&label=dog")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-seed"] == "7"
    assert answer.headers["x-bundle"] == "digits/1"
    assert np.array_equal(decoded(answer.content), generator.sample(1, 7, "dog")[0, ..., 0])


def test_a_sheet_has_the_pictures_row_by_row(client, generator):
    sheet = decoded(client.get("/v1/images?seed=-3&n=6&columns=2").content)
    assert np.array_equal(sheet, png.grid(generator.sample(6, -3), 2)[..., 0])


@pytest.mark.parametrize("query", ["label=1", "label=dog"])
def test_arrays(client, generator, query):
    made = array(client.get(f"/v1/images?seed=11&n=40&format=npy&{query}"))
    assert np.array_equal(made, generator.sample(40, 11, 1))


def test_json_has_each_picture_with_its_seed_and_class(client, generator):
    document = client.get("/v1/images?seed=9&n=4&format=json&truncation=0.5").json()
    assert document["bundle"] == "digits"
    assert [(each["seed"], each["class_name"]) for each in document["images"]] == [
        (9, "cat"),
        (10, "dog"),
        (11, "owl"),
        (12, "cat"),
    ]
    pictures = np.stack([decoded(base64.b64decode(each["png"])) for each in document["images"]])
    assert np.array_equal(pictures, generator.sample(4, 9, truncation=0.5)[..., 0])


def test_without_a_seed_one_is_drawn_and_named(client, generator):
    answers = [client.get("/v1/images?format=npy&label=0") for _ in range(5)]
    seeds = [int(answer.headers["x-seed"]) for answer in answers]
    assert len(set(seeds)) == 5
    for seed, answer in zip(seeds, answers, strict=True):
        assert np.array_equal(array(answer), generator.sample(1, seed, 0))
        assert answer.headers["cache-control"] == "no-store"
        assert "etag" not in answer.headers


@pytest.mark.parametrize("seed", [-(2**63), 2**63 - 64])
def test_the_ends_of_the_seeds(client, generator, seed):
    made = array(client.get(f"/v1/images?seed={seed}&n=64&format=npy"))
    assert np.array_equal(made, generator.sample(64, seed))


def test_a_walk(client, generator):
    made = array(client.get("/v1/interpolate?from=1&to=2&n=9&label=2&format=npy"))
    assert np.array_equal(made, generator.interpolate(1, 2, 9, 2))
    made = array(client.get("/v1/interpolate?from=1&to=2&format=npy"))
    assert np.array_equal(made, generator.interpolate(1, 2, 8))
    document = client.get("/v1/interpolate?from=1&to=2&n=3&format=json").json()
    assert [each["t"] for each in document["images"]] == [0, 0.5, 1]
    strip = decoded(client.get("/v1/interpolate?from=1&to=2&n=5").content)
    assert np.array_equal(strip, png.grid(generator.interpolate(1, 2, 5), 5)[..., 0])


def test_who_has_a_picture_does_not_get_it_again(client):
    first = client.get("/v1/images?seed=7&label=1")
    tag = first.headers["etag"]
    assert "max-age" in first.headers["cache-control"]
    again = client.get("/v1/images?label=1&seed=7", headers={"If-None-Match": f'"x", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for other in ("seed=8&label=1", "seed=7&label=0", "seed=7&label=1&format=npy", "seed=7&label=1&truncation=0.9"):
        assert client.get(f"/v1/images?{other}", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("n=0", "n is '0'; expected a whole number from 1 to 64."),
        ("n=65", "n is '65'; expected a whole number from 1 to 64."),
        ("n=1e1", "n is '1e1'; expected a whole number"),
        ("n=" + "9" * 5000, "expected a whole number"),
        ("seed=9223372036854775808", "expected a whole number from -9223372036854775808"),
        ("seed=9223372036854775807&n=2", "expected a whole number"),
        ("seed=", "seed is ''"),
        ("label=bird", "'bird'"),
        ("label=3", "3"),
        ("truncation=nan", "truncation is 'nan'; expected a number from 0 to 10."),
        ("truncation=-1", "expected a number"),
        ("format=gif", "format is 'gif'; expected one of png, npy, json."),
        ("sed=1", "there is no parameter 'sed'; there are n, seed"),
        ("seed=1&seed=2", "given twice"),
        ("columns=-1", "columns is '-1'"),
    ],
)
def test_bad_queries(client, query, message):
    answer = client.get(f"/v1/images?{query}")
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert len(answer.json()["error"]) < 300


@pytest.mark.parametrize("query", ["to=1", "from=1", "from=1&to=x", "from=1&to=2&n=1", "from=1&to=2&seed=3"])
def test_bad_walks(client, query):
    assert client.get(f"/v1/interpolate?{query}").status_code == 400


def test_what_there_is(client):
    assert client.get("/v1/bundles").json()["bundles"][0] | {"digest": ""} == {
        "name": "digits",
        "version": "1",
        "digest": "",
        "image_shape": [8, 8, 1],
        "latent_dim": 6,
        "class_names": ["cat", "dog", "owl"],
    }


def test_one_of_several_bundles(two, flags_bundle, generator):
    with httpx.Client(base_url=two.url) as client:
        made = array(client.get("/v1/images?seed=1&n=3&bundle=flags&format=npy"))
        assert np.array_equal(made, Generator.load(flags_bundle).sample(3, 1))
        assert np.array_equal(array(client.get("/v1/images?seed=1&n=3&format=npy")), generator.sample(3, 1))
        assert decoded(client.get("/v1/images?seed=1&bundle=flags").content).shape == (8, 8, 3)
        assert client.get("/v1/images?seed=1&bundle=flags&label=1").status_code == 400
        assert client.get("/v1/interpolate?from=1&to=2&bundle=flags").status_code == 200
        missing = client.get("/v1/images?bundle=dogs")
        assert (missing.status_code, missing.json()) == (
            404,
            {"error": "there is no bundle 'dogs'; there are cats, flags."},
        )
        names = ["sampler", "generator", "cats-generator", "cats-sampler", "flags-generator", "flags-sampler"]
        assert [client.get(f"/v2/models/{name}/ready").status_code for name in names] == [200] * 6


@pytest.fixture(scope="module")
def transparent(start_module_server, digits, icons):
    server = start_module_server(f"--bundle={icons}", f"--bundle={digits}")
    with httpx.Client(base_url=server.url) as client:
        yield client


def test_pictures_with_alpha_keep_it_in_every_form(transparent, icons):
    expected = Generator.load(icons).sample(6, 3, labels=1)
    assert expected.shape == (6, 8, 12, 4)
    assert len(np.unique(expected[..., 3])) > 9
    query = "/v1/images?seed=3&label=moon"
    assert np.array_equal(decoded(transparent.get(query).content), expected[0])
    assert np.array_equal(decoded(transparent.get(f"{query}&n=6&columns=3").content), png.grid(expected, 3))
    assert np.array_equal(array(transparent.get(f"{query}&n=6&format=npy")), expected)
    documents = transparent.get(f"{query}&n=6&format=json").json()["images"]
    assert np.array_equal(np.stack([decoded(base64.b64decode(each["png"])) for each in documents]), expected)
    walk = array(transparent.get("/v1/interpolate?from=3&to=4&n=5&label=1&format=npy"))
    assert np.array_equal(walk, Generator.load(icons).interpolate(3, 4, 5, 1))


def test_the_protocol_has_straight_pixels_and_the_images_of_the_network(transparent, icons):
    inputs = [
        {"name": "seed", "datatype": "INT64", "shape": [2], "data": [3, 4]},
        {"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 1]},
    ]
    (output,) = transparent.post("/v2/models/sampler/infer", json={"inputs": inputs}).json()["outputs"]
    generator = Generator.load(icons)
    assert output["shape"] == [2, 8, 12, 4]
    assert output["data"] == generator.sample(2, 3, 1).ravel().tolist()
    z = latents([3, 4], 5)
    inputs[0] = {"name": "z", "datatype": "FP32", "shape": [2, 5], "data": z.ravel().tolist()}
    (output,) = transparent.post("/v2/models/generator/infer", json={"inputs": inputs}).json()["outputs"]
    images = generator.images(z, np.array([1, 1]))
    np.testing.assert_allclose(np.array(output["data"]).reshape(images.shape), images, atol=1e-6)


def test_which_bundles_have_alpha_is_told(transparent):
    icons, digits = transparent.get("/v1/bundles").json()["bundles"]
    assert icons["alpha"] == "premultiplied"
    assert icons["image_shape"] == [8, 12, 4]
    assert "alpha" not in digits
