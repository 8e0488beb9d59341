"""An open loop: requests are sent when they are due, whether or not earlier ones have been answered.

  python -m benchmarks.serving_load < load.json

wrk's connections each wait for their answer, so that it slows down with the server and can't overload it for long.
Latencies count from when a request was due, not from when it was sent, so that no stall is left out. Besides, the
server's health is asked for at a steady pace on the same loop. It's one process, so that a machine of few cores is
left to the server; `late_ms` and `cpu` in its figures say whether it kept up.
"""

import base64
import dataclasses
import json
import resource
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import numpy as np

from benchmarks.serving_requests import BenchmarkError

_HEALTH = b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_HEALTH_EVERY_S = 0.05
# For so long after the last request answers are awaited.
_PATIENCE_S = 20.0
_CONNECTIONS = 8192
# Servers close connections that nobody has used for a while.
_STALE_S = 2.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is sent.

    Attributes:
      port: of the server.
      request: a request's bytes, in base 64.
      rate: requests per second.
      seconds: for how long.
    """

    port: int
    request: str
    rate: float
    seconds: float


class _Connection:
    """A connection with at most one request on its way."""

    __slots__ = ("answer", "due", "free_since", "healthy", "socket", "whole")

    def __init__(self, port: int, healthy: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.healthy = healthy  # whether it asks for the health
        self.answer = bytearray()
        self.whole = 0  # bytes of the answer, when they are known
        self.due = 0.0
        self.free_since = 0.0

    def send(self, request: bytes, due: float) -> None:
        self.answer.clear()
        self.whole = 0
        self.due = due
        if self.socket.send(request) < len(request):
            raise OSError("a new request does not fit into its connection's buffer")

    def receive(self) -> int:
        """Reads what is there; returns the status if the answer is complete, otherwise 0."""
        data = self.socket.recv(262144)
        if not data:
            raise ConnectionResetError
        self.answer += data
        if not self.whole:
            end = self.answer.find(b"\r\n\r\n")
            if end < 0:
                return 0
            head = bytes(self.answer[:end]).lower()
            self.whole = end + 4 + int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        return int(self.answer[9:12]) if len(self.answer) >= self.whole else 0


class _Loop:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = {False: base64.b64decode(plan.request), True: _HEALTH}
        self._free: dict[bool, list[_Connection]] = {False: [], True: []}
        self._busy: dict[int, _Connection] = {}
        self._poll = select.epoll()
        self._sent = 0
        self._asked = 0
        self._late: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._accepted: list[tuple[float, float]] = []  # when and how long after it was due
        self._health: list[float] = []
        self._unhealthy = 0

    def run(self) -> dict[str, Any]:
        plan, begin, cpu = self._plan, time.perf_counter(), time.process_time()
        while True:
            now = time.perf_counter() - begin
            if now < plan.seconds:
                while (due := self._sent / plan.rate) <= now:
                    self._send(False, due, begin)
                    self._sent += 1
                while self._asked * _HEALTH_EVERY_S <= now:
                    self._send(True, self._asked * _HEALTH_EVERY_S, begin)
                    self._asked += 1
            elif not self._busy or now > plan.seconds + _PATIENCE_S:
                break
            for number, _ in self._poll.poll(0.001):
                self._receive(self._busy[number], begin)
        cpu = (time.process_time() - cpu) / (time.perf_counter() - begin)
        self._statuses["none"] += sum(not connection.healthy for connection in self._busy.values())
        return self._figures(cpu)

    def _send(self, healthy: bool, due: float, begin: float) -> None:
        free = self._free[healthy]
        while free and free[-1].free_since < time.perf_counter() - begin - _STALE_S:
            free.pop().socket.close()
        try:
            if free:
                connection = free.pop()
            elif len(self._busy) < _CONNECTIONS:
                connection = _Connection(self._plan.port, healthy)
            else:
                raise OSError("too many connections")
            connection.send(self._requests[healthy], due)
        except OSError:
            self._failed(healthy)
            return
        self._busy[connection.socket.fileno()] = connection
        # One event for each part of an answer; a closed free connection is noticed when it is used again.
        self._poll.register(connection.socket, select.EPOLLIN)
        if not healthy:
            self._late.append(time.perf_counter() - begin - due)

    def _receive(self, connection: _Connection, begin: float) -> None:
        number = connection.socket.fileno()
        try:
            status = connection.receive()
        except OSError:
            self._failed(connection.healthy)
            self._poll.unregister(number)
            del self._busy[number]
            connection.socket.close()
            return
        if not status:
            return
        now = time.perf_counter() - begin
        self._poll.unregister(number)
        connection.free_since = now
        self._free[connection.healthy].append(self._busy.pop(number))
        if connection.healthy:
            self._health.append(now - connection.due)
            self._unhealthy += status != 200
        else:
            self._statuses[str(status)] += 1
            if status == 200:
                self._accepted.append((now, now - connection.due))

    def _failed(self, healthy: bool) -> None:
        if healthy:
            self._unhealthy += 1
        else:
            self._statuses["none"] += 1

    def _figures(self, cpu: float) -> dict[str, Any]:
        in_time = sum(when <= self._plan.seconds for when, _ in self._accepted)
        return {
            "rate": self._plan.rate,
            "sent": self._sent,
            "statuses": dict(+self._statuses),
            "goodput": in_time / self._plan.seconds,
            "accepted_ms": _summary([latency for _, latency in self._accepted]),
            "health_ms": _summary(self._health),
            "unhealthy": self._unhealthy,
            "late_ms": _summary(self._late),
            "cpu": cpu,
        }


def _summary(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    values = np.array(seconds) * 1e3
    return {
        "p50": float(np.percentile(values, 50)),
        "p99": float(np.percentile(values, 99)),
        "max": float(values.max()),
    }


def open_loop(plan: Plan) -> dict[str, Any]:
    """Runs a plan in a process of its own.

    Returns:
      The requests sent, answers by status ("none" for those that never came), accepted answers per second, summaries of
      the latencies of accepted requests, of the health's, and of how late requests were sent, and the CPU used.

    Raises:
      BenchmarkError: if it fails.
    """
    command = [sys.executable, "-m", "benchmarks.serving_load"]
    text = json.dumps(dataclasses.asdict(plan))
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"the open loop failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(_Loop(Plan(**json.load(sys.stdin))).run()))
