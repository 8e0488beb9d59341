"""HTTP connections that a client can't hold, or fill, for as long as it likes.

uvicorn bounds neither the size of a request's head nor the time that a client takes for it or for its answer.
"""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 16384
# Key of a request's scope: what is called if its client goes away before its answer.
GIVE_UP = "mirage.give_up"


class _Joined:
    """A transport that sends together what is written together: uvicorn writes a head and its body one by one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits.

    Attributes:
      read_timeout_s: seconds for a request to arrive, and for a stalled client to take more of its answer.
      grace_s: seconds for which a connection without a request stays open when the server ends.
    """

    read_timeout_s = 10.0
    grace_s = 1.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn's."""
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = True
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins the time for the first request."""
        super().connection_made(_Joined(transport, self.loop))  # type: ignore[arg-type]
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all times, and the wait for what nobody will take."""
        self._end_reading()
        self._end_writing()
        scope: Mapping[str, Any] = {} if self.cycle is None else cast(dict[str, Any], self.cycle.scope)
        if GIVE_UP in scope:
            scope[GIVE_UP]()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts the bytes of a head; begins the time of a request that is not there at once."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD:
            self._refuse(431, f"the request's head is longer than {MAX_HEAD} bytes; send a shorter one.")
        elif self._reading is None and (self._head_bytes or not self._in_head):
            self._begin()

    def on_headers_complete(self) -> None:
        """Checks the head's size."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        self._in_head = False
        if size > MAX_HEAD:
            self._refuse(431, f"the request's head is longer than {MAX_HEAD} bytes; send a shorter one.")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is another head."""
        self._end_reading()
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def shutdown(self) -> None:
        """Ends the connection after its request; where there is none, one may be on its way."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(self.grace_s, super().shutdown)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """The client takes its answer slowly: begins its time."""
        super().pause_writing()
        self._writing = self.loop.call_later(self.read_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client took a part of its answer."""
        super().resume_writing()
        self._end_writing()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, as JSON like all errors."""
        self._refuse(400, msg)

    def _begin(self) -> None:
        self._reading = self.loop.call_later(self.read_timeout_s, self._too_slow)

    def _too_slow(self) -> None:
        if self._in_head and not self._head_bytes:
            self.transport.close()
        else:
            self._refuse(408, "the request did not arrive in time; send it at once.")

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # there is an answer already, to which nothing can be added
            return
        body = json.dumps({"error": message}).encode()
        line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(line.encode() + head.encode() + body)
        self.transport.close()

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _end_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
