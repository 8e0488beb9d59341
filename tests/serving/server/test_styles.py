"""Truncation of styles over HTTP: requests of different truncation are answered at the same time, each with its own."""

import asyncio
import concurrent.futures
import io

import httpx
import numpy as np
import pytest

from serving import Generator
from serving.contract.latents import latents
from serving.server.batching import Batcher, Job


@pytest.fixture(scope="module")
def generator(styled):
    return Generator.load(styled, threads=1)


@pytest.fixture(scope="module")
def url(start_module_server, styled):
    return start_module_server(f"--bundle={styled}", "--max_delay_ms=20").url


@pytest.fixture
def client(url):
    with httpx.Client(base_url=url) as client:
        yield client


def pixels(client, path, **query):
    answer = client.get(path, params={**query, "format": "npy"})
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content))


def test_requests_of_different_truncation_in_flight(client, generator):
    wanted = [(seed, label, psi) for seed in range(8) for label, psi in ((0, 1.0), (1, 0.5), (2, 0.0), (0, 0.7))]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda w: pixels(client, "/v1/images", n=3, seed=w[0], label=w[1], truncation=w[2]), wanted)
        for (seed, label, psi), answer in zip(wanted, answers, strict=True):
            expected = generator.sample(3, seed=seed, labels=label, truncation=psi)
            np.testing.assert_array_equal(answer, expected, err_msg=f"{seed} {label} {psi}")
    assert not np.array_equal(generator.sample(3), generator.sample(3, truncation=0.5))


def test_one_batch_holds_them_all(generator):
    class Noting:
        chunk, latent_dim, info, batches = generator.chunk, generator.latent_dim, generator.info, []

        def images(self, z, condition, *truncation):
            self.batches.append(len(z))
            return generator.images(z, condition, *truncation)

    noting = Noting()
    z = latents(range(5), 5)

    def job(psi, **given):
        count = len(next(iter(given.values())))
        return Job(noting, np.zeros(count, np.int64), np.copy, truncation=psi, pixels=True, **given)

    async def together():
        batcher = Batcher(asyncio.get_running_loop(), max_delay_s=0.2, max_batch=10)
        try:
            jobs = [job(0.5, seeds=np.arange(2)), job(1.0, seeds=np.arange(3)), job(0.2, z=z)]
            return await asyncio.gather(*map(batcher.run, jobs))
        finally:
            await asyncio.to_thread(batcher.close)

    half, plain, of_latents = asyncio.run(together())
    assert noting.batches == [10]
    np.testing.assert_array_equal(half, generator.sample(2, labels=0, truncation=0.5))
    np.testing.assert_array_equal(plain, generator.sample(3, labels=0))
    np.testing.assert_array_equal(of_latents, generator.decode(z, 0, truncation=0.2))


def test_a_walk_is_truncated(client, generator):
    query = {"from": 3, "to": 4, "n": 5, "label": 1, "truncation": 0.4}
    expected = generator.interpolate(3, 4, 5, labels=1, truncation=0.4)
    np.testing.assert_array_equal(pixels(client, "/v1/interpolate", **query), expected)


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_the_protocols_generator_takes_it_too(client, generator, truncation):
    described = client.get("/v2/models/generator").json()["inputs"]
    assert described[-1] == {"name": "truncation", "datatype": "FP32", "shape": []}
    z = latents(range(2), 5)
    inputs = [
        {"name": "z", "datatype": "FP32", "shape": [2, 5], "data": z.ravel().tolist()},
        {"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 2]},
    ]
    if truncation is not None:
        inputs.append({"name": "truncation", "datatype": "FP32", "shape": [1], "data": [truncation]})
    (image,) = client.post("/v2/models/generator/infer", json={"inputs": inputs}).json()["outputs"]
    psi = None if truncation is None else np.array([truncation], np.float32)
    np.testing.assert_allclose(
        np.reshape(image["data"], image["shape"]), generator.images(z, np.array([0, 2]), psi), atol=1e-6
    )


def test_generators_without_styles_take_none(start_module_server, digits):
    with httpx.Client(base_url=start_module_server(f"--bundle={digits}").url) as client:
        names = [each["name"] for each in client.get("/v2/models/generator").json()["inputs"]]
        assert names == ["z", "label"]
        assert "truncation" not in client.get("/v1/bundles").json()["bundles"][0]


def test_bundles_and_documents_say_so(client):
    assert client.get("/v1/bundles").json()["bundles"][0]["truncation"] == "style"
    operation = client.get("/openapi.json").json()["paths"]["/v2/models/generator/infer"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]
    assert "truncation" in [
        each["properties"]["name"]["const"] for each in schema["schema"]["properties"]["inputs"]["items"]["oneOf"]
    ]
    assert [each["name"] for each in schema["example"]["inputs"]] == ["z", "label"]
    assert client.get("/v1/images?truncation=11").status_code == 400
