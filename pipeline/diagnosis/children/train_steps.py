"""Trains on random images: on each device alone, then on all together."""

import time
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline import objectives
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.data_spec import DataSpec
from pipeline.diagnosis.children.telling import argument, tell
from pipeline.feed import Layout, make_feed
from pipeline.step import TrainStep
from pipeline.strategy import make_strategy
from pipeline.trainee import Trainee, build_trainee

_CALL_S = 0.5
_IMAGES = 1024
_DATA = DataSpec("random", "", (28, 28, 1), (), _IMAGES)


def main() -> None:
    """Tells a stage before it begins, and the result of each trial.

    The argument holds `trials`, each a list of devices such as "gpu:0", and `seconds`, the length of each.
    """
    tell(stage="starting the devices")
    make_strategy("one_device")  # which lets memory grow, before any device is started
    seconds = argument()["seconds"]
    for devices in argument()["trials"]:
        tell(devices=devices, stage="starting")
        try:
            tell(result={"devices": devices, **_train(devices, seconds), **_compile(devices)})
        except Exception as error:
            tell(result={"devices": devices, "failure": _reason(error)})
            return  # what comes next needs a process in which nothing is broken


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    noise = ("Graph execution error", "in user code", "Detected at node", "File ", "Stack trace", "[[{{", "[Op:")
    told = [line for line in lines if line and not line.startswith(noise)]
    return f"{type(error).__name__}: {(told or [''])[0][:300]}"


def _strategy(devices: list[str]) -> tf.distribute.Strategy:
    if len(devices) > 1:
        return make_strategy("mirrored")
    return tf.distribute.OneDeviceStrategy(f"/{devices[0]}")


def _train(devices: list[str], seconds: float) -> dict[str, Any]:
    start = time.perf_counter()
    strategy = _strategy(devices)
    replicas = strategy.num_replicas_in_sync
    config = Config(batch_size=64 * replicas)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (_IMAGES, *_DATA.image_shape), dtype=np.uint8)
    data = Dataset(_DATA, pixels, np.zeros(_IMAGES, np.int32))
    updates = objectives.updates(config)
    with strategy.scope():
        trainee = build_trainee(config, _DATA)
    layout = Layout(updates, config.batch_size, config.accumulate, replicas)
    step = TrainStep(config, strategy, trainee, updates, make_feed(strategy, layout, data, config, 0))

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


def _compile(devices: list[str]) -> dict[str, str]:
    """Has XLA compile what needs its assembler and its library of functions."""
    if len(devices) > 1:
        return {}
    tell(stage="compiling with XLA")

    @tf.function(jit_compile=True)
    def compute(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.math.erf(tf.sin(values) + tf.pow(tf.abs(values), 1.3)) @ values)

    try:
        with tf.device(f"/{devices[0]}"):
            value = float(compute(tf.ones([64, 64])))
        return {"xla": "works" if np.isfinite(value) else "its result is not finite"}
    except tf.errors.OpError as error:
        return {"xla": _reason(error)}


if __name__ == "__main__":
    main()
