"""Clients that are slow, rude or talk no HTTP."""

import contextlib
import json
import socket
import time
from urllib.parse import urlsplit

import pytest


@pytest.fixture(scope="module")
def strict(start_module_server, digits):
    return start_module_server(f"--bundle={digits}", "--read_timeout_s=0.3", "--max_images=4096", "--max_queue=4096")


@contextlib.contextmanager
def connected(server):
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        yield connection


def received(connection):
    """All that comes until the connection is closed."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def status_and_error(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_a_head_that_is_too_long(strict):
    with connected(strict) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nX: " + b"a" * 20_000)
        assert status_and_error(received(connection))[0] == 431
    with connected(strict) as connection:
        connection.sendall(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n")
        assert status_and_error(received(connection))[0] == 431


def test_what_is_no_http(strict):
    with connected(strict) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert status_and_error(received(connection))[0] == 400


def test_a_head_that_comes_too_slowly(strict):
    with connected(strict) as connection:
        started = time.monotonic()
        connection.sendall(b"GET /v2 HTT")
        status, message = status_and_error(received(connection))
        assert (status, time.monotonic() - started < 5) == (408, True)
        assert "in time" in message


def test_drops_do_not_prolong_a_head(strict):
    with connected(strict) as connection:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in b"GET /v2 HTTP/1.1\r\nX-Slow: " + b"a" * 100:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
                if time.monotonic() - started > 3:
                    break
        assert time.monotonic() - started < 3


def test_a_body_that_comes_too_slowly(strict):
    with connected(strict) as connection:
        connection.sendall(b"POST /v2/models/sampler/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert status_and_error(received(connection))[0] == 408


def test_a_body_that_is_too_large_is_refused_unread(strict):
    with connected(strict) as connection:
        connection.sendall(b"POST /v2/models/sampler/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n{")
        status, message = status_and_error(received(connection))
        assert (status, "expected at most" in message) == (413, True)


def test_a_connection_without_a_request_is_closed(strict):
    with connected(strict) as connection:
        assert received(connection) == b""


def test_a_kept_connection_lives_between_requests(strict):
    with connected(strict) as connection:
        for _ in range(3):
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            time.sleep(0.5)


def test_pipelined_requests_are_answered_in_order(strict):
    with connected(strict) as connection:
        requests = [f"GET /v1/images?seed={seed} HTTP/1.1\r\nHost: x\r\n" for seed in range(20)]
        requests[-1] += "Connection: close\r\n"
        connection.sendall("".join(f"{request}\r\n" for request in requests).encode())
        answer = received(connection)
    seeds = [int(part.split(b"\r\n")[0]) for part in answer.split(b"x-seed: ")[1:]]
    assert seeds == list(range(20))


def test_who_does_not_take_the_answer_is_cut_off(strict):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    with connection:
        parts = urlsplit(strict.url)
        connection.connect((parts.hostname, parts.port))
        connection.settimeout(10)
        connection.sendall(100 * b"GET /v1/images?n=4096&seed=1&format=npy HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(3)
        # What the system has taken in for both sides still comes, and then no more.
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b"200 OK") < 100
    with connected(strict) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in received(connection)


def test_who_leaves_is_forgotten(strict):
    for _ in range(20):
        with connected(strict) as connection:
            connection.sendall(b"GET /v1/images?n=4096&seed=7&format=npy HTTP/1.1\r\nHost: x\r\n\r\n")
    statuses = []
    while len(statuses) < 20:
        statuses = [json.loads(line)["status"] for line in strict.lines if "seed=7&" in line]
    assert 499 in statuses  # what nobody waits for any more is not run
    with connected(strict) as connection:
        connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in received(connection)
