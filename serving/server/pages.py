"""The page at `/`: files of this package, read once."""

import hashlib
from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FILES = {"/": "index.html", **{f"/{name}": name for name in ("page.css", "page.js", "attributes.js", "icon.svg")}}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
PAGE_PATHS = tuple(_FILES)


def page_routes() -> list[Route]:
    """Returns a route for each file."""
    folder = resources.files("serving.server") / "web"
    return [Route(path, _endpoint((folder / name).read_bytes(), name)) for path, name in _FILES.items()]


def _endpoint(content: bytes, name: str) -> Callable[[Request], Awaitable[Response]]:
    tag = '"' + hashlib.sha256(content).hexdigest()[:32] + '"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def page(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_TYPES[name.rpartition(".")[2]])

    return page
