"""What the inputs and outputs of somebody's generator mean, and how they are made of Mirage's."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.foreign.network import Port
from serving.contract.attributes import Attribute
from serving.contract.manifest import NORMAL, ModelInfo

LAYOUTS = ("NHWC", "NCHW", "NHW", "flat")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the user says of a generator; what is empty is found out.

    Attributes:
      latent_input: name of the input that is the latent.
      label_input: name of the input that is the class.
      class_names: one per class.
      classes: how many there are; where no input takes a label, the latent's input ends with their one-hot code.
      inputs: values of other inputs.
      output: name of the output that is the picture.
      layout: one of `LAYOUTS`.
      value_range: which values are black and white.
      distribution: what latents are drawn from, as in `ModelInfo`.
      alpha: what the colours of a picture with an alpha channel are, as in `ModelInfo`; what has none is refused then.
      attributes: what the numbers of the label's input are, in order, if they are no class.
    """

    latent_input: str = ""
    label_input: str = ""
    class_names: Sequence[str] = ()
    classes: int = 0
    inputs: Mapping[str, float] = dataclasses.field(default_factory=dict)
    output: str = ""
    layout: str = ""
    value_range: tuple[float, float] | None = None
    distribution: str = NORMAL
    alpha: str = ""
    attributes: Sequence[Attribute] = ()


@dataclasses.dataclass(frozen=True)
class Label:
    """How a class, or attributes, are told.

    Attributes:
      port: the input.
      form: "index" [N], "column" [N, 1], "one_hot" [N, K], or "joined": one-hot, behind the latent in its input; or
        "attributes" [N, A].
      classes: how many there are; 0 of attributes.
    """

    port: Port
    form: str
    classes: int


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a generator's inputs and outputs mean.

    Attributes:
      latent: the input that is the latent.
      distribution: what its components are drawn from, as in `ModelInfo`.
      latent_shape: the sizes of that input but the batch.
      label: how it takes classes; None if it takes none.
      constants: values of all other inputs.
      batched: names of those that must be given for each picture; their values are of one.
      output: the output that is the picture.
      layout: of that: NHWC, NCHW, NHW (grey) or flat.
      image_shape: (height, width, channels).
      value_range: which values are black and white.
      clipped: whether values may lie outside of it, which are clipped.
      class_names: one per class.
      batch: the only batch size that the source takes; None if it takes any.
      alpha: what the colours of four channels are, as in `ModelInfo`; None of others.
      attributes: what it takes in place of classes.
    """

    latent: Port
    distribution: str
    latent_shape: tuple[int, ...]
    label: Label | None
    constants: Mapping[str, NDArray]
    batched: frozenset[str]
    output: Port
    layout: str
    image_shape: tuple[int, int, int]
    value_range: tuple[float, float]
    clipped: bool
    class_names: tuple[str, ...]
    batch: int | None = None
    alpha: str | None = None
    attributes: tuple[Attribute, ...] = ()

    @property
    def joined(self) -> int:
        """How many of the values of the latent's input are the one-hot code of the class."""
        return self.label.classes if self.label is not None and self.label.form == "joined" else 0

    @property
    def latent_dim(self) -> int:
        """How many values a latent has."""
        return math.prod(self.latent_shape) - self.joined

    @property
    def info(self) -> ModelInfo:
        """What a program needs to know of the generator."""
        names, told = self.class_names, self.label is not None
        shape, law = self.image_shape, self.distribution
        return ModelInfo(self.latent_dim, shape, told, names, law, self.alpha, self.attributes)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Sizes of an output but the batch."""
        height, width, channels = self.image_shape
        shapes = {"NHWC": self.image_shape, "NCHW": (channels, height, width), "NHW": (height, width)}
        return shapes.get(self.layout, (math.prod(self.image_shape),))

    @property
    def affine(self) -> tuple[float, float]:
        """(a, b) so that a * value + b lies in [-1, 1]."""
        low, high = self.value_range
        return 2 / (high - low), -(high + low) / (high - low)

    def feeds(self, z: NDArray[np.float32], label: NDArray) -> dict[str, NDArray]:
        """Makes the source's inputs of latents [N, latent_dim], and labels [N] or attributes [N, A]."""
        count = len(z)
        values = {
            name: np.repeat(value, count, axis=0) if name in self.batched else value
            for name, value in self.constants.items()
        }
        if self.joined:
            z = np.concatenate([z, np.eye(self.joined, dtype=z.dtype)[label]], axis=1)
        values[self.latent.name] = z.reshape(count, *self.latent_shape).astype(self.latent.dtype)
        if self.label is not None and not self.joined:
            port, form = self.label.port, self.label.form
            told = np.eye(self.label.classes)[label] if form == "one_hot" else label
            values[port.name] = (told[:, None] if form == "column" else told).astype(port.dtype)
        return values

    def image(self, value: NDArray) -> NDArray[np.float32]:
        """Makes images, float32 [N, H, W, C] in [-1, 1], of the source's output."""
        value = np.asarray(value, np.float32).reshape(len(value), *self.raw_shape)
        if self.layout == "NCHW":
            value = value.transpose(0, 2, 3, 1)
        factor, offset = self.affine
        value = value.reshape(len(value), *self.image_shape)
        value = value if (factor, offset) == (1, 0) else value * np.float32(factor) + np.float32(offset)
        return np.clip(value, -1, 1) if self.clipped else value
