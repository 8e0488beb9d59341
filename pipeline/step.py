"""The training step: replica computation, gradient reduction, and the loop around them.

Noise and data order are pure functions of (seed, step, position in the global batch). Therefore a
run can be replayed from its step number alone, and does not depend on the number of replicas beyond
rounding.
"""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from pipeline import networks
from pipeline.config import Config, DataSpec
from pipeline.objectives import Batch, Update

# Streams of random numbers, told apart in the seed.
_DATA_ORDER, _LATENTS = 1, 2


def data_order(positions: tf.Tensor, num_examples: int, seed: int) -> tf.Tensor:
    """Maps positions in the endless stream of training images to indices of examples.

    Epoch e is a pseudo-random permutation that depends on (seed, e) alone, so that each epoch visits
    each example exactly once, whatever the batch size; a batch may straddle two epochs.

    Args:
      positions: int64 [n], 0 for the first training image ever drawn.
      num_examples: size of the data set.
      seed: the run's seed.

    Returns:
      int64 [n], each in [0, num_examples).
    """
    count = tf.constant(num_examples, tf.int64)
    epochs = positions // count
    stream = tf.fill(tf.shape(positions, tf.int64), tf.constant(_DATA_ORDER, tf.int64))
    keys = tf.stack([tf.fill(tf.shape(positions, tf.int64), tf.constant(seed, tf.int64)), epochs, stream], axis=1)
    return tf.raw_ops.RandomIndexShuffle(index=positions % count, seed=keys, max_index=count - 1, rounds=4)


def latents(step: tf.Tensor, update: int, count: int, latent_dim: int, seed: int) -> tf.Tensor:
    """Draws the latents of one update for the whole global batch.

    Args:
      step: int64 scalar, number of the training step.
      update: index of the update within the step.
      count: global number of latents.
      latent_dim: components of each.
      seed: the run's seed.

    Returns:
      float32 [count, latent_dim], standard normal; always the same for the same arguments.
    """
    key = tf.random.experimental.stateless_fold_in(tf.constant([seed, _LATENTS], tf.int64), step)
    key = tf.random.experimental.stateless_fold_in(key, update)
    # Named, because the default algorithm depends on the device.
    return tf.random.stateless_normal([count, latent_dim], key, alg="philox")


def real_images_per_step(updates: tuple[Update, ...], batch_size: int) -> int:
    """Number of training images that one step consumes over all replicas."""
    return sum(batch_size // update.batch_divisor for update in updates if update.new_images)


def metric_names(updates: tuple[Update, ...]) -> list[str]:
    """Names of the logged figures, in the order in which they are first reported."""
    return list(dict.fromkeys(name for update in updates for name in update.metrics))


class Trainee:
    """The state that training changes: networks, optimisers, average generator, step.

    Attributes:
      networks: Keras models by name.
      optimizers: one Keras optimiser for each network that an update trains.
      ema: the moving average of the generator, or None if it is turned off.
      step: int64 variable, number of steps done.
    """

    def __init__(self, models: Mapping[str, keras.Model], ema: keras.Model | None, config: Config) -> None:
        """Creates optimisers and the step counter; call it in the strategy's scope.

        Args:
          models: Keras models by name.
          ema: a second generator, which becomes a copy of the first; or None.
          config: for the optimisers' settings.
        """
        self.networks = dict(models)
        self.ema = ema
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.optimizers = {}
        for name, network in self.networks.items():
            optimizer = keras.optimizers.Adam(config.learning_rate, beta_1=config.beta_1, beta_2=config.beta_2)
            optimizer.build(network.trainable_variables)
            self.optimizers[name] = optimizer
        if ema is not None:
            ema.set_weights(models["generator"].get_weights())

    @property
    def sampler(self) -> keras.Model:
        """The generator that previews, evaluation and export use."""
        return self.networks["generator"] if self.ema is None else self.ema


def build_trainee(config: Config, data: DataSpec) -> Trainee:
    """Builds networks and optimisers; call it in the strategy's scope.

    Args:
      config: the run's configuration; its seed decides the initial weights.
      data: what the networks are built for.

    Returns:
      The untrained state.
    """
    keras.utils.set_random_seed(config.seed)
    trained = {
        "generator": networks.build_generator(config, data),
        "discriminator": networks.build_discriminator(config, data),
    }
    ema = networks.build_generator(config, data) if config.ema_images else None
    return Trainee(trained, ema, config)


class TrainStep:
    """Runs training steps under a strategy.

    Attributes:
      metric_names: names of the figures that a call returns.
      images_per_step: training images that one step consumes.
    """

    def __init__(
        self,
        config: Config,
        strategy: tf.distribute.Strategy,
        trainee: Trainee,
        updates: tuple[Update, ...],
        images: tf.Tensor,
        labels: tf.Tensor,
    ) -> None:
        """Prepares the step.

        Args:
          config: the run's configuration.
          strategy: where to run; `config.batch_size` divided by any update's `batch_divisor` must be a
            multiple of its number of replicas.
          trainee: what to train; created in the strategy's scope.
          updates: the objective.
          images: the whole data set, uint8 [N, H, W, C].
          labels: int32 [N].
        """
        self.metric_names = metric_names(updates)
        self.images_per_step = real_images_per_step(updates, config.batch_size)
        self._config = config
        self._strategy = strategy
        self._trainee = trainee
        self._updates = updates
        self._images = images
        self._labels = labels

    @tf.function(reduce_retracing=True)
    def __call__(self, num_steps: tf.Tensor) -> tf.Tensor:
        """Trains.

        Args:
          num_steps: int64 scalar, number of steps to run; at least 1.

        Returns:
          float32 [len(metric_names)], means over the steps.
        """
        totals = tf.zeros([len(self.metric_names)])
        for _ in tf.range(num_steps):
            per_replica = self._strategy.run(self._replica_step)
            totals += self._strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)
            self._trainee.step.assign_add(1)
            if self._trainee.ema is not None:
                self._update_ema()
        return totals / tf.cast(num_steps, tf.float32)

    def _replica_step(self) -> tf.Tensor:
        """One replica's share of one step; returns its contributions to the metrics' means."""
        step = tf.identity(self._trainee.step)
        sums: dict[str, list[tf.Tensor]] = {name: [] for name in self.metric_names}
        position = step * self.images_per_step
        latest = position
        for index, update in enumerate(self._updates):
            count = self._config.batch_size // update.batch_divisor
            if update.new_images:
                latest, position = position, position + count
            batch = self._batch(step, index, count, latest)
            for name, values in self._apply(update, batch, count).items():
                sums[name].append(tf.reduce_sum(values) / count)
        return tf.stack([tf.add_n(sums[name]) / len(sums[name]) for name in self.metric_names])

    def _batch(self, step: tf.Tensor, update: int, count: int, position: tf.Tensor) -> Batch:
        """Draws this replica's share of a global batch of `count` that starts at `position`."""
        local = count // self._strategy.num_replicas_in_sync
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        offset = replica * local
        indices = data_order(
            position + offset + tf.range(local, dtype=tf.int64), self._images.shape[0], self._config.seed
        )
        images = tf.cast(tf.gather(self._images, indices), tf.float32) / 127.5 - 1.0
        # Drawn whole and then cut, so that a sample's noise does not depend on the number of replicas.
        z = latents(step, update, count, self._config.latent_dim, self._config.seed)
        return Batch(images, tf.gather(self._labels, indices), tf.slice(z, [offset, 0], [local, -1]))

    def _apply(self, update: Update, batch: Batch, count: int) -> dict[str, tf.Tensor]:
        """Moves one network's weights; returns the loss function's metrics."""
        variables = self._trainee.networks[update.network].trainable_variables
        networks = {name: self._as_function(model) for name, model in self._trainee.networks.items()}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            loss, metrics = update.loss(networks, batch)
            # Keras sums gradients over replicas, so the mean is taken over the global batch here.
            mean_loss = tf.reduce_sum(loss) / count
        gradients = tape.gradient(mean_loss, [variable.value for variable in variables])
        self._trainee.optimizers[update.network].apply(gradients, variables)
        return metrics

    def _as_function(self, model: keras.Model) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        conditional = self._config.conditional
        return lambda x, labels: model([x, labels] if conditional else x, training=True)

    def _update_ema(self) -> None:
        """Moves the average generator towards the generator, on each device by itself."""
        trainee = self._trainee
        assert trainee.ema is not None
        # The half life grows with the run at first, so that early averages forget the initial weights
        # (Karras et al. 2020, arXiv 2006.06676, whose code ramps it up over 5 % of the images seen).
        seen = tf.cast(trainee.step, tf.float32) * self._config.batch_size
        half_life = tf.minimum(float(self._config.ema_images), 0.05 * seen)
        weight = 1.0 - tf.pow(0.5, self._config.batch_size / half_life)
        for average, current in zip(trainee.ema.variables, trainee.networks["generator"].variables, strict=True):
            self._strategy.extended.update(
                average.value,
                lambda a, c, w: a.assign_add(w * (tf.convert_to_tensor(c) - a)),
                args=(current.value, weight),
            )
