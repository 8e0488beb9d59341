"""Processes on this machine that train together, as a cluster's would."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO

from pipeline.base.errors import INTERRUPTED, MISTAKE, PREEMPTED, TERMINATED, WORKER_LOST, MirageError
from pipeline.base.interrupt import delayed_signals, end_with_parent, stop_signals
from pipeline.cluster.find import Cluster

_GRACE_S = 2.0  # for the other workers to say what they know when one has failed
_POLL_S = 0.05


class Launcher:
    """Runs the workers of one local cluster, again and again if need be."""

    def __init__(self, workers: int, arguments: Sequence[str]) -> None:
        """Prepares the launch.

        Args:
          workers: number of processes.
          arguments: flags of `python -m pipeline`.
        """
        self._workers = workers
        self._command = [sys.executable, "-m", "pipeline", *arguments]
        self._processes: list[subprocess.Popen[str]] = []
        self._signal: int | None = None

    def run(self, max_restarts: int) -> int:
        """Trains to the end.

        Args:
          max_restarts: how often all workers are started again after one has failed.

        Returns:
          The exit status of `python -m pipeline`, that of the worker that failed first.
        """
        previous = {number: signal.signal(number, self._pass_on) for number in stop_signals()}
        descriptor = signal.set_wakeup_fd(-1)  # `Watch` shall not end this process before its workers
        try:
            for restart in range(max_restarts + 1):
                if restart and self._signal:
                    break
                if restart:
                    print(f"starting all workers again ({restart} of {max_restarts})", flush=True)
                status = self._run_once()
                # A mistake would be made again; a worker that was told to end shall not be started again.
                if self._signal or status in (0, MISTAKE, INTERRUPTED, PREEMPTED, TERMINATED):
                    break
            return status
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _run_once(self) -> int:
        environments = worker_environments(self._workers, os.environ)
        with delayed_signals():  # in each worker, until it hears signals itself
            self._processes = [
                subprocess.Popen(
                    self._command,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,  # Ctrl-C reaches the workers once, through this process
                    preexec_fn=end_with_parent(signal.SIGTERM),  # so that it saves and stops
                )
                for environment in environments
            ]
        if self._signal is not None:  # it came meanwhile, when they could not be reached
            self._pass_on(self._signal, None)
        readers = [
            threading.Thread(target=_copy_lines, args=(index, process.stdout), daemon=True)
            for index, process in enumerate(self._processes)
        ]
        for reader in readers:
            reader.start()
        try:
            status = self._wait()
        finally:
            for process in self._processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
        for reader in readers:
            reader.join()
        return status

    def _wait(self) -> int:
        """Waits until all workers are done, or one has failed; returns its status."""
        deadline = None
        while True:
            statuses = [process.poll() for process in self._processes]
            ended = [status for status in statuses if status is not None]
            failed = [status for status in ended if status not in (0, INTERRUPTED, PREEMPTED)]
            if len(ended) == len(statuses) or (deadline is not None and time.monotonic() > deadline):
                # That a worker was lost is the consequence of something that another status tells better.
                ranked = sorted(failed or ended, key=lambda status: (status == WORKER_LOST, status != MISTAKE))
                for index, status in enumerate(statuses):
                    if status is not None and status < 0:
                        print(f"worker {index} was killed by {signal.Signals(-status).name}", flush=True)
                return ranked[0] if ranked[0] >= 0 else 128 - ranked[0]
            if failed and deadline is None:
                deadline = time.monotonic() + _GRACE_S
            time.sleep(_POLL_S)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)


def worker_environments(workers: int, environment: Mapping[str, str]) -> list[dict[str, str]]:
    """Gives each worker its place in the cluster, and its share of the GPUs.

    Args:
      workers: number of processes.
      environment: such as `os.environ`.

    Returns:
      An environment for each worker.

    Raises:
      MirageError: if there are GPUs, but fewer than workers.
    """
    alone = {name: value for name, value in environment.items() if name != "TF_CONFIG"}
    if workers == 1:
        return [alone]
    gpus = _visible_gpus(environment)
    if gpus and len(gpus) < workers:
        raise MirageError(f"--workers={workers} can't share {len(gpus)} GPUs; choose at most {len(gpus)}.")
    share = len(gpus) // workers
    hosts = tuple(f"127.0.0.1:{port}" for port in _free_ports(workers))
    return [
        {
            **alone,
            "TF_CONFIG": Cluster(hosts, index).tf_config(),
            **({"CUDA_VISIBLE_DEVICES": ",".join(gpus[index * share : (index + 1) * share])} if gpus else {}),
        }
        for index in range(workers)
    ]


def _visible_gpus(environment: Mapping[str, str]) -> list[str]:
    if "CUDA_VISIBLE_DEVICES" in environment:
        return [gpu for gpu in environment["CUDA_VISIBLE_DEVICES"].split(",") if gpu.strip() not in ("", "-1")]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(index) for index, line in enumerate(line for line in listing.splitlines() if line.startswith("GPU "))]


def _free_ports(count: int) -> list[int]:
    # All are held open at once, so that they differ.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _copy_lines(index: int, stream: IO[str]) -> None:
    for line in stream:
        sys.stdout.write(f"[{index}] {line.rstrip()}\n")
        sys.stdout.flush()
