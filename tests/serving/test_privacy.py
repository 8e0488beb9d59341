"""What embeds a bundle reaches no host, looks up no name and writes nothing into the user's home."""

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.no_network import ENDED_BY_THE_FILTER, SILENCING, UNDER_THE_FILTER
from tests.processes import ROOT

DRAW = "from serving import Generator; Generator.load({bundle!r}, threads=1).sample(3)"


@pytest.fixture
def environment(tmp_path):
    """Variables of a user with an empty home, who has said nothing about telemetry."""
    unset = (*SILENCING, "XDG_CACHE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    (tmp_path / "home").mkdir()
    # numpy's library has threads of its own.
    own = {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return {**kept, **own}


def run(environment, *arguments):
    command = [*UNDER_THE_FILTER, sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def onnxruntime_version():
    return tuple(map(int, importlib.metadata.version("onnxruntime").split(".")[:2]))


def written(environment):
    return [files for *_, files in os.walk(environment["HOME"]) if files]


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.getaddrinfo('localhost.invalid', 80)",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket, threading, time; threading.Thread(target=socket.socket, args=(2, 2)).start(); time.sleep(9)",
    ],
)
def test_the_filter_ends_what_asks_a_host(environment, code):
    assert run(environment, "-c", code).returncode == ENDED_BY_THE_FILTER


# onnxruntime 1.32 looks its maker's host up nine seconds after its import; its threads and files are there at once.
@pytest.mark.parametrize("seconds", [0, pytest.param(30, marks=pytest.mark.slow)])
def test_a_program_that_embeds_a_bundle(environment, digits, seconds):
    code = f"{DRAW.format(bundle=str(digits))}; import os, time; time.sleep({seconds}); "
    result = run(environment, "-c", f"{code} print(len(os.listdir('/proc/self/task')))")
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr
    assert written(environment) == []


def test_the_command_that_draws(environment, digits, tmp_path):
    result = run(environment, "-m", "serving.sample", f"--bundle={digits}", f"--out={tmp_path}/sheet.png")
    assert result.returncode == 0, result.stderr
    assert written(environment) == []


def test_the_server(environment, digits):
    command = [*UNDER_THE_FILTER, sys.executable, "-m", "serving", f"--bundle={digits}", "--port=0", "--host=127.0.0.1"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE) as server:
        try:
            errors = []
            for line in server.stderr:
                errors.append(line)
                if line.startswith("ready: "):
                    break
            (url,) = re.findall(r"serving at (http://\S+)", "".join(errors))
            with urllib.request.urlopen(f"{url}/v1/images?n=2&seed=7") as answer:
                assert answer.read(4) == b"\x89PNG"
        finally:
            server.send_signal(signal.SIGTERM)
            rest = server.stderr.read()
    assert server.returncode == 0, (errors, rest)
    assert written(environment) == []


def test_what_the_user_has_set_stays(environment, digits):
    reports = onnxruntime_version() >= (1, 32)  # earlier versions report nothing
    # A thread of onnxruntime's writes it, soon; the look-up of a host would come later.
    code = (
        f"{DRAW.format(bundle=str(digits))}; import os, time; print(os.environ['ORT_DISABLE_TELEMETRY'])\n"
        f"end = time.monotonic() + {5 if reports else 0}\n"
        "while time.monotonic() < end and not any(files for *_, files in os.walk(os.environ['HOME'])): time.sleep(0.05)"
    )
    allowed = {**environment, "ORT_DISABLE_TELEMETRY": "0"}
    assert run(allowed, "-c", code).stdout == "0\n"
    # Which also shows that the tests above would see it.
    assert (written(environment) != []) or not reports


def test_an_onnxruntime_that_was_imported_before_tells_no_more(environment):
    code = (
        "import os, onnxruntime; calls = []; onnxruntime.disable_telemetry_events = lambda: calls.append(1); "
        "from serving import Generator; print(calls, os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    assert run(environment, "-c", code).stdout == "[1] 1\n"
    assert run({**environment, "ORT_DISABLE_TELEMETRY": "0"}, "-c", code).stdout == "[] 0\n"
