"""Layers and models of somebody's own, in Keras 3, as --custom_objects and --model name them."""

import keras


class PixelNorm(keras.layers.Layer):
    def call(self, x):
        return x * keras.ops.rsqrt(keras.ops.mean(x**2, -1, keepdims=True) + 1e-8)


@keras.saving.register_keras_serializable(package="Theirs")
class Scale(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=[1], initializer="ones")

    def call(self, x):
        return x * self.scale


def bent(x):
    return x * keras.ops.sigmoid(2 * x)


class Drawn(keras.Model):
    """Computes in its own code."""

    def __init__(self, **more):
        super().__init__(**more)
        self.dense = keras.layers.Dense(8 * 8 * 3, activation="tanh")
        self.shaped = keras.layers.Reshape([8, 8, 3])

    def call(self, z, training=False):
        return self.shaped(self.dense(z))


class DrawnOfClasses(Drawn):
    def __init__(self, **more):
        super().__init__(**more)
        self.table = keras.layers.Embedding(3, 4)

    def call(self, inputs, training=False):
        z, label = inputs
        return super().call(keras.ops.concatenate([z, self.table(label)], 1))


class DrawnOfTwo(DrawnOfClasses):
    def call(self, z, label, training=False):
        return super().call([z, label])


def own_layers():
    layers = [
        keras.layers.Input([5]),
        PixelNorm(name="conv_1"),
        keras.layers.Dense(8 * 8 * 3, activation=bent),
        Scale(name="conv_2"),
        keras.layers.Activation("tanh"),
        keras.layers.Reshape([8, 8, 3]),
    ]
    return keras.Sequential(layers)


def broken():
    raise ValueError("not today")


def number():
    return 3
