"""How the commands of the edge end when they are told to."""

import signal
import subprocess
import sys

import pytest

from tests.processes import ROOT

WORK = """
import signal, sys, time
from serving import command_line
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
if "ignored" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
with command_line.told_to_stop():
    try:
        print("at work", flush=True)
        time.sleep(60 if "ignored" not in sys.argv else 0.5)
    finally:
        print("cleaned up", flush=True)
"""


def told(number, *arguments):
    command = [sys.executable, "-c", WORK, *arguments]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "at work\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    assert output == "cleaned up\n"
    return process.returncode, errors


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=lambda each: each
)
def test_a_command_ends_with_one_line(number, status):
    assert told(number) == (status, f"{number.name}: stopped.\n")


def test_a_terminal_that_closes_is_ignored_where_that_was_asked_for():
    assert told(signal.SIGHUP, "ignored") == (0, "")
