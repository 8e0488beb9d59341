"""Whatever a process hangs in, it ends; as a process, because that is what is ended."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.base.errors import WORKER_LOST

ROOT = Path(__file__).parents[3]
# A second worker that lives, or works, until given seconds from the start.
OTHERS = """
class Others:
    working = True
    start = time.monotonic()

    def __init__(self, alive_s, worked_s):
        self.alive_s, self.worked_s = alive_s, worked_s

    def alive_until(self):
        return min(time.monotonic(), self.start + self.alive_s)

    def worked_until(self):
        return min(time.monotonic(), self.start + self.worked_s)

    def silent(self):
        return ["1 (a:1)"] if self.alive_s < 2 else []
"""


def watched(body, timeout_s=0.5, others=None):
    code = (
        f"import time\nfrom pipeline.cluster.watch import Watchdog\n{OTHERS}\nothers = {others}\n"
        f"with Watchdog({timeout_s}, others) as watchdog:\n    {body}"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done, time.monotonic() - start


def test_own_work_may_take_as_long_as_it_likes():
    done, _ = watched("time.sleep(7)")  # longer than the alarm's grace
    assert (done.returncode, done.stderr) == (0, "")


def test_each_wait_is_counted_for_itself():
    done, _ = watched("for _ in range(10):\n        with watchdog.waiting('a test'): time.sleep(0.1)")
    assert (done.returncode, done.stderr) == (0, "")


def test_own_work_after_a_wait_is_not_counted():
    done, _ = watched("for _ in range(2):\n        with watchdog.waiting('a test'): pass\n        time.sleep(3.5)")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("others", [None, "Others(99, 0)"], ids=["alone", "all wait"])
def test_a_process_that_hangs_is_ended_with_a_sentence(others):
    done, _ = watched("with watchdog.waiting('a test'): time.sleep(60)", others=others)
    assert done.returncode == WORKER_LOST
    assert "nothing happened for --timeout_s=0.5 seconds while waiting for a test; the last" in done.stderr


def test_who_waits_while_another_works_is_not_ended():
    done, _ = watched("with watchdog.waiting('a test'): time.sleep(7)", others="Others(99, 99)")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("worked_s", [1, 99], ids=["and works no more", "while it works"])
def test_a_silent_worker_ends_the_wait_and_is_named(worked_s):
    done, took_s = watched("with watchdog.waiting('a test'): time.sleep(60)", others=f"Others(1, {worked_s})")
    assert done.returncode == WORKER_LOST
    assert "while waiting for a test (worker 1 (a:1) is silent); the last" in done.stderr
    assert 1.5 < took_s < 20


def test_a_wait_that_may_be_work_is_ended_by_silence_alone():
    body = "with watchdog.waiting('a test', working=True):\n        assert others.working\n        time.sleep({})"
    done, _ = watched(body.format(7), others="Others(99, 0)")
    assert (done.returncode, done.stderr) == (0, "")
    done, _ = watched(body.format(60), others="Others(1, 0)")
    assert done.returncode == WORKER_LOST


def test_the_others_are_told_when_this_worker_works():
    body = "assert others.working\n    with watchdog.waiting('a test'): assert not others.working\n    "
    body += "assert others.working"
    done, _ = watched(body, others="Others(99, 99)")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wait_that_breaks_is_noted():
    done, _ = watched(
        "try:\n        with watchdog.waiting('a test'): raise OSError\n    except OSError: assert watchdog.broken"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="sleep is looked up in the C library as Linux loads it")
def test_a_process_that_hangs_and_lets_no_thread_run_is_ended_too():
    # It holds the interpreter's lock.
    done, took_s = watched("import ctypes\n    with watchdog.waiting('a test'): ctypes.PyDLL(None).sleep(60)")
    assert done.returncode == -signal.SIGALRM
    assert took_s < 30
