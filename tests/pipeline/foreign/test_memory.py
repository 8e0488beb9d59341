"""Networks in memory are described as saved ones are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.foreign.memory import of_object
from tests import foreign_layers as theirs
from tests import foreign_networks as made

Z = tf.TensorSpec([None, 4], tf.float32, "z")


def draw(z):
    return tf.tanh(tf.reshape(tf.tile(z, [1, 16]), [-1, 8, 8, 1]))


class Plain(tf.Module):
    def __init__(self):
        super().__init__()
        self.scale = tf.Variable(2.0)

    @tf.function(input_signature=[Z])
    def make(self, z):
        return {"image": draw(self.scale * z)}


class Called(Plain):
    @tf.function(input_signature=[Z])
    def __call__(self, z):
        return draw(z)

    @property
    def broken(self):
        raise RuntimeError("no")


def called(model, *inputs):
    model(*inputs)
    return model


def graph_of(network):
    from export.rewrites.layouts import session_of

    return session_of(network.graph())


@pytest.mark.parametrize(
    "thing",
    [
        lambda: tf.function(draw, input_signature=[Z]),
        lambda: tf.function(draw).get_concrete_function(Z),
        Plain,
        Called,
        lambda: keras.Sequential([keras.layers.Input([4], name="z"), keras.layers.Dense(3)]),
        lambda: called(keras.Sequential([keras.layers.Dense(3)]), np.zeros([1, 4], np.float32)),
        lambda: called(theirs.Drawn(), np.zeros([1, 4], np.float32)),
        lambda: of_object(tf.function(draw, input_signature=[Z])),
    ],
)
def test_is_computed_as_it_is_and_as_a_graph(thing):
    network = of_object(thing())
    (port,) = network.inputs
    z = np.random.default_rng(0).standard_normal([port.shape[0] or 3, 4]).astype(np.float32)
    (image,) = network.run({port.name: z}).values()
    (of_graph,) = graph_of(network).run(None, {port.name: z})
    np.testing.assert_allclose(of_graph, image, atol=1e-6)


def test_a_loaded_saved_model(tmp_path):
    made.save_module(tmp_path / "m")
    network = of_object(tf.saved_model.load(str(tmp_path / "m")))
    assert {port.name for port in network.inputs} == {"noise", "training"}
    assert [port.name for port in network.outputs] == ["pixels"]


def test_a_class_that_was_called_with_a_latent_and_a_label():
    model = called(theirs.DrawnOfClasses(), [np.zeros([2, 4], np.float32), np.zeros([2], np.int32)])
    network = of_object(model)
    assert [(port.dtype, port.shape) for port in network.inputs] == [("float32", (None, 4)), ("int32", (None,))]


def test_constants_from_outside_of_a_function_are_in_its_graph():
    scale = tf.constant([[1.0, 2.0, 3.0, 4.0]])
    network = of_object(tf.function(lambda z: draw(z * scale), input_signature=[Z]))
    z = np.ones([2, 4], np.float32)
    assert [each.name for each in graph_of(network).get_inputs()] == ["z"]
    np.testing.assert_allclose(graph_of(network).run(None, {"z": z})[0], draw(z * scale), atol=1e-6)


def narrow():
    return keras.Sequential([keras.layers.Input([4]), keras.layers.Dense(3, dtype="mixed_float16")])


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (lambda: 3, "a int can't be adopted; expected a keras.Model, a tf.function"),
        (lambda: draw, "a function can't be adopted"),
        (lambda: tf.function(draw), r"the inputs of the tf.function draw aren't known; give it an input_signature"),
        (lambda: tf.function(lambda z: z.none, input_signature=[Z]), "the tf.function can't be traced"),
        (tf.Module, "which function of the Module is the generator can't be seen; there are none"),
        (theirs.Drawn, "the inputs of the Keras model aren't known, since Drawn computes them"),
        (lambda: called(theirs.DrawnOfTwo(), np.zeros([2, 4], np.float32), np.zeros([2])), r"pass keras.Model\(\[z, l"),
        (lambda: keras.Sequential([keras.layers.Dense(3)]), "the inputs of the Keras model aren't known"),
        (narrow, "the model computes in floats of 16 bits; save it and adopt the file"),
        (
            lambda: tf.function(draw, input_signature=[tf.TensorSpec(None, tf.float32, "z")]),
            "the shape of the input z isn't known",
        ),
        (
            lambda: tf.function(lambda z: z, input_signature=[tf.TensorSpec([None], tf.string, "z")]),
            "this is no generator: its input z is of string",
        ),
    ],
)
def test_what_can_not_be_described_is_said(thing, said):
    with pytest.raises(MirageError, match=said):
        of_object(thing())
