"""What TensorFlow's graph optimisers for GPUs are given; they can't be run without one."""

import pytest
import tensorflow as tf

from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.networks import AlphaDropout, Dropout, SpatialDropout2D
from pipeline.networks.random_layers import numbers_from
from pipeline.training.configured import trainee_of
from pipeline.training.feed import Layout, ResidentFeed
from pipeline.training.step import TrainStep
from tests.pipeline.training.test_step import DATA, IMAGES, LABELS, updates_of


def mixing(graph):
    """Selections between images and a scalar, at which "layout failed: Size of values 0 does not match" on a GPU."""
    selections = [each for each in graph.get_operations() if each.type in ("Select", "SelectV2")]
    ranks = {each.name: [value.shape.rank for value in each.inputs] for each in selections}
    return {name: of for name, of in ranks.items() if 4 in of[1:] and of[1:] != [4, 4]}


@pytest.mark.parametrize("augment", ["translation,cutout,color", "bgcfnc"])
def test_no_selection_in_a_step_mixes_images_with_scalars(augment):
    config = Config(model="dcgan", objective="r3gan", augment=augment, flip=True, batch_size=4)
    strategy, updates = make_strategy("one_device"), updates_of(config)
    with strategy.scope():
        trainee = trainee_of(config, DATA)
    layout = Layout(updates, config.batch_size, config.accumulate, 1)
    step = TrainStep(config, strategy, trainee, updates, ResidentFeed(strategy, layout, IMAGES, LABELS, config.seed))
    assert mixing(step.graph_of_one()) == {}


class Ones:
    def uniform(self, layer, rows, numbers, *, shared=False):
        return tf.ones([rows or 2, numbers])


@pytest.mark.parametrize("kind", [Dropout, SpatialDropout2D, AlphaDropout])
def test_no_selection_in_a_random_layer_mixes_images_with_scalars(kind):
    layer = kind(0.5)

    @tf.function
    def gradient(images):
        with tf.GradientTape() as tape, numbers_from(Ones()):
            tape.watch(images)
            total = tf.reduce_sum(tf.square(layer(images, training=True)))
        return tape.gradient(total, images)

    assert mixing(gradient.get_concrete_function(tf.TensorSpec([2, 4, 4, 3])).graph) == {}
