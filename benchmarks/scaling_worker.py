"""One worker of a cluster on loopback that times steps with a delay before each collective; see `scaling_check`."""

import json
import os
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.scaling_check import COLLECTIVES, build_step, clock_seconds, collectives, train
from pipeline.cluster.find import find_cluster
from pipeline.cluster.meet import meet
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec

_TIMEOUT_S = 120
_ROUNDS = 5
_SIZE = 1024


def delayed(delay: tf.Variable) -> Any:
    """Returns an all-reduce that waits first, as a slow network would; one after the other, and so in its gradient."""
    reduce = tf.distribute.ReplicaContext.all_reduce

    def sleep(seconds: np.ndarray, _: np.ndarray) -> np.ndarray:
        time.sleep(float(seconds))
        return seconds

    @tf.custom_gradient
    def wait(values: tf.Tensor) -> Any:
        seconds = tf.numpy_function(sleep, [delay, values], tf.float32)
        with tf.control_dependencies([seconds]):
            waited = tf.identity(values)
        return waited, lambda gradient: gradient

    def all_reduce(self: Any, operation: Any, values: Any, options: Any = None) -> Any:
        return reduce(self, operation, tf.nest.map_structure(wait, values), options)

    return all_reduce


def main() -> None:
    """Times the steps that the command line describes; prints milliseconds as JSON."""
    work = json.loads(sys.argv[1])
    config = Config(**work["config"])
    cluster = find_cluster(os.environ)
    assert cluster is not None
    data = DataSpec.from_dict(work["data"])
    with meet(cluster, {}, _TIMEOUT_S):
        strategy = make_strategy("multi_worker", cluster=cluster)
        delay = tf.Variable(0.0, trainable=False)
        tf.distribute.ReplicaContext.all_reduce = delayed(delay)
        row = collectives(strategy, _SIZE)
        step = build_step(config, data, strategy)
        found: dict[int, list[float]] = {each: [] for each in work["delays_ms"]}
        wire: dict[int, list[float]] = {each: [] for each in work["delays_ms"]}
        for _ in range(_ROUNDS):
            for delay_ms in found:
                delay.assign(delay_ms / 1e3)
                wire[delay_ms].append(clock_seconds(row) / COLLECTIVES)
                found[delay_ms].append(clock_seconds(lambda: train(step, work["steps"])) / work["steps"])
        # The fastest: what else the machine does only adds.
        ms, wire_ms = ({each: min(values) * 1e3 for each, values in side.items()} for side in (found, wire))
        print(json.dumps({"ms": ms, "collective_ms": wire_ms}), flush=True)


if __name__ == "__main__":
    main()
