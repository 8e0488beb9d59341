"""Servers in processes of their own: Mirage's, LitServe, MLServer."""

import contextlib
import dataclasses
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from benchmarks.serving_requests import BenchmarkError

_ROOT = Path(__file__).parent.parent
_POLL_S = 0.005
_START_S = 60.0
_STOP_S = 15.0
_BATCH = 32
_DELAY_S = 0.002

Settings = Mapping[str, Any]


def litserve_settings(threads: int) -> dict[str, Settings]:
    """Ways to set LitServe up, of which the best is taken; each has as many inference threads in all."""
    result: dict[str, Settings] = {}
    for workers, delay_s, fast_queue in itertools.product(sorted({1, threads}), (0.0, _DELAY_S), (False, True)):
        title = f"workers: {workers}, threads of each: {threads // workers}, batches of {_BATCH} within "
        result[f"{title}{delay_s * 1e3:.0f} ms{', fast_queue' if fast_queue else ''}"] = {
            "workers": workers,
            "threads": threads // workers,
            "max_batch_size": _BATCH,
            "batch_timeout": delay_s,
            "fast_queue": fast_queue,
        }
    return result


def mlserver_settings(threads: int) -> dict[str, Settings]:
    """Ways to set MLServer up, of which the best is taken; each has as many inference threads in all."""
    result: dict[str, Settings] = {}
    # Without processes of its own, the model runs on a thread beside the event loop.
    for workers, delay_s in itertools.product((0, threads), (0.0, _DELAY_S, 5 * _DELAY_S)):
        batches = f"batches of {_BATCH} within {delay_s * 1e3:.0f} ms" if delay_s else "no batches"
        result[f"parallel_workers: {workers}, threads of each: {threads // max(1, workers)}, {batches}"] = {
            "parallel_workers": workers,
            "threads": threads // max(1, workers),
            "max_batch_size": _BATCH if delay_s else 0,
            "max_batch_time": delay_s,
        }
    return result


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of a server's processes in MiB.

    Attributes:
      resident: the sum of their resident memory.
      shared_once: the same with pages that processes share divided among them.
    """

    resident: float
    shared_once: float


class Server:
    """A server's processes. Use it as a context manager."""

    def __init__(
        self, name: str, command: list[str], port: int, ready_path: str, folder: str | None = None, processes: int = 1
    ) -> None:
        """Starts it; `ready` waits until it answers.

        Args:
          name: what errors call it.
          command: starts it.
          port: where it will listen.
          ready_path: answered with 200 when it is ready.
          folder: its working directory, which is removed at the end; None for this checkout.
          processes: how many may answer, each of which must be ready.
        """
        self.name = name
        self.port = port
        self._ready_path = ready_path
        # Who answers is left to chance.
        self._answers_wanted = 1 if processes == 1 else 16 * processes
        self._log = tempfile.NamedTemporaryFile("w")  # noqa: SIM115 - closed in __exit__
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"}
        self._folder = folder
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd=folder or _ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends its processes."""
        self.resume()
        family = self.processes()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_STOP_S)
        self._process.kill()
        self._process.wait()
        for process, begun in family.items():
            # What it left behind; a number that is in use again belongs to somebody else.
            if _begun(process) == begun:
                _signal(process, signal.SIGKILL)
        self._log.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def ready(self) -> float:
        """Waits until it is ready; returns the seconds since its start.

        Raises:
          BenchmarkError: if it ends, or takes too long.
        """
        while time.perf_counter() - self._started < _START_S:
            if self._process.poll() is not None:
                break
            if all(self._answers() for _ in range(self._answers_wanted)):
                return time.perf_counter() - self._started
            time.sleep(_POLL_S)
        raise BenchmarkError(f"{self.name} did not start:\n{self.said()[-2000:]}")

    def pause(self) -> None:
        """Halts its processes, since some servers burn CPU while nobody asks them anything."""
        for process in self.processes():
            _signal(process, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets them go on."""
        for process in self.processes():
            _signal(process, signal.SIGCONT)

    def said(self) -> str:
        """Returns what it has printed."""
        return Path(self._log.name).read_text(errors="replace")

    def processes(self) -> dict[int, str]:
        """Returns the numbers of its processes, with when each began."""
        found: dict[int, str] = {}
        ahead = [self._process.pid]
        while ahead:
            process = ahead.pop()
            begun = _begun(process)
            if begun is None:
                continue
            found[process] = begun
            for path in Path(f"/proc/{process}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    ahead += map(int, path.read_text().split())
        return found

    def memory(self) -> Memory:
        """Returns what its processes hold now."""
        kibibytes = {"Rss:": 0, "Pss:": 0}
        for process in self.processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
                    name, value = line.split()[:2]
                    if name in kibibytes:
                        kibibytes[name] += int(value)
        return Memory(kibibytes["Rss:"] / 1024, kibibytes["Pss:"] / 1024)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self._ready_path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _begun(process: int) -> str | None:
    """Returns when a process began, in the kernel's ticks; None if there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def _signal(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def mirage(bundle: str, threads: int, workers: int) -> Server:
    """Starts Mirage's server with its defaults but for the access log, which no server here writes.

    Args:
      bundle: its folder.
      threads: inference threads of all processes together.
      workers: processes.
    """
    (port,) = _free_ports(1)
    flags = [f"--bundle={bundle}", f"--port={port}", f"--threads={threads // workers}", f"--workers={workers}"]
    command = [sys.executable, "-m", "serving", "--noaccess_log", *flags]
    return Server("Mirage", command, port, "/v2/health/ready", processes=workers)


def litserve(bundle: str, python: str, settings: Settings) -> Server:
    """Starts LitServe."""
    (port,) = _free_ports(1)
    options = json.dumps({"bundle": bundle, "port": port, **settings})
    command = [python, "-m", "benchmarks.serving_peers.litserve_server", options]
    return Server("LitServe", command, port, "/health")


def mlserver(bundle: str, python: str, settings: Settings) -> Server:
    """Starts MLServer."""
    http_port, grpc_port, metrics_port = _free_ports(3)
    folder = tempfile.mkdtemp(prefix="mirage-mlserver-")
    server = {
        "debug": False,  # no access log
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": settings["parallel_workers"],
    }
    extra = {"threads": settings["threads"], "in_a_thread": not settings["parallel_workers"]}
    model = {
        "name": "mirage",
        "implementation": "benchmarks.serving_peers.mlserver_model.MirageModel",
        "max_batch_size": settings["max_batch_size"],
        "max_batch_time": settings["max_batch_time"],
        "parameters": {"uri": bundle, "version": "1", "extra": extra},
    }
    (Path(folder) / "settings.json").write_text(json.dumps(server))
    (Path(folder) / "model-settings.json").write_text(json.dumps(model))
    # Its script beside the interpreter, without resolving links, which lead out of the environment.
    command = [str(Path(python).parent.absolute() / "mlserver"), "start", folder]
    # Its /v2/health/ready answers 200 before the model is there.
    return Server("MLServer", command, http_port, "/v2/models/mirage/ready", folder)


def _free_ports(count: int) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
    return iter(ports)
