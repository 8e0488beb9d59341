"""Whether XLA shall compile the step.

On GPUs that is measured, where the run is long enough for it to pay. On CPUs XLA wins on fully connected networks
and loses on convolutions; to find that again would cost a run of minutes more than it could win.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.cluster.find import Cluster
from pipeline.cluster.strategy import agreed, can_compile, on_gpus
from pipeline.devices.options import JIT_WORTHWHILE_STEPS, DeviceOptions
from pipeline.runs.run_file import read_decided_jit
from pipeline.training.first_step import FirstStep
from pipeline.training.step import TrainStep
from pipeline.training.trainee import Trainee

_ROUNDS = 5
_LONGEST_ROUND_S = 0.3
# Of a run without XLA: what the rounds of both sides may take, and what XLA is sure to win where it is faster.
_ROUNDS_SHARE, _GAIN = 0.01, 0.35
# Rough, and rather too long: nothing compiled is kept yet, and each convolution wants kernels of its own.
_COMPILE_S, _COMPILE_S_PER_CONVOLUTION = 5.0, 0.25
# What says nothing of the step itself: memory or a disk is full, another worker is lost.
_OF_ONE_WORKER = (
    MirageError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def choose_step(
    options: DeviceOptions,
    steps: int,
    run_dir: Path,
    strategy: tf.distribute.Strategy,
    cluster: Cluster | None,
    build: Callable[..., TrainStep],
    measure: Callable[[], tuple[TrainStep, bool | None, str]],
    convolutional: bool,
) -> tuple[TrainStep, bool | None]:
    """Builds the step, compiled by XLA or not.

    Args:
      options: what the run asks for.
      steps: its length.
      run_dir: its folder.
      strategy: where it runs.
      cluster: the cluster that this process is part of, if any.
      build: makes a step, with `jit` or without.
      measure: see `measure_jit`.
      convolutional: whether networks have convolutions.

    Returns:
      (the step, what the run directory shall say of XLA: on, off or undecided).

    Raises:
      MirageError: if XLA shall compile it and can't.
    """
    possible = can_compile(strategy)
    if options.jit == "on" and not possible:
        raise MirageError(
            f"--jit=on can't compile across {strategy.num_replicas_in_sync} devices that are CPUs or parts of one "
            "GPU; use --jit=auto or --strategy=one_device."
        )
    if options.jit != "auto":
        return build(jit=options.jit == "on"), options.jit == "on"

    known = agreed(read_decided_jit(run_dir), strategy, cluster)
    if known is not None:
        return build(jit=known and possible), known
    if not possible or steps < JIT_WORTHWHILE_STEPS:
        return build(jit=False), None
    if on_gpus(strategy):
        step, decided, sentence = measure()
    else:
        decided = jit = not convolutional
        step, sentence = build(jit=jit), f"XLA: {'on' if jit else 'off'} (on CPUs it is slower with convolutions)"
    if cluster is None or cluster.is_chief:
        print(sentence, flush=True)
    return step, decided


def measure_jit(
    trainee: Trainee,
    steps_left: int,
    build: Callable[..., TrainStep],
    agree: Callable[[int], int],
    first_step: FirstStep,
    *,
    alone: bool = True,
) -> tuple[TrainStep, bool | None, str]:
    """Times steps without XLA, and with it if compiling them can pay; leaves the state as it was.

    A compilation can't be broken off, so one that would take longer than it can win is not begun. All workers of a
    cluster decide by the chief's figures.

    Args:
      trainee: what the steps train.
      steps_left: steps that the run is still to do.
      build: makes a step, with `jit` or without.
      agree: gives all workers of a cluster the chief's number.
      first_step: tells what goes on.
      alone: whether there is no other worker.

    Returns:
      (the faster step, ready to train; whether that is the one with XLA, or None if that may be otherwise next time; a
      sentence with both figures).

    Raises:
      MirageError, tf.errors.OpError: for what has gone wrong on one worker, while the others may go on.
    """
    variables = trainee.state().values()
    before = [np.array(variable.numpy()) for variable in variables]
    try:
        plain = build(jit=False)
        first_step.call(plain, *_arguments(2))
        step_s = agree(round(1e6 * _run(plain, 2) / 2)) / 1e6
        left_s, compile_s = steps_left * step_s, agree(round(_compile_s(plain)))
        if compile_s > _GAIN * left_s:
            reason = f"this run takes about {left_s:,.0f} s without it, and compiling about {compile_s:,} s"
            return plain.rewound(), False, f"XLA: off ({reason})"
        try:
            compiled = build(jit=True)
            first_step.call(compiled, *_arguments(2))
        except (tf.errors.OpError, ValueError, TypeError, MirageError) as error:
            if isinstance(error, _OF_ONE_WORKER) and not alone:
                raise
            sentence = f"XLA: off, as it can't compile this step ({str(error).splitlines()[0][:100]})"
            return plain.rewound(), None if isinstance(error, _OF_ONE_WORKER) else False, sentence
        round_s = min(_LONGEST_ROUND_S, _ROUNDS_SHARE * left_s / (2 * _ROUNDS))
        plain_rate, compiled_rate = _race([plain, compiled], max(1, round(round_s / step_s)))
        jit = bool(agree(int(compiled_rate > plain_rate)))
        step = compiled if jit else plain
        figures = f"{compiled_rate:,.1f} steps/s with it, {plain_rate:,.1f} without"
        return step.rewound(), jit, f"XLA: {'on' if jit else 'off'} ({figures})"
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def _race(sides: list[TrainStep], count: int) -> list[float]:
    """Runs `count` steps of each side in turn, some times; returns each one's median of steps per second."""
    figures: list[list[float]] = [[] for _ in sides]
    for _ in range(_ROUNDS):
        for side, collected in zip(sides, figures, strict=True):
            collected.append(count / _run(side, count))
    return [statistics.median(collected) for collected in figures]


def _run(side: TrainStep, count: int) -> float:
    """Returns the seconds that some steps take."""
    start = time.perf_counter()
    side(*_arguments(count))[0].numpy()
    return time.perf_counter() - start


def _arguments(count: int) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(count, tf.int64), tf.constant(0.0)


def _compile_s(plain: TrainStep) -> float:
    graph = plain.trace(*_arguments(2)).as_graph_def()
    nodes = (node for function in graph.library.function for node in function.node_def)
    return _COMPILE_S + _COMPILE_S_PER_CONVOLUTION * sum(node.op.startswith("Conv") for node in nodes)
