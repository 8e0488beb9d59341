"""The application: all endpoints behind one guard."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.server.batching import Expired, Overloaded
from serving.server.guard import App, Guard, Receive, Scope, Send, error
from serving.server.images import IMAGE_PATHS, ImageEndpoints
from serving.server.inference import InferenceEndpoints
from serving.server.openapi import DocumentEndpoints
from serving.server.output import Log
from serving.server.pages import page_routes
from serving.server.protocol import ProtocolError
from serving.server.service import Service

# After these the rest of the body is not worth reading.
_CLOSING = (408, 413)


def build(service: Service, log: Log | None = None) -> Guard:
    """Builds the ASGI application.

    Args:
      service: what answers need.
      log: where requests are logged, or None.

    Returns:
      The application.
    """
    routes = [
        *InferenceEndpoints(service).routes(),
        *ImageEndpoints(service).routes(),
        Route("/metrics", _metrics(service)),
        *DocumentEndpoints(service).routes(),
        *page_routes(),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            ProtocolError: _protocol_error,
            Overloaded: _overloaded,
            Expired: _expired,
            HTTPException: _http_exception,
            Exception: _failure,
        },
    )
    app.router.redirect_slashes = False
    return Guard(_admission(app, service), service.telemetry, service.settings.token, log)


def _admission(app: App, service: Service) -> App:
    """Turns away here what would be turned away later, for less: under overload these are most requests."""

    async def admit(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if (path.endswith("/infer") or path in IMAGE_PATHS) and (seconds := service.busy(1)):
            await error(send, 429, _too_much(seconds), [(b"retry-after", b"%d" % seconds)])
        else:
            await app(scope, receive, send)

    return admit


def _too_much(seconds: int) -> str:
    return f"the server is overloaded; ask again in {seconds} s."


def _metrics(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def metrics(request: Request) -> Response:
        return Response(service.telemetry.text(), media_type="text/plain; version=0.0.4")

    return metrics


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


def _protocol_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProtocolError)
    headers = {"Connection": "close"} if error.status in _CLOSING else {}
    if error.status == 503:
        headers["Retry-After"] = "1"
    return _error(error.status, str(error), headers)


def _overloaded(request: Request, error: Exception) -> Response:
    assert isinstance(error, Overloaded)
    return _error(429, _too_much(error.retry_after_s), {"Retry-After": str(error.retry_after_s)})


def _expired(request: Request, error: Exception) -> Response:
    return _error(503, "the request could not be run in time; ask again later.", {"Retry-After": "1"})


def _failure(request: Request, error: Exception) -> Response:
    return _error(500, f"the server has failed; its log says more of request {request.scope['request_id']}.")


def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {
        404: f"there is no {request.url.path[:100]}; /docs lists what there is.",
        405: f"{request.method} is not for {request.url.path[:100]}; /docs says what is.",
    }
    return _error(error.status_code, messages.get(error.status_code, error.detail), dict(error.headers or {}))
