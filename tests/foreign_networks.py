"""Tiny generators, saved as other people save theirs."""

import keras
import numpy as np
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper, save

CLASSES = 3


def sequential():
    """A generator of grey pictures that ends in a tanh."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.layers.Input([5]),
            keras.layers.Dense(4 * 4 * 2),
            keras.layers.BatchNormalization(),
            keras.layers.LeakyReLU(),
            keras.layers.Reshape([4, 4, 2]),
            keras.layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh"),
        ]
    )


def conditional(one_hot=False, end="sigmoid", names=("noise", "which")):
    """A generator of colour pictures of classes, whose label comes after the latent."""
    keras.utils.set_random_seed(2)
    z = keras.layers.Input([4], name=names[0])
    label = keras.layers.Input([CLASSES if one_hot else 1], name=names[1], dtype="float32" if one_hot else "int32")
    told = label if one_hot else keras.layers.Flatten()(keras.layers.Embedding(CLASSES, 4)(label))
    x = keras.layers.Concatenate()([z, told])
    x = keras.layers.Reshape([4, 4, 2])(keras.layers.Dense(32, activation="relu")(x))
    image = keras.layers.Conv2D(3, 3, padding="same", activation=end)(keras.layers.UpSampling2D(2)(x))
    return keras.Model([z, label], image)


def transparent(height=12, width=20, layout="NHWC", end="tanh"):
    """A generator of RGBA pictures that are not square, of which many pixels are nearly transparent."""
    keras.utils.set_random_seed(4)
    z = keras.layers.Input([6], name="z")
    x = keras.layers.Dense(height // 2 * (width // 2) * 8, kernel_initializer=_normal(0.8), activation="relu")(z)
    x = keras.layers.Reshape([height // 2, width // 2, 8])(x)
    image = keras.layers.Conv2DTranspose(4, 4, 2, "same", activation=end, kernel_initializer=_normal(0.2))(x)
    return keras.Model(z, image if layout == "NHWC" else keras.layers.Permute([3, 1, 2])(image))


def _normal(stddev):
    return keras.initializers.RandomNormal(stddev=stddev, seed=5)


def save_module(folder, batch=None):
    """A SavedModel of a plain `tf.Module`, whose pictures have values from 0 to 255."""

    class Generator(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.random.stateless_normal([6, 4 * 4 * 3], [1, 2]))

        @tf.function(input_signature=[tf.TensorSpec([batch, 6], tf.float32), tf.TensorSpec([], tf.bool)])
        def make(self, noise, training):
            image = tf.reshape(127.5 + 127.5 * tf.tanh(noise @ self.w), [-1, 4, 4, 3])
            return {"pixels": tf.where(training, 0 * image, image)}

    module = Generator()
    tf.saved_model.save(module, str(folder), signatures=module.make)
    return folder


def save_onnx(path, *, domain="", batch="batch"):
    """An ONNX file as PyTorch's exporter writes one: [N, z, 1, 1] to NCHW."""
    rng = np.random.default_rng(3)
    weights = numpy_helper.from_array(rng.normal(size=[7, 3, 4, 4]).astype(np.float32), "w")
    nodes = [
        helper.make_node("ConvTranspose", ["input", "w"], ["x"], strides=[1, 1]),
        helper.make_node("Tanh", ["x"], ["output"], domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 7, 1, 1])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 3, 4, 4])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="pytorch"), path)
    return path


def save_litert(path):
    """A .tflite file of the sequential generator."""
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(sequential()).convert())
    return path
