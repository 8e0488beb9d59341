"""Measures on this machine what the model of `benchmarks.scaling_model` says of it.

Replicas on logical devices share this machine's cores: what they need is processor time, of which n replicas take n
times as much as one does, and that of their collectives. It is compared rather than the clock's, which shows what else
the machine does; on an idle one a step takes the processor time over the number of cores.

Processes on loopback have a delay put before each collective, as a network would, and the clock is compared: the
collectives that wait for each other show. The fastest round counts, as what else the machine does only adds.
"""

import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf

from benchmarks.scaling_model import Planned, scheduled
from benchmarks.step_plan import StepPlan, plan_step
from pipeline.cluster.launch import worker_environments
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import batch_norm
from pipeline.objectives.composition import compose
from pipeline.training.feed import Layout, ResidentFeed
from pipeline.training.step import TrainStep
from pipeline.training.trainee import build_trainee

REPLICAS = (1, 2, 4)
DELAYS_MS = (0, 50, 100)
_EXAMPLES = 256
COLLECTIVES = 20
_ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Row:
    """A measurement beside what the model says of it, in milliseconds per step.

    Attributes:
      what: where replicas were, and what was measured.
      replicas: how many.
      local_batch: images of each.
      delay_ms: put before each collective.
      measured: median of the rounds, by the clock the fastest.
      modelled: what the model says.
    """

    what: str
    replicas: int
    local_batch: int
    delay_ms: int
    measured: float
    modelled: float


def build_step(config: Config, data: DataSpec, strategy: tf.distribute.Strategy) -> TrainStep:
    """Builds a step on random images, and traces it."""
    updates = compose(config.to_dict()).updates()
    layout = Layout(updates, config.batch_size, config.accumulate, strategy.num_replicas_in_sync)
    images = np.random.default_rng(0).integers(0, 256, (_EXAMPLES, *data.image_shape), dtype=np.uint8)
    with strategy.scope():
        trainee = build_trainee(config, data)
    feed = ResidentFeed(strategy, layout, images, np.zeros(_EXAMPLES, np.int32), config.seed)
    step = TrainStep(config, strategy, trainee, updates, feed)
    train(step, 2)
    return step


def train(step: TrainStep, steps: int) -> None:
    """Trains a number of steps, and waits for them."""
    step(tf.constant(steps, tf.int64), tf.constant(0.0))[0].numpy()


def collectives(strategy: tf.distribute.Strategy, size: int) -> Callable[[], None]:
    """Returns a function that runs `COLLECTIVES` all-reduces of so many bytes, one after the other."""

    @tf.function
    def run() -> tf.Tensor:
        def replica() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            values = tf.ones([max(1, size // 4)])
            for _ in range(COLLECTIVES):
                values = 0.5 * context.all_reduce(tf.distribute.ReduceOp.SUM, values)
            return values[0]

        return strategy.experimental_local_results(strategy.run(replica))[0]

    run()
    return lambda: run().numpy()


def per_collective(time_of: Callable[[Callable[[], None]], float], strategy: tf.distribute.Strategy) -> Any:
    """Measures what a collective of any size takes: a start, and a time for each byte.

    Args:
      time_of: runs a function and returns its seconds.
      strategy: where.

    Returns:
      A function of its bytes that returns seconds.
    """
    sizes = 2**10, 2**22
    runs = [collectives(strategy, size) for size in sizes]
    small, large = (statistics.median(time_of(run) for _ in range(5)) / COLLECTIVES for run in runs)
    each_byte = max(0.0, large - small) / (sizes[1] - sizes[0])
    return lambda size: small + max(0, size - sizes[0]) * each_byte


def processor_seconds(run: Callable[[], None]) -> float:
    """Processor time of this process, over all its threads."""
    start = time.process_time()
    run()
    return time.process_time() - start


def clock_seconds(run: Callable[[], None]) -> float:
    """Time by the clock."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def on_logical_devices(config: Config, data: DataSpec, rounds: int, steps: int) -> list[Row]:
    """Compares the processor time of a step on 1, 2 and 4 replicas of this process.

    Args:
      config: what to train; `batch_size` is the global batch, and on 4 replicas each one's share is the local batch
        that is kept while their number changes.
      data: description of the images.
      rounds: how often each side is measured, all in turn.
      steps: how many steps each time.

    Returns:
      A row for each number of replicas at the same global, then at the same local batch. One replica's is both
      measured and the model's foundation.
    """
    local = config.batch_size // max(REPLICAS)
    points = dict.fromkeys([(n, config.batch_size // n) for n in REPLICAS] + [(n, local) for n in REPLICAS])
    ones = {b: _alone(dataclasses.replace(config, batch_size=b), data) for _, b in points}
    several, wires, plans = {}, {}, {}
    for n, b in points:
        if n > 1:
            here = dataclasses.replace(config, batch_size=n * b)
            strategy = make_strategy("mirrored", n)
            several[n, b] = build_step(here, data, strategy)
            plans[n, b] = plan_step(here, data, n)
            if n not in wires:
                wires[n] = per_collective(processor_seconds, strategy)
    figures = _in_turn([*ones.items(), *several.items()], rounds, steps)
    rows = []
    for n, b in points:
        if n == 1:
            continue
        # Of all replicas together: none of it overlaps with anything, since it is the same cores' time.
        modelled = n * figures[b] + sum(map(wires[n], _messages(plans[n, b])))
        rows.append(Row("logical devices, processor time", n, b, 0, figures[n, b] * 1e3, modelled * 1e3))
    return rows


def on_loopback(config: Config, data: DataSpec, processes: int, steps: int) -> list[Row]:
    """Compares the time of a step in several processes, with delays before each collective.

    Args:
      config: what to train.
      data: description of the images.
      processes: number of workers, of one replica each.
      steps: how many steps are timed for each delay.

    Returns:
      A row for each delay. Foundations of the model are a step without, and a single collective with and without.
    """
    work = {"config": config.to_dict(), "data": data.to_dict(), "delays_ms": DELAYS_MS, "steps": steps}
    command = [sys.executable, "-m", "benchmarks.scaling_worker", json.dumps(work)]
    workers = [
        subprocess.Popen(command, cwd=_ROOT, env=each, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for each in worker_environments(processes, {**_environment(), "CUDA_VISIBLE_DEVICES": ""})
    ]
    said = [worker.communicate() for worker in workers]
    if any(worker.returncode for worker in workers):
        raise RuntimeError(f"a worker on loopback failed: {next(err for _, err in said if err)[-2000:]}")
    found = json.loads(said[0][0].splitlines()[-1])
    plan = plan_step(config, data)
    base = found["ms"]["0"] / 1e3
    rows = []
    for delay in DELAYS_MS[1:]:
        modelled = _with_delay(plan, base, *(found["collective_ms"][str(each)] / 1e3 for each in (0, delay)))
        rows.append(Row("loopback, clock", processes, plan.local_batch, delay, found["ms"][str(delay)], modelled * 1e3))
    return rows


def _with_delay(plan: StepPlan, base_s: float, collective_s: float, delayed_s: float) -> float:
    """Seconds of a step with delayed collectives, from those of one without, and of a collective of either kind."""
    computing = max(0.0, base_s - collective_s * len(_messages(plan)))

    def compute(task: Planned) -> float:
        return computing * task.macs / plan.macs

    return scheduled(plan.tasks, compute, lambda size: delayed_s)


def _messages(plan: StepPlan) -> list[int]:
    return plan.messages(gradients=True) + plan.messages(gradients=False)


def _environment() -> Mapping[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def _alone(config: Config, data: DataSpec) -> TrainStep:
    """One replica that computes what each of several does: batch norm without the kernel for one alone."""

    def as_on_several(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float, **_: Any) -> Any:
        y, mean, variance = batch_norm.normalise(x, scale, offset, epsilon, tf.distribute.get_replica_context())
        return y, mean, variance

    with mock.patch.object(tf.compat.v1.nn, "fused_batch_norm", as_on_several):
        return build_step(config, data, make_strategy("one_device"))


def _in_turn(sides: Sequence[tuple[Hashable, TrainStep]], rounds: int, steps: int) -> dict[Hashable, float]:
    """Processor seconds of a step of each side: medians."""
    found: dict[Hashable, list[float]] = {name: [] for name, _ in sides}
    for _ in range(rounds):
        for name, side in sides:
            found[name].append(processor_seconds(functools.partial(train, side, steps)) / steps)
    return {name: statistics.median(each) for name, each in found.items()}
