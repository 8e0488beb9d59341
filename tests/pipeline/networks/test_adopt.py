import json
import subprocess
import sys

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
import tf2onnx
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.networks import BatchNormalization, Dropout
from pipeline.networks.adopt import adopt
from pipeline.networks.random_layers import OURS

X = np.random.default_rng(0).normal(size=[3, 4, 4, 2]).astype(np.float32)


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    """Holds layers as attributes, in a list and in a dictionary."""

    def __init__(self, **of_every_layer):
        super().__init__(**of_every_layer)
        self.dropout = layers.Dropout(0.3)
        self.more = [layers.GaussianNoise(0.1), layers.BatchNormalization(synchronized=True)]
        self.named = {"last": layers.AlphaDropout(0.1)}

    def call(self, x, training=None):
        for layer in (self.dropout, *self.more, self.named["last"]):
            x = layer(x, training=training)
        return x


def functional():
    image = keras.Input([4, 4, 2])
    x = layers.SpectralNormalization(layers.Conv2D(2, 3, padding="same"))(image)
    x = layers.BatchNormalization(axis=3)(layers.SpatialDropout2D(0.5)(x))
    x = layers.TimeDistributed(layers.Dropout(0.2))(layers.Reshape([4, 8])(x))
    x = layers.Bidirectional(layers.LSTM(4))(x)
    inner = keras.Sequential([keras.Input([8]), layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.5)])
    x = layers.GaussianDropout(0.1)(Block()(inner(x)))
    return keras.Model(image, layers.Dense(1)(x), name="discriminator")


class Subclassed(keras.Model):
    """What readers of the TensorFlow guide write."""

    def __init__(self):
        super().__init__(name="discriminator")
        self.block, self.flatten, self.dense = Block(), layers.Flatten(), layers.Dense(1)

    def call(self, x, training=None):
        return self.dense(self.flatten(self.block(x, training=training)))


def sequential():
    return keras.Sequential(
        [keras.Input([4, 4, 2]), layers.BatchNormalization(), Block(), layers.Flatten(), layers.Dropout(0.1)],
        name="discriminator",
    )


BUILDERS = {"functional": functional, "sequential": sequential, "subclassed": Subclassed}


@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
def test_all_layers_are_found_and_nothing_else_changes(builder):
    model = builder()
    before, paths, names = model(X), [v.path for v in model.weights], [each.name for each in model._flatten_layers()]
    assert len(model.variables) > len(model.weights)
    assert adopt(model)
    kinds = {type(each) for each in model._flatten_layers()}
    assert not kinds & {*OURS, layers.BatchNormalization}
    assert {Dropout, BatchNormalization} <= kinds
    assert [v.path for v in model.variables] == [v.path for v in model.weights] == paths
    assert [each.name for each in model._flatten_layers()] == names
    np.testing.assert_array_equal(model(X), before)
    np.testing.assert_array_equal(model(X, training=False), before)
    assert adopt(model) == []


def test_it_says_what_it_has_done():
    assert adopt(functional()) == [
        "1 AlphaDropout layer of the discriminator draws its numbers from the run's seed and step",
        "3 BatchNormalization layers of the discriminator share their statistics over all replicas",
        "3 Dropout layers of the discriminator draw their numbers from the run's seed and step",
        "1 GaussianDropout layer of the discriminator draws its numbers from the run's seed and step",
        "1 GaussianNoise layer of the discriminator draws its numbers from the run's seed and step",
        "1 SpatialDropout2D layer of the discriminator draws its numbers from the run's seed and step",
    ]


def test_keras_rebuilds_an_adopted_model_elsewhere(tmp_path):
    model = keras.Sequential(
        [keras.Input([4]), layers.Dense(3), layers.BatchNormalization(), layers.Dropout(0.5), layers.GaussianNoise(0.1)]
    )
    adopt(model)
    (tmp_path / "model.json").write_text(json.dumps(keras.saving.serialize_keras_object(model)))
    weights = [np.asarray(each) for each in model.weights]
    np.savez(tmp_path / "weights.npz", *weights)
    np.save(tmp_path / "expected.npy", model(X[0, :, :, 0]))
    np.save(tmp_path / "x.npy", X[0, :, :, 0])
    script = """
import json, keras, numpy as np, pipeline.networks.adopt
from pathlib import Path
model = keras.saving.deserialize_keras_object(json.loads(Path("model.json").read_text()))
assert [type(layer).__module__.partition(".")[0] for layer in model.layers] == ["keras"] + ["pipeline"] * 3
assert pipeline.networks.adopt.adopt(model) == []
model.set_weights(list(np.load("weights.npz").values()))
assert np.array_equal(model(np.load("x.npy")), np.load("expected.npy"))
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)


def test_an_adopted_model_can_be_exported(tmp_path):
    model = functional()
    adopt(model)
    tf.saved_model.save(model, str(tmp_path / "saved_model"))
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    (served,) = loaded.signatures["serving_default"](tf.constant(X)).values()
    np.testing.assert_allclose(served, model(X), atol=1e-6)
    plain = keras.Sequential([keras.Input([4, 4, 2]), layers.Conv2D(2, 3), layers.BatchNormalization()])
    plain.add(layers.Dropout(0.5))
    plain.add(layers.GaussianNoise(0.2))
    adopt(plain)
    function = tf.function(lambda x: {"y": plain(x, training=False)})
    proto, _ = tf2onnx.convert.from_function(function, [tf.TensorSpec([None, 4, 4, 2], name="x")], opset=18)
    onnx.checker.check_model(proto)
    assert not [node.op_type for node in proto.graph.node if "Random" in node.op_type or node.op_type == "Dropout"]


def test_a_frozen_batch_norm_stays_frozen():
    layer = BatchNormalization(momentum=0.5)
    layer.build([4, 2])
    layer.trainable = False
    x = X[:, 0, 0]
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    np.testing.assert_array_equal(layer.moving_mean, [0, 0])


def test_a_masked_batch_norm_is_refused():
    layer = BatchNormalization()
    x = tf.constant(X[:, 0])
    layer(x, mask=tf.ones([3, 4], bool))
    with pytest.raises(MirageError, match=r"BatchNormalization\) is given a mask"):
        layer(x, training=True, mask=tf.ones([3, 4], bool))


class Drawing(layers.Layer):
    """Draws by itself."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.generator)


class Counting(layers.Layer):
    """Keeps a metric."""

    def __init__(self):
        super().__init__()
        self.mean = keras.metrics.Mean()

    def call(self, x):
        self.mean.update_state(x)
        return x


class OwnDropout(layers.Dropout):
    """Somebody's own."""


class OwnBatchNormalization(layers.BatchNormalization):
    """Somebody's own."""


REFUSED = {
    "axis": (lambda: layers.BatchNormalization(axis=1), "normalises along axis 1; set axis=-1, with channels last"),
    "renorm": (lambda: layers.BatchNormalization(renorm=True), "leave out renorm=True"),
    "own batch norm": (OwnBatchNormalization, "inherit from pipeline.networks.BatchNormalization"),
    "own dropout": (lambda: OwnDropout(0.1), "draw with layers of pipeline.networks, such as Dropout"),
    "fixed batch": (lambda: layers.Dropout(0.5, noise_shape=(3, 1, 1, 2)), "give None in its place"),
    "infinite": (lambda: layers.GaussianDropout(1.0), "set a lower rate"),
    "flip": (lambda: layers.RandomFlip(), "leave it out and augment by --flip, --random_crop or --augment"),
    "rnn": (lambda: layers.ConvLSTM1D(2, 1, dropout=0.1), "set its dropout to 0"),
    "seed": (Drawing, "draw with layers of pipeline.networks, such as Dropout and GaussianNoise"),
    "metric": (Counting, "let the objective report it"),
    "stateful": (lambda: layers.ConvLSTM1D(2, 1, stateful=True), "set stateful=False"),
    "adapted": (lambda: layers.Normalization(), "give it mean= and variance="),
    "regulariser": (lambda: layers.Conv2D(1, 1, kernel_regularizer="l2"), "has a regulariser"),
    "activity": (lambda: layers.ActivityRegularization(0.1), "has a regulariser"),
    "constraint": (lambda: layers.Conv2D(1, 1, kernel_constraint="max_norm"), "has a constraint"),
}


@pytest.mark.parametrize(("make", "remedy"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_exact_is_refused_and_nothing_changed(make, remedy):
    layer = make()
    size = {"batch_size": 3} if getattr(layer, "stateful", False) else {}
    image = keras.Input([4, 4, 2], **size)
    model = keras.Model(image, layer(layers.Dropout(0.5)(image)), name="generator")
    with pytest.raises(MirageError) as raised:
        adopt(model)
    sentence = str(raised.value)
    assert sentence.startswith(f"layer {layer.name if 'lstm' not in layer.name else ''}")
    assert " of the generator " in sentence
    assert remedy in sentence
    assert "\n" not in sentence
    assert {type(each) for each in model.layers} & {layers.Dropout}


@pytest.mark.parametrize("layer", [layers.Dropout(0.5), Dropout(0.5)], ids=["keras", "ours"])
def test_a_model_that_is_told_not_to_train_draws_nothing(layer):
    z = keras.Input([2])
    model = keras.Model(z, layer(z, training=True))
    adopt(model)
    np.testing.assert_array_equal(model(X[:, 0, 0], training=False), X[:, 0, 0])


@pytest.mark.parametrize(
    ("make", "x"),
    [(each, X[:, 0]) for each in (layers.LSTM, layers.GRU, layers.SimpleRNN)]
    + [(lambda units: layers.ConvLSTM1D(units, 1), X)],
)
def test_recurrent_layers_without_dropout_may_stay(make, x):
    model = keras.Sequential([keras.Input(x.shape[1:]), make(3), layers.Normalization(mean=0.0, variance=1.0)])
    assert adopt(model) == []
    assert len(model.variables) == len(model.weights) == 3
    model(x, training=True)


def test_the_face_of_the_room_is_light():
    script = "import sys, pipeline.networks; assert not {'tensorflow', 'keras', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
