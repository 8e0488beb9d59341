"""One server process, from its start over reloads to its end.

- At its start it listens at once, and is ready when the models are loaded and warm.
- SIGHUP loads the models anew beside the old ones, then exchanges them; if that fails, it keeps the old ones.
- SIGTERM: it is not ready at once, tells clients to close their connections, finishes what it has accepted, and ends
  with 0.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Sequence

import uvicorn

from serving.contract.manifest import BundleError
from serving.server.app import build
from serving.server.batching import Batcher
from serving.server.catalog import Catalog, load
from serving.server.connection import Connection
from serving.server.guard import Guard
from serving.server.listening import HANDSHAKE_S, ignore_handshakes, waiting
from serving.server.output import AccessLog, say
from serving.server.service import Service
from serving.server.settings import LEAVE_S, Settings, StartError
from serving.server.telemetry import Telemetry

# Python lets a thread wait so long for another that computes; the default of 5 ms is many batches.
_SWITCH_S = 0.0005
# So often it looks whether all is finished.
_LOOK_S = 0.05


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to us, and its end.

    Attributes:
      shared_sockets: whether other processes listen at the same sockets.
      drain_s: seconds that accepted requests have to finish.
    """

    shared_sockets = False
    drain_s = 10.0

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts the connections that wait before their socket is closed, and finishes what they have begun."""
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
        for listener in listeners:
            listener.close()
        await self._drain()

    async def _drain(self) -> None:
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        deadline = time.monotonic() + self.drain_s
        while (state.connections or state.tasks) and not self.force_exit and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
        if state.tasks:
            say(f"given up, since they were not answered in time: {len(state.tasks)} requests")
        # Not left to uvicorn: from Python 3.12.1 on its wait for the listening sockets is one for all connections.
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(_LOOK_S)

    def _protocol(self) -> asyncio.Protocol:
        factory: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return factory(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def serve(settings: Settings, sockets: Sequence[socket.socket], ready: Callable[[], None]) -> None:
    """Runs a server in this process until SIGTERM or SIGINT.

    Args:
      settings: what it is told.
      sockets: listening sockets.
      ready: is called when the models are loaded for the first time.

    Raises:
      StartError: if the models can't be loaded.
    """
    sys.setswitchinterval(_SWITCH_S)
    asyncio.run(_serve(settings, list(sockets), ready))


async def _serve(settings: Settings, sockets: list[socket.socket], ready: Callable[[], None]) -> None:
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
    # There is no standard output if it was closed at the start.
    log = AccessLog(sys.stdout.fileno()) if settings.access_log and sys.stdout is not None else None
    app = build(service, log)
    server = _server(settings, app)
    lifecycle = _Lifecycle(settings, service, server, app, ready)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lifecycle.stop)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, lifecycle.reload)
    lifecycle.reload()
    await server.serve(sockets=sockets)
    if log is not None:
        log.close()
    if server.force_exit or lifecycle.loading:
        os._exit(0)  # nobody waits for what is being computed or loaded
    await asyncio.to_thread(batcher.close)
    for number in (signal.SIGTERM, signal.SIGINT):
        # It ends anyway, and with its own status.
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    if lifecycle.error is not None:
        raise StartError(lifecycle.error)


def _server(settings: Settings, app: Guard) -> _Server:
    limits = {"read_timeout_s": settings.read_timeout_s, "grace_s": min(1.0, settings.drain_s / 2)}
    server = _Server(
        uvicorn.Config(
            app,
            http=type("Connection", (Connection,), limits),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            # What it would say of requests, the guard says; the rest are bad requests, which any client can send.
            log_level="critical",
            access_log=False,
            server_header=False,
            # Both would be taken from the environment.
            workers=1,
            proxy_headers=False,
        )
    )
    server.shared_sockets = settings.workers > 1
    server.drain_s = settings.drain_s
    return server


class _Lifecycle:
    """What signals do."""

    def __init__(
        self, settings: Settings, service: Service, server: _Server, app: Guard, ready: Callable[[], None]
    ) -> None:
        self.error: str | None = None  # why it could not start
        self._ready = ready
        self._settings = settings
        self._service = service
        self._server = server
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._left = 0.0

    def reload(self) -> None:
        """Loads the models, for the first time or anew."""
        if self.loading:
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

    @property
    def loading(self) -> bool:
        """Whether a load has not ended."""
        return self._task is not None and not self._task.done()

    async def _load(self) -> None:
        settings = self._settings
        while True:
            self._again = False
            try:
                catalog = await asyncio.to_thread(load, settings.bundles, settings.repository, settings.precision)
            except Exception as error:  # whatever it is, nobody else would see it
                text = str(error) if isinstance(error, BundleError) else f"the models can't be loaded ({error!r})."
                if not self._service.catalog.names:
                    self.error = text
                    self._server.should_exit = True
                    return
                say(f"reload failed, the models stay as they are: {text}")
            else:
                self._serve(catalog)
            if not self._again:
                return

    def _serve(self, catalog: Catalog) -> None:
        if not self._app.closing:
            self._service.serve(catalog)
        for text in catalog.left_out:
            say(f"left out: {text}")
        say(f"ready: {', '.join(catalog.models)}")
        self._ready()
