"""Losses that can't be trained on are refused while the step is traced, on one replica and on several."""

import dataclasses

import pytest
import tensorflow as tf

from pipeline import Experiment
from pipeline.base.errors import MirageError
from pipeline.objectives import Update


class Mine:
    """Least squares, changed by what a test gives."""

    def __init__(self, returned=lambda loss: (loss, {"d_loss": loss}), metrics=("d_loss",), blind=False):
        self.returned, self.metrics, self.blind = returned, metrics, blind

    def updates(self):
        def d_loss(networks, batch):
            real = networks["discriminator"](batch.images, batch.labels)
            fake = networks["discriminator"](networks["generator"](batch.z, batch.labels), batch.labels)
            return self.returned(tf.square(real - 1.0) + tf.square(fake))

        def g_loss(networks, batch):
            images = batch.images if self.blind else networks["generator"](batch.z, batch.labels)
            loss = tf.square(networks["discriminator"](images, batch.labels) - 1.0)
            return loss, {"g_loss": loss}

        return Update("discriminator", d_loss, self.metrics), Update("generator", g_loss, ("g_loss",))


def fails(loss):
    raise KeyError("critic")


LOSS = "loss of the discriminator "


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        (Mine(lambda x: (tf.reduce_mean(x), {"d_loss": x})), LOSS + r"returned float32 \[\]; expected a loss for each"),
        (Mine(lambda x: (x[:, None], {"d_loss": x})), LOSS + r"returned float32 \[4, 1\]; .*float32 \[n\], here \[4\]"),
        (Mine(lambda x: (tf.cast(x, tf.float64), {"d_loss": x})), LOSS + r"returned float64 \[4\]"),
        (Mine(lambda x: (0.5, {"d_loss": x})), LOSS + "returned 0.5 of type float"),
        (Mine(lambda x: x), LOSS + r"returned float32 \[4\]; expected \(losses, .* dictionary of figures"),
        (Mine(lambda x: (x, {"dloss": x})), LOSS + "reports dloss, and its Update says d_loss"),
        (
            Mine(lambda x: (x, {"d_loss": tf.reduce_mean(x)})),
            LOSS + r"reports d_loss as float32 \[\]; expected",
        ),
        (Mine(lambda x: (x, {"d_loss": x > 0})), LOSS + "reports d_loss as bool"),
        (Mine(fails), LOSS + r"failed: KeyError: 'critic' \(.*test_losses.py, line \d+\); mend it"),
        (Mine(blind=True), r"loss of the generator doesn't depend on \d+ of its \d+ weights, such as"),
    ],
)
def test_a_loss_that_cannot_be_trained_on_is_refused(config, objective, sentence):
    flags = {**dataclasses.asdict(config), "objective": objective}
    with pytest.raises(MirageError, match=sentence):
        Experiment(**flags).train()


def test_a_loss_may_branch_on_tensors_and_return_what_has_no_shape(config):
    def branching(x):
        doubled = tf.cond(tf.reduce_mean(x) > 0.5, lambda: 2.0 * x, lambda: x[:1])
        if tf.reduce_mean(x) > 0.0:  # which TensorFlow rewrites
            x = doubled
        return tf.cond(tf.reduce_mean(x) > -1.0, lambda: x, lambda: x[:1]), {"d_loss": x}

    run = Experiment(**{**dataclasses.asdict(config), "objective": Mine(branching), "virtual_devices": 0}).train()
    assert run.step == config.steps
