"""From an architecture to the networks that an objective needs.

An architecture makes models, and `pipeline.networks.accept` makes them such as everything else relies on:

    generator        `z` float32 [N, latent_dim] or, if conditional, `[z, label]` with `label` int32 [N] or, if labels
                     are attributes, float32 [N, A], to images float32 [N, H, W, C] in [-1, 1]
    discriminator    `image` float32 [N, H, W, C] in [-1, 1], or `[image, label]`, or `[image, noise]`, to logits [N],
                     of which a positive one says "real", or [N, J] if it judges each image J times; or a dictionary of
                     `logits` and the heads that are needed
    encoder          `image` or `[image, label]`, to the code, [N, D]
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.base.needs import Needs
from pipeline.base.objects import resolve
from pipeline.networks import ARCHITECTURES, accept
from pipeline.networks.adopt import adopt
from pipeline.networks.batch_norm import BatchNormalization
from pipeline.networks.called import called
from pipeline.networks.conditioning import code_of, heads_on, label_input, model_of
from pipeline.networks.inputs import label_given
from pipeline.networks.options import NetworkOptions, of_discriminator
from pipeline.networks.paired import Paired
from pipeline.networks.projection import Projection
from pipeline.networks.spectral_norm import normalised
from serving.contract.attributes import Attribute

Shape = tuple[int, int, int]
Say = Callable[[str], None]


def build_networks(
    architecture: Any,
    needs: Needs,
    options: NetworkOptions,
    image_shape: Shape,
    num_labels: int,
    say: Say = lambda line: None,
    *,
    attributes: Sequence[Attribute] = (),
) -> dict[str, keras.Model]:
    """Builds the networks that an objective trains.

    Args:
      architecture: see `pipeline.networks`, or a `Paired` of two.
      needs: the objective's.
      options: decide the latent size, and whether and how networks are conditional.
      image_shape: (height, width, channels).
      num_labels: number of the data's classes, or attributes; 0 if they have no labels.
      say: told what was changed in somebody's models, a line each.
      attributes: of the data, if labels are these.

    Returns:
      Untrained models by name, in the order of `needs.networks`; see above.

    Raises:
      MirageError: if the architecture can't make what is needed, or there are no labels.
    """
    plan = _Plan(architecture, needs, options, image_shape, num_labels, say, attributes)
    models = {name: plan.build(name) for name in needs.networks}
    accept.check_apart(models)
    return models


def build_average(
    architecture: Any,
    needs: Needs,
    options: NetworkOptions,
    image_shape: Shape,
    num_labels: int,
    of: keras.Model,
    *,
    attributes: Sequence[Attribute] = (),
) -> keras.Model:
    """Builds a second generator, for the average of the first's weights.

    Args:
      architecture: as for `build_networks`.
      needs: the same.
      options: the same.
      image_shape: the same.
      num_labels: the same.
      of: the first.
      attributes: as for `build_networks`.

    Raises:
      MirageError: if it isn't one with weights of its own, and as many.
    """
    plan = _Plan(architecture, needs, options, image_shape, num_labels, lambda line: None, attributes)
    model = plan.build("generator")
    accept.check_apart({"generator": of, "second generator": model})
    if [v.shape for v in model.variables] != [v.shape for v in of.variables]:
        raise MirageError(
            "build_generator makes other weights when it is called again, for the average generator; let it build the "
            "same network each time, or use --ema_images=0."
        )
    return model


class _Plan:
    """What all networks of a run are built from."""

    def __init__(
        self,
        architecture: Any,
        needs: Needs,
        options: NetworkOptions,
        image_shape: Shape,
        num_labels: int,
        say: Say,
        attributes: Sequence[Attribute],
    ) -> None:
        if options.conditional and not num_labels:
            raise MirageError(
                "--conditional needs labels, and the data have none; use --noconditional, or a data set with labels "
                "(for a folder: one sub-folder per class, or --labels=FILE:COLUMN)."
            )
        self._paired = isinstance(architecture, Paired)
        pair = architecture if isinstance(architecture, Paired) else Paired(architecture, architecture)
        self._architecture, self._other = (
            each() if isinstance(each, type) else each for each in (pair.model, pair.discriminator)
        )
        self._needs = needs
        self._options = options
        self._image_shape = image_shape
        self._num_classes = num_labels if options.conditional else 0
        self._attributes = tuple(attributes) if options.conditional else ()
        self._label = label_given(self._num_classes, self._attributes)
        self._tell, self._say = say, say

    def build(self, name: str) -> keras.Model:
        """Builds one network by its name."""
        known = {"generator": self._generator, "discriminator": self._discriminator, "encoder": self._encoder}
        whole = getattr(self._architecture, "build_network", None)  # what a run has stored
        ours = type(self._of(name)).__module__.startswith("pipeline.networks.")
        self._say = (lambda line: None) if ours else self._tell
        if whole is None and name not in known:
            raise MirageError(f"the objective needs a network {name!r}; expected {', '.join(known)}.")
        model = known[name]() if whole is None else whole(name)
        for line in adopt(model, name):
            self._say(line)
        if not model.trainable_variables:
            raise MirageError(f"the {name} has no weights to train; leave trainable = True.")
        return model

    def _of(self, name: str) -> Any:
        """The architecture of a network."""
        return self._other if name == "discriminator" else self._architecture

    def _generator(self) -> keras.Model:
        options = self._options
        model = self._made(self._architecture, "build_generator", options.latent_dim, image_shape=self._image_shape)
        made = accept.generator(model, options.latent_dim, self._image_shape, self._label, self._say)
        accept.check_parts(made, self._needs.parts)
        return made

    def _discriminator(self) -> keras.Model:
        with of_discriminator() if self._paired else contextlib.nullcontext():
            model = self._judging()
        if not self._options.spectral_norm:
            return model
        if any(list(layer._flatten_layers(include_self=False)) for layer in model.layers):
            raise MirageError(
                "--spectral_norm can't look into the discriminator, which consists of other models; use "
                "--nospectral_norm, or build it of layers alone."
            )
        return normalised(model)

    def _judging(self) -> keras.Model:
        """What says of images how real they are."""
        builder = self._builder("discriminator")
        if builder is None:
            return self._with_heads()
        made = self._made(builder, "build_discriminator", image_shape=self._image_shape)
        return accept.discriminator(made, self._needs, self._image_shape, self._label, self._say)

    def _with_heads(self) -> keras.Model:
        """Adds logits and heads to an architecture's features."""
        conditionings = self._options.conditionings()
        features = self._features(self._other, told="concat" in conditionings)
        inputs, x = features.inputs, features.outputs[0]
        logits = layers.Dense(1)(x)
        if self._num_classes and "projection" in conditionings:
            if len(inputs) == 1:
                inputs = [*inputs, label_input(self._num_classes, self._attributes)[0]]
            label = code_of(inputs[1], self._num_classes, self._attributes) if self._attributes else inputs[1]
            logits = logits + keras.ops.expand_dims(Projection(self._num_classes)(x, label), -1)
        outputs = {"logits": layers.Reshape([])(logits)}
        outputs |= heads_on(x, self._needs.heads, lambda name, number: layers.Dense(number))
        return model_of(inputs, outputs if len(outputs) > 1 else outputs["logits"], "discriminator")

    def _encoder(self) -> keras.Model:
        builder, needs = self._builder("encoder"), self._needs
        if builder is None:
            features = self._features(self._architecture, told=True)
            inputs, code = features.inputs, layers.Dense(needs.code)(features.outputs[0])
        else:
            made = self._made(builder, "build_encoder", image_shape=self._image_shape)
            model = accept.encoder(made, needs.code, self._image_shape, self._label, self._say)
            inputs, code = model.inputs, model.outputs[0]
        if needs.standardised:
            code = BatchNormalization(momentum=0.9, center=False, scale=False)(code)
        return model_of(inputs, code, "encoder")

    def _features(self, architecture: Any, *, told: bool) -> keras.Model:
        """The layers of an architecture that look at images: a model of `image`, or of `[image, label]` if told it."""
        made = self._made(architecture, "build_features", image_shape=self._image_shape, told=told)
        return accept.features(made, self._image_shape, self._label if told else None, self._say)

    def _builder(self, name: str) -> Any:
        """What builds a network, or None if Mirage's heads on the architecture's features do."""
        architecture = self._of(name)
        if hasattr(architecture, f"build_{name}"):
            return architecture
        if name in self._needs.architectures:
            if self._paired and name == "discriminator":
                raise MirageError(
                    f"--discriminator={self._options.discriminator} has no build_discriminator of its own, whose heads "
                    f"this objective needs; leave it out, to have that of {self._needs.architectures[name]}."
                )
            return resolve("model", self._needs.architectures[name], ARCHITECTURES)
        # Of one that has neither it is said that it lacks the network itself.
        return None if hasattr(architecture, "build_features") else architecture

    def _made(self, architecture: Any, function: str, *given: Any, image_shape: Shape, told: bool = True) -> Any:
        """Calls an architecture's function, which is `told` of labels or not."""
        offers: Mapping[str, Any] = {
            "latent_dim": self._options.latent_dim,
            "heads": dict(self._needs.heads),
            "code": self._needs.code,
            "attributes": self._attributes if told else (),
            "conditionings": self._options.conditionings() if self._num_classes else (),
        }
        return called(architecture, function, *given, image_shape, self._num_classes if told else 0, offers=offers)
