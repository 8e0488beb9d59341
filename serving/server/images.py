"""The people's endpoint: pictures by plain URLs."""

import base64
import hashlib
import io
import json
import math
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.attributes import between_ends, parse
from serving.contract import png
from serving.contract.latents import latents
from serving.contract.manifest import STYLE
from serving.generator import Condition, between
from serving.server.batching import Job
from serving.server.catalog import MAX_TRUNCATION, Bundle
from serving.server.protocol import ProtocolError
from serving.server.service import Service

IMAGE_PATHS = ("/v1/images", "/v1/interpolate")
FORMATS = {"png": "image/png", "npy": "application/octet-stream", "json": "application/json"}
_CACHE_S = 300
# Seeds that a server draws are short enough to be typed, and exact in every language's numbers.
_DRAWN_SEEDS = 2**31
_INT64 = 2**63


class ImageEndpoints:
    """`/v1/images` and `/v1/interpolate`."""

    def __init__(self, service: Service) -> None:
        """Takes the service."""
        self._service = service

    def routes(self) -> list[Route]:
        """Returns the routes."""
        return [
            Route(IMAGE_PATHS[0], self.images),
            Route(IMAGE_PATHS[1], self.interpolate),
            Route("/v1/bundles", self.bundles),
        ]

    async def bundles(self, request: Request) -> Response:
        """What there is to choose from."""
        catalog = self._service.catalog
        described = []
        for name in catalog.names:
            bundle = self._service.bundle(name)
            info = bundle.generator.info
            described.append(
                {
                    "name": name,
                    "version": bundle.version,
                    "digest": bundle.digest,
                    "image_shape": list(info.image_shape),
                    **({} if info.alpha is None else {"alpha": info.alpha}),
                    "latent_dim": info.latent_dim,
                    "class_names": list(info.class_names),
                    **({"truncation": STYLE} if info.styles else {}),
                    **({"attributes": [each.to_dict() for each in info.attributes]} if info.attributes else {}),
                }
            )
        return JSONResponse({"bundles": described, "max_images": self._service.settings.max_images})

    async def images(self, request: Request) -> Response:
        """Pictures of seeds."""
        known = ("n", "seed", "label", "attributes", "truncation", "format", "columns", "bundle")
        query = _Query(request.query_params.multi_items(), known)
        self._service.admit(count := query.integer("n", 1, 1, self._service.settings.max_images))
        bundle = self._service.bundle(query.text("bundle"))
        drawn = query.text("seed") is None
        seed = secrets.randbelow(_DRAWN_SEEDS) if drawn else query.integer("seed", 0, -_INT64, _INT64 - count)
        truncation = query.truncation()
        condition = query.condition(bundle, count)
        form, columns = query.form(), query.integer("columns", 0, 0, self._service.settings.max_images)
        seeds = np.int64(seed) + np.arange(count, dtype=np.int64)
        describe = _describe(bundle, condition, [{"seed": int(each)} for each in seeds])
        facts = None if drawn else {"what": "images", **query.values, "seed": seed}
        finish = _finisher(form, columns or _columns(bundle, query, count), describe)
        job = Job(bundle.generator, condition, finish, seeds=seeds, truncation=truncation, pixels=True)
        return await self._answer(request, bundle, job, form, facts, seed)

    async def interpolate(self, request: Request) -> Response:
        """Pictures on the way from one seed's to another's."""
        known = ("from", "to", "n", "label", "attributes", "truncation", "format", "columns", "bundle")
        query = _Query(request.query_params.multi_items(), known)
        self._service.admit(count := query.integer("n", 8, 2, self._service.settings.max_images))
        bundle = self._service.bundle(query.text("bundle"))
        first = query.integer("from", None, -_INT64, _INT64 - 1)
        last = query.integer("to", None, -_INT64, _INT64 - 1)
        truncation = query.truncation()
        t = np.linspace(0, 1, count)
        condition = query.condition(bundle, count, t)
        form, columns = query.form(), query.integer("columns", 0, 0, self._service.settings.max_images)
        law = bundle.generator.info.latent_distribution
        ends = latents([first, last], bundle.generator.latent_dim, law)
        describe = _describe(bundle, condition, [{"t": float(each)} for each in t])
        facts = {"what": "interpolate", **query.values}
        z, finish = between(ends[0], ends[1], t, law), _finisher(form, columns or count, describe)
        job = Job(bundle.generator, condition, finish, z=z, truncation=truncation, pixels=True)
        return await self._answer(request, bundle, job, form, facts, None)

    async def _answer(
        self,
        request: Request,
        bundle: Bundle,
        job: Job,
        form: str,
        facts: Mapping[str, Any] | None,
        seed: int | None,
    ) -> Response:
        """Answers with pictures, or with nothing if the client has them already.

        Args:
          request: the request.
          bundle: what makes them.
          job: the work.
          form: one of `FORMATS`.
          facts: what they depend on besides the bundle; None if the same request may get others.
          seed: the first one's, to be told.
        """
        headers = {"X-Bundle": f"{bundle.name}/{bundle.version}"}
        if seed is not None:
            headers["X-Seed"] = str(seed)
        if facts is None:
            headers["Cache-Control"] = "no-store"
        else:
            text = json.dumps([bundle.name, bundle.version, bundle.digest, sorted(facts.items())])
            tag = '"' + hashlib.sha256(text.encode()).hexdigest()[:32] + '"'
            scope = "private" if self._service.settings.token else "public"
            headers |= {"ETag": tag, "Cache-Control": f"{scope}, max-age={_CACHE_S}"}
            if tag in [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]:
                return Response(status_code=304, headers=headers)
        content = await self._service.run(request, job)
        return Response(content, headers=headers, media_type=FORMATS[form])


class _Query:
    """A URL's parameters, checked."""

    def __init__(self, items: list[tuple[str, str]], known: tuple[str, ...]) -> None:
        self.values = dict(items)
        for name in self.values:
            if name not in known:
                raise ProtocolError(f"there is no parameter {name[:40]!r}; there are {', '.join(known)}.")
        if len(self.values) != len(items):
            raise ProtocolError("a parameter is given twice; expected each once.")

    def text(self, name: str) -> str | None:
        return self.values.get(name)

    def integer(self, name: str, default: int | None, least: int, most: int) -> int:
        text = self.values.get(name)
        if text is None and default is not None:
            return default
        digits = (text or "").removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 20 and least <= int(text or "") <= most):
            given = "missing" if text is None else repr(text[:40])
            raise ProtocolError(f"{name} is {given}; expected a whole number from {least} to {most}.")
        return int(text or "")

    def truncation(self) -> float:
        text = self.values.get("truncation", "1")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= MAX_TRUNCATION:
            raise ProtocolError(f"truncation is {text[:40]!r}; expected a number from 0 to {MAX_TRUNCATION}.")
        return value

    def form(self) -> str:
        form = self.values.get("format", "png")
        if form not in FORMATS:
            raise ProtocolError(f"format is {form[:40]!r}; expected one of {', '.join(FORMATS)}.")
        return form

    def condition(self, bundle: Bundle, count: int, t: NDArray[np.float64] | None = None) -> Condition:
        """What the pictures shall be of; on a walk, at its places from 0 to 1."""
        text, names = self.values.get("label"), bundle.generator.class_names
        label: str | int | None = text
        if text is not None and text not in names and text.isascii() and text.isdigit():
            label = int(text[:10])
        if text is None and names and t is not None:
            label = 0  # a walk through all classes at once would show nothing
        try:
            return bundle.generator.condition(label, self._attributes(t), count)
        except ValueError as error:
            raise ProtocolError(str(error)) from None

    def _attributes(self, t: NDArray[np.float64] | None) -> Mapping[str, Any] | None:
        text = self.values.get("attributes")
        if text is None:
            return None
        ends = parse(text)
        if t is not None:
            return between_ends(ends, t)
        for name, (first, last) in ends.items():
            if first != last:
                raise ValueError(f"attribute {name[:40]!r} goes from one number to another; only a walk can do that.")
        return {name: first for name, (first, _) in ends.items()}


def _columns(bundle: Bundle, query: _Query, count: int) -> int:
    in_turn = bundle.generator.class_names and query.text("label") is None
    return len(bundle.generator.class_names) if in_turn and count > 1 else math.ceil(math.sqrt(count))


def _describe(bundle: Bundle, condition: Condition, images: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns what the JSON form says beside the pictures."""
    generator = bundle.generator
    if condition is not None and generator.attributes:
        keys = [each.name for each in generator.attributes]
        images = [
            {**each, "attributes": dict(zip(keys, row, strict=True))}
            for each, row in zip(images, condition.tolist(), strict=True)
        ]
    elif condition is not None:
        names = generator.class_names
        images = [{**each, "label": int(k), "class_name": names[k]} for each, k in zip(images, condition, strict=True)]
    return {"bundle": bundle.name, "version": bundle.version, "digest": bundle.digest, "images": images}


def _finisher(form: str, columns: int, describe: Mapping[str, Any]) -> Callable[[NDArray[np.uint8]], bytes]:
    """Returns what makes an answer's bytes of pixels."""

    def finish(pixels: NDArray[np.uint8]) -> bytes:
        if form == "png":
            return png.encode(pixels[0] if len(pixels) == 1 else png.grid(pixels, columns))
        if form == "npy":
            file = io.BytesIO()
            np.save(file, pixels)
            return file.getvalue()
        coded = [base64.b64encode(png.encode(image)).decode() for image in pixels]
        images = [{**facts, "png": code} for facts, code in zip(describe["images"], coded, strict=True)]
        return json.dumps({**describe, "images": images}).encode()

    return finish
