"""What training changes: networks, optimisers, average generator, step."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from pipeline.base.needs import Needs
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import build as networks
from pipeline.objectives.composition import Composition, compose
from pipeline.training.optimizer import Adam
from pipeline.training.options import TrainingOptions


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
        config: TrainingOptions,
        objective: Composition,
        trained: Sequence[str] = (),
    ) -> None:
        """Creates optimisers and the step counter; call it in the strategy's scope.

        Args:
          models: Keras models by name.
          ema: a second generator, which becomes a copy of the first; or None.
          config: for the optimisers' settings.
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
                beta_1=config.beta_1,
                beta_2=config.beta_2,
                loss_scaling=config.precision == "mixed_float16",
            )
            for name in (trained or self.networks)
        }
        if ema is not None:
            ema.set_weights(models["generator"].get_weights())

    @property
    def noise_size(self) -> int:
        """Random numbers that the discriminator takes with each image."""
        return networks.noise_size(self.networks["discriminator"]) if "discriminator" in self.networks else 0

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


def named_weights(name: str, network: keras.Model) -> dict[str, tf.Variable]:
    """Names a network's variables by their position in it, such as `generator.003.kernel`."""
    return {f"{name}.{i:03}.{v.name}": v.value for i, v in enumerate(network.variables)}


def build_trainee(
    config: Config, data: DataSpec, objective: Composition | None = None, needs: Needs | None = None
) -> Trainee:
    """Builds networks and optimisers; call it in the strategy's scope.

    Args:
      config: the run's configuration; its seed decides the initial weights, its precision the type in
        which the trained networks compute (weights are float32 always).
      data: what the networks are built for.
      objective: what is optimised; None takes the configuration's.
      needs: the networks that it needs; None asks it.

    Returns:
      The untrained state.
    """
    objective = objective or compose(config.to_dict())
    needs = needs or objective.needs((), len(data.class_names), config.latent_dim)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    try:
        trained = networks.build_networks(config, data, needs)
    finally:
        keras.config.set_dtype_policy("float32")
    ema = networks.build_generator(config, data) if config.ema_images else None
    return Trainee(trained, ema, config, objective, needs.trained)
