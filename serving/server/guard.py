"""What surrounds every request: an id, the token, headers, the access log, metrics, and errors as JSON."""

import hmac
import json
import random
import re
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

from serving.server.output import Log, say
from serving.server.pages import PAGE_PATHS
from serving.server.telemetry import Telemetry

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# What needs no token: health, and the page, which asks for one.
_OPEN_PATHS = ("/v2/health/live", "/v2/health/ready", *PAGE_PATHS)
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# Key of a request's scope: its headers by name, both bytes; starlette would look through all of them for each.
HEADERS = "mirage.headers"
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'"),
]


class Guard:
    """An ASGI application around another."""

    def __init__(
        self,
        app: App,
        telemetry: Telemetry,
        token: str | None = None,
        log: Log | None = None,
    ) -> None:
        """Takes what it protects.

        Args:
          app: the application.
          telemetry: is told of every answer.
          token: what clients must send, or None.
          log: where each request becomes a line of JSON, or None.
        """
        self._app = app
        self._telemetry = telemetry
        self._token = token.encode() if token is not None else None
        self._log = log
        self.closing = False  # whether connections shall end after their answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            return
        started = time.monotonic()
        headers = scope[HEADERS] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else b"%032x" % random.getrandbits(128)
        scope["request_id"] = request_id.decode()
        status = size = 0

        async def guarded_send(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id), *_HEADERS]
                if self.closing:
                    message["headers"].append((b"connection", b"close"))
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            if self._refused(scope["path"], headers):
                await error(guarded_send, 401, "send the header 'Authorization: Bearer TOKEN'.", [_CHALLENGE])
            else:
                await self._app(scope, receive, guarded_send)
        except Exception:
            say(f"request {scope['request_id']} failed:\n{traceback.format_exc()}")
        finally:
            seconds = time.monotonic() - started
            self._telemetry.answered(getattr(scope.get("endpoint"), "__name__", "none"), status or 499, seconds)
            if self._log is not None:
                self._write(scope, status or 499, size, seconds)

    def _refused(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if self._token is None or path in _OPEN_PATHS:
            return False
        # Schemes may be written in any case (RFC 9110, 11.1).
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(b" "), self._token)

    def _write(self, scope: Scope, status: int, size: int, seconds: float) -> None:
        client = scope.get("client")
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": scope["request_id"],
            "client": client[0] if client else None,
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "status": status,
            "bytes": size,
            "ms": round(seconds * 1e3, 3),
        }
        assert self._log is not None
        self._log.write(json.dumps(line) + "\n")


_CHALLENGE = (b"www-authenticate", b"Bearer")


async def error(send: Send, status: int, message: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """Sends an error of the protocol's form."""
    body = json.dumps({"error": message}).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
