"""A generator behind MLServer, as a custom runtime: seeds and labels to pixels."""

import asyncio

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from serving import Generator
from serving.contract.latents import latents


class MirageModel(MLModel):
    """What MLServer calls, in its inference processes or, where it has none, on its event loop."""

    async def load(self) -> bool:
        """Loads the generator."""
        parameters = self.settings.parameters
        self._in_a_thread = parameters.extra["in_a_thread"]
        self._generator = Generator.load(parameters.uri, threads=parameters.extra["threads"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Makes a batch's images."""
        given = {each.name: NumpyCodec.decode_input(each).ravel() for each in payload.inputs}
        z = latents(given["seed"], self._generator.latent_dim)
        if self._in_a_thread:  # the event loop would stand still meanwhile
            pixels = await asyncio.to_thread(self._generator.decode, z, given.get("label"))
        else:
            pixels = self._generator.decode(z, given.get("label"))
        outputs = [NumpyCodec.encode_output("pixels", pixels)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
