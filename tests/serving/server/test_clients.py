"""Clients by other people, each in a process of another environment: `make test-clients`.

What they send is in `clients/`; the server knows nothing of them.
"""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from serving import Generator

pytestmark = pytest.mark.clients
ROOT = Path(__file__).parents[3]
BIN = ROOT / ".venv-clients" / "bin"
METADATA = {
    "name": "sampler",
    "versions": ["1"],
    "inputs": [
        {"name": "seed", "datatype": "INT64", "shape": [-1]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "truncation", "datatype": "FP32", "shape": []},
    ],
    "outputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}],
}


@pytest.fixture(scope="module")
def generator(digits):
    return Generator.load(digits, threads=1)


@pytest.fixture
def ask(server):
    """Returns a function that runs a client against the server and returns what it prints."""

    def ask(script):
        program = Path(__file__).parent / "clients" / script
        return json.loads(run([BIN / "python", program, server.url], timeout=60))

    return ask


def run(command, timeout, folder=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-10_000:]
    return done.stdout


def images(generator):
    """What `generator` makes of the latents that all clients send."""
    return generator.images(np.eye(2, 6, dtype=np.float32), np.array([2, 0]))


def assert_close(actual, expected):
    np.testing.assert_allclose(np.reshape(actual, expected.shape), expected, rtol=1e-5, atol=1e-6)


def test_triton(ask, generator):
    answers = ask("triton.py")
    assert [answers[key] for key in ("live", "ready", "model_ready", "version_ready")] == [True] * 4
    assert answers["no_model_ready"] is False
    assert answers["server"]["extensions"] == ["binary_tensor_data"]
    assert answers["metadata"].items() >= METADATA.items()
    expected = generator.sample(3, seed=3)
    np.testing.assert_array_equal(answers["sampler"], expected)
    np.testing.assert_array_equal(answers["columns"], expected)
    np.testing.assert_array_equal(answers["truncated"], generator.sample(1, seed=7, labels=1, truncation=0.5))
    np.testing.assert_array_equal(answers["async"], generator.sample(20, labels=1))
    assert_close(answers["generator_True"], images(generator))
    assert_close(answers["generator_False"], images(generator))
    assert answers["refused"] == ["400", "input label is missing."]


def test_the_client_of_the_openapi_document(ask, generator):
    answers = ask("open_inference_client.py")
    assert answers["server"]["extensions"] == ["binary_tensor_data"]
    assert answers["metadata"].items() >= METADATA.items()
    assert answers["version_metadata"] == answers["metadata"]
    np.testing.assert_array_equal(np.reshape(answers["sampler"], (2, 8, 8, 1)), generator.sample(2, 3, [2, 0]))
    assert_close(answers["generator"], images(generator))
    assert answers["refused"] == {"error": "input seed is missing."}
    assert "there is no model nothing" in answers["unknown"]["error"]


def test_kserve(ask, generator):
    answers = ask("kserve_client.py")
    assert [answers[key] for key in ("live", "ready", "model_ready")] == [True] * 3
    assert answers["no_model_ready"] is False
    for binary in (True, False):
        np.testing.assert_array_equal(answers[f"sampler_{binary}"], generator.sample(3, seed=3))
        assert_close(answers[f"generator_{binary}"], images(generator))
    assert answers["refused"][0] == 400
    assert "inputs is []" in answers["refused"][1]


def test_schemathesis_finds_no_answer_that_the_openapi_document_does_not_allow(server, tmp_path):
    config = Path(__file__).parent / "clients" / "schemathesis.toml"
    command = [BIN / "st", f"--config-file={config}", "run", f"{server.url}/openapi.json", "--seed=1", "--no-color"]
    options = ["--max-examples=30", "--generation-database=none", "--continue-on-failure"]
    # It writes files to where it runs.
    printed = run([*command, *options], 300, tmp_path)
    generated, passed = map(int, re.search(r"(\d+) generated, (\d+) passed", printed).groups())
    assert generated == passed > 500, printed
    assert not [line for line in server.lines if json.loads(line)["status"] >= 500]
