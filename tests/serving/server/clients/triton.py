"""Triton's client: argument 1 is the server's URL; prints what it was answered as JSON."""

import json
import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException


def inputs(arrays, binary=True):
    made = []
    for name, (datatype, array) in arrays.items():
        made.append(http.InferInput(name, list(array.shape), datatype))
        made[-1].set_data_from_numpy(array, binary_data=binary)
    return made


SEEDS = {"seed": ("INT64", np.array([3, 4, 5])), "label": ("INT64", np.array([0, 1, 2]))}
LATENTS = {"z": ("FP32", np.eye(2, 6, dtype=np.float32)), "label": ("INT64", np.array([2, 0]))}


def main(url):
    client = http.InferenceServerClient(url.removeprefix("http://"), concurrency=4)
    result = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("sampler"),
        "version_ready": client.is_model_ready("sampler", "1"),
        "no_model_ready": client.is_model_ready("nothing"),
        "server": client.get_server_metadata(),
        "metadata": client.get_model_metadata("sampler", "1"),
    }
    # Without outputs the client asks for binary ones.
    pixels = client.infer("sampler", inputs(SEEDS), request_id="42")
    assert pixels.get_response()["id"] == "42"
    assert pixels.get_response()["outputs"][0]["parameters"]["binary_data_size"] == 3 * 64
    result["sampler"] = pixels.as_numpy("pixels").tolist()
    for binary in (True, False):
        wanted = [http.InferRequestedOutput("image", binary_data=binary)]
        image = client.infer("generator", inputs(LATENTS, binary), outputs=wanted, model_version="1")
        assert ("data" in image.get_output("image")) != binary
        result[f"generator_{binary}"] = image.as_numpy("image").tolist()
    column = {name: (datatype, array[:, None]) for name, (datatype, array) in SEEDS.items()}
    result["columns"] = client.infer("sampler", inputs(column)).as_numpy("pixels").tolist()
    one = {"seed": ("INT64", np.array([7])), "label": ("INT64", np.array([1]))}
    halved = {**one, "truncation": ("FP32", np.array([0.5], np.float32))}
    result["truncated"] = client.infer("sampler", inputs(halved)).as_numpy("pixels").tolist()
    pending = [
        client.async_infer("sampler", inputs({**one, "seed": ("INT64", np.array([seed]))})) for seed in range(20)
    ]
    result["async"] = [each.get_result().as_numpy("pixels")[0].tolist() for each in pending]
    try:
        client.infer("sampler", inputs({"seed": ("INT64", np.array([7]))}))
    except InferenceServerException as error:
        result["refused"] = [error.status(), error.message()]
    client.close()
    return result


print(json.dumps(main(sys.argv[1])))
