"""The training step: what each replica computes, the reduction, and the loop around them."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import keras
import tensorflow as tf

from pipeline.base.schedules import half_cosine
from pipeline.base.values import values_of
from pipeline.networks.models import function_of
from pipeline.objectives import Batch, Update
from pipeline.training import randomness
from pipeline.training.feed import Feed, Layout
from pipeline.training.layer_numbers import LayerNumbers
from pipeline.training.losses import check_gradients, losses_of
from pipeline.training.options import TrainingOptions
from pipeline.training.replica_state import assigned_alike
from pipeline.training.schedule import ema_half_life, images_seen, learning_rate
from pipeline.training.trainee import Trainee
from pipeline.training.unknown_variables import refuse_unknown

# Numbers that are reduced together: few enough for an overlap, so many that a start costs little beside them.
_BUCKET = 4 * 2**20
REDUCTION = "reduce_gradients"  # stands in the names of these operations in the graph


def metric_names(updates: tuple[Update, ...]) -> list[str]:
    """Names of the logged figures, in the order in which they are first reported."""
    return list(dict.fromkeys(name for update in updates for name in update.metrics))


class TrainStep:
    """Runs training steps under a strategy.

    All of an update's gradients and metrics are flattened into one vector (a large network's into several), which is
    reduced over the replicas at once.

    Attributes:
      metric_names: names of the figures that a call returns.
      images_per_step: training images that one step consumes.
      jit: whether XLA compiles what a replica computes.
    """

    def __init__(
        self,
        options: TrainingOptions,
        strategy: tf.distribute.Strategy,
        trainee: Trainee,
        updates: tuple[Update, ...],
        feed: Feed,
        *,
        jit: bool = False,
        ema_counts_batches: bool = False,
        margin: tuple[int, int] = (0, 0),
    ) -> None:
        """Prepares the step.

        Args:
          options: how it is optimised.
          strategy: where to run.
          trainee: what to train; created in the strategy's scope.
          updates: the objective.
          feed: source of training images, of the same strategy.
          jit: whether XLA compiles what a replica computes; on one device, or on several GPUs.
          ema_counts_batches: see `pipeline.runs.run_file.ema_counts_batches`.
          margin: rows and columns that the feed's images have beyond those that networks see, which are parts of them
            at random places.
        """
        self.metric_names = metric_names(updates)
        self.images_per_step = feed.layout.images_per_step
        self.jit = jit
        layout = feed.layout
        self._margin = margin
        self._ema_images = layout.accumulate * layout.batch_size if ema_counts_batches else layout.images_per_step
        self._options = options
        self._strategy = strategy
        self._trainee = trainee
        self._updates = updates
        self._feed = feed
        self._layout: Layout = feed.layout
        self._compute: Callable = tf.function(self._replica_step, jit_compile=True) if jit else self._replica_step

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """What it trains, by name."""
        return self._trainee.networks

    def rewound(self) -> Self:
        """Returns this step, with all that has been compiled for it, on training images from the first step again."""
        other = copy.copy(self)
        other._feed = self._feed.rewound()
        return self if other._feed is self._feed else other

    def __call__(self, num_steps: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Trains.

        Args:
          num_steps: int64 scalar, number of steps to run; at least 1.
          stop: float32 scalar, 1 if this process was asked to stop, else 0.

        Returns:
          (float32 [len(metric_names)], means over the steps; bool scalar, whether any worker was asked
          to stop). Both are the same on all workers.
        """
        return self._steps(num_steps, stop)

    def trace(self, num_steps: tf.Tensor, stop: tf.Tensor) -> tf.Graph:
        """Prepares a call as far as that goes without computing or compiling, and returns its graph.

        Raises:
          MirageError: see `pipeline.training.unknown_variables.refuse_unknown`.
        """
        graph = self._steps.get_concrete_function(num_steps, stop).graph
        refuse_unknown(graph, self._trainee)
        return graph

    def graph_of_one(self) -> tf.Graph:
        """Traces a single step, to find out what it consists of."""
        return tf.function(self._step).get_concrete_function(tf.TensorSpec([], tf.int64), tf.TensorSpec([])).graph

    @tf.function(reduce_retracing=True)
    def _steps(self, num_steps: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        width = len(self.metric_names)
        totals, counts = tf.zeros([width]), tf.zeros([width])
        stops = tf.constant(0.0)
        # Steps are counted on the host: before each, it would wait for the device, to see which one comes and whether.
        with tf.device("CPU:0"):
            first, count = tf.identity(self._trainee.step), tf.cast(num_steps, tf.int32)
        for index in tf.range(count):
            with tf.device("CPU:0"):
                step = first + tf.cast(index, tf.int64)
            values = self._strategy.experimental_local_results(self._step(step, stop))[0]
            stops += values[width]
            # Under loss scaling a step may overflow, which is no reason to stop: its update was left out.
            counted = tf.math.is_finite(values[:width]) | (self._options.precision != "mixed_float16")
            totals += tf.where(counted, values[:width], 0.0)
            counts += tf.cast(counted, tf.float32)
        return totals / counts, stops > 0

    def _step(self, step: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        images, labels = self._feed.next(step)
        noise = self._strategy.run(self._draw, args=(step,))
        values = self._strategy.run(self._compute, args=(step, images, labels, noise, stop))
        self._trainee.step.assign_add(1)
        return values

    def _draw(self, step: tf.Tensor) -> tuple[list[dict[str, tf.Tensor]], list[tf.Tensor], list[tf.Tensor]]:
        """Draws this replica's noise of one step: what `Batch` needs for each update; flips, corners of each block."""
        options, layout = self._options, self._layout
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        drawn = []
        for index, update in enumerate(self._updates):
            rows = layout.rows(layout.batch_size // update.batch_divisor, replica)
            drawn.append(self._draw_rows(step, index, update, rows))
        mirrored = [
            randomness.flips(step, index, layout.rows(block.count, replica), options.seed)
            for index, block in enumerate(layout.blocks if options.flip else ())
        ]
        corners = [
            randomness.corners(step, index, layout.rows(block.count, replica), self._margin, options.seed)
            for index, block in enumerate(layout.blocks if any(self._margin) else ())
        ]
        return drawn, mirrored, corners

    def _draw_rows(self, step: tf.Tensor, index: int, update: Update, rows: randomness.Rows) -> dict[str, tf.Tensor]:
        """Draws the noise of one update for some samples of its global batch, float32 [n, ...]."""
        seed, noise_size = self._options.seed, self._trainee.noise_size
        each, n = (step, index, rows), sum(number for _, number in rows)
        u, kinds, noise = tf.zeros([n]), tf.zeros([n, 2, 0]), tf.zeros([n, 0, noise_size])
        pixels = tf.zeros([n, 2, 0])
        if update.needs_u:
            u = randomness.uniform(*each, seed)
        if update.needs_augmentation:
            numbers = update.needs_augmentation
            kinds = tf.reshape(randomness.augmentation(*each, 2 * numbers, seed), [n, 2, numbers])
        if update.needs_noise:
            shape = [n, update.needs_noise, noise_size]
            noise = tf.reshape(randomness.noise(*each, shape[1] * shape[2], seed), shape)
        if update.needs_pixels:
            size = math.prod(self._trainee.image_shape)
            pixels = tf.reshape(randomness.pixels(*each, 2 * size, seed), [n, 2, size])
        z = randomness.latents(*each, self._trainee.latent_dim, seed)
        drawn = {"z": z, "u": u, "augmentation": kinds, "noise": noise, "pixels": pixels}
        if update.needs_mixing:
            drawn["mixing"] = randomness.mixing(*each, self._trainee.latent_dim + 1, seed)
        if update.needs_directions:
            image = self._trainee.image_shape
            drawn["directions"] = tf.reshape(randomness.directions(*each, math.prod(image), seed), [n, *image])
        return drawn

    def _replica_step(
        self,
        step: tf.Tensor,
        images: tf.Tensor,
        labels: tf.Tensor,
        drawn: tuple[list[dict[str, tf.Tensor]], list[tf.Tensor], list[tf.Tensor]],
        stop: tf.Tensor,
    ) -> tf.Tensor:
        """One replica's share of one step; returns the step's metrics over all replicas, then `stop`."""
        options, trainee = self._options, self._trainee
        noise, mirrored, corners = drawn
        blocks = []
        for index, (pixels, marks) in enumerate(self._layout.split(images, labels)):
            if corners:
                pixels = _part_of(pixels, corners[index], self._margin)
            real = values_of(pixels)
            if mirrored:
                real = tf.where(mirrored[index][:, None, None, None], tf.reverse(real, [2]), real)
            blocks.append((real, marks))
        seen = images_seen(step, self.images_per_step)
        rate = learning_rate(
            seen, options.learning_rate, options.lr_warmup_images, options.lr_decay_images, options.learning_rate_end
        )
        beta_2 = None
        if options.beta_2_end:
            beta_2 = half_cosine(seen, options.beta_2, options.beta_2_end, options.schedule_images)
        sums: dict[str, list[tf.Tensor]] = {name: [] for name in self.metric_names}
        stops = tf.constant(0.0)
        before: list[tf.Tensor] = []
        for index, update in enumerate(self._updates):
            real, marks = blocks[self._layout.block_of_update[index]]
            state = {name: tf.convert_to_tensor(variable) for name, variable in trainee.scalars.items()}
            # Generating begins while the update before is reduced: earlier it would only delay that.
            with tf.control_dependencies(before):
                own = noise[index] | {"z": tf.identity(noise[index]["z"])}
            numbers = self.layer_numbers(step, index)
            batch = Batch(real, marks, step=step, state=state, seen=seen, **own)
            gradients, figures = self.gradients(update, batch, numbers)
            before = gradients if self._strategy.num_replicas_in_sync > 1 else []
            gradients, figures = self._reduce(gradients, tf.concat([figures, [stop]], 0))
            trainee.optimizers[update.network].apply(gradients, rate, beta_2)
            stops = figures[-1]
            for position, name in enumerate(update.metrics):
                sums[name].append(figures[position])
        if trainee.ema is not None:
            self._update_ema(step + 1)
        means = {name: tf.add_n(values) / len(values) for name, values in sums.items()}
        state = {name: tf.convert_to_tensor(variable) for name, variable in trainee.scalars.items()}
        for name, value in trainee.objective.next_state(state, means, self.images_per_step).items():
            trainee.scalars[name].assign(value)
        return tf.stack([*means.values(), stops])

    def layer_numbers(self, step: tf.Tensor, index: int) -> LayerNumbers:
        """Addresses the random numbers of the networks' layers in one update; call it in replica context.

        Args:
          step: int64 scalar, number of the training step.
          index: the update's index within the step.
        """
        count = self._layout.batch_size // self._updates[index].batch_divisor
        return LayerNumbers(step, index, count, self._layout.accumulate, self._options.seed, compiled=self.jit)

    def gradients(self, update: Update, batch: Batch, numbers: LayerNumbers) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Computes this replica's contribution to an update.

        Args:
          update: one of the objective's.
          batch: this replica's share of all micro-batches.
          numbers: random numbers of the networks' layers, see `layer_numbers`.

        Returns:
          (a gradient of each variable of the update's optimiser, float32 [len(update.metrics)]), summed over
          micro-batches.
        """
        parts = self._layout.accumulate
        if parts == 1:
            return self._micro_batch(update, batch, numbers)
        variables = self._trainee.optimizers[update.network].variables
        gradients = [tf.zeros(variable.shape) for variable in variables]
        figures = tf.zeros([len(update.metrics)])
        whole = {"step": batch.step, "state": batch.state, "seen": batch.seen}
        batches = {
            name: tf.reshape(values, [parts, -1, *values.shape[1:]])
            for name, values in vars(batch).items()
            if name not in whole and values is not None
        }
        # TensorFlow reduces nothing over replicas inside a loop of a graph, and batch norm does.
        alone = self._strategy.num_replicas_in_sync == 1
        for part in tf.range(parts) if alone else range(parts):
            # One after the other, or several parts would take memory at once.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            with tf.control_dependencies([] if alone else [figures, *gradients]):
                micro_batch = Batch(**{name: tf.identity(values[part]) for name, values in batches.items()}, **whole)
                more, values = self._micro_batch(update, micro_batch, numbers.of_part(part))
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            figures += values
        return gradients, figures

    def _micro_batch(self, update: Update, batch: Batch, numbers: LayerNumbers) -> tuple[list[tf.Tensor], tf.Tensor]:
        optimizer = self._trainee.optimizers[update.network]
        networks = {name: self._as_function(model, numbers) for name, model in self._trainee.callable.items()}
        # Over all replicas and micro-batches, because sums over them are to be means.
        count = self._layout.accumulate * self._layout.batch_size // update.batch_divisor
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(optimizer.variables)
            loss, metrics = losses_of(update, networks, batch)
            scaled = optimizer.scale_loss(tf.reduce_sum(loss) / count)
        gradients = tape.gradient(scaled, optimizer.variables)
        check_gradients(gradients, optimizer.variables, update)
        gradients = [
            # Out of a branch they may come without their shapes.
            tf.reshape(gradient, variable.shape)
            for gradient, variable in zip(gradients, optimizer.variables, strict=True)
        ]
        return gradients, tf.stack([tf.reduce_sum(metrics[name]) / count for name in update.metrics])

    def _reduce(self, gradients: Sequence[tf.Tensor], figures: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Sums over replicas: all in one operation, or a large network's in several."""
        if self._strategy.num_replicas_in_sync == 1:
            return list(gradients), figures
        summed: list[tf.Tensor] = []
        for bucket in _buckets([figures, *reversed(gradients)]):
            packed = tf.concat([tf.reshape(each, [-1]) for each in bucket], 0)
            with tf.name_scope(REDUCTION):
                total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, packed)
            parts = tf.split(total, [each.shape.num_elements() for each in bucket])
            summed += [tf.reshape(part, each.shape) for part, each in zip(parts, bucket, strict=True)]
        return summed[:0:-1], summed[0]

    def _as_function(self, model: keras.Model, numbers: LayerNumbers) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        function = function_of(model, training=True)

        def call(x: tf.Tensor, labels_or_noise: tf.Tensor) -> tf.Tensor:
            with numbers.given(model.name, x), assigned_alike(model):
                return function(x, labels_or_noise)

        return call

    def _update_ema(self, steps_done: tf.Tensor) -> None:
        """Moves this replica's average generator towards its generator."""
        trainee = self._trainee
        assert trainee.ema is not None
        seen = images_seen(steps_done, self._ema_images)
        options = self._options
        if options.init_from:  # an average that was taken over has no initial weights to forget
            half_life = tf.constant(float(options.ema_images))
        elif options.ema_scheduled:
            half_life = half_cosine(seen, 0.0, options.ema_images, options.schedule_images)
        else:
            half_life = ema_half_life(seen, options.ema_images, options.ema_warmup)
        weight = 1.0 - tf.pow(0.5, self._ema_images / half_life)
        for average, current in zip(trainee.ema.variables, trainee.networks["generator"].variables, strict=True):
            mean = tf.convert_to_tensor(average.value)
            average.value.assign_add(weight * (tf.convert_to_tensor(current.value) - mean))


def _part_of(images: tf.Tensor, corners: tf.Tensor, margin: tuple[int, int]) -> tf.Tensor:
    """Cuts a part out of each image, [n, H + h, W + w, C] to [n, H, W, C], that begins at rows and columns [n, 2]."""
    height, width = images.shape[1] - margin[0], images.shape[2] - margin[1]
    rows, columns = (
        corners[:, axis, None] + tf.range(size, dtype=tf.int64) for axis, size in ((0, height), (1, width))
    )
    return tf.gather(tf.gather(images, rows, batch_dims=1), columns, axis=2, batch_dims=1)


def _buckets(values: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
    """Cuts what is to be reduced into runs of about `_BUCKET` numbers, in the order in which they come.

    Gradients of the last layers are there first: their sums are under way while the others are still computed.
    """
    buckets: list[list[tf.Tensor]] = [[]]
    size = 0
    for value in values:
        if size >= _BUCKET:
            buckets.append([])
            size = 0
        buckets[-1].append(value)
        size += value.shape.num_elements()
    return buckets
