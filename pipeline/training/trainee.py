"""What training changes: networks, optimisers, average generator, step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.base.needs import Needs
from pipeline.networks.build import build_average, build_networks
from pipeline.networks.models import freeze, has_convolutions, named_weights, noise_size, parts_of
from pipeline.networks.options import SAME, NetworkOptions
from pipeline.objectives.composition import Composition
from pipeline.training.optimizer import Adam
from pipeline.training.options import TrainingOptions
from serving.contract.attributes import Attribute


class Trainee:
    """The state of a training run.

    Attributes:
      networks: Keras models by name.
      optimizers: an optimiser for each network, or one for all that share a loss, such as `generator+encoder`.
      ema: the moving average of the generator, or None if it is turned off.
      step: int64 variable, number of steps done.
      scalars: float32 variables by name, which the objective moves from step to step.
      objective: what is optimised.
    """

    def __init__(
        self,
        models: Mapping[str, keras.Model],
        ema: keras.Model | None,
        options: TrainingOptions,
        objective: Composition,
        trained: Sequence[str] = (),
    ) -> None:
        """Creates optimisers and the step counter; call it in the strategy's scope.

        Args:
          models: Keras models by name.
          ema: a second generator, which becomes a copy of the first; or None.
          options: the optimisers' settings.
          objective: what is optimised.
          trained: see `pipeline.base.needs.Needs`.
        """
        self.networks = dict(models)
        self.ema = ema
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.objective = objective
        self.scalars = {
            name: tf.Variable(value, trainable=False, name=name) for name, value in objective.state().items()
        }
        self.optimizers = {
            name: Adam(
                [variable.value for part in name.split("+") for variable in self.networks[part].trainable_variables],
                beta_1=options.beta_1,
                beta_2=options.beta_2,
                epsilon=options.epsilon,
                loss_scaling=options.precision == "mixed_float16",
            )
            for name in trained or self.networks
        }
        if ema is not None:
            ema.set_weights(models["generator"].get_weights())

    @property
    def latent_dim(self) -> int:
        """Components of the latent that the generator takes."""
        return self.networks["generator"].inputs[0].shape[-1] if "generator" in self.networks else 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that the generator makes."""
        shape: tuple[int, int, int] = self.networks["generator"].outputs[0].shape[1:]
        return shape

    @property
    def callable(self) -> dict[str, keras.Model]:
        """What losses may call, by name: the networks, and models within the generator."""
        parts = parts_of(self.networks["generator"]) if "generator" in self.networks else {}
        return {**parts, **self.networks}

    @property
    def noise_size(self) -> int:
        """Random numbers that the discriminator takes with each image."""
        return noise_size(self.networks["discriminator"]) if "discriminator" in self.networks else 0

    @property
    def convolutional(self) -> bool:
        """Whether networks have convolutions."""
        return has_convolutions(self.networks.values())

    @property
    def sampler(self) -> keras.Model:
        """The generator that previews, evaluation and export use."""
        return self.networks["generator"] if self.ema is None else self.ema

    def state(self) -> dict[str, tf.Variable]:
        """Returns all variables by a name that does not depend on Keras's numbering of layers."""
        found = {"step": self.step, **self.scalars}
        for name, network in [*self.networks.items(), *([("ema", self.ema)] if self.ema is not None else [])]:
            found |= named_weights(name, network)
        for name, optimizer in self.optimizers.items():
            found |= {f"optimizer.{name}.{key}": variable for key, variable in optimizer.state.items()}
        return found


def build_trainee(
    architecture: Any,
    needs: Needs,
    networks: NetworkOptions,
    training: TrainingOptions,
    image_shape: tuple[int, int, int],
    num_labels: int,
    objective: Composition,
    *,
    say: Callable[[str], None] = lambda line: None,
    attributes: Sequence[Attribute] = (),
) -> Trainee:
    """Builds networks and optimisers; call it in the strategy's scope.

    Args:
      architecture: what builds the networks, see `pipeline.networks`.
      needs: what the objective needs of them.
      networks: see `pipeline.networks.build.build_networks`.
      training: its seed decides the initial weights, its precision the type in which the trained networks compute
        (weights are float32 always).
      image_shape: (height, width, channels).
      num_labels: number of the data's classes, or attributes.
      objective: what is optimised.
      say: told what was changed in somebody's models, a line each.
      attributes: of the data, if labels are these.

    Returns:
      The untrained state.

    Raises:
      MirageError: if the networks can't be built, or aren't what the objective needs.
    """
    given = (architecture, needs, networks, image_shape, num_labels)
    keras.utils.set_random_seed(training.seed)
    keras.config.set_dtype_policy(training.precision)
    try:
        trained = build_networks(*given, say, attributes=attributes)
    finally:
        keras.config.set_dtype_policy("float32")
    if networks.discriminator != SAME and "discriminator" not in trained:
        raise MirageError(
            f"--discriminator={networks.discriminator} does not go with an objective that trains none; leave it out."
        )
    if training.freeze_d:
        if "discriminator" not in trained:
            raise MirageError(f"--freeze_d={training.freeze_d} needs a discriminator, and there is none; leave it out.")
        freeze(trained["discriminator"], training.freeze_d)
    ema = build_average(*given, of=trained["generator"], attributes=attributes) if training.ema_images else None
    return Trainee(trained, ema, training, objective, needs.trained)
