"""Lines for people and the access log: where they can't be written, answers come nevertheless."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading

import httpx
import pytest

from serving.server import output
from serving.server.output import AccessLog, say
from tests.processes import ROOT, wait_for


def ask(url, count=3):
    """Asks over one connection, which a failure would close."""
    connections = set()
    with httpx.Client(base_url=url, timeout=10) as client:
        for _ in range(count):
            answer = client.get("/v1/images?seed=1")
            assert answer.status_code == 200
            connections.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(connections) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_below_the_access_log(start_server, digits, workers):
    server = start_server(f"--bundle={digits}", f"--workers={workers}", shell="exec >/dev/full")
    server.wait_for("^ready: ", workers)
    ask(server.url)
    server.wait_for("the access log can't be written .No space left on device.; requests are answered without it")
    ask(server.url)
    assert server.end() == 0
    assert not [line for line in server.errors if "Traceback" in line or "Exception" in line]
    assert len([line for line in server.errors if "access log" in line]) <= workers


def serve(digits, *flags, **streams):
    command = [sys.executable, "-m", "serving", "--port=0", f"--bundle={digits}", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **streams)


def test_nobody_reads_the_access_log_any_more(digits):
    reading, writing = os.pipe()
    with serve(digits, stdout=writing) as server:
        os.close(writing)
        url = server.stderr.readline().split()[-1]
        assert server.stderr.readline().startswith("ready: ")
        os.close(reading)
        ask(url)
        assert "the access log can't be written (Broken pipe)" in server.stderr.readline()
        ask(url)
        server.terminate()
        assert server.wait(10) == 0
        assert server.stderr.read() == ""


def test_a_stopped_reader_of_the_access_log_stops_nobody(digits):
    with serve(digits, stdout=subprocess.PIPE) as server:
        url = server.stderr.readline().split()[-1]
        assert server.stderr.readline().startswith("ready: ")
        ask(url, 700)  # more lines than a pipe holds
        server.terminate()
        assert server.wait(10) == 0
        assert json.loads(server.stdout.readline())["status"] == 200


@pytest.mark.parametrize(
    ("shell", "workers"),
    [("exec >&-", 1), ("exec 2>&-", 1), ("exec 2>/dev/full", 1), ("exec <&- >&- 2>&-", 2), ("exec >&- 2>/dev/full", 2)],
)
def test_streams_that_are_closed_or_full(digits, shell, workers, free_port):
    flags = [f"--port={free_port}", f"--bundle={digits}", f"--workers={workers}"]
    command = ["sh", "-c", f'{shell}; exec "$@"', "sh", sys.executable, "-m", "serving", *flags]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as server, ended(server):
        # Each worker says so for itself, and whichever is free takes a connection.
        wait_for(lambda: all(is_ready(free_port) for _ in range(20)), process=server)
        ask(f"http://127.0.0.1:{free_port}")
        server.send_signal(signal.SIGHUP)
        ask(f"http://127.0.0.1:{free_port}")
        server.terminate()
        assert server.wait(10) == 0


@contextlib.contextmanager
def ended(server):
    """Nobody waits for a server that a failed assertion has left."""
    try:
        yield
    finally:
        server.kill()


def is_ready(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_what_cannot_be_said_is_not_an_error(monkeypatch):
    with open("/dev/full", "w", closefd=True) as full:
        monkeypatch.setattr(sys, "stderr", full)
        say("x")
        full.buffer.raw.close()
    say("x")


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_arrive_whole_and_in_order(blocking):
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    log = AccessLog(writing)
    lines = [f"{number} {'x' * (number % 5000)}\n" for number in range(2000)]
    parts = []
    reader = threading.Thread(
        target=lambda: [parts.append(part) for part in iter(lambda: os.read(reading, 65536), b"")]
    )
    reader.start()
    for line in lines:
        log.write(line)
    log.close()
    os.close(writing)
    reader.join()
    os.close(reading)
    assert b"".join(parts).decode() == "".join(lines)


def test_lines_beyond_what_can_wait_are_counted(monkeypatch, capfd):
    monkeypatch.setattr(output, "_MOST_LINES", 10)
    reading, writing = os.pipe()
    log = AccessLog(writing)
    log.write("x" * 2**17 + "\n")  # more than the pipe holds: the thread waits for us
    select.select([reading], [], [])
    for _ in range(25):
        log.write("y\n")
    received = b""
    while received.count(b"y") < 10:
        received += os.read(reading, 65536)
    log.close()
    os.close(writing)
    os.close(reading)
    assert "15 lines are lost" in capfd.readouterr().err


def test_a_disk_that_was_full_tears_one_line(tmp_path, monkeypatch, capfd):
    room, real = [25], os.write

    def write(descriptor, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = real(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(output.os, "write", write)
    with (tmp_path / "log").open("wb") as file:
        log = AccessLog(file.fileno())
        for _ in range(2):
            log.write('{"status": 200}\n')
        wait_for(lambda: "No space left" in capfd.readouterr().err)
        room[0] = 1000
        log.write('{"status": 200}\n')
        log.close()
    assert (tmp_path / "log").read_text() == '{"status": 200}\n{"status"\n{"status": 200}\n'
