"""Networks of somebody's: what their layers hold is exported, or they are named."""

import logging

import numpy as np
import pytest
import tensorflow as tf
from keras import Input, Model, Sequential, layers, ops

from export.bundle import export_bundle
from export.run_source import RunSource
from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from serving import Generator
from serving.contract.manifest import read_manifest


class Calls(layers.Layer):
    """Calls a function of TensorFlow's."""

    def __init__(self, function, **more):
        super().__init__(**more)
        self.function = function

    def call(self, x):
        return self.function(x)


class Around(layers.Layer):
    """A layer in a layer."""

    def __init__(self, inner, **more):
        super().__init__(**more)
        self.inner = inner

    def call(self, x):
        return self.inner(x) + 1


class Whole(Model):
    """A network that is a class."""

    def __init__(self):
        super().__init__(name="whole")
        self.first = layers.Dense(16)
        self.second = Around(Calls(strange, name="deep"), name="outer")

    def call(self, z, training=False):
        return ops.reshape(ops.tanh(self.second(self.first(z))), [-1, 4, 4, 1])


def strange(x):
    return tf.math.betainc(tf.sigmoid(x) + 1, tf.sigmoid(x) + 1, tf.sigmoid(x))


def in_python(function):
    def call(x):
        y = function(lambda a: a * 2, [x], tf.float32)
        y.set_shape(x.shape)
        return y

    return call


def repeated(function, until=lambda x: 3):
    def call(x):
        return tf.while_loop(lambda i, y: i < until(x), lambda i, y: (i + 1, function(y)), [tf.constant(0), x])[1]

    return call


def network(*middle):
    z = x = Input([4], name="z")
    for layer in [layers.Dense(16), *middle]:
        x = layer(x)
    return Model(z, layers.Reshape([4, 4, 1])(ops.tanh(x)))


def mine(function):
    return network(Calls(function, name="mine"))


def nested():
    return network(Around(Calls(strange, name="in"), name="out"))


def source_of(model):
    model(tf.zeros([1, 4]))
    return RunSource(None, Config(latent_dim=4), DataSpec("shapes", "2.0.0", (4, 4, 1), (), 20), model, 0)


@pytest.fixture(autouse=True)
def no_scores(monkeypatch):
    monkeypatch.setattr(RunSource, "scores", {})


ONNX = "the generator can't be converted to ONNX, which has no counterpart of "
LITERT = "the generator can't be converted to LiteRT, which has no counterpart of "
LOOP = "the generator's ONNX file would need "
PYTHON = "the generator calls Python by "
RANDOM = "the generator draws random numbers by "
REFUSED = {
    "an operation": (lambda: mine(strange), ONNX + "Betainc in the layer 'mine' (Calls);"),
    "in a layer": (
        lambda: network(Around(Calls(strange, name="in"), name="out")),
        ONNX + "Betainc in the layer 'out/in' (",
    ),
    "in a block": (
        lambda: network(Sequential([layers.Dense(16), Calls(strange, name="mine")], name="block")),
        ONNX + "Betainc in the layer 'block/mine' (Calls);",
    ),
    "in a class": (Whole, ONNX + "Betainc in the layer 'outer/deep' (Calls);"),
    "a name like another": (
        lambda: network(Calls(ops.tanh, name="same_1"), Calls(strange, name="same"), Calls(ops.tanh, name="same_1_1")),
        ONNX + "Betainc in the layer 'same' (Calls);",
    ),
    "two": (
        lambda: network(Calls(strange, name="one"), Calls(tf.math.bessel_i0e, name="other")),
        ONNX + "Betainc in the layer 'one' (Calls), BesselI0e in the layer 'other' (Calls);",
    ),
    "a Lambda": (
        lambda: network(layers.Lambda(tf.math.bessel_i0e, name="lam")),
        ONNX + "BesselI0e in the layer 'lam'",
    ),
    "in a function": (
        lambda: mine(tf.function(tf.math.bessel_i0e)),
        ONNX + "BesselI0e in the layer 'mine' (Calls);",
    ),
    "in a loop": (
        lambda: mine(repeated(tf.math.bessel_i0e)),
        ONNX + "BesselI0e in the layer 'mine' (Calls);",
    ),
    "no layer": (
        lambda: network(lambda x: ops.fft((x, x))[0]),
        ONNX + "Complex and FFT and Real in",
    ),
    "strings": (
        lambda: network(
            Calls(lambda x: x * tf.cast(tf.strings.length(tf.strings.as_string(x)), tf.float32), name="mine")
        ),
        ONNX + "StringLength in the layer 'mine' (Calls);",
    ),
    "a loop": (
        lambda: mine(repeated(lambda y: y * 1.1)),
        LOOP + "Loop in the layer 'mine' (Calls),",
    ),
    "a branch": (
        lambda: mine(lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: 2 * x, lambda: x)),
        LOOP + "If in the layer 'mine' (Calls),",
    ),
    "py_function": (
        lambda: mine(in_python(tf.py_function)),
        PYTHON + "tf.py_function in the layer 'mine' (Calls),",
    ),
    "numpy_function": (
        lambda: mine(in_python(tf.numpy_function)),
        PYTHON + "tf.numpy_function in the layer 'mine' (Calls),",
    ),
    "noise": (
        lambda: mine(lambda x: x + tf.random.normal(tf.shape(x))),
        RANDOM + "RandomNormalLike in the layer 'mine' (Calls),",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_the_layer_is_named_that_onnx_cannot_hold(tmp_path, kind, capfd):
    build, sentence = REFUSED[kind]
    with pytest.raises(MirageError) as refused:
        export_bundle(source_of(build()), tmp_path / "out", ["onnx"])
    assert str(refused.value).startswith(sentence)
    assert "; " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: mine(in_python(tf.py_function)),
            PYTHON + "tf.py_function in the layer 'mine' (",
        ),
        (
            lambda: mine(repeated(in_python(tf.numpy_function))),
            PYTHON + "tf.numpy_function in the layer 'mine' (",
        ),
        (
            lambda: mine(lambda x: x + tf.random.normal(tf.shape(x))),
            RANDOM + "RandomStandardNormal in the layer 'mine' (",
        ),
    ],
)
def test_what_no_other_process_could_compute_is_no_saved_model_either(tmp_path, build, sentence):
    """In this process it could be loaded again, and would make the same pictures."""
    with pytest.raises(MirageError) as refused:
        export_bundle(source_of(build()), tmp_path / "out", ["saved_model"])
    assert str(refused.value).startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            nested,
            LITERT + "Betainc in the layer 'out/in' (Calls);",
        ),
        (
            lambda: network(
                layers.Reshape([2, 2, 4]), layers.UpSampling2D(interpolation="bicubic", name="up"), layers.Conv2D(1, 1)
            ),
            LITERT + "ResizeBicubic in the layer 'up' (UpSampling2D);",
        ),
        (
            lambda: mine(in_python(tf.py_function)),
            PYTHON + "tf.py_function in the layer 'mine' (",
        ),
    ],
)
def test_the_layer_is_named_that_litert_cannot_hold(tmp_path, build, sentence, capfd):
    with pytest.raises(MirageError) as refused:
        export_bundle(source_of(build()), tmp_path / "out", ["litert"])
    assert str(refused.value).startswith(sentence)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_without_onnx_such_a_layer_is_exported(tmp_path):
    export_bundle(source_of(Whole()), tmp_path / "out", ["saved_model"])
    assert read_manifest(tmp_path / "out").document["parity"]["saved_model"]["max_difference"] <= 1e-5


def test_what_tf2onnx_raises_is_a_sentence(tmp_path, monkeypatch):
    def fail(*arguments, **more):
        raise RuntimeError("its graph\nhas a circle")

    monkeypatch.setattr("tf2onnx.convert.from_function", fail)
    level = logging.getLogger("tf2onnx").level
    sentence = (
        r"can't be converted to ONNX \(RuntimeError: its graph has a circle\); write its layers with other functions"
    )
    with pytest.raises(MirageError, match=sentence):
        export_bundle(source_of(network()), tmp_path / "out", ["onnx"])
    assert logging.getLogger("tf2onnx").level == level
    assert list(tmp_path.iterdir()) == []


def attention(x):
    return layers.MultiHeadAttention(2, 4)(x, x)


WORKING = {
    "ops": lambda: network(Calls(lambda x: ops.erf(ops.softmax(ops.roll(x, 1))) + ops.sort(x))),
    "einsum": lambda: network(layers.LayerNormalization(), lambda x: ops.max(ops.einsum("ni,nj->nij", x, x), -1)),
    "where and a loop of Python": lambda: network(Calls(lambda x: sum(ops.where(x > i, x, 0.5 * x) for i in range(3)))),
    "attention": lambda: network(layers.Reshape([4, 4]), attention, layers.Flatten()),
    "recurrent": lambda: network(layers.Reshape([4, 4]), layers.LSTM(16)),
    "resized": lambda: network(layers.Reshape([2, 2, 4]), layers.UpSampling2D(2), layers.Conv2D(1, 3, padding="same")),
    "noise of training": lambda: network(layers.Dropout(0.5), layers.GaussianNoise(1.0)),
}


@pytest.mark.parametrize("kind", WORKING)
def test_other_layers_are_exported(tmp_path, kind):
    model = WORKING[kind]()
    export_bundle(source_of(model), tmp_path / "out", ["onnx"])
    pixels = Generator.load(tmp_path / "out").decode(np.eye(4))
    expected = np.rint((np.asarray(model(np.eye(4, dtype=np.float32), training=False)) + 1) * 127.5)
    assert np.abs(pixels - expected).max() <= 1
