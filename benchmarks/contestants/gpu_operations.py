"""Counts the operations of one of Mirage's training steps, on the CPU, without running it."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.worker import Rounds, Work

# Work of matrix units that `benchmarks.step_plan.macs_of` doesn't count.
_NOT_COUNTED = ("BatchMatMulV2", "BatchMatMulV3", "Conv3D", "DepthwiseConv2dNative", "Einsum")


def operations(values: Mapping[str, Any], image_shape: tuple[int, int, int]) -> int:
    """Counts the multiplications and additions of convolutions and matrix products in one step.

    Forward, backward and second order, as TensorFlow's graph has them; what nothing needs is left out, as TensorFlow
    leaves it out. A multiply-add counts as two. A compiler may compute fewer or more.

    Args:
      values: of `Config`, by name.
      image_shape: (height, width, channels).

    Returns:
      The number.

    Raises:
      ValueError: if there is work in the graph that this doesn't know how to count.
    """
    import tensorflow as tf

    from benchmarks.step_plan import macs_of, needed
    from pipeline.config import Config
    from pipeline.data.spec import DataSpec
    from pipeline.objectives.composition import compose
    from pipeline.training.configured import trainee_of
    from pipeline.training.feed import Layout, ResidentFeed
    from pipeline.training.step import TrainStep

    config = Config(**values)
    names = tuple(map(str, range(10))) if config.conditional else ()
    updates = compose(config.to_dict()).updates(num_labels=len(names))
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    images = np.zeros((1, *image_shape), np.uint8)
    feed = ResidentFeed(strategy, Layout(updates, config.batch_size, 1, 1), images, np.zeros(1, np.int32), 0)
    with strategy.scope():
        trainee = trainee_of(config, DataSpec("none", "", image_shape, names, 1))
    step = TrainStep(config, strategy, trainee, updates, feed)
    counted = needed(step.graph_of_one())
    for operation in counted:
        _check(operation)
    return sum(2 * macs_of(operation) for operation in counted)


def _check(operation: Any) -> None:
    if operation.type in _NOT_COUNTED or any(attribute.type == "func" for attribute in operation.op_def.attr):
        raise ValueError(f"{operation.name} is a {operation.type}, whose operations can't be counted.")


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`; it has nothing to train."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    rounds.ready(operations=operations(work.options["config"], tuple(work.options["image_shape"])))
    for _ in rounds:
        raise ValueError("this only counts.")
