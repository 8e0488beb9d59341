"""Requests to stop, as commands hear them that need no TensorFlow."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.base import interrupt
from pipeline.base.interrupt import Interrupt, Stopped
from tests.processes import ENVIRONMENT, ROOT

PROGRAM = """
import signal, sys, time
from pipeline.base import command_line, interrupt

def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

def main(values, argv):
    print("ready", flush=True)
    {body}
    return 0

command_line.run("doc", lambda values: None, main)
"""


def start(body, *prefix, **more):
    command = [*prefix, sys.executable, "-c", PROGRAM.replace("{body}", body)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, text=True, **pipes)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=str
)
@pytest.mark.parametrize(
    "body",
    [
        "spin(60)",
        "time.sleep(60)",
        # As libraries do amid their import.
        "exec('try: spin(60)\\nexcept BaseException: raise ImportError')",
        # As Python does amid destructors and the callbacks of weak references, of which imports are full.
        "exec('class Late:\\n def __del__(self): spin(3)\\nlate = Late(); del late; time.sleep(60)', globals())",
    ],
    ids=["computing", "waiting", "converted", "swallowed"],
)
def test_a_request_ends_a_command_with_one_line(number, status, body):
    process = start(body)
    process.send_signal(number)
    output = process.communicate(timeout=20)
    assert output == ("", f"{number.name}: stopped.\n")
    assert process.returncode == status


def test_a_request_that_does_not_come_through_ends_the_process_all_the_same():
    swallowed = "exec('try: spin(60)\\nexcept BaseException: interrupt._GRACE_S = 0.2; spin(60)')"
    process = start(swallowed)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", "SIGTERM: stopped.\n")
    assert process.returncode == 143


def test_the_second_request_ends_a_process_that_saves():
    process = start(
        "guard = interrupt.Interrupt(); guard.__enter__(); guard.hold(); print('held', flush=True); spin(60)"
    )
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)  # of the same moment: one request
    time.sleep(interrupt._ONE_REQUEST_S + 0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert output == ""
    assert errors in ("", "SIGINT: stopped.\n")
    assert process.returncode == 130


def test_sighup_is_ignored_under_nohup():
    process = start("spin(1); print('done')", "nohup")
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=20)[0] == "done\n"
    assert process.returncode == 0


def test_a_process_started_amid_delayed_signals_hears_them_when_it_can():
    with interrupt.delayed_signals():
        command = [sys.executable, "-c", PROGRAM.replace("{body}", "spin(60)")]
        process = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.send_signal(signal.SIGINT)  # long before Python runs
    output, errors = process.communicate(timeout=20)
    assert output in ("", "ready\n")
    assert errors == "SIGINT: stopped.\n"
    assert process.returncode == 130


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def test_a_request_is_raised_until_there_is_something_to_save():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as guard:
        with pytest.raises(Stopped) as stopped:
            send()
        assert stopped.value.status == 143
    with Interrupt() as guard:
        guard.hold()
        send()
        assert guard.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_optional_work_is_broken_off_or_not_begun():
    steps = []

    def work():
        steps.append("begun")
        send()
        steps.append("ended")

    with Interrupt() as guard:
        guard.hold()
        assert guard.breakable(lambda: 7) == 7
        assert guard.breakable(work) is None
        assert guard.breakable(work) is None
        assert steps == ["begun"]
        assert guard.signal == signal.SIGTERM
