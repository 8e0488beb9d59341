"""Whatever a process hangs in, it ends; as a process, because that is what is ended."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import WORKER_LOST

ROOT = Path(__file__).parent.parent.parent


def watched(body, timeout_s=0.5):
    code = f"from pipeline.watchdog import Watchdog\nwith Watchdog({timeout_s}, 'a test') as watchdog:\n    {body}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_process_that_is_fed_lives():
    done = watched("import time\n    for _ in range(10): time.sleep(0.1); watchdog.feed('more')")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_that_hangs_is_ended_with_a_sentence():
    done = watched("import time; time.sleep(60)")
    assert done.returncode == WORKER_LOST
    assert "nothing happened for --timeout_s=0.5 seconds while waiting for a test" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="sleep is looked up in the C library as Linux loads it")
def test_a_process_that_hangs_and_lets_no_thread_run_is_ended_too():
    start = time.monotonic()
    done = watched("import ctypes; ctypes.PyDLL(None).sleep(60)")  # holds the interpreter's lock
    assert done.returncode == -signal.SIGALRM
    assert time.monotonic() - start < 30
