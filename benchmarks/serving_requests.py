"""Requests that make the same images, for each server in each form, and wrk, which sends them.

A form says what an answer is: "png" a PNG file, "json" the Open Inference Protocol's JSON, "binary" the pixels' bytes.
"""

import base64
import dataclasses
import http.client
import io
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.generator import Generator
from serving.server.protocol import HEADER_LENGTH

_SETTLE_S = 0.5
SEED, LABEL = 7, 1
FORMS = ("png", "json", "binary")


class BenchmarkError(Exception):
    """What keeps a benchmark from measuring; the message is one sentence, perhaps with what a program printed."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A request, and how to read its answer.

    Attributes:
      method: "GET" or "POST".
      path: with its query.
      headers: by name.
      body: bytes behind the head.
      pixels: makes the pixels of an answer's headers and body, in any shape.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    pixels: Callable[[Mapping[str, str], bytes], NDArray[np.uint8]]

    def raw(self) -> bytes:
        """Returns the request's bytes."""
        headers = {"Host": "127.0.0.1", **self.headers, "Content-Length": str(len(self.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


@dataclasses.dataclass(frozen=True)
class Load:
    """What wrk saw.

    Attributes:
      rate: answers per second.
      p50: median latency in milliseconds.
      p99: its 99th percentile.
    """

    rate: float
    p50: float
    p99: float


def calls(generator: Generator) -> dict[tuple[str, str], Call]:
    """Returns the requests for one image, by server and form."""
    label = LABEL if generator.info.conditional else None
    query = f"seed={SEED}" + ("" if label is None else f"&label={label}")
    facts = {"seed": SEED} if label is None else {"seed": SEED, "label": label}
    as_json = {"Content-Type": "application/json"}

    def lit(form: str, pixels: Callable[[Mapping[str, str], bytes], NDArray[np.uint8]]) -> Call:
        return Call("POST", "/predict", as_json, json.dumps({**facts, "format": form}).encode(), pixels)

    inputs = [{"name": k, "datatype": "INT64", "shape": [1], "data": [v]} for k, v in facts.items()]
    body = json.dumps({"inputs": inputs}).encode()
    return {
        ("Mirage", "png"): Call("GET", f"/v1/images?{query}", {}, b"", _of_png),
        ("Mirage", "json"): Call("POST", "/v2/models/sampler/infer", as_json, body, _of_json),
        ("Mirage", "binary"): binary_call(generator, 1),
        ("LitServe", "png"): lit("png", _of_png),
        ("LitServe", "binary"): lit("raw", _of_bytes),
        ("MLServer", "json"): Call("POST", "/v2/models/mirage/infer", as_json, body, _of_json),
    }


def binary_call(generator: Generator, count: int) -> Call:
    """Returns Mirage's request for images in binary tensors, of the seeds from SEED on."""
    tensors = {"seed": np.arange(SEED, SEED + count, dtype="<i8")}
    if generator.info.conditional:
        tensors["label"] = np.full(count, LABEL, "<i8")
    inputs = [
        {"name": name, "datatype": "INT64", "shape": [count], "parameters": {"binary_data_size": array.nbytes}}
        for name, array in tensors.items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    body = b"".join([head, *(array.tobytes() for array in tensors.values())])
    return Call("POST", "/v2/models/sampler/infer", headers, body, _of_tensors)


def encoded(call: Call) -> str:
    """Returns a request's bytes in base 64."""
    return base64.b64encode(call.raw()).decode()


def _of_png(headers: Mapping[str, str], body: bytes) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(body)))


def _of_json(headers: Mapping[str, str], body: bytes) -> NDArray[np.uint8]:
    return np.array(json.loads(body)["outputs"][0]["data"], np.uint8)


def _of_tensors(headers: Mapping[str, str], body: bytes) -> NDArray[np.uint8]:
    return _of_bytes(headers, body[int(headers[HEADER_LENGTH]) :])


def _of_bytes(headers: Mapping[str, str], body: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(body, np.uint8)


def check(port: int, call: Call, expected: NDArray[np.uint8], name: str) -> None:
    """Sends a request once.

    Args:
      port: the server's.
      call: the request.
      expected: the pixels that it must make, give or take one level.
      name: what errors call the server.

    Raises:
      BenchmarkError: for another status or other pixels.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(call.method, call.path, call.body or None, dict(call.headers))
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status // 100 != 2:
        raise BenchmarkError(f"{name} answers {answer.status}: {body[:300].decode(errors='replace')}")
    pixels = call.pixels(answer.headers, body).reshape(expected.shape)  # type: ignore[arg-type]
    if np.abs(pixels.astype(int) - expected).max() > 1:
        raise BenchmarkError(f"{name} makes other pixels than serving.Generator.")


def find_wrk() -> str:
    """Returns wrk's path.

    Raises:
      BenchmarkError: if it is not installed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise BenchmarkError("wrk is not installed; on Debian and Ubuntu: apt-get install wrk.")
    return path


_SCRIPT = """wrk.method = "{method}"
{headers}
wrk.body = "{body}"
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\\nfigures {{"requests": %d, "us": %d, "failed": %d, "p50": %.1f, "p99": %.1f}}\\n',
    summary.requests, summary.duration, failed, latency:percentile(50), latency:percentile(99)))
end
"""


def _lua(data: bytes) -> str:
    return "".join(f"\\{byte:03d}" for byte in data)


def wrk(port: int, call: Call, connections: int, seconds: float) -> Load:
    """Sends a request again and again over some connections, on each when the last one is answered.

    Raises:
      BenchmarkError: if any answer's status is not 2xx, or a connection fails.
    """
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in call.headers.items())
    with tempfile.TemporaryDirectory(prefix="mirage-wrk-") as folder:
        script = Path(folder) / "request.lua"
        script.write_text(_SCRIPT.format(method=call.method, headers=headers, body=_lua(call.body)))
        # wrk takes whole seconds.
        command = [find_wrk(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout=20s"]
        url = f"http://127.0.0.1:{port}{call.path}"
        done = subprocess.run([*command, "-s", str(script), url], capture_output=True, text=True, check=False)
    # At its end wrk leaves; until its last requests are worked off, they would stand in the next one's way.
    time.sleep(_SETTLE_S)
    lines = [line for line in done.stdout.splitlines() if line.startswith("figures ")]
    if done.returncode or not lines:
        raise BenchmarkError(f"wrk failed: {(done.stderr or done.stdout)[-500:]}")
    figures = json.loads(lines[0].removeprefix("figures "))
    if figures["failed"] or not figures["requests"]:
        raise BenchmarkError(f"{figures['failed']} of {figures['requests']} requests to {call.path} failed.")
    return Load(figures["requests"] / figures["us"] * 1e6, figures["p50"] / 1e3, figures["p99"] / 1e3)
