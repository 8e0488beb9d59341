"""Counts the operations of one of Mirage's training steps, on the CPU, without running it."""

import math
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.worker import Rounds, Work

# The work of matrix units, and what else there could be of it.
_COUNTED = ("Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput", "MatMul")
_NOT_COUNTED = ("BatchMatMulV2", "BatchMatMulV3", "Conv3D", "DepthwiseConv2dNative", "Einsum")


def operations(networks: str, batch_size: int, image_shape: tuple[int, int, int]) -> int:
    """Counts the multiplications and additions of convolutions and matrix products in one step of `r3gan`.

    Forward, backward and second order, as TensorFlow's graph has them; what nothing needs is left out, as TensorFlow
    leaves it out. A multiply-add counts as two. A compiler may compute fewer or more.

    Args:
      networks: "dcgan" or "resnet".
      batch_size: images per update.
      image_shape: (height, width, channels).

    Returns:
      The number.

    Raises:
      ValueError: if there is work in the graph that this doesn't know how to count.
    """
    import tensorflow as tf

    from pipeline import objectives
    from pipeline.config import Config
    from pipeline.data_spec import DataSpec
    from pipeline.feed import Layout, ResidentFeed
    from pipeline.step import TrainStep
    from pipeline.trainee import build_trainee

    config = Config(model=networks, objective="r3gan", batch_size=batch_size)
    updates = objectives.updates(config)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    images = np.zeros((1, *image_shape), np.uint8)
    feed = ResidentFeed(strategy, Layout(updates, batch_size, 1, 1), images, np.zeros(1, np.int32), 0)
    with strategy.scope():
        trainee = build_trainee(config, DataSpec("none", "", image_shape, (), 1))
    step = TrainStep(config, strategy, trainee, updates, feed)
    graph = tf.function(step._step).get_concrete_function(tf.TensorSpec([], tf.int64), tf.TensorSpec([])).graph
    return sum(_cost(operation) for operation in _needed(graph))


def _needed(graph: Any) -> Iterable[Any]:
    """Operations that outputs or effects depend on."""
    pending = [*(output.op for output in graph.outputs), *graph.control_outputs]
    found = set()
    while pending:
        operation = pending.pop()
        if operation not in found:
            found.add(operation)
            pending += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return found


def _cost(operation: Any) -> int:
    if operation.type in _NOT_COUNTED or any(attribute.type == "func" for attribute in operation.op_def.attr):
        raise ValueError(f"{operation.name} is a {operation.type}, whose operations can't be counted.")
    return 2 * _multiply_adds(operation) if operation.type in _COUNTED else 0


def _multiply_adds(operation: Any) -> int:
    output = operation.outputs[0].shape
    if operation.type == "MatMul":
        return output[0] * output[1] * operation.inputs[0].shape[0 if operation.get_attr("transpose_a") else 1]
    kernel = output if operation.type == "Conv2DBackpropFilter" else operation.inputs[1].shape
    # Of the side that strides make smaller, [N, H, W, C].
    batch, height, width, _ = output if operation.type == "Conv2D" else operation.inputs[2].shape
    return math.prod((batch, height, width, *kernel))


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`; it has nothing to train."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    rounds.ready(operations=operations(work.networks, work.batch_size, tuple(work.options["image_shape"])))
    for _ in rounds:
        raise ValueError("this only counts.")
