"""The processes that open saved networks, kept for the next file, since each imports TensorFlow for seconds."""

import contextlib
import json
import subprocess
import sys
import tempfile

import pytest

from pipeline.base.children import environment_without_gpus
from pipeline.foreign import apart


class _Kept:
    """A process that takes order after order, until one ends it."""

    def __init__(self, worker):
        self.complaint = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"pipeline.foreign.{worker}"],
            env=environment_without_gpus(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaint,
            text=True,
        )

    def exchange(self, order):
        self.complaint.seek(0)
        self.complaint.truncate()
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "phase" not in json.loads(line):
                return apart.Exchange(lines, 0, "")
        status = self.process.wait()
        self.complaint.seek(0)
        return apart.Exchange(lines, status, self.complaint.read())

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.complaint.close()


@pytest.fixture(scope="session")
def kept():
    """Exchanges orders with kept processes."""
    workers = {}

    def exchange(worker, order):
        if worker in workers and workers[worker].process.poll() is not None:
            workers.pop(worker).close()
        if worker not in workers:
            workers[worker] = _Kept(worker)
        return workers[worker].exchange(order)

    yield exchange
    for each in workers.values():
        each.close()


@pytest.fixture(autouse=True)
def _kept_workers(request, kept, monkeypatch):
    if not request.node.get_closest_marker("own_process"):
        monkeypatch.setattr(apart, "exchange", kept)
