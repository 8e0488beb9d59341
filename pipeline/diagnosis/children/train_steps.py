"""Trains on random images, on some GPUs or on the CPU."""

import time
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.cluster.strategy import make_strategy
from pipeline.data.dataset import Dataset
from pipeline.data.spec import DataSpec
from pipeline.devices import numerics
from pipeline.devices.options import DeviceOptions
from pipeline.diagnosis.children.telling import argument, tell
from pipeline.networks.options import NetworkOptions
from pipeline.objectives import R3GAN
from pipeline.objectives.composition import Composition
from pipeline.training.feed import Layout, make_feed
from pipeline.training.options import TrainingOptions
from pipeline.training.step import TrainStep
from pipeline.training.trainee import Trainee, build_trainee

_CALL_S = 0.5
_IMAGES = 1024
_DATA = DataSpec("random", "", (28, 28, 1), (), _IMAGES)


def main() -> None:
    """Tells stages as they begin, and the fields of `pipeline.diagnosis.facts.Step`.

    The argument holds `gpus`, the numbers of those to train on, none for the CPU, and `seconds`.
    """
    tell(stage="starting the devices")
    try:
        there = tf.config.list_physical_devices("GPU")
        # The others are left alone: what is wrong with one must not be blamed on another.
        tf.config.set_visible_devices([there[index] for index in argument()["gpus"]], "GPU")
        numerics.prepare(DeviceOptions())
        tell(**_train(argument()["seconds"]))
        if len(argument()["gpus"]) < 2:
            tell(xla=_compile())
    except Exception as error:
        tell(failure=_reason(error))


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    noise = ("Graph execution error", "in user code", "Detected at node", "File ", "Stack trace", "[[{{", "[Op:")
    told = [line for line in lines if line and not line.startswith(noise)]
    return f"{type(error).__name__}: {(told or [''])[0][:300]}"


def _train(seconds: float) -> dict[str, Any]:
    start = time.perf_counter()
    strategy = make_strategy("auto")
    replicas = strategy.num_replicas_in_sync
    networks, options, objective = NetworkOptions(), TrainingOptions(batch_size=64 * replicas), Composition(R3GAN())
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (_IMAGES, *_DATA.image_shape), dtype=np.uint8)
    data = Dataset(_DATA, pixels, np.zeros(_IMAGES, np.int32))
    updates = objective.updates()
    with strategy.scope():
        needs = objective.needs(updates, 0, networks.latent_dim)
        given = networks.architecture(), needs, networks, options
        trainee = build_trainee(*given, _DATA.image_shape, 0, objective)
    layout = Layout(updates, options.batch_size, options.accumulate, replicas)
    step = TrainStep(options, strategy, trainee, updates, make_feed(strategy, layout, data, options, 0))

    def run(count: int) -> bool:
        means, _ = step(tf.constant(count, tf.int64), tf.constant(0.0))
        return bool(np.all(np.isfinite(means.numpy())))

    tell(stage="building the step")
    finite = run(1)
    first = time.perf_counter() - start
    tell(stage="training")
    begin = now = time.perf_counter()
    steps, count = 0, 1
    while finite and now - begin < seconds:
        finite = run(count)
        before, now = now, time.perf_counter()
        steps += count
        tell(stage="training")
        count = max(1, min(2 * count, round(count * _CALL_S / (now - before))))
    return {
        "images_per_s": steps * step.images_per_step / (now - begin) if steps else None,
        "steps": steps,
        "seconds": first,
        "finite": finite,
        "replicas_agree": _agree(strategy, trainee) if replicas > 1 else None,
    }


def _agree(strategy: tf.distribute.Strategy, trainee: Trainee) -> bool:
    copies = (strategy.experimental_local_results(variable) for variable in trainee.state().values())
    return all(len({copy.numpy().tobytes() for copy in each}) == 1 for each in copies)


def _compile() -> str:
    """Has XLA compile what needs its assembler and its library of functions."""
    tell(stage="compiling with XLA")

    @tf.function(jit_compile=True)
    def compute(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.math.erf(tf.sin(values) + tf.pow(tf.abs(values), 1.3)) @ values)

    try:
        return "works" if np.isfinite(float(compute(tf.ones([64, 64])))) else "its result is not finite"
    except tf.errors.OpError as error:
        return _reason(error)


if __name__ == "__main__":
    main()
