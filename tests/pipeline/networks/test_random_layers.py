import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import networks
from pipeline.base.errors import MirageError
from pipeline.networks.random_layers import OURS, numbers_from


class Source:
    """Numbers of NumPy, and which were asked for."""

    def __init__(self):
        self.rng, self.asked = np.random.default_rng(0), []

    def _draw(self, draw, rows, numbers, shared):
        self.asked.append((rows, numbers, shared))
        return tf.constant(draw([1 if shared else rows, numbers]).astype(np.float32))

    def uniform(self, layer, rows, numbers, *, shared=False):
        return self._draw(self.rng.random, rows, numbers, shared)

    def normal(self, layer, rows, numbers, *, shared=False):
        return self._draw(self.rng.standard_normal, rows, numbers, shared)


LAYERS = {
    "AlphaDropout": ({"rate": 0.3}, [50, 400]),
    "Dropout": ({"rate": 0.3}, [50, 400]),
    "GaussianDropout": ({"rate": 0.3}, [50, 400]),
    "GaussianNoise": ({"stddev": 0.3}, [50, 400]),
    "SpatialDropout1D": ({"rate": 0.3}, [50, 3, 400]),
    "SpatialDropout2D": ({"rate": 0.3}, [50, 2, 3, 400]),
    "SpatialDropout3D": ({"rate": 0.3}, [50, 2, 1, 3, 400]),
}


def test_each_of_them_is_tested():
    assert LAYERS.keys() == {each.__name__ for each in OURS.values()} == {each.__name__ for each in OURS}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_has_the_moments_of_keras(name):
    arguments, shape = LAYERS[name]
    ours, theirs = getattr(networks, name)(**arguments), getattr(keras.layers, name)(seed=1, **arguments)
    # AlphaDropout is meant for what has mean 0 and variance 1.
    mean = 0.0 if name == "AlphaDropout" else 2.0
    x = tf.constant(np.random.default_rng(1).normal(mean, 1, shape).astype(np.float32))
    with numbers_from(Source()):
        actual = np.asarray(ours(x, training=True))
    expected = np.asarray(theirs(x, training=True))
    assert abs(actual.mean() - expected.mean()) < 0.05
    assert abs(actual.std() / expected.std() - 1) < 0.05
    zeros = [(each == each.min() if name == "AlphaDropout" else each == 0).mean() for each in (actual, expected)]
    assert abs(zeros[0] - zeros[1]) < 0.02
    assert not np.array_equal(actual, expected)


@pytest.mark.parametrize(
    ("rank", "data_format"),
    [(3, None), (4, "channels_last"), (4, "channels_first"), (5, "channels_last"), (5, "channels_first")],
)
def test_whole_feature_maps_are_dropped(rank, data_format):
    more = {"data_format": data_format} if data_format else {}
    layer = getattr(networks, f"SpatialDropout{rank - 2}D")(0.5, **more)
    source = Source()
    with numbers_from(source):
        y = np.asarray(layer(tf.ones([6, *range(2, rank), 5]), training=True))
    channels = y.shape[1] if data_format == "channels_first" else y.shape[-1]
    assert source.asked == [(6, channels, False)]
    maps = y.reshape(6, channels, -1) if data_format == "channels_first" else np.moveaxis(y.reshape(6, -1, 5), 2, 1)
    assert set(np.unique(y)) == {0, 2}
    np.testing.assert_array_equal(maps, maps[:, :, :1] + np.zeros_like(maps))


@pytest.mark.parametrize(
    ("noise_shape", "asked"),
    [((None, 1, 3), (5, 3, False)), ((1, None, 3), (5, 6, True)), (None, (5, 6, False))],
)
def test_a_noise_shape_repeats_numbers(noise_shape, asked):
    source = Source()
    with numbers_from(source):
        y = np.asarray(networks.Dropout(0.5, noise_shape=noise_shape)(tf.ones([5, 2, 3]), training=True))
    assert source.asked == [asked]
    if noise_shape:
        axis = noise_shape.index(1)
        np.testing.assert_array_equal(y, np.repeat(y.take([0], axis), y.shape[axis], axis))


@pytest.mark.parametrize("name", LAYERS)
def test_outside_of_training_a_layer_is_the_identity_and_keeps_nothing(name):
    arguments, shape = LAYERS[name]
    layer = getattr(networks, name)(seed=3, **arguments)
    x = tf.ones(shape)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    assert layer.variables == []
    with pytest.raises(MirageError) as raised:
        layer(x, training=True)
    assert str(raised.value).startswith(f"layer {layer.name} ({name}) was called with training=True outside of a train")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_stays_in_its_type(name, dtype):
    arguments, shape = LAYERS[name]
    layer = getattr(networks, name)(dtype=dtype, **arguments)
    with numbers_from(Source()):
        y = layer(tf.ones(shape), training=True)
    assert y.dtype == layer.compute_dtype
    assert np.all(np.isfinite(tf.cast(y, tf.float32)))


@pytest.mark.parametrize("name", LAYERS)
def test_keras_builds_a_layer_again_from_its_configuration(name):
    arguments, _ = LAYERS[name]
    layer = getattr(networks, name)(seed=3, **arguments)
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert stored["registered_name"] == f"mirage>{name}"
    again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    theirs = getattr(keras.layers, name)(seed=3, name=layer.name, **arguments)
    assert layer.get_config() == theirs.get_config()


@pytest.mark.parametrize("name", LAYERS)
def test_no_rate_means_no_numbers(name):
    arguments, shape = LAYERS[name]
    layer = getattr(networks, name)(**dict.fromkeys(arguments, 0.0))
    np.testing.assert_array_equal(layer(tf.ones(shape), training=True), np.ones(shape))


def test_all_can_be_dropped():
    np.testing.assert_array_equal(networks.Dropout(1.0)(tf.ones([2, 3]), training=True), np.zeros([2, 3]))


def test_an_unknown_shape_is_refused():
    layer = networks.Dropout(0.5)
    graph = tf.function(lambda x: layer(x, training=True))
    with (
        numbers_from(Source()),
        pytest.raises(MirageError, match=r"is given \(3, None\), of which only the first size"),
    ):
        graph.get_concrete_function(tf.TensorSpec([3, None]))


def test_what_is_no_layer_of_ours_is_no_attribute():
    assert {"Dropout", "BatchNormalization"} <= set(dir(networks))
    with pytest.raises(AttributeError, match="has no attribute 'Dropuot'"):
        networks.Dropuot  # noqa: B018
