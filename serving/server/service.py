"""What answers need: the models, the batcher, and whether the server is ready."""

import asyncio
from typing import Any

from starlette.requests import ClientDisconnect, Request

from serving.server.batching import Batcher, Expired, Job, Overloaded
from serving.server.catalog import Bundle, Catalog
from serving.server.connection import GIVE_UP
from serving.server.guard import HEADERS
from serving.server.protocol import ProtocolError
from serving.server.settings import Settings
from serving.server.telemetry import Telemetry

_JSON_NUMBER_BYTES = 32


class Service:
    """Shared by all requests of a process.

    Attributes:
      settings: the server's.
      telemetry: its counters.
      catalog: what is served; a reload replaces it, and requests that have begun keep the old one.
      ready: whether requests should be sent here.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry, batcher: Batcher) -> None:
        """Takes the parts; the catalog comes when it is loaded."""
        self.settings = settings
        self.telemetry = telemetry
        self.catalog = Catalog([])
        self.ready = False
        self._batcher = batcher
        telemetry.watch(lambda: batcher.waiting)

    def serve(self, catalog: Catalog) -> None:
        """Replaces the models, and is ready from now on."""
        self.catalog = catalog
        self.ready = True
        self.telemetry.ready(True)

    def leave(self) -> None:
        """Is no longer ready; what comes nevertheless is still answered."""
        self.ready = False
        self.telemetry.ready(False)

    def admit(self, count: int) -> None:
        """Refuses a request before any work on it.

        Raises:
          ProtocolError: 503 while the models are being loaded.
          Overloaded: if there is no room.
        """
        if not self.catalog.names:
            self.telemetry.rejected("starting")
            raise ProtocolError("the server is starting; ask again in a second.", 503)
        if seconds := self.busy(count):
            raise Overloaded(seconds)

    def busy(self, count: int) -> int:
        """Returns the seconds after which `count` more images may find room; 0 if they do now. Counts a rejection."""
        seconds = self._batcher.busy(count)
        if seconds:
            self.telemetry.rejected("overloaded")
        return seconds

    def bundle(self, name: str | None) -> Bundle:
        """Finds a bundle.

        Raises:
          ProtocolError: 404 if there is none of that name.
        """
        found = self.catalog.bundle(name)
        if found is None:
            raise ProtocolError(f"there is no bundle {name!r}; there are {', '.join(self.catalog.names)}.", 404)
        return found

    async def body(self, request: Request, limit: int) -> bytes:
        """Reads a request's body.

        Raises:
          ProtocolError: 413 if it is longer than `limit` bytes, 400 if it breaks off or does not come in time.
        """
        declared = request.scope[HEADERS].get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise ProtocolError(f"the body has {declared.decode()} bytes; expected at most {limit}.", 413)
        body, rest = b"", bytearray()  # almost all come at once
        try:
            async for chunk in request.stream():
                if body:
                    rest += chunk
                else:
                    body = chunk
                if len(body) + len(rest) > limit:
                    raise ProtocolError(f"the body is longer than {limit} bytes; send less at once.", 413)
        except ClientDisconnect:
            raise ProtocolError("the body broke off.", 400) from None
        return body + rest if rest else body

    def body_limit(self, numbers: int) -> int:
        """Returns the bytes of the largest sensible body with so many numbers per image, written as JSON."""
        return 65536 + self.settings.max_images * numbers * _JSON_NUMBER_BYTES

    async def run(self, request: Request, job: Job) -> Any:
        """Queues a job; forgets it if the client goes away meanwhile.

        Returns:
          What its `finish` makes.

        Raises:
          Overloaded: if there is no room.
          Expired: if it could not be run in time.
          ProtocolError: if the client has gone.
        """
        # Called by the connection; starlette could tell only who keeps asking.
        request.scope[GIVE_UP] = job.give_up
        try:
            return await self._batcher.run(job)
        except asyncio.CancelledError:
            if not job.future.cancelled():
                raise
            raise ProtocolError("the client has gone.", 499) from None
        except Overloaded:
            self.telemetry.rejected("overloaded")
            raise
        except Expired:
            self.telemetry.rejected("expired")
            raise
