"""Whether XLA shall compile the step: decided by measuring both, because belief is wrong half the time.

On CPUs XLA wins on dense networks and loses on convolutions.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.cluster import Cluster
from pipeline.config import JIT_WORTHWHILE_STEPS, Config
from pipeline.errors import MirageError
from pipeline.run_file import read_decided_jit
from pipeline.step import TrainStep
from pipeline.strategy import agreed, can_compile
from pipeline.trainee import Trainee

_ROUNDS = 5
_ROUND_S = 0.3


def decide_jit(
    config: Config, strategy: tf.distribute.Strategy, cluster: Cluster | None, measure: Callable[[], tuple[bool, str]]
) -> tuple[bool, bool | None]:
    """Decides whether XLA compiles the step.

    Args:
      config: the run's configuration.
      strategy: where it runs.
      cluster: the cluster that this process is part of, if any.
      measure: see `measure_jit`.

    Returns:
      (whether XLA compiles the step, what the run directory shall say of it).

    Raises:
      MirageError: if it shall and can't.
    """
    possible = can_compile(strategy)
    if config.jit == "on" and not possible:
        raise MirageError(
            f"--jit=on can't compile across {strategy.num_replicas_in_sync} devices that are CPUs or parts of one "
            "GPU; use --jit=auto or --strategy=one_device."
        )
    if config.jit != "auto":
        return config.jit == "on", config.jit == "on"

    known = agreed(read_decided_jit(Path(config.run_dir)), strategy, cluster)
    if known is not None:
        return known and possible, known
    if not possible or config.steps < JIT_WORTHWHILE_STEPS:
        return False, None
    faster, sentence = measure()
    if cluster is None or cluster.is_chief:
        print(sentence, flush=True)
    decided = agreed(faster, strategy, cluster)
    return bool(decided), decided


def measure_jit(trainee: Trainee, build: Callable[[bool], TrainStep], agree: Callable[[int], int]) -> tuple[bool, str]:
    """Times steps with and without XLA, and leaves the state as it was.

    Args:
      trainee: what the steps train.
      build: makes a step, with XLA or without.
      agree: gives all workers of a cluster the same number.

    Returns:
      (whether XLA is faster, a sentence with both figures).
    """
    variables = trainee.state().values()
    before = [np.array(variable.numpy()) for variable in variables]
    try:
        steps_per_s = _race([build(False), build(True)], agree)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        return False, f"XLA: off, as it can't compile this step ({str(error).splitlines()[0][:100]})"
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    plain, compiled = steps_per_s
    verdict = compiled > plain
    return verdict, f"XLA: {'on' if verdict else 'off'} ({compiled:,.1f} steps/s with it, {plain:,.1f} without)"


def _race(sides: list[TrainStep], agree: Callable[[int], int]) -> list[float]:
    """Runs the sides in turn; returns each one's median of steps per second."""
    stop = tf.constant(0.0)
    for side in sides:  # traces, compiles and warms up
        side(tf.constant(2, tf.int64), stop)[0].numpy()
    start = time.perf_counter()
    sides[0](tf.constant(2, tf.int64), stop)[0].numpy()
    # All workers must take the same steps, or they would wait for each other for ever.
    count = agree(max(1, round(_ROUND_S * 2 / (time.perf_counter() - start))))
    figures: list[list[float]] = [[] for _ in sides]
    for _ in range(_ROUNDS):
        for side, collected in zip(sides, figures, strict=True):
            start = time.perf_counter()
            side(tf.constant(count, tf.int64), stop)[0].numpy()
            collected.append(count / (time.perf_counter() - start))
    return [statistics.median(collected) for collected in figures]
