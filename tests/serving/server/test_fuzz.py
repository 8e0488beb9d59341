"""Malformed inference requests, drawn from a fixed seed: each is refused in one sentence, or was valid after all."""

import contextlib
import copy
import json
import math
import random
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from serving import Generator
from serving.contract.latents import latents
from serving.contract.pixels import to_pixels

HEADER = "Inference-Header-Content-Length"
DTYPES = {"z": "<f4", "seed": "<i8", "label": "<i8", "truncation": "<f4"}
DATATYPES = {"<f4": "FP32", "<i8": "INT64"}
JUNK = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2.5,
        1e308,
        -1e39,
        2**31,
        2**63,
        -(2**63) - 1,
        10**30,
        math.nan,
        math.inf,
        -math.inf,
    ),
    *("", "a", "FP32", "INT64", "BYTES", "seed", "z", "label", "\0", "\N{SNOWMAN}" * 50, "x" * 10_000),
    *([], {}, [[]], [{}], [None], [1, [2]], [[1, 2], [3]], {"name": "seed"}, [2**63], [0.5] * 100, [1] * 10_000),
]
# In place of a number, as text: JSON of Python's own, and numbers that no type holds.
TOKENS = ["NaN", "-Infinity", "1e999", "-1e999", "1" * 5000, "0x10", "01", "1.", "[" * 2000, "{" * 50_000, '"\\ud800"']


@pytest.fixture(scope="module")
def generator(digits):
    return Generator.load(digits, threads=1)


def document_of(rng, model):
    """A valid request, and which of its arrays are to be binary."""
    count = rng.randint(1, 4)
    arrays = {"label": [rng.randrange(3) for _ in range(count)]}
    if model == "generator":
        arrays["z"] = [[rng.gauss(0, 1) for _ in range(6)] for _ in range(count)]
    else:
        arrays["seed"] = [rng.randrange(-(2**63), 2**63) for _ in range(count)]
        if rng.random() < 0.5:
            arrays["truncation"] = rng.random()
    names = rng.sample(sorted(arrays), len(arrays))
    document, tail = {"inputs": []}, b""
    for name in names:
        array = np.array(arrays[name], DTYPES[name])
        tensor = {"name": name, "datatype": DATATYPES[DTYPES[name]], "shape": list(array.shape)}
        if rng.random() < 0.4:
            tail += array.tobytes()
            tensor["parameters"] = {"binary_data_size": array.nbytes}
        else:
            tensor["data"] = array.ravel().tolist()
        document["inputs"].append(tensor)
    if rng.random() < 0.5:
        output = "image" if model == "generator" else "pixels"
        document["outputs"] = [{"name": output, "parameters": {"binary_data": rng.random() < 0.5}}]
    if rng.random() < 0.3:
        document |= {"id": "a", "parameters": {"binary_data_output": rng.random() < 0.5}}
    return document, tail


def places(value):
    """All (container, key) within a JSON value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


def change_value(rng, document):
    holder, key = rng.choice(list(places(document)))
    holder[key] = copy.deepcopy(rng.choice(JUNK))


def remove_value(rng, document):
    holder, key = rng.choice(list(places(document)))
    del holder[key]


def repeat_value(rng, document):
    lists = [holder[key] for holder, key in places(document) if isinstance(holder[key], list) and holder[key]]
    if lists:
        chosen = rng.choice(lists)
        chosen.append(copy.deepcopy(rng.choice(chosen)))


def exchange_values(rng, document):
    (first, one), (second, other) = rng.choices(list(places(document)), k=2)
    first[one], second[other] = copy.deepcopy(second[other]), copy.deepcopy(first[one])


def change_token(rng, head, tail):
    numbers = list(re.finditer(rb"-?\d[\d.e+-]*", head))
    if not numbers:
        return head, tail
    chosen = rng.choice(numbers)
    return head[: chosen.start()] + rng.choice(TOKENS).encode() + head[chosen.end() :], tail


def change_bytes(rng, head, tail):
    body = bytearray(head + tail)
    for _ in range(rng.choice([1, 1, 2, 8])):
        where = rng.randrange(len(body))
        body[where : where + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        body = body or bytearray(b"{")
    return bytes(body[: len(head)]), bytes(body[len(head) :])


def change_floats(rng, head, tail):
    special = np.array([math.nan, math.inf, -math.inf, 3e38], "<f4")
    return head, tail[:-4] + rng.choice(special).tobytes() if tail else tail


def change_tail(rng, head, tail):
    return head, rng.choice([tail[:-1], tail + b"\0", b"", tail * 2, tail + rng.randbytes(4000), tail[::-1]])


def cut_head(rng, head, tail):
    return head[: rng.randrange(len(head))], tail


IN_DOCUMENT = [change_value, change_value, change_value, remove_value, repeat_value, exchange_values]
IN_BODY = [change_token, change_bytes, change_bytes, change_floats, change_tail, cut_head]


def mutant_of(rng, model):
    """A body, and the value of the length header or None."""
    document, tail = document_of(rng, model)
    if rng.random() < 0.6:
        for _ in range(rng.choice([1, 1, 2, 4])):
            if document:
                rng.choice(IN_DOCUMENT)(rng, document)
        head = json.dumps(document).encode()
    else:
        head, tail = rng.choice(IN_BODY)(rng, json.dumps(document).encode(), tail)
    length = str(len(head)) if tail or rng.random() < 0.2 else None
    if rng.random() < 0.05:
        length = rng.choice(["", "0", "-1", "1", "x", "1e3", "9" * 30, str(len(head) + len(tail) + 1), "\xb2", "+5"])
    return head + tail, length


def request_of(rng, model, body, length):
    """Bytes to send; whether they are a whole request."""
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
    if length is not None:
        head += f"{HEADER}: {length}\r\n".encode("latin-1")
    kind = rng.random()
    if kind < 0.9:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, True
    if kind < 0.94:  # a number of bytes that is not that of the body, or no number
        wrong = rng.choice([b"%d" % (len(body) + 7), b"%d" % (len(body) // 2), b"-1", b"x", b"9" * 25, b"1, 2", b""])
        return head + b"Content-Length: " + wrong + b"\r\n\r\n" + body, False
    chunks = [body[start : start + 100] for start in range(0, len(body), 100)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    if kind < 0.97:
        return head + chunked, True
    return head + rng.choice([chunked[: len(chunked) // 2], b"zz\r\n" + chunked, b"-5\r\n", b"f" * 20 + b"\r\n"]), False


def ask(server, request, whole=True):
    """Sends a request, and that there is no more of it if it isn't whole; returns (status, headers, body) or None."""
    parts = urlsplit(server.url)
    answer = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        # Connections are reset that are closed before all was read; what came before counts.
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
            if not whole:
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    if not answer:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body[: int(headers["content-length"])]


def assert_one_sentence(body):
    document = json.loads(body)
    assert document.keys() == {"error"}
    assert 5 < len(document["error"]) < 400
    assert "\n" not in document["error"]
    assert "Traceback" not in document["error"]


def arrays_of(body, length):
    """The inputs of a request that was understood."""
    head = len(body) if length is None else int(length)
    document, tail, arrays = json.loads(body[:head]), body[head:], {}
    for tensor in document["inputs"]:
        name = tensor["name"]
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            arrays[name] = np.array(tensor["data"]).astype(DTYPES[name])
        else:
            arrays[name], tail = np.frombuffer(tail[:size], DTYPES[name]), tail[size:]
    assert tail == b""
    return arrays


def assert_right(generator, model, request, headers, content):
    """The answer of a request that was valid after all is what its inputs make."""
    arrays = arrays_of(*request)
    labels = arrays["label"].ravel()
    if model == "generator":
        z = arrays["z"].reshape(-1, 6)
    else:
        z = latents(arrays["seed"].ravel(), 6) * arrays.get("truncation", np.float32(1)).reshape(-1)[:1]
    expected = generator.images(z, labels)
    head = int(headers.get(HEADER.lower(), len(content)))
    (output,) = json.loads(content[:head])["outputs"]
    dtype = {"FP32": "<f4", "UINT8": "u1"}[output["datatype"]]
    actual = np.frombuffer(content[head:], dtype) if "data" not in output else np.array(output["data"], dtype)
    if model == "sampler":
        expected = to_pixels(expected)
    assert output["shape"] == list(expected.shape)
    np.testing.assert_allclose(actual.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def resident_mb(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_whatever_comes_is_refused_or_answered_right(start_server, digits, generator, count, repeats):
    count = repeats(count)
    server = start_server(f"--bundle={digits}", "--max_images=16", "--access_log=false")
    server.wait_until_ready()
    rng = random.Random(count)
    counts = {"right": 0, "refused": 0, "silent": 0}
    for number in range(count):
        if number == 1000:
            early_mb = resident_mb(server)
        model = rng.choice(["sampler", "generator"])
        body, length = mutant_of(rng, model)
        request, whole = request_of(rng, model, body, length)
        answer = ask(server, request, whole)
        if answer is None:
            # Who sends half a request and closes may get no answer.
            assert not whole, request
            counts["silent"] += 1
            continue
        status, headers, content = answer
        assert 200 <= status < 500, (request, content)
        if status == 200:
            counts["right"] += 1
            if whole:
                assert_right(generator, model, (body, length), headers, content)
        else:
            assert status in (400, 408, 413), (request, content)
            assert headers["content-type"] == "application/json"
            assert_one_sentence(content)
            counts["refused"] += 1
    assert min(counts.values()) > 0, counts
    assert counts["refused"] > count / 2, counts
    if count > 1000:
        assert resident_mb(server) < early_mb + 10, counts
    document = {"inputs": [tensor("seed", [5, 6, 7]), tensor("label", [0, 1, 2])]}
    body = json.dumps(document).encode()
    request = b"POST /v2/models/sampler/infer HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    status, _, content = ask(server, request + body)
    assert status == 200
    pixels = np.array(json.loads(content)["outputs"][0]["data"], np.uint8).reshape(3, 8, 8, 1)
    np.testing.assert_array_equal(pixels, generator.sample(3, seed=5))
    assert server.end() == 0
    assert not [line for line in server.errors if "Traceback" in line or "failed" in line]


def tensor(name, data):
    return {"name": name, "datatype": "INT64", "shape": [len(data)], "data": data}


@pytest.mark.parametrize(
    ("model", "name", "shape", "data", "message"),
    [
        ("generator", "z", [1, 6], [3e38, -3e38, 3e38, -3e38, 3e38, -3e38], "images have values that are NaN"),
        ("sampler", "truncation", [], [3e38], "truncation is 3e+38; expected a number from 0 to 10."),
        ("sampler", "truncation", [], [-1], "truncation is -1"),
    ],
)
def test_numbers_that_no_picture_can_be_made_of(client, model, name, shape, data, message):
    inputs = [tensor("label", [1]), {"name": name, "datatype": "FP32", "shape": shape, "data": data}]
    inputs += [tensor("seed", [1])] if model == "sampler" else []
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
    assert answer.status_code == 400
    assert message in answer.json()["error"]
