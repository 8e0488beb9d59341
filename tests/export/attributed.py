"""A generator of attributes that is in memory, as what is exported."""

import keras
import numpy as np

from export.conversion import convert
from export.int8_gates import by_pixels
from export.signatures import keras_generator
from export.source import Reference, Source
from serving.contract.attributes import Attribute
from serving.contract.manifest import ModelInfo

FACES = (
    Attribute("male", "binary", 0, 1, 0),
    Attribute("hair, long|short", "binary", 0, 1, 1),
    Attribute("year", "number", 1901, 1999, 1950.5),
)
DIM = 6


def network(attributes=FACES, *, alone=False, raw=False, shape=(8, 12, 1), seed=0):
    """Convolutions of a latent and of attributes, which it scales itself.

    Args:
      attributes: what it takes.
      alone: whether they go into a layer of their own, rather than together with the latent.
      raw: whether they are taken as they are.
      shape: of the pictures.
      seed: of the weights.
    """
    keras.utils.set_random_seed(seed)
    z = keras.Input([DIM], name="z")
    label = keras.Input([len(attributes)], dtype="float32", name="label")
    low, high = (np.array([getattr(each, end) for each in attributes]) for end in ("low", "high"))
    scale = 2 / (high - low)
    code = label if raw else keras.layers.Rescaling(scale.tolist(), (-1 - scale * low).tolist())(label)
    height, width, channels = shape
    innermost = (height // 2, width // 2, 8)
    if alone:
        x = keras.layers.Concatenate()([z, keras.layers.Dense(5, activation="relu")(code)])
    else:
        x = keras.layers.Concatenate()([z, code])
    x = keras.layers.Dense(height * width * 2, activation="relu")(x)
    x = keras.layers.Reshape(innermost)(x)
    x = keras.layers.Conv2DTranspose(8, 4, strides=2, padding="same", activation="relu")(x)
    image = keras.layers.Conv2D(channels, 3, padding="same", activation="tanh")(x)
    return keras.Model([z, label], image, name="generator")


class Attributed(Source):
    """See `network`."""

    def __init__(self, attributes=FACES, **of_network):
        self.model = network(attributes, **of_network)
        self._info = ModelInfo(DIM, tuple(self.model.output.shape[1:]), True, (), attributes=tuple(attributes))

    @property
    def info(self):
        return self._info

    @property
    def name(self):
        return "faces"

    @property
    def scores(self):
        return {}

    def reference(self):
        return Reference(keras_generator(self.model, self.info))

    def graph(self):
        return convert(self.model, self.info)

    def facts(self):
        return {"producer": "mirage-gan 0.1.0", "dataset": self.name}

    def provenance(self):
        return {}

    def card(self):
        return {"network": "made by hand"}

    def judged_by(self, dataset):
        return self

    def int8_gate(self, num_samples):
        return by_pixels(self.info, num_samples)
