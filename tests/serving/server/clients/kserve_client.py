"""KServe's client: argument 1 is the server's URL; prints what it was answered as JSON."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def request(model, arrays, binary, output):
    inputs = []
    for name, (datatype, array) in arrays.items():
        inputs.append(InferInput(name, list(array.shape), datatype))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    outputs = [RequestedOutput(output, {"binary_data": binary})]
    return InferRequest(model, inputs, request_id="42", request_outputs=outputs)


SEEDS = {"seed": ("INT64", np.array([3, 4, 5])), "label": ("INT64", np.array([0, 1, 2]))}
LATENTS = {"z": ("FP32", np.eye(2, 6, dtype=np.float32)), "label": ("INT64", np.array([2, 0]))}


async def main(url):
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        result = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, "sampler"),
            "no_model_ready": await client.is_model_ready(url, "nothing"),
        }
        for binary in (True, False):
            headers = {}
            asked = request("sampler", SEEDS, binary, "pixels")
            answer = await client.infer(url, asked, model_name="sampler", response_headers=headers)
            assert answer.id == "42"
            assert ("inference-header-content-length" in headers) == binary
            result[f"sampler_{binary}"] = answer.outputs[0].as_numpy().tolist()
            asked = request("generator", LATENTS, binary, "image")
            answer = await client.infer(url, asked, model_name="generator")
            result[f"generator_{binary}"] = answer.outputs[0].as_numpy().tolist()
        try:
            await client.infer(url, {"inputs": []}, model_name="sampler")
        except httpx.HTTPStatusError as error:
            result["refused"] = [error.response.status_code, str(error)]
        return result


print(json.dumps(asyncio.run(main(sys.argv[1]))))
