"""Work by other processes: the results of one, in order, whatever becomes of them."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.base.crew import Crew, by_all_cores, shared
from pipeline.base.errors import MirageError
from tests.processes import ENVIRONMENT, ROOT, children


def cube(number):
    return number**3


def slow(number):
    time.sleep(0.01)
    return number


def failing(number):
    raise ValueError(number)


@pytest.fixture
def crew():
    with contextlib.closing(Crew()) as crew:
        yield crew


@pytest.mark.parametrize("chunk", [1, 7, 32])
def test_results_are_in_order(crew, chunk):
    assert list(crew.work(cube, 5, 500, chunk)) == [number**3 for number in range(5, 500)]
    assert list(crew.work(cube, 0, 3, chunk)) == [0, 1, 8]  # and the same processes work again
    assert list(crew.work(cube, 3, 3, chunk)) == []


def test_large_results_come_whole(crew):
    for number, part in enumerate(crew.work(bytes, 2**20, 2**20 + 9)):
        assert part == bytes(2**20 + number)


def test_a_process_that_ends_is_told(capfd):
    with (
        contextlib.closing(Crew()) as crew,
        pytest.raises(MirageError, match="a process that helps this one ended with status"),
    ):
        list(crew.work(failing, 0, 9))
    assert "ValueError" in capfd.readouterr().err


def test_few_pieces_start_no_process(monkeypatch):
    monkeypatch.setattr("pipeline.base.crew.Crew", None)
    assert list(by_all_cores(cube, 0, 40)) == [number**3 for number in range(40)]


def test_many_are_done_by_processes_that_end_with_the_work(monkeypatch):
    monkeypatch.setattr("pipeline.base.crew._WORTHWHILE", 10)
    work = by_all_cores(cube, 0, 100)
    assert next(work) == 0
    work.close()
    assert list(by_all_cores(cube, 0, 100)) == [number**3 for number in range(100)]


def process_of(number):
    return os.getpid()


def test_shared_processes_do_one_work_after_the_other_and_end(monkeypatch):
    monkeypatch.setattr("pipeline.base.crew._WORTHWHILE", 10)
    with shared():
        first, second = (set(by_all_cores(process_of, 0, 100)) for _ in range(2))
        assert first == second
        left = by_all_cores(process_of, 0, 1000)
        next(left)
        left.close()  # whose results would come next
        third = set(by_all_cores(process_of, 0, 100))
        assert not third & first
    assert set(by_all_cores(process_of, 0, 100)).isdisjoint(third)
    assert not any(os.path.exists(f"/proc/{each}") for each in first | third)


_KILLED = """
from tests.pipeline.base.test_crew import Crew, slow
for number in Crew().work(slow, 0, 10**6):
    if number == 50:
        print("working", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_processes_end_with_who_started_them(number):
    command = [sys.executable, "-c", _KILLED]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"working\n"
        workers = children(process)
        assert workers
        process.send_signal(number)
        process.communicate()
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
