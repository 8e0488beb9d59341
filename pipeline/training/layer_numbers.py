"""Random numbers of networks' layers, such as dropout's: functions of seed, step, update, call and sample."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Self

import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

from pipeline.base.errors import MirageError
from pipeline.networks.random_layers import numbers_from
from pipeline.training import compiled_philox, randomness

_CALLS = 2**12  # of layers in one update


class LayerNumbers:
    """What the layers draw in one update, of one micro-batch on one replica.

    A call of a layer is known by its number among those of the update, in the order in which they are traced. So each
    layer draws anew each time that its network is called; numbers of a gradient are those of its forward pass, since
    that is the same call.
    """

    def __init__(self, step: tf.Tensor, update: int, count: int, parts: int, seed: int, *, compiled: bool) -> None:
        """Begins an update; call it in replica context.

        Args:
          step: int64 scalar, number of the training step.
          update: index of the update within the step.
          count: samples of a global micro-batch.
          parts: micro-batches of the update.
          seed: the run's seed.
          compiled: whether XLA compiles what is drawn.
        """
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group
        known = tf.get_static_value(replica)
        self._address = step, update, seed
        self._compiled = compiled
        self._local, self._whole = count // context.num_replicas_in_sync, parts * count
        self._count = count
        self._replica = tf.cast(replica, tf.int64) if known is None else int(known)
        self._first: tf.Tensor | int = self._replica * self._local
        self._calls = self._rows = 0
        self._network = ""
        self._graph: tf.Graph | None = None

    def of_part(self, part: tf.Tensor | int) -> Self:
        """Returns the numbers of another micro-batch."""
        other = copy.copy(self)
        other._calls = 0
        part = tf.cast(part, tf.int64) if tf.is_tensor(part) else part
        other._first = part * self._count + self._replica * self._local
        return other

    @contextlib.contextmanager
    def given(self, name: str, inputs: tf.Tensor) -> Iterator[None]:
        """Gives them to the layers of a network while that is called.

        Args:
          name: the network's, for errors.
          inputs: what it is called with, [n, ...]: the micro-batch's samples, or several such blocks, such as real and
            generated images, or every k-th of the samples.
        """
        self._network, self._rows, self._graph = name, inputs.shape[0], tf.compat.v1.get_default_graph()
        with numbers_from(self):
            yield

    def uniform(self, layer: str, rows: int | None, numbers: int, *, shared: bool = False) -> tf.Tensor:
        """See `pipeline.networks.random_layers.Numbers`."""
        kernel = tf.raw_ops.StatelessRandomUniformV2
        return self._draw(compiled_philox.uniform if self._compiled else kernel, layer, rows, numbers, shared)

    def normal(self, layer: str, rows: int | None, numbers: int, *, shared: bool = False) -> tf.Tensor:
        """See `pipeline.networks.random_layers.Numbers`."""
        kernel = tf.raw_ops.StatelessRandomNormalV2
        return self._draw(compiled_philox.normal if self._compiled else kernel, layer, rows, numbers, shared)

    def _draw(
        self, kernel: Callable[..., tf.Tensor], layer: str, rows: int | None, numbers: int, shared: bool
    ) -> tf.Tensor:
        self._check(layer, rows)
        call, self._calls = self._calls, self._calls + 1
        step, update, seed = self._address
        which = [(0, 1)] if shared else self._samples()
        return randomness.of_layer(kernel, step, update * _CALLS + call, which, numbers, seed)

    def _samples(self) -> randomness.Rows:
        """Which samples of the global batch the network was called with; those of a second block come behind it."""
        if self._rows < self._local:
            share = self._local // self._rows
            return [(self._first // share, self._rows)]
        blocks = self._rows // self._local
        if self._local == self._whole:
            return [(0, blocks * self._whole)]
        return [(block * self._whole + self._first, self._local) for block in range(blocks)]

    def _check(self, layer: str, rows: int | None) -> None:
        where = f"layer {layer} of the {self._network}"
        if not self._rows or (self._rows % self._local and self._local % self._rows):
            raise MirageError(
                f"{where} draws random numbers for each sample, and the {self._network} was called with {self._rows} "
                f"samples where the batch has {self._local} on each replica; have the objective call it with the "
                "batch, with several times as many, or with every k-th of them."
            )
        if rows != self._rows:
            raise MirageError(
                f"{where} draws random numbers for each sample, and is given {rows or 'an unknown number of'} rows "
                f"where the {self._network} was called with {self._rows}; keep samples along the first axis."
            )
        if self._calls == _CALLS:
            raise MirageError(f"{where} draws random numbers the {_CALLS + 1:,}th time in an update; draw less often.")
        graph = tf.compat.v1.get_default_graph()
        while graph is not self._graph:
            # Branches and loops are graphs of subclasses; the graph of a tf.function would be used again as it is.
            if type(graph) is FuncGraph:
                raise MirageError(
                    f"{where} draws random numbers within a tf.function, which would repeat those of its first call; "
                    "remove @tf.function there, since the training step is compiled as a whole."
                )
            graph = graph.outer_graph
