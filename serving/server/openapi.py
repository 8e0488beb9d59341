"""The OpenAPI document, and a page that shows it."""

import html
import json
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from serving.contract.attributes import number_text
from serving.generator import Generator
from serving.server.catalog import MAX_TRUNCATION, Model, newest
from serving.server.images import FORMATS
from serving.server.protocol import HEADER_LENGTH, TensorSpec
from serving.server.service import Service
from serving.server.settings import version

_DESCRIPTION = (
    "Pictures from a generator. /v1 is for people and scripts; /v2 is the Open Inference Protocol, "
    "which Triton, KServe and their clients speak."
)
_INT64 = {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1}
_TRUNCATION = {"type": "number", "minimum": 0, "maximum": MAX_TRUNCATION}
_NUMBERS = {"FP32": {"type": "number", "minimum": -1e30, "maximum": 1e30}, "INT64": _INT64}


class DocumentEndpoints:
    """`/openapi.json` and `/docs`."""

    def __init__(self, service: Service) -> None:
        """Takes the service, whose models and limits the document names."""
        self._service = service

    def routes(self) -> list[Route]:
        """Returns the routes."""
        return [Route("/openapi.json", self.document), Route("/docs", self.page)]

    async def document(self, request: Request) -> Response:
        """The document."""
        return JSONResponse(describe(self._service))

    async def page(self, request: Request) -> Response:
        """The document, for people."""
        return HTMLResponse(_page(describe(self._service)))


def describe(service: Service) -> dict[str, Any]:
    """Returns the document for what is served now."""
    paths: dict[str, Any] = {
        "/v1/images": {"get": _images(service)},
        "/v1/interpolate": {"get": _interpolate(service)},
        "/v1/bundles": {"get": _get("What is served.", "bundles")},
        "/v2": {"get": _get("Metadata of the server.", "server")},
        "/v2/health/live": {"get": _get("Whether the process answers.", "live")},
        "/v2/health/ready": {"get": _get("Whether requests should be sent here; 503 if not.", "ready")},
    }
    for name, versions in service.catalog.models.items():
        model = newest(versions)
        path = f"/v2/models/{name}"
        paths[path] = {"get": _get("Inputs and outputs of the model.", f"{name}_metadata")}
        paths[f"{path}/ready"] = {"get": _get("Whether the model can be run; 503 if not.", f"{name}_ready")}
        paths[f"{path}/infer"] = {"post": _infer(name, model, service)}
    paths["/metrics"] = {"get": _operation("Counters in Prometheus' format.", "metrics", {"text/plain": {}})}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Mirage", "version": version(), "description": _DESCRIPTION},
        # Relative to where the document is, so that a proxy may serve all of it behind a prefix.
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {
            "schemas": {"Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}}
        },
    }
    if service.settings.token is not None:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _operation(summary: str, name: str, content: dict[str, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "summary": summary,
        "operationId": name,
        "responses": {
            "200": {"description": "The answer.", "content": content},
            "default": {"description": "Not done; the body says why.", "content": error},
        },
    }


def _get(summary: str, name: str) -> dict[str, Any]:
    return _operation(summary, name, {"application/json": {"schema": {"type": "object"}}})


def _parameter(name: str, description: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "required": required, "schema": schema}


def _condition(generator: Generator, *, walk: bool) -> Iterator[dict[str, Any]]:
    """The parameter that says what pictures shall be of."""
    if names := generator.class_names:
        values = [*names, *(str(number) for number in range(len(names)) if str(number) not in names)]
        yield _parameter("label", "Class, by name or number.", {"type": "string", "enum": values})
    if attributes := generator.attributes:
        ranges = ", ".join(
            f"{each.name} from {number_text(each.low)} to {number_text(each.high)}" for each in attributes
        )
        typical = ",".join(f"{each.name}={number_text(each.typical)}" for each in attributes)
        more = "; a walk may go from one number to another, as in age=16..80" if walk else ""
        yield _parameter(
            "attributes",
            f"name=number, joined by commas: {ranges}. What is left out is typical{more}.",
            {"type": "string", "examples": [typical]},
        )


def _common(service: Service, *, walk: bool = False) -> list[dict[str, Any]]:
    most = service.settings.max_images
    bundle = service.catalog.bundle()
    return [
        *(_condition(bundle.generator, walk=walk) if bundle is not None else ()),
        _parameter(
            "truncation",
            "Factor of the latents or, where there are styles, of their distance from the mean style; less than 1 "
            "makes pictures more usual and more alike.",
            _TRUNCATION | {"default": 1},
        ),
        _parameter(
            "format",
            "A picture, an array, or single pictures as base64; with straight alpha where pictures have four channels.",
            {"enum": list(FORMATS)},
        ),
        _parameter("columns", "Pictures per row; 0 chooses.", {"type": "integer", "minimum": 0, "maximum": most}),
        _parameter("bundle", "Which bundle; the first by default.", {"enum": list(service.catalog.names)}),
    ]


def _image_operation(summary: str, name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {kind: {} for kind in FORMATS.values()}
    operation = _operation(summary, name, content) | {"parameters": parameters}
    operation["responses"]["304"] = {"description": "The client has it already."}
    return operation


def _images(service: Service) -> dict[str, Any]:
    most = service.settings.max_images
    parameters = [
        _parameter("n", "How many.", {"type": "integer", "minimum": 1, "maximum": most, "default": 1}),
        _parameter(
            "seed",
            "Seed of the first; the next has the next one. Left out, one is drawn.",
            _INT64 | {"maximum": 2**63 - most},
        ),
        *_common(service),
    ]
    return _image_operation("Pictures of seeds; a seed's picture never changes.", "images", parameters)


def _interpolate(service: Service) -> dict[str, Any]:
    most = service.settings.max_images
    parameters = [
        _parameter("from", "Seed of the first picture.", _INT64, required=True),
        _parameter("to", "Seed of the last picture.", _INT64, required=True),
        _parameter("n", "How many.", {"type": "integer", "minimum": 2, "maximum": most, "default": 8}),
        *_common(service, walk=True),
    ]
    return _image_operation("A walk between the pictures of two seeds.", "interpolate", parameters)


def _infer(name: str, model: Model, service: Service) -> dict[str, Any]:
    operation = _operation(
        "Runs the model.",
        f"{name}_infer",
        {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": {}},
    )
    names = {"enum": [spec.name for spec in model.outputs]}
    output = {"type": "object", "required": ["name"], "properties": {"name": names}}
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "inputs": {
                "type": "array",
                "minItems": 1,
                "items": {"oneOf": [_tensor(spec, model, service) for spec in model.inputs]},
            },
            "outputs": {"type": ["array", "null"], "items": output},
            "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}},
        },
    }
    example = {"inputs": [_example(spec, model) for spec in model.inputs if not spec.optional]}
    operation["requestBody"] = {
        "required": True,
        "description": f"JSON; or JSON and binary tensors behind it, with the header {HEADER_LENGTH}.",
        "content": {"application/json": {"schema": schema, "example": example}},
    }
    return operation


def _tensor(spec: TensorSpec, model: Model, service: Service) -> dict[str, Any]:
    sizes = [service.settings.max_images if size == -1 else size for size in spec.shape]
    most = sizes[0] * sizes[-1] if len(sizes) > 1 else (sizes or [1])[0]
    number = _TRUNCATION if spec.name == "truncation" else _NUMBERS[spec.datatype]
    if spec.name == "attributes":
        attributes = model.bundle.generator.attributes
        number = number | {
            "minimum": min(each.low for each in attributes),
            "maximum": max(each.high for each in attributes),
        }
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": spec.datatype},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "data": {"type": "array", "items": number, "maxItems": most},
        },
    }


def _example(spec: TensorSpec, model: Model) -> dict[str, Any]:
    shape = [1 if size == -1 else size for size in spec.shape]
    data: list[float] = [0] * (shape[-1] if shape else 1)
    if spec.name == "attributes":
        data = [each.typical for each in model.bundle.generator.attributes]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": data}


def _page(document: dict[str, Any]) -> str:
    """Writes the document as a page that needs nothing but its stylesheet."""
    parts = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            rows = "".join(
                f"<tr><td><code>{_text(each['name'])}</code>{' *' if each['required'] else ''}</td>"
                f"<td>{_text(each['description'])}</td><td><code>{_text(_range(each['schema']))}</code></td></tr>"
                for each in operation.get("parameters", ())
            )
            table = f"<table>{rows}</table>" if rows else ""
            body = operation.get("requestBody")
            example = json.dumps(body["content"]["application/json"]["example"]) if body else ""
            sample = f"<p>{_text(body['description'])}</p><pre>{_text(example)}</pre>" if body else ""
            parts.append(
                f"<section><h2><span>{method.upper()}</span> <code>{_text(path)}</code></h2>"
                f"<p>{_text(operation['summary'])}</p>{table}{sample}</section>"
            )
    title = _text(document["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}: API</title><link rel=icon href=icon.svg>"
        f"<link rel=stylesheet href=page.css><body class=docs><h1>{title} "
        f"{_text(document['info']['version'])}</h1><p>{_text(document['info']['description'])} "
        f"<a href=openapi.json>openapi.json</a>, <a href=./>pictures</a></p>{''.join(parts)}</body></html>"
    )


def _range(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if "examples" in schema:
        return f"such as {schema['examples'][0]}"
    return f"{schema['minimum']} to {schema['maximum']}"


def _text(value: Any) -> str:
    return html.escape(str(value))
