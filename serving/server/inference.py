"""The Open Inference Protocol's endpoints."""

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.server.batching import Job
from serving.server.catalog import MAX_TRUNCATION, Model
from serving.server.guard import HEADERS
from serving.server.protocol import HEADER_LENGTH, ProtocolError, format_answer, parse_request
from serving.server.protocol import Request as Inference
from serving.server.service import Service
from serving.server.settings import version

EXTENSIONS = ("binary_tensor_data",)
# Bodies beyond are parsed in a thread, since it takes milliseconds.
_LARGE_BODY = 16384
_LENGTH = HEADER_LENGTH.lower().encode()


class InferenceEndpoints:
    """Health, metadata and inference."""

    def __init__(self, service: Service) -> None:
        """Takes the service."""
        self._service = service

    def routes(self) -> list[Route]:
        """Returns the routes, the busiest first."""
        model, version = "/v2/models/{model}", "/versions/{version}"
        return [
            Route(f"{model}/infer", self.infer, methods=["POST"]),
            Route(f"{model}{version}/infer", self.infer, methods=["POST"]),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/v2", self.server),
            Route(model, self.model),
            Route(f"{model}{version}", self.model),
            Route(f"{model}/ready", self.model_ready),
            Route(f"{model}{version}/ready", self.model_ready),
        ]

    async def infer(self, request: Request) -> Response:
        """Runs a model."""
        service = self._service
        service.admit(1)
        model = self._model(request)
        headers = request.scope[HEADERS]
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise ProtocolError("the body is compressed; send it as it is.", 415)
        body = await service.body(request, service.body_limit(model.numbers))
        arguments = (
            body,
            length.decode("latin-1") if (length := headers.get(_LENGTH)) is not None else None,
            model.inputs,
            model.outputs,
            service.settings.max_images,
        )
        large = len(body) > _LARGE_BODY
        inference = await asyncio.to_thread(parse_request, *arguments) if large else parse_request(*arguments)
        content, answer_headers = await service.run(request, _job(request.path_params["model"], model, inference))
        return Response(content, headers=answer_headers)

    async def live(self, request: Request) -> Response:
        """Whether the process answers."""
        return JSONResponse(self._health())

    async def ready(self, request: Request) -> Response:
        """Whether requests should be sent here."""
        return JSONResponse(self._health(), 200 if self._service.ready else 503)

    async def server(self, request: Request) -> Response:
        """Metadata of the server."""
        return JSONResponse({"name": "mirage", "version": version(), "extensions": list(EXTENSIONS)})

    async def model(self, request: Request) -> Response:
        """Metadata of a model."""
        model = self._model(request)
        name = request.path_params["model"]
        return JSONResponse(
            {
                "name": name,
                "versions": list(self._service.catalog.models[name]),
                "platform": "onnxruntime_onnx",
                "inputs": [spec.to_dict() for spec in model.inputs],
                "outputs": [spec.to_dict() for spec in model.outputs],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """Whether a model can be run."""
        self._model(request)
        name, ready = request.path_params["model"], self._service.ready
        return JSONResponse({"name": name, "ready": ready}, 200 if ready else 503)

    def _health(self) -> dict[str, Any]:
        # The specification's document and KServe's client disagree on which key a body has; this has both.
        return {"live": True, "ready": self._service.ready}

    def _model(self, request: Request) -> Model:
        name, version = request.path_params["model"], request.path_params.get("version")
        model = self._service.catalog.model(name, version)
        if model is None:
            known = ", ".join(self._service.catalog.models)
            wanted = name if version is None else f"{name} of version {version}"
            raise ProtocolError(f"there is no model {wanted}; there are {known or 'none yet'}.", 404)
        return model


def _job(name: str, model: Model, inference: Inference) -> Job:
    """Makes the work of an inference request.

    Raises:
      ProtocolError: for labels that are not those of classes, or attributes or a truncation out of range.
    """
    generator, inputs = model.bundle.generator, inference.inputs
    try:
        given = inputs.get(generator.info.condition)
        condition = None if given is None else generator.check_condition(given, inference.count)
    except ValueError as error:
        raise ProtocolError(str(error)) from None
    output = model.outputs[0].name
    truncation = float(inputs.get("truncation", 1.0))
    if not 0 <= truncation <= MAX_TRUNCATION:
        raise ProtocolError(f"truncation is {truncation:g}; expected a number from 0 to {MAX_TRUNCATION}.")

    def finish(images: NDArray) -> tuple[bytes, dict[str, str]]:
        if images.dtype.kind == "f" and not np.isfinite(images).all():  # which JSON has no numbers for
            raise ProtocolError("the images have values that are NaN or infinite; send smaller numbers.")
        return format_answer(name, model.bundle.version, inference, {output: images})

    return Job(
        generator,
        condition,
        finish,
        z=inputs.get("z"),
        seeds=inputs.get("seed"),
        truncation=truncation,
        pixels=output == "pixels",
    )
