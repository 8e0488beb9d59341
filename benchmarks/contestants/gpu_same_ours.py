"""What Mirage's networks, losses and gradients are at given weights, images and latents, for PyTorch to be compared."""

import os

import numpy as np

from benchmarks.worker import Rounds, Work


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`; it writes the file `options["exchange"]` and trains nothing."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf

    from pipeline.config import Config
    from pipeline.data.spec import DataSpec
    from pipeline.objectives import Batch
    from pipeline.objectives.composition import compose
    from pipeline.training.configured import trainee_of
    from pipeline.training.feed import Layout, ResidentFeed
    from pipeline.training.step import TrainStep

    count, shape = work.batch_size, tuple(work.options["image_shape"])
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *shape), np.uint8)
    z = rng.standard_normal((2, count, 100)).astype(np.float32)
    config = Config(model=work.networks, objective="r3gan", batch_size=count)
    updates = compose(config.to_dict()).updates()
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    labels = np.zeros(count, np.int32)
    feed = ResidentFeed(strategy, Layout(updates, count, 1, 1), pixels, labels, 0)
    with strategy.scope():
        trainee = trainee_of(config, DataSpec("random", "", shape, (), count))
    step = TrainStep(config, strategy, trainee, updates, feed)
    models = {name[0]: trainee.networks[name] for name in ("generator", "discriminator")}
    for model in models.values():  # so that no weight is one that does nothing
        for variable in model.trainable_variables:
            if variable.name != "kernel" or not np.any(variable.numpy()):
                variable.assign(variable + 0.1 * rng.standard_normal(variable.shape))
    saved = {"pixels": pixels, "z": z}
    for name, model in models.items():
        for index, variable in enumerate(model.trainable_variables):
            saved[f"{name}.weight.{index:03}"] = variable.numpy()
    real = tf.cast(pixels, tf.float32) / 127.5 - 1.0
    saved["images"] = models["g"](z[0], training=True).numpy()
    saved["logits"] = models["d"](real, training=True).numpy()
    for index, (name, latents) in enumerate(zip("dg", z, strict=True)):
        update = updates[index]
        nothing = tf.zeros([count])
        batch = Batch(
            real,
            labels,
            latents,
            u=nothing,
            step=tf.constant(0),
            augmentation=nothing,
            state={},
            noise=nothing,
            pixels=nothing,
        )
        gradients, figures = step.gradients(update, batch, step.layer_numbers(batch.step, index))
        saved |= {f"{name}.{key}": value for key, value in zip(update.metrics, figures.numpy(), strict=True)}
        saved |= {f"{name}.gradient.{index:03}": each.numpy() for index, each in enumerate(gradients)}
    np.savez(work.options["exchange"], **saved)
    rounds.ready(arrays=len(saved))
    for _ in rounds:
        raise ValueError("this only compares.")
