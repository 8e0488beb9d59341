"""From start to end: readiness, reload, leaving, workers."""

import concurrent.futures
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving import Generator
from tests.processes import ROOT, children, wait_for


def array(answer):
    return np.load(io.BytesIO(answer.content))


def test_sigterm_with_nothing_to_do(start_server, digits):
    server = start_server(f"--bundle={digits}")
    server.wait_until_ready()
    assert server.end() == 0


def test_ctrl_c_ends_it_too(start_server, digits):
    server = start_server(f"--bundle={digits}")
    server.wait_until_ready()
    server.signal(signal.SIGINT)
    assert server.process.wait(10) == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("moment", ["^serving at", "^ready: "])
def test_ctrl_c_adds_two_lines_at_most(start_server, digits, workers, moment):
    """A terminal sends it to all processes."""
    server = start_server(f"--bundle={digits}", f"--workers={workers}")
    server.wait_for(moment, workers if moment == "^ready: " else 1)
    with half_a_request(server) if moment == "^ready: " else contextlib.nullcontext():
        before = len(server.errors)
        for _ in range(2):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                for pid in (*children(server.process), server.process.pid):
                    os.kill(pid, signal.SIGINT)
                    time.sleep(0.05)  # the supervisor may be reached when the workers have ended of it
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(1)
        assert server.process.wait(10) in (0, -signal.SIGINT)
        server.end()
    added = [line for line in server.errors[before:] if not line.startswith("ready: ")]  # it may be so meanwhile
    assert len(added) <= 2


def test_sigterm_during_the_start(start_server, digits):
    server = start_server(f"--bundle={digits}")
    assert server.end() in (0, -signal.SIGTERM)  # the latter before Python could take signals


def test_leaving_is_seen_before_the_end_and_nothing_is_lost(start_server, digits):
    generator = Generator.load(digits)
    server = start_server(f"--bundle={digits}", "--max_images=4096", "--max_queue=100000", "--timeout_s=60")
    server.wait_until_ready()
    limits = httpx.Limits(max_connections=200)
    with (
        httpx.Client(base_url=server.url, timeout=60, limits=limits) as client,
        concurrent.futures.ThreadPoolExecutor(20) as pool,
    ):
        asked = [(seed, pool.submit(client.get, f"/v1/images?n=4096&seed={seed}&format=npy")) for seed in range(20)]
        time.sleep(0.3)
        server.signal(signal.SIGTERM)
        while (ready := client.get("/v2/health/ready")).status_code == 200:
            pass  # until the signal has arrived
        assert (ready.status_code, ready.headers["connection"]) == (503, "close")
        assert ready.json()["ready"] is False
        for seed, answer in asked:
            assert np.array_equal(array(answer.result()), generator.sample(4096, seed))
    assert server.end() == 0


@contextlib.contextmanager
def half_a_request(server):
    """Has the server wait for a body."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(b"POST /v2/models/sampler/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        time.sleep(0.2)
        yield connection


def test_a_second_signal_ends_at_once(start_server, digits):
    server = start_server(f"--bundle={digits}", "--drain_s=60")
    server.wait_until_ready()
    with half_a_request(server):
        server.signal(signal.SIGTERM)
        time.sleep(0.6)
        assert server.process.poll() is None
        server.signal(signal.SIGTERM)
        assert server.process.wait(5) == 0
    server.end()
    assert server.errors[2:] == ["given up, since they were not answered in time: 1 requests\n"]


def test_a_signal_to_all_processes_at_once_is_one_signal(start_server, digits):
    """As a terminal's Ctrl-C and systemd's stop are; a supervisor hands it on besides."""
    server = start_server(f"--bundle={digits}", "--workers=2")
    server.wait_for("^ready: ", 2)
    with half_a_request(server) as connection:
        for pid in (*children(server.process), server.process.pid):
            os.kill(pid, signal.SIGINT)
        time.sleep(1.5)
        connection.sendall(b'{"inputs":')
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert server.process.wait(10) == 0


def test_a_second_signal_ends_the_workers_at_once(start_server, digits):
    server = start_server(f"--bundle={digits}", "--drain_s=60", "--workers=2")
    server.wait_for("^ready: ", 2)
    with half_a_request(server):
        server.signal(signal.SIGTERM)
        time.sleep(1)
        assert server.process.poll() is None
        server.signal(signal.SIGTERM)
        assert server.process.wait(5) == 0


@pytest.mark.parametrize("drain_s", [0, 0.5, 1])
def test_drain_s_bounds_the_wait(start_server, digits, drain_s):
    server = start_server(f"--bundle={digits}", f"--drain_s={drain_s}")
    server.wait_until_ready()
    with half_a_request(server):
        started = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - started < drain_s + 3


def test_a_bundle_that_cannot_be_loaded_ends_the_start(start_server, tmp_path):
    server = start_server(f"--bundle={tmp_path}")
    assert server.process.wait(20) == 1
    assert "is no bundle" in server.wait_for("^error: .*")


def test_a_reload_exchanges_the_models(start_server, digits, flags_bundle, tmp_path):
    shutil.copytree(digits, tmp_path / "pictures" / "1")
    server = start_server(f"--repository={tmp_path}")
    server.wait_until_ready()
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/v2/models/sampler").json()["versions"] == ["1"]
        shutil.copytree(flags_bundle, tmp_path / "pictures" / "2")
        server.signal(signal.SIGHUP)
        server.wait_for("^ready: ", 2)
        assert client.get("/v2/models/sampler").json()["versions"] == ["1", "2"]
        assert array(client.get("/v1/images?seed=1&format=npy")).shape == (1, 8, 8, 3)
    assert server.end() == 0


def test_a_reload_that_fails_changes_nothing(start_server, digits, tmp_path):
    bundle = shutil.copytree(digits, tmp_path / "digits")
    server = start_server(f"--bundle={bundle}")
    server.wait_until_ready()
    with (bundle / "generator.onnx").open("ab") as file:
        file.write(b"damage")
    server.signal(signal.SIGHUP)
    assert "checksum" in server.wait_for("^reload failed.*").lower()
    with httpx.Client(base_url=server.url) as client:
        assert np.array_equal(
            array(client.get("/v1/images?seed=1&n=3&format=npy")), Generator.load(digits).sample(3, 1)
        )


def test_a_broken_bundle_of_a_repository_is_named_and_left_out(start_server, digits, tmp_path):
    for name in ("bad", "good"):
        shutil.copytree(digits, tmp_path / name / "1")
    (tmp_path / "bad" / "1" / "generator.onnx").write_bytes(b"half copied")
    server = start_server(f"--repository={tmp_path}")
    server.wait_until_ready()
    assert len([line for line in server.errors if line.startswith(f"left out: {tmp_path}/bad/1/generator.onnx")]) == 1
    with httpx.Client(base_url=server.url) as client:
        assert [each["name"] for each in client.get("/v1/bundles").json()["bundles"]] == ["good"]
        assert client.get("/v1/images").status_code == 200
        shutil.copytree(digits, tmp_path / "new" / "1")
        (tmp_path / "new" / "2").mkdir()
        server.signal(signal.SIGHUP)
        server.wait_for("^ready: ", 2)
        assert [each["name"] for each in client.get("/v1/bundles").json()["bundles"]] == ["good", "new"]
        assert len([line for line in server.errors if line.startswith(f"left out: {tmp_path}/new/2")]) == 1
        shutil.rmtree(tmp_path)
        server.signal(signal.SIGHUP)
        server.wait_for("^reload failed, the models stay as they are: .* is no folder")
        assert client.get("/v1/images?bundle=new").status_code == 200
    assert server.end() == 0


def patched(patch, digits, port, workers):
    """The command of a server whose process runs some lines first."""
    code = f"import sys, time, serving.__main__ as main\n{patch}\nmain.run()"
    return [sys.executable, "-c", code, f"--port={port}", f"--bundle={digits}", f"--workers={workers}"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("patch", "error"),
    [
        (
            "import serving.server.catalog\n"
            "def load(*arguments): raise MemoryError('no more')\n"
            "serving.server.catalog.load = load",
            "the models can't be loaded (MemoryError('no more')).",
        ),
        ("sys.modules['uvicorn'] = None", "uvicorn is missing; pip install 'mirage-gan[serve]'."),
    ],
)
def test_whatever_keeps_it_from_starting_is_one_sentence(digits, free_port, patch, error, workers):
    command = patched(patch, digits, free_port, workers)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [f"error: {error}"]


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_does_not_wait_for_a_load(digits, free_port, workers):
    patch = "import serving.server.catalog\nserving.server.catalog.load = lambda *arguments: time.sleep(100)"
    with subprocess.Popen(patched(patch, digits, free_port, workers), cwd=ROOT, stderr=subprocess.PIPE) as process:
        wait_for(lambda: answers_health(free_port), process=process)
        time.sleep(0.5)  # the other worker, too
        process.terminate()
        assert process.wait(10) == 0
        assert process.stderr.read().count(b"\n") == 1


def answers_health(port):
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/live", timeout=1).status_code == 200
    return False


def test_environment_variables_of_others_change_nothing(start_server, digits, tmp_path, monkeypatch):
    """uvicorn's and prometheus-client's: a folder that several programs share, or that there isn't."""
    for name in ("WEB_CONCURRENCY", "PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir", "FORWARDED_ALLOW_IPS"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    server = start_server(f"--bundle={digits}")
    server.wait_until_ready()
    with httpx.Client(base_url=server.url) as client:
        client.get("/v2/health/live", headers={"X-Forwarded-For": "192.0.2.1", "X-Request-ID": "forwarded"})
        assert values(client)["mirage_ready",] == 1
    assert server.end() == 0
    assert [json.loads(line)["client"] for line in server.lines if "forwarded" in line] == ["127.0.0.1"]


def test_reloads_under_load_answer_each_with_its_pictures(start_server, digits):
    generator = Generator.load(digits)
    server = start_server(f"--bundle={digits}", "--noaccess_log")
    server.wait_until_ready()
    stop = threading.Event()

    def ask(worker):
        asked = 0
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not (stop.is_set() and asked):
                seed = worker * 10**6 + asked
                answer = client.get(f"/v1/images?n=3&seed={seed}&format=npy")
                assert answer.status_code == 200
                assert np.array_equal(array(answer), generator.sample(3, seed))
                asked += 1
        return asked

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, worker) for worker in range(4)]
        for number in range(2, 12):
            server.signal(signal.SIGHUP)
            server.wait_for("^ready: ", number)
        stop.set()
        assert min(each.result() for each in asked) > 0
    assert server.end() == 0


def values(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_workers_share_the_port_and_the_metrics(start_server, digits):
    generator = Generator.load(digits)
    server = start_server(f"--bundle={digits}", "--workers=2", "--threads=1")
    server.wait_for("^ready: ", 2)

    def ask(seed):
        with httpx.Client(base_url=server.url, timeout=30) as client:
            return array(client.get(f"/v1/images?n=2&seed={seed}&format=npy"))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for seed, made in enumerate(pool.map(ask, range(40))):
            assert np.array_equal(made, generator.sample(2, seed))
    with httpx.Client(base_url=server.url) as client:
        # A request is counted just after its answer.
        while (counted := values(client))["mirage_requests_total", "images", "200"] < 40:
            pass
    assert counted["mirage_requests_total", "images", "200"] == 40
    assert counted["mirage_images_total",] == 80
    assert counted["mirage_ready",] == 2
    server.signal(signal.SIGHUP)
    server.wait_for("^ready: ", 4)
    assert server.end() == 0


def test_a_worker_that_dies_is_replaced(start_server, digits):
    server = start_server(f"--bundle={digits}", "--workers=2")
    server.wait_for("^ready: ", 2)
    time.sleep(1.1)
    victim = children(server.process)[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for(f"worker {victim} ended with -9")
    server.wait_for("^ready: ", 3)
    assert victim not in children(server.process)
    assert len(children(server.process)) == 2
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/v1/images").status_code == 200
        assert values(client)["mirage_ready",] == 2
    assert server.end() == 0


def test_workers_end_with_their_supervisor(start_server, digits):
    server = start_server(f"--bundle={digits}", "--workers=2")
    server.wait_for("^ready: ", 2)
    server.signal(signal.SIGKILL)
    server.end()  # returns when both have closed standard error
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/v2/health/live")


def test_workers_that_cannot_start_end_the_server(start_server, tmp_path):
    server = start_server(f"--bundle={tmp_path}", "--workers=2")
    assert server.process.wait(20) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "rounds"), [(1, 100), (2, 30)])
def test_two_hundred_restarts_under_load_lose_nothing(start_server, digits, workers, rounds, repeats):
    """100 by SIGTERM, the next server taking the same port, and 100 by SIGHUP; then 60 of two processes."""
    rounds = repeats(rounds)
    generator = Generator.load(digits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    stop = threading.Event()
    lost = []

    def ask(worker):
        """Counts the answers: every connection that is made gets one."""
        asked = worker * 10**6
        while not stop.is_set():
            with contextlib.suppress(httpx.ConnectError), httpx.Client(timeout=30) as client:
                fresh = True
                while not stop.is_set():
                    asked += 1
                    url = f"http://127.0.0.1:{port}/v1/images?n=3&seed={asked}&format=npy"
                    try:
                        # Half of the clients make a connection for each request.
                        answer = client.get(url, headers={"Connection": "close"} if worker % 2 else {})
                    except httpx.ConnectError:
                        raise
                    except httpx.HTTPError as error:
                        # A kept connection may end between two requests: clients ask again then (RFC 9110, 9.2.2).
                        if fresh or worker % 2:
                            lost.append((asked, repr(error)))
                        break
                    fresh = False
                    if answer.status_code == 503:  # it is still loading
                        continue
                    if answer.status_code != 200 or not np.array_equal(array(answer), generator.sample(3, asked)):
                        lost.append((asked, answer.status_code))
        return asked - worker * 10**6

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, worker) for worker in range(6)]
        try:
            for _ in range(rounds):
                server = start_server(f"--bundle={digits}", f"--port={port}", "--noaccess_log", f"--workers={workers}")
                server.wait_for("^ready: ", workers)
                time.sleep(0.1)
                server.signal(signal.SIGHUP)
                server.wait_for("^ready: ", 2 * workers)
                assert server.end() == 0
        finally:
            stop.set()
        counts = [each.result() for each in asked]
    assert min(counts) > rounds
    assert lost == []
