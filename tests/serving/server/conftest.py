"""Servers in processes of their own."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[3]


class Server:
    """A running `python -m serving`.

    Attributes:
      process: its process.
      url: where it listens.
      errors: lines of its standard error until now.
      lines: lines of its standard output until now.
    """

    def __init__(self, *flags: str, shell: str = "") -> None:
        command = [sys.executable, "-m", "serving", "--port=0", *flags]
        if shell:  # which then becomes the server
            command = ["sh", "-c", f'{shell}; exec "$@"', "sh", *command]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.errors: list[str] = []
        self.lines: list[str] = []
        self._readers = [
            threading.Thread(target=lambda: self.errors.extend(self.process.stderr or ()), daemon=True),
            threading.Thread(target=lambda: self.lines.extend(self.process.stdout or ()), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self.url = self.wait_for(r"serving at (http://\S+)")

    def wait_for(self, pattern: str, count: int = 1) -> str:
        """Waits for the `count`-th line of standard error with a pattern; returns its group, or all of it."""
        for _ in range(3000):
            found = [match for line in self.errors if (match := re.search(pattern, line))]
            if len(found) >= count:
                return found[count - 1][found[count - 1].re.groups]
            if self.process.poll() is not None and not self._readers[0].is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(f"no {pattern!r} in {self.errors}")

    def wait_until_ready(self) -> None:
        self.wait_for("^ready: ")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Sends SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        status = self.process.wait(30)
        for reader in self._readers:
            reader.join()
        return status


@contextlib.contextmanager
def started(*flags: str, shell: str = "") -> Iterator[Server]:
    server = Server(*flags, shell=shell)
    try:
        yield server
    finally:
        server.process.kill()
        server.end()
        for pipe in (server.process.stdout, server.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Returns a function that starts a server with flags; all are ended with the test.

    Its argument `shell` is a shell's command that comes before.
    """
    with contextlib.ExitStack() as stack:
        yield lambda *flags, **options: stack.enter_context(started(*flags, **options))


@pytest.fixture(scope="module")
def start_module_server() -> Iterator[Callable[..., Server]]:
    """As `start_server`, for servers that the tests of a module share; they are ready."""

    def start(*flags: str) -> Server:
        server = stack.enter_context(started(*flags))
        server.wait_until_ready()
        return server

    with contextlib.ExitStack() as stack:
        yield start


@pytest.fixture(scope="module")
def server(start_module_server: Callable[..., Server], digits: Path) -> Server:
    """A server of `digits`."""
    return start_module_server(f"--bundle={digits}")


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of `server`."""
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture
def free_port() -> int:
    """A TCP port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
