"""What TensorFlow's graph optimisers for GPUs are given; they can't be run without one."""

import pytest
import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.networks import AlphaDropout, Dropout, SpatialDropout2D
from pipeline.networks.random_layers import numbers_from
from tests.pipeline.training.test_step import step_of


def mixing(graph):
    """Selections between images and a scalar, at which "layout failed: Size of values 0 does not match" on a GPU."""
    ranks = {}
    for each in (operation for part in (graph, *inner(graph)) for operation in part.get_operations()):
        if each.type in ("Select", "SelectV2"):
            ranks[each.graph.name, each.name] = [value.shape.rank for value in each.inputs]
    return {name: of for name, of in ranks.items() if 4 in of[1:] and of[1:] != [4, 4]}


def inner(graph):
    """The graphs of functions that it calls, in branches and loops too."""
    definition = graph.as_graph_def()
    for function in definition.library.function:
        yield function_def_to_graph(function)


@pytest.mark.parametrize("inside", [False, True])
def test_such_a_selection_is_found(inside):
    @tf.function
    def covered(images, mask):
        if inside:
            return tf.cond(tf.reduce_any(mask), lambda: tf.where(mask, 0.0, images), lambda: images)
        return tf.where(mask, 0.0, images)

    images, mask = tf.TensorSpec([2, 4, 4, 3]), tf.TensorSpec([2, 4, 4, 1], tf.bool)
    assert len(mixing(covered.get_concrete_function(images, mask).graph)) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"augment": "translation,cutout,color", "objective": "r3gan"},
        {"augment": "bgcfnc", "objective": "r3gan"},
        {"augment": "bgcfnc", "augment_adaptive": True, "objective": "hinge", "r1": 1.0, "penalty_every": 2},
    ],
)
def test_no_selection_in_a_step_mixes_images_with_scalars(more):
    config = Config(model="dcgan", flip=True, batch_size=4, **more)
    _, step = step_of(config, make_strategy("one_device"))
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
