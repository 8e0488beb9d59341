"""Several processes behind one socket: what dies, what is replaced, and what is none of ours."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import httpx

from tests.processes import ROOT, children, wait_for


def answers(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        return client.get("/v1/images").status_code == 200


def test_other_children_are_left_alone(start_server, digits):
    """A shell that becomes the server leaves it children; the first process of a container is given orphans."""
    stranger = "sleep %s >/dev/null 2>&1 &"
    server = start_server(f"--bundle={digits}", "--workers=2", shell=f"{stranger % 0.1} {stranger % 300} :")
    server.wait_for("^ready: ", 2)
    strangers = children(server.process)[:2]
    assert len(children(server.process)) == 4
    os.kill(strangers[1], signal.SIGTERM)
    for _ in range(2):
        victim = children(server.process)[-1]
        os.kill(victim, signal.SIGKILL)
        server.wait_for(f"worker {victim} ended with -9; another starts in")
    server.wait_for("^ready: ", 4)
    assert answers(server)
    assert server.end() == 0
    assert not [line for line in server.errors if "Traceback" in line or str(strangers[0]) in line]


def test_a_replacement_that_dies_at_once_takes_nobody_with_it(start_server, digits):
    server = start_server(f"--bundle={digits}", "--workers=2")
    server.wait_for("^ready: ", 2)
    kept, victim = children(server.process)
    for _ in range(3):
        os.kill(victim, signal.SIGKILL)
        server.wait_for(f"worker {victim} ended with -9")
        wait_for(lambda: len(children(server.process)) == 2, process=server.process)
        (victim,) = {*children(server.process)} - {kept}
    assert answers(server)
    server.wait_for("^ready: ", 3)
    assert kept in children(server.process)
    delays = [float(line.split()[-2]) for line in server.errors if "another starts in" in line]
    assert delays == [0.5, 1.0, 2.0]
    assert server.end() == 0


def test_a_replacement_that_cannot_load_is_tried_again(start_server, digits, tmp_path):
    bundle = shutil.copytree(digits, tmp_path / "digits")
    server = start_server(f"--bundle={bundle}", "--workers=2")
    server.wait_for("^ready: ", 2)
    bundle.rename(tmp_path / "elsewhere")
    kept, victim = children(server.process)
    os.kill(victim, signal.SIGKILL)
    server.wait_for("^error: .*is no bundle")
    assert answers(server)
    (tmp_path / "elsewhere").rename(bundle)
    server.signal(signal.SIGHUP)
    server.wait_for("^ready: ", 4)  # the other one has loaded it anew
    assert kept in children(server.process)
    assert server.end() == 0


def test_workers_that_cannot_start_end_the_server_with_one_sentence(start_server, tmp_path):
    server = start_server(f"--bundle={tmp_path}", "--workers=3")
    assert server.process.wait(30) == 1
    server.end()
    listening, *errors = server.errors
    assert listening.startswith("serving at")
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert "is no bundle" in errors[0]


def supervise(work, workers=2):
    """Runs `supervise` with another `work`; returns its status and what it says."""
    code = (
        "import os, socket, time\nfrom serving.server.settings import *\nfrom serving.server.workers import supervise\n"
    )
    code += f"def work(ready):\n    {work}\n"
    code += f"raise SystemExit(supervise(Settings(workers={workers}), socket.create_server(('127.0.0.1', 0)), work))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr.splitlines()


def test_workers_that_are_all_killed_before_they_are_ready():
    status, lines = supervise("os.kill(os.getpid(), 9)")
    assert status == 1
    assert re.fullmatch(r"worker \d+ ended with -9; another starts in 0.5 s", lines[0])
    assert re.fullmatch(r"error: worker \d+ ended with -9, and none is left that could answer\.", lines[-1])
    assert len(lines) == 2


def test_workers_that_are_all_killed_later_and_cannot_start_again(tmp_path):
    """Each is ready once; those after them fail."""
    work = (
        f"import pathlib; mine = pathlib.Path({str(tmp_path)!r}); count = len(list(mine.iterdir()))\n"
        "    (mine / str(os.getpid())).touch()\n"
        "    if count > 2: raise StartError('there is nothing left.')\n"
        "    ready(); time.sleep(0.5); os.kill(os.getpid(), 9)"
    )
    status, lines = supervise(work)
    assert status == 1
    assert "error: there is nothing left." in lines


def test_an_error_of_a_worker_is_a_sentence():
    status, lines = supervise("raise RecursionError('too deep')")
    assert (status, lines) == (1, ["error: a worker failed: RecursionError('too deep')"])


def test_where_no_process_can_be_forked():
    """As where the system has no memory, or too many processes."""
    work = "pass\ndef fork(): raise BlockingIOError(11, 'Resource temporarily unavailable')\nos.fork = fork"
    status, lines = supervise(work)
    assert status == 1
    assert lines[-1].startswith("error: a worker can't be started (Resource temporarily unavailable), and none is left")


def test_where_children_are_ignored(start_server, digits):
    """The disposition of SIGCHLD is inherited."""
    server = start_server(f"--bundle={digits}", "--workers=2", shell="trap '' CHLD HUP INT")
    server.wait_for("^ready: ", 2)
    os.kill(children(server.process)[0], signal.SIGKILL)
    server.wait_for("^ready: ", 3)
    assert server.end() == 0


def test_no_room_for_the_counters(start_server, digits):
    started = time.monotonic()
    server = start_server(f"--bundle={digits}", "--workers=2", shell="ulimit -f 100")
    assert server.process.wait(30) == 1
    server.end()
    assert "error: the workers' counters have no room" in server.errors[-1]
    assert time.monotonic() - started < 30
