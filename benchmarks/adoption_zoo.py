"""Generators as other people's tutorials make and save them, of their published shapes, untrained.

  python -m benchmarks.adoption_zoo keras FOLDER
  python -m benchmarks.adoption_zoo tf_keras FOLDER

Keras 3 and tf-keras don't mix in one process. Batch norms get statistics that matter.
"""

import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# What a network is saved as, by the library that saves it.
SAVED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "tf_keras": {
        "gan": (".h5",),
        "acgan": (".h5",),
        "infogan": (".h5",),
        "tensorflow_dcgan": (".h5", "_saved_model"),
        "keras_conditional": (".h5",),
        "wgan_gp": (".h5",),
    },
    "keras": {
        "cgan": (".keras",),
        "dcgan": (".keras",),
        "tensorflow_dcgan": (".keras", ".tflite"),
        "keras_dcgan": (".keras",),
        "wgan_gp": (".keras",),
        "upsampling": (".keras",),
        "module": ("_saved_model",),
    },
}


def networks(keras: Any) -> Mapping[str, Callable[[], Any]]:
    """Functions that make the networks, of Keras 3 or of tf-keras."""
    layers = keras.layers
    leaky = (lambda slope: layers.LeakyReLU(negative_slope=slope)) if keras.__version__[0] == "3" else layers.LeakyReLU

    def sequential(inputs: int, *rest: Any) -> Any:
        return keras.Sequential([layers.InputLayer((inputs,)), *rest])

    def dense_stack(*sizes: int) -> list[Any]:
        return [each for size in sizes for each in (layers.Dense(size), leaky(0.2), norm(0.8))]

    def norm(momentum: float = 0.99) -> Any:
        return layers.BatchNormalization(momentum=momentum)

    def picture(side: int, channels: int) -> Any:
        return layers.Reshape((side, side, channels))

    def conv(filters: int, size: int = 3, **more: Any) -> Any:
        return layers.Conv2D(filters, size, padding="same", **more)

    def transposed(filters: int, size: int, strides: int, **more: Any) -> Any:
        return layers.Conv2DTranspose(filters, size, strides=strides, padding="same", **more)

    def gan() -> Any:
        return sequential(100, *dense_stack(256, 512, 1024), layers.Dense(784, activation="tanh"), picture(28, 1))

    def chosen(inner: Any) -> Any:
        """Latents multiplied by what an embedding says of the label, as in Keras-GAN."""
        noise, label = layers.Input((100,)), layers.Input((1,), dtype="int32")
        told = layers.Flatten()(layers.Embedding(10, 100)(label))
        return keras.Model([noise, label], inner(layers.multiply([noise, told])))

    def upsampled(inputs: int, channels: int, *, norm_first: bool) -> Any:
        blocks = []
        for filters in (128, 64):
            blocks += [layers.UpSampling2D(), conv(filters)]
            blocks += [norm(0.8), layers.Activation("relu")] if norm_first else [layers.Activation("relu"), norm(0.8)]
        start = [layers.Dense(128 * 7 * 7, activation="relu"), picture(7, 128)]
        start += [] if norm_first else [norm(0.8)]
        return sequential(inputs, *start, *blocks, conv(channels), layers.Activation("tanh"))

    def tensorflow_dcgan() -> Any:
        return sequential(
            100,
            *[layers.Dense(7 * 7 * 256, use_bias=False), norm(), leaky(0.3), picture(7, 256)],
            *[transposed(128, 5, 1, use_bias=False), norm(), leaky(0.3)],
            *[transposed(64, 5, 2, use_bias=False), norm(), leaky(0.3)],
            transposed(1, 5, 2, use_bias=False, activation="tanh"),
        )

    def keras_conditional() -> Any:
        return sequential(
            138,
            *[layers.Dense(7 * 7 * 138), leaky(0.2), picture(7, 138)],
            *[transposed(128, 4, 2), leaky(0.2), transposed(128, 4, 2), leaky(0.2)],
            conv(1, 7, activation="sigmoid"),
        )

    def keras_dcgan() -> Any:
        rest = [each for filters in (128, 256, 512) for each in (transposed(filters, 4, 2), leaky(0.2))]
        return sequential(128, layers.Dense(8 * 8 * 128), picture(8, 128), *rest, conv(3, 5, activation="sigmoid"))

    def wgan_gp() -> Any:
        blocks = []
        for filters in (128, 64, 1):
            last = layers.Activation("tanh") if filters == 1 else leaky(0.2)
            blocks += [layers.UpSampling2D((2, 2)), conv(filters, use_bias=False), norm(), last]
        start = [layers.Dense(4 * 4 * 256, use_bias=False), norm(), leaky(0.2), picture(4, 256)]
        return sequential(128, *start, *blocks, layers.Cropping2D((2, 2)))

    def upsampling() -> Any:
        rest = [
            each for filters in (128, 64, 32) for each in (layers.UpSampling2D(), conv(filters), norm(), leaky(0.2))
        ]
        return sequential(64, layers.Dense(8 * 8 * 128), picture(8, 128), *rest, conv(3, activation="tanh"))

    return {
        "gan": gan,
        "cgan": lambda: chosen(gan()),
        "acgan": lambda: chosen(upsampled(100, 1, norm_first=False)),
        "infogan": lambda: upsampled(72, 1, norm_first=False),
        "dcgan": lambda: upsampled(100, 1, norm_first=True),
        "tensorflow_dcgan": tensorflow_dcgan,
        "keras_conditional": keras_conditional,
        "keras_dcgan": keras_dcgan,
        "wgan_gp": wgan_gp,
        "upsampling": upsampling,
    }


def with_statistics(model: Any) -> Any:
    """Gives a network's batch norms statistics that matter."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        name = variable.name.rpartition("/")[2].partition(":")[0]
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif name in ("beta", "moving_mean"):
            variable.assign(0.3 * rng.standard_normal(variable.shape))
    return model


def _module(tf: Any) -> Any:
    """A generator of two dense layers, without Keras."""

    class Generator(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = (64, 512, 32 * 32 * 3)
            self.weights = [
                tf.Variable(tf.random.stateless_normal([a, b], [a, b]) / a**0.5) for a, b in itertools.pairwise(sizes)
            ]

        @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, "z")])
        def __call__(self, z: Any) -> dict[str, Any]:
            first, second = self.weights
            return {"image": tf.reshape(tf.tanh(tf.nn.leaky_relu(z @ first) @ second), [-1, 32, 32, 3])}

    return Generator()


def save(library: str, folder: Path) -> list[Path]:
    """Makes networks and saves them.

    Args:
      library: "keras" or "tf_keras".
      folder: where to; it must be there.

    Returns:
      What was saved.
    """
    import tensorflow as tf

    if library == "keras":
        import keras
    else:
        import tf_keras as keras
    keras.utils.set_random_seed(0)
    made, there = [], networks(keras)
    for name, ends in SAVED[library].items():
        model = _module(tf) if name == "module" else with_statistics(there[name]())
        for end in ends:
            path = folder / f"{name}{'' if library == 'keras' else '_tf_keras'}{end}"
            if name == "module":
                tf.saved_model.save(model, str(path), signatures=model.__call__)
            elif end == ".tflite":
                path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
            else:
                model.save(str(path))
            made.append(path)
    return made


if __name__ == "__main__":
    from pipeline.base.quiet_tensorflow import quiet_tensorflow

    quiet_tensorflow()
    save(sys.argv[1], Path(sys.argv[2]))
