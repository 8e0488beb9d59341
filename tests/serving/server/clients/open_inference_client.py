"""The client generated from the protocol's OpenAPI document: argument 1 is the server's URL; prints JSON."""

import json
import sys

from open_inference.openapi.client import InferenceRequest, OpenInferenceClient
from open_inference.openapi.errors import BadRequestError, NotFoundError


def tensor(name, datatype, shape, data):
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def data_of(answer):
    return json.loads(answer.outputs[0].json())["data"]


def main(url):
    client = OpenInferenceClient(base_url=url)
    # These return nothing, and raise if the answer is no.
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("sampler")
    client.check_model_version_readiness("sampler", "1")
    result = {
        "server": client.read_server_metadata().dict(),
        "metadata": client.read_model_metadata("sampler").dict(),
        "version_metadata": client.read_model_version_metadata("sampler", "1").dict(),
    }
    label = tensor("label", "INT64", [2], [2, 0])
    seeds = InferenceRequest(id="42", inputs=[tensor("seed", "INT64", [2], [3, 4]), label], outputs=[])
    answer = client.model_infer("sampler", request=seeds)
    assert (answer.id, answer.model_name, answer.model_version) == ("42", "sampler", "1")
    result["sampler"] = data_of(answer)
    z = tensor("z", "FP32", [2, 6], [[1, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0]])
    latents = InferenceRequest(inputs=[z, label], outputs=[{"name": "image"}])
    result["generator"] = data_of(client.model_version_infer("generator", "1", request=latents))
    try:
        client.model_infer("sampler", request=InferenceRequest(inputs=[label]))
    except BadRequestError as error:
        result["refused"] = error.body
    try:
        client.check_model_readiness("nothing")
    except NotFoundError as error:
        result["unknown"] = error.body
    return result


print(json.dumps(main(sys.argv[1])))
