"""Where a step's training images come from: resident on each device, or streamed to it."""

import dataclasses
from typing import Protocol

import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.data.dataset import Dataset
from pipeline.data.spec import DataSpec
from pipeline.networks.options import NetworkOptions
from pipeline.objectives import Update
from pipeline.training import randomness
from pipeline.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class Block:
    """Images that one or several updates of a step use.

    Attributes:
      start: position of the first one within the step's images.
      count: global number in each micro-batch.
    """

    start: int
    count: int


class Layout:
    """Which training images each replica uses in a step.

    Step s begins at position `s * images_per_step` of the endless stream that `data_order` shuffles. A
    block of `accumulate` micro-batches of `count` images is cut into micro-batches first and each of
    these among the replicas, so that (batch, accumulate) sees what (batch * accumulate, 1) sees.

    Attributes:
      batch_size: global batch size of a micro-batch.
      accumulate: number of micro-batches in an update.
      replicas: number of replicas over all workers.
      images_per_step: new training images in each step.
      blocks: the different blocks.
      block_of_update: for each update, the index of its block.
    """

    def __init__(self, updates: tuple[Update, ...], batch_size: int, accumulate: int, replicas: int) -> None:
        """Lays out a step.

        Args:
          updates: the objective.
          batch_size: global batch size; divided by any update's `batch_divisor` it must be a multiple
            of `replicas`.
          accumulate: number of micro-batches in an update.
          replicas: number of replicas over all workers.
        """
        self.batch_size, self.accumulate, self.replicas = batch_size, accumulate, replicas
        self.blocks: list[Block] = []
        self.block_of_update: list[int] = []
        start = latest = 0
        for update in updates:
            count = batch_size // update.batch_divisor
            if update.new_images:
                latest, start = start, start + accumulate * count
            block = Block(latest, count)
            if block not in self.blocks:
                self.blocks.append(block)
            self.block_of_update.append(self.blocks.index(block))
        self.images_per_step = start

    def positions(self, step: tf.Tensor, replica: tf.Tensor | int) -> tf.Tensor:
        """Positions in the stream of the images that a replica uses in a step, block after block, int64 [n]."""
        runs = [
            block.start + first + tf.range(number, dtype=tf.int64)
            for block in self.blocks
            for first, number in self.rows(block.count, replica)
        ]
        return step * self.images_per_step + tf.concat(runs, 0)

    def rows(self, count: int, replica: tf.Tensor | int) -> randomness.Rows:
        """Which samples a replica is given of `accumulate` micro-batches of `count`, as runs of consecutive ones."""
        if self.replicas == 1:
            return [(0, self.accumulate * count)]
        local = count // self.replicas
        known = tf.get_static_value(replica)
        own = (tf.cast(replica, tf.int64) if known is None else int(known)) * local
        return [(part * count + own, local) for part in range(self.accumulate)]

    def split(self, images: tf.Tensor, labels: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Cuts what `positions` chose into blocks."""
        sizes = [self.accumulate * block.count // self.replicas for block in self.blocks]
        return list(zip(tf.split(images, sizes), tf.split(labels, sizes), strict=True))


class Feed(Protocol):
    """A source of training images.

    Attributes:
      layout: which images each replica is given.
    """

    layout: Layout

    def next(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the images of a step; call it in a `tf.function`, in cross-replica context.

        Args:
          step: int64 scalar, number of the step; the first one as announced, then one after the other.

        Returns:
          For each replica (uint8 [n, H, W, C], int32 [n] or of attributes float32 [n, A]), in the order of
          `Layout.positions`.
        """

    def rewound(self) -> "Feed":
        """Returns a feed of the same images whose next step is the first one again."""


class Order:
    """In which order examples are drawn, with all classes equally often if that is wanted."""

    def __init__(self, labels: np.ndarray, seed: int, *, balance: bool = False) -> None:
        """Of a data set.

        Args:
          labels: int32 [N], or of attributes float32 [N, A].
          seed: the run's seed.
          balance: whether all classes are drawn equally often.
        """
        self._chosen = _balanced(labels) if balance else None
        self._count = len(labels) if self._chosen is None else len(self._chosen)
        self._seed = seed

    def __call__(self, positions: tf.Tensor) -> tf.Tensor:
        """Maps positions in the endless stream of training images to indices of examples, int64 [n]."""
        indices = randomness.data_order(positions, self._count, self._seed)
        return indices if self._chosen is None else tf.gather(self._chosen, indices)


def _balanced(labels: np.ndarray) -> np.ndarray:
    """Indices of examples, int64, as many of each class as the largest has: the others' again, in turn."""
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    most = max(map(len, classes))
    return np.concatenate([np.resize(members, most) for members in classes])


class ResidentFeed:
    """Keeps the whole data set as uint8 on each device."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        layout: Layout,
        images: np.ndarray,
        labels: np.ndarray,
        seed: int,
        *,
        balance: bool = False,
    ) -> None:
        """Copies the data set to each device.

        Args:
          strategy: where to.
          layout: which images each replica is given.
          images: uint8 [N, H, W, C].
          labels: int32 [N], or of attributes float32 [N, A].
          seed: the run's seed.
          balance: whether all classes are drawn equally often.
        """
        self.layout = layout
        self._strategy = strategy
        self._order = Order(labels, seed, balance=balance)
        self._images = _on_each_device(strategy, images)
        # TensorFlow keeps int32 on the host, also for a GPU, which would be sent all labels in each step.
        self._labels = _on_each_device(strategy, labels if labels.ndim > 1 else labels.astype(np.int64))

    def next(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Feed`."""
        return self._strategy.run(self._gather, args=(step, self._images, self._labels))

    def rewound(self) -> Feed:
        """See `Feed`; this one goes by the step's number alone."""
        return self

    def _gather(self, step: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        with tf.device("CPU:0"):  # where the shuffle's only kernel is
            indices = self._order(self.layout.positions(step, replica))
        marks = tf.gather(labels, indices)
        return tf.gather(images, indices), marks if labels.shape.rank > 1 else tf.cast(marks, tf.int32)


def _on_each_device(strategy: tf.distribute.Strategy, values: np.ndarray) -> tf.Tensor:
    # TensorFlow would put all copies on the first device, and send them to the others in each step.
    devices = iter(strategy.extended.worker_devices)

    def copy(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        del context
        with tf.device(next(devices)):
            return tf.constant(values)

    with strategy.scope():
        return strategy.experimental_distribute_values_from_function(copy)


class StreamedFeed:
    """Reads images from a memory-mapped file, in the order in which they would be if they were resident.

    Each worker reads only its own replicas' images; tf.data reads ahead and copies to the devices.
    Since the order is a function of the step, the position in the data is the step number.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        layout: Layout,
        images: np.ndarray,
        labels: np.ndarray,
        order: Order,
        first_step: int,
    ) -> None:
        """Starts reading.

        Args:
          strategy: where to.
          layout: which images each replica is given.
          images: uint8 [N, H, W, C], such as a `np.memmap`.
          labels: int32 [N], or of attributes float32 [N, A].
          order: in which they are drawn.
          first_step: step with which `next` begins.
        """
        self.layout = layout
        self._given = strategy, layout, images, labels, order, first_step

        def read(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return images[indices], labels[indices]

        def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
            replicas = layout.replicas // context.num_input_pipelines
            first_replica = context.input_pipeline_id * replicas

            def element(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                # tf.data deals its elements out to the local replicas in turn.
                positions = layout.positions(number // replicas, first_replica + number % replicas)
                indices = order(positions)
                types = tf.uint8, tf.as_dtype(labels.dtype)
                pixels, marks = tf.numpy_function(read, [indices], types, stateful=False)
                return tf.ensure_shape(pixels, [*positions.shape, *images.shape[1:]]), tf.ensure_shape(
                    marks, [*positions.shape, *labels.shape[1:]]
                )

            numbers = tf.data.Dataset.range(first_step * replicas, np.iinfo(np.int64).max)
            return numbers.map(element, num_parallel_calls=2, deterministic=True).prefetch(2 * replicas)

        self._iterator = iter(strategy.distribute_datasets_from_function(pipeline))

    def next(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Feed`."""
        del step
        return next(self._iterator)

    def rewound(self) -> Feed:
        """See `Feed`."""
        return StreamedFeed(*self._given)


def check_data(training: TrainingOptions, networks: NetworkOptions, split: str, data: DataSpec) -> None:
    """Refuses data that a training can't use.

    Args:
      training: how large its batches are.
      networks: whether they look at labels.
      split: the part of the data set that is used.
      data: the description of the data.

    Raises:
      MirageError: if there are fewer images than in a batch, or no labels where they are needed.
    """
    if training.batch_size > data.num_examples:
        raise MirageError(
            f"--batch_size={training.batch_size} is larger than the {data.num_examples} images of "
            f"--dataset={data.name} --split={split}; choose a smaller one."
        )
    if training.balance and not data.class_names:
        has = "attributes" if data.attributes else "none"
        raise MirageError(f"--balance needs classes, and --dataset={data.name} has {has}; leave it out.")
    if networks.conditional and not data.num_labels:
        raise MirageError(
            f"--conditional needs labels, and --dataset={data.name} has none; use --noconditional, or data with "
            "labels (for a folder: one sub-folder per class, or --labels=FILE:COLUMN)."
        )


def make_feed(
    strategy: tf.distribute.Strategy, layout: Layout, dataset: Dataset, options: TrainingOptions, first_step: int
) -> Feed:
    """Chooses where training images come from.

    Args:
      strategy: where to.
      layout: which images each replica is given.
      dataset: the images, of which `drawn` is given; those that are not in memory are streamed.
      options: their seed, and whether classes are balanced, decide the order.
      first_step: step with which training begins.

    Returns:
      The feed.
    """
    if dataset.streamed:
        order = Order(dataset.labels, options.seed, balance=options.balance)
        return StreamedFeed(strategy, layout, dataset.drawn, dataset.labels, order, first_step)
    return ResidentFeed(strategy, layout, dataset.drawn, dataset.labels, options.seed, balance=options.balance)
