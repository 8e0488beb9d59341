"""How the cost of a training step grows with batch, image size and replicas, and what it consists of.

Shares are measured by leaving parts out and training on, all variants in turn:

  launch      steps asked for one by one, against all in one call (paid once per --steps_per_call)
  input       the same images in every step, against a shuffled order from the data set
  all-reduce  no reduction of gradients and batch norm over replicas, against both; packing is computing
  compute     the rest
"""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf

from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.objectives.composition import compose
from pipeline.training.feed import Feed, Layout, ResidentFeed
from pipeline.training.step import TrainStep
from pipeline.training.trainee import build_trainee

_NUM_EXAMPLES = 1024
_STEPS_PER_CALL = 20
MAX_REPLICAS = 4


@dataclasses.dataclass(frozen=True)
class Point:
    """What to measure: `dcgan` with `nsgan`."""

    study: str
    batch_size: int
    image_size: int
    replicas: int


def points() -> Iterator[Point]:
    """Returns what the study consists of."""
    for batch_size in (16, 64, 256, 512):
        yield Point("batch", batch_size, 28, 1)
    for image_size in (16, 32, 64, 128):
        yield Point("image size", 16, image_size, 1)
    for replicas in (1, 2, 4):
        yield Point("replicas, global batch 64", 64, 28, replicas)
    for replicas in (1, 2, 4):
        yield Point("replicas, 32 on each", 32 * replicas, 28, replicas)


class _SameImages:
    """A feed that costs nothing."""

    def __init__(self, feed: ResidentFeed, strategy: tf.distribute.Strategy) -> None:
        self.layout = feed.layout
        self._images = feed.next(tf.constant(0, tf.int64))
        self._strategy = strategy

    def next(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        del step
        return self._images


@contextlib.contextmanager
def unreduced() -> Iterator[None]:
    """Lets what is traced meanwhile reduce nothing over replicas: each sums as if all had the same numbers."""

    def all_reduce(context: Any, operation: Any, values: tf.Tensor, options: Any = None) -> tf.Tensor:
        del operation, options
        return values * tf.cast(context.num_replicas_in_sync, values.dtype)

    with mock.patch.object(tf.distribute.ReplicaContext, "all_reduce", all_reduce):
        yield


def split_cpu() -> None:
    """Makes logical devices; call it before TensorFlow starts."""
    devices = [tf.config.LogicalDeviceConfiguration()] * MAX_REPLICAS
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)


def measure(point: Point, rounds: int, round_s: float) -> dict[str, float]:
    """Measures one point.

    Args:
      point: what to measure.
      rounds: how often each variant is timed.
      round_s: about how long each time.

    Returns:
      Milliseconds per step: `total`, and its shares `compute`, `all_reduce`, `input`, `launch`.
    """
    config = Config(objective="nsgan", batch_size=point.batch_size, ema_images=0)
    shape = (point.image_size, point.image_size, 1)
    strategy = make_strategy("mirrored", point.replicas) if point.replicas > 1 else make_strategy("one_device")
    updates = compose(config.to_dict()).updates()
    layout = Layout(updates, config.batch_size, 1, point.replicas)
    images = np.random.default_rng(0).integers(0, 256, (_NUM_EXAMPLES, *shape), dtype=np.uint8)
    resident = ResidentFeed(strategy, layout, images, np.zeros(_NUM_EXAMPLES, np.int32), 0)

    def build(feed: Feed) -> TrainStep:
        with strategy.scope():
            trainee = build_trainee(config, DataSpec("random", "", shape, (), _NUM_EXAMPLES))
        step = TrainStep(config, strategy, trainee, updates, feed)
        step(tf.constant(1, tf.int64), tf.constant(0.0))  # traces
        return step

    full = build(resident)
    variants: dict[str, Callable[[int], None]] = {
        "together": lambda steps: _train(full, steps, _STEPS_PER_CALL),
        "one by one": lambda steps: _train(full, steps, 1),
    }
    same_images = build(_SameImages(resident, strategy))
    variants["same images"] = lambda steps: _train(same_images, steps, _STEPS_PER_CALL)
    if point.replicas > 1:
        with unreduced():
            alone = build(resident)
        variants["unreduced"] = lambda steps: _train(alone, steps, _STEPS_PER_CALL)
    ms = _medians(variants, rounds, round_s)
    total = ms["together"]
    # One launch is paid _STEPS_PER_CALL times as often one by one.
    launch = max(0.0, ms["one by one"] - total) / (_STEPS_PER_CALL - 1)
    shares = {
        "all_reduce": max(0.0, total - ms.get("unreduced", total)),
        "input": max(0.0, total - ms["same images"]),
        "launch": launch,
    }
    return {"total": total, "compute": total - sum(shares.values()), **shares}


def _train(step: TrainStep, steps: int, per_call: int) -> None:
    stop = tf.constant(0.0)
    for done in range(0, steps, per_call):
        means, _ = step(tf.constant(min(per_call, steps - done), tf.int64), stop)
    means.numpy()


def _medians(variants: dict[str, Callable[[int], None]], rounds: int, round_s: float) -> dict[str, float]:
    start = time.perf_counter()
    variants["together"](2)
    steps = max(2, round(2 * round_s / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            start = time.perf_counter()
            run(steps)
            times[name].append((time.perf_counter() - start) / steps * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}
