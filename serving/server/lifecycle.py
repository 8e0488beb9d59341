"""One server process, from its start over reloads to its end.

- At its start it listens at once, and is ready when the models are loaded and warm.
- SIGHUP loads the models anew beside the old ones, then exchanges them; if that fails, it keeps the old ones.
- SIGTERM: it is not ready at once, tells clients to close their connections, finishes what it has accepted, and ends
  with 0.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence

import uvicorn

from serving.command_line import say
from serving.manifest import BundleError
from serving.server.app import build
from serving.server.batching import Batcher
from serving.server.catalog import load
from serving.server.connection import Connection
from serving.server.guard import Guard
from serving.server.listening import HANDSHAKE_S, ignore_handshakes, waiting
from serving.server.service import Service
from serving.server.settings import LEAVE_S, Settings
from serving.server.telemetry import Telemetry

# Python lets a thread wait so long for another that computes; the default of 5 ms is many batches.
_SWITCH_S = 0.0005


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to us.

    Attributes:
      shared_sockets: whether other processes listen at the same sockets.
    """

    shared_sockets = False

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts the connections that wait before their socket is closed, then does as uvicorn."""
        loop = asyncio.get_running_loop()
        listeners = sockets or []
        if not self.shared_sockets:
            for listener in listeners:
                ignore_handshakes(listener)
        await asyncio.sleep(HANDSHAKE_S)
        for listener in listeners:
            loop.remove_reader(listener)
        # A few turns: closing its server, asyncio would drop what it has accepted but not yet begun to serve.
        await asyncio.sleep(0.01)
        last = [connection for listener in listeners for connection in waiting(listener)]
        for server in self.servers:
            server.close()
        for connection in last:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        factory: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return factory(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def serve(settings: Settings, sockets: Sequence[socket.socket]) -> int:
    """Runs a server in this process until SIGTERM or SIGINT.

    Args:
      settings: what it is told.
      sockets: bound sockets to listen at.

    Returns:
      The process's exit status: 0, or 1 if the models can't be loaded.
    """
    sys.setswitchinterval(_SWITCH_S)
    return asyncio.run(_serve(settings, list(sockets)))


async def _serve(settings: Settings, sockets: list[socket.socket]) -> int:
    loop = asyncio.get_running_loop()
    telemetry = Telemetry()
    batcher = Batcher(
        loop,
        threads=settings.threads,
        max_batch=settings.max_batch,
        max_delay_s=settings.max_delay_ms / 1e3,
        max_queue=settings.max_queue,
        timeout_s=settings.timeout_s,
        observer=telemetry,
    )
    service = Service(settings, telemetry, batcher)
    app = build(service, sys.stdout if settings.access_log else None)
    limits = {"read_timeout_s": settings.read_timeout_s, "grace_s": min(1.0, settings.drain_s / 2)}
    connection = type("Connection", (Connection,), limits)
    server = _Server(
        uvicorn.Config(
            app,
            http=connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        )
    )
    server.shared_sockets = settings.workers > 1
    lifecycle = _Lifecycle(settings, service, server, app)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lifecycle.stop)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, lifecycle.reload)
    lifecycle.reload()
    await server.serve(sockets=sockets)
    await lifecycle.end()
    await asyncio.to_thread(batcher.close)
    for number in (signal.SIGTERM, signal.SIGINT):
        # It ends anyway, and with its own status.
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    return lifecycle.status


class _Lifecycle:
    """What signals do."""

    def __init__(self, settings: Settings, service: Service, server: _Server, app: Guard) -> None:
        self.status = 0
        self._settings = settings
        self._service = service
        self._server = server
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._left = 0.0

    def reload(self) -> None:
        """Loads the models, for the first time or anew."""
        if self._task is not None and not self._task.done():
            self._again = True  # what changed meanwhile may not have been seen
            return
        self._task = asyncio.get_running_loop().create_task(self._load())

    def stop(self) -> None:
        """Begins to leave; a second time, leaves at once."""
        loop = asyncio.get_running_loop()
        if self._app.closing:
            # A terminal and systemd signal a worker and its supervisor, which hands it on: the same signal twice.
            if loop.time() - self._left > LEAVE_S:
                self._server.should_exit = self._server.force_exit = True
            return
        self._left = loop.time()
        self._service.leave()
        self._app.closing = True
        loop.call_later(self._settings.leave_s, setattr, self._server, "should_exit", True)

    async def end(self) -> None:
        """Waits for a load that has begun."""
        if self._task is not None:
            await self._task

    async def _load(self) -> None:
        settings = self._settings
        while True:
            self._again = False
            try:
                catalog = await asyncio.to_thread(load, settings.bundles, settings.repository, settings.precision)
            except (BundleError, OSError) as error:
                if not self._service.catalog.names:
                    say(f"error: {error}")
                    self.status = 1
                    self._server.should_exit = True
                    return
                say(f"reload failed, the models stay as they are: {error}")
            else:
                if not self._app.closing:
                    self._service.serve(catalog)
                say(f"ready: {', '.join(catalog.models)}")
            if not self._again:
                return
