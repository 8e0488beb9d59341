"""What tests need that start processes, and end some of them."""

import os
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
# One thread each, so that bits can be compared whatever the number of cores.
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}


def children(process):
    """Process ids of the workers, in their order."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def saved(run_dir):
    """Names of the checkpoints, in their order."""
    from pipeline.runs.checkpoint_files import list_checkpoints

    return [path.name for path in list_checkpoints(run_dir / "checkpoints")]


def last_checkpoint(run_dir):
    """Its arrays by name."""
    from pipeline.runs.checkpoint_files import list_checkpoints, read_checkpoint

    return read_checkpoint(list_checkpoints(run_dir / "checkpoints")[-1])


def wait_for(condition, timeout=90, process=None):
    """Waits until it holds; fails after `timeout` seconds, or when the process has ended before."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert process is None or process.poll() is None, "it has ended"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def wait_for_saves(launcher, run_dir, predecessors=(), timeout=90):
    """Waits until two workers have saved; those before them, of which one may still finish a save, don't count."""
    wait_for(lambda: len(workers := children(launcher)) == 2 and not {*workers} & {*predecessors}, timeout, launcher)
    before = saved(run_dir)[-1:]
    wait_for(lambda: saved(run_dir)[-1:] > before, timeout, launcher)
