"""Generators of a mapping and a synthesis: what lies between, styles, and their truncation."""

import dataclasses
from typing import Any, Self

import keras
import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray
from onnx import numpy_helper

from export.conditions import conditions
from pipeline.networks.models import parts_of
from pipeline.networks.stylegan2.modulated import StyledConv
from serving.contract.latents import latents
from serving.contract.manifest import ModelInfo

_MEAN_OF = 4096  # latents, where the mapping keeps no mean


@dataclasses.dataclass(frozen=True, eq=False)
class Styles:
    """The parts of a generator `synthesis(mapping(z))`.

    Attributes:
      mapping: from `z`, or `[z, label]`, to styles [N, L, W].
      synthesis: from these to images.
      mean: of styles, float32 [1 or L, W]: what the mapping's last layer keeps as `mean`, or that of 4,096 latents.
    """

    mapping: keras.Model
    synthesis: keras.Model
    mean: NDArray[np.float32]

    @classmethod
    def of(cls, model: keras.Model, info: ModelInfo) -> Self:
        """Finds the parts of a generator whose description has styles."""
        assert info.styles is not None
        parts = parts_of(model)
        mapping = parts["mapping"]
        kept = getattr(mapping.outputs[0]._keras_history.operation, "mean", None)
        if tuple(getattr(kept, "shape", ())) in (info.styles, info.styles[1:]):
            mean = np.asarray(kept, np.float32).reshape(-1, info.styles[1])
        else:
            mean = _mean_of(mapping, info)
        return cls(mapping, parts["synthesis"], mean)

    def map(self, z: tf.Tensor, *condition: tf.Tensor, truncation: tf.Tensor | None = None) -> tf.Tensor:
        """Maps latents to styles.

        Args:
          z: float32 [N, latent_dim].
          *condition: label int32 [N] or attributes float32 [N, number of them], if the generator takes them.
          truncation: ψ, float32 [N], or [1] for all; None is 1.

        Returns:
          float32 [N, L, W]. So computed, at 1 they are the same to the last bit as without, and at 0 the mean.
        """
        w = self.mapping([z, *condition] if condition else z, training=False)
        if truncation is None:
            return w
        psi = truncation[:, None, None]
        return psi * w + (1 - psi) * tf.constant(self.mean)

    def synthesise(self, w: tf.Tensor) -> tf.Tensor:
        """Makes images, float32 [N, H, W, C], of styles."""
        return self.synthesis(w, training=False)


def _mean_of(mapping: keras.Model, info: ModelInfo) -> NDArray[np.float32]:
    places = np.arange(_MEAN_OF)
    z = latents(places, info.latent_dim, info.latent_distribution)
    inputs = [z, conditions(places, info)] if info.condition else z
    w = np.asarray(mapping(inputs, training=False))
    return np.asarray(np.mean(w, axis=0, dtype=np.float64), np.float32)


def style_shape(model: Any) -> tuple[int, int] | None:
    """Layers and components of a generator's styles, if it is `synthesis(mapping(z))` of two models so called."""
    if not isinstance(model, keras.Model):
        return None
    parts = parts_of(model)
    own = [layer for layer in getattr(model, "layers", ()) if not isinstance(layer, keras.layers.InputLayer)]
    if [id(parts.get(name)) for name in ("mapping", "synthesis")] != [id(layer) for layer in own]:
        return None
    mapping, synthesis = own
    if not all(getattr(each, "outputs", None) and len(each.outputs) == 1 for each in own):
        return None
    styles, names = tuple(mapping.outputs[0].shape), [each.name for each in mapping.inputs]
    if len(synthesis.inputs) != 1 or tuple(synthesis.inputs[0].shape) != styles or len(styles) != 3:
        return None
    if None in styles[1:] or names != [each.name for each in model.inputs]:
        return None
    return styles[1], styles[2]


def silence(model: keras.Model) -> bool:
    """Takes the noise out of a generator that adds some, as stylegan2's layers do; says whether it is one."""
    noisy = [layer for layer in model._flatten_layers() if isinstance(layer, StyledConv)]
    for layer in noisy:
        layer.strength.assign(0)
    return bool(noisy)


def may_be_left_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes the input `truncation` of a model, if it has it, one that may be left out and then is 1."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if any(each.name == "truncation" for each in model.graph.input):
        # An input that is also an initialiser.
        result.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "truncation"))
    return result
