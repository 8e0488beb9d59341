"""A generator behind LitServe: `python -m benchmarks.serving_peers.litserve_server JSON`.

A request is JSON with `seed`, `label` (of a conditional generator) and `format`, "png" or "raw"; the answer is a PNG
file, or the pixels' bytes.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import litserve
import numpy as np
from fastapi import Response

from serving import Generator
from serving.contract import png
from serving.contract.latents import latents

# One image's seed, label and format; then its pixels and format.
_Wanted = tuple[int, int | None, str]
_Made = tuple[np.ndarray, str]


class Api(litserve.LitAPI):
    """What LitServe calls, in its inference processes."""

    def __init__(self, bundle: str, threads: int, **options: Any) -> None:
        """Takes the bundle, onnxruntime's threads, and LitServe's own options."""
        super().__init__(**options)
        self._bundle = bundle
        self._threads = threads

    def setup(self, device: str) -> None:
        """Loads the generator."""
        self._generator = Generator.load(self._bundle, threads=self._threads)

    def decode_request(self, request: Mapping[str, Any]) -> _Wanted:
        """Reads a request."""
        return int(request["seed"]), request.get("label"), request["format"]

    def batch(self, inputs: Sequence[_Wanted]) -> list[_Wanted]:
        """Leaves a batch as it is."""
        return list(inputs)

    def predict(self, x: Sequence[_Wanted]) -> list[_Made]:
        """Makes a batch's images."""
        seeds, labels, forms = zip(*x, strict=True)
        z = latents(seeds, self._generator.latent_dim)
        pixels = self._generator.decode(z, None if labels[0] is None else np.array(labels))
        return list(zip(pixels, forms, strict=True))

    def unbatch(self, output: list[_Made]) -> list[_Made]:
        """Leaves a batch as it is."""
        return output

    def encode_response(self, output: _Made) -> Response:
        """Writes an answer."""
        pixels, form = output
        if form == "png":
            return Response(png.encode(pixels), media_type="image/png")
        return Response(pixels.tobytes(), media_type="application/octet-stream")


def main() -> None:
    """Serves until it is killed."""
    options = json.loads(sys.argv[1])
    api = Api(
        options["bundle"],
        options["threads"],
        max_batch_size=options["max_batch_size"],
        batch_timeout=options["batch_timeout"],
    )
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=options["workers"], fast_queue=options["fast_queue"]
    )
    server.run(
        host="127.0.0.1",
        port=options["port"],
        num_api_servers=options["workers"],
        log_level="warning",  # no access log
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
