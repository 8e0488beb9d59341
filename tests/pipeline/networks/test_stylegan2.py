"""StyleGAN2's networks against the published numbers of parameters, and against NumPy."""

import contextlib
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import stored
from pipeline.networks.random_layers import numbers_from
from pipeline.networks.stylegan2.architecture import StyleGAN2
from pipeline.networks.stylegan2.equalised import EqualisedConv, EqualisedDense
from pipeline.networks.stylegan2.modulated import StyledConv
from pipeline.networks.stylegan2.resampling import double, halve
from pipeline.networks.stylegan2.statistics import MinibatchDeviation, Styles
from pipeline.training.configured import networks_of
from tests.pipeline.networks import stylegan2_in_numpy as slow
from tests.pipeline.networks.shapes import shapes_alone

TINY = StyleGAN2(channel_base=48, channel_max=6, w_dim=5, mapping_layers=2, group=2)
SIZE = WHOLE = (8, 10)  # stages of 4x5 and 8x10


@pytest.fixture(autouse=True)
def seeded():
    """Each test has its own numbers, whichever others run."""
    global RNG
    RNG = np.random.default_rng(0)
    keras.utils.set_random_seed(0)


def count(weights):
    return sum(math.prod(weight.shape) for weight in weights)


def unlike_at_first(model):
    """Moves all weights, so that none of them is 0 or 1."""
    for variable in model.variables:
        variable.assign(np.asarray(variable) + 0.3 * RNG.standard_normal(variable.shape))
    return model


PUBLISHED = {  # millions of G and D, by base and side
    (16384, 64): (23.82, 23.41), (16384, 128): (24.53, 23.88), (16384, 256): (24.77, 24.00),
    (16384, 512): (24.86, 24.03), (16384, 1024): (24.90, 24.04),
    (32768, 64): (27.03, 26.49), (32768, 128): (29.33, 28.39), (32768, 256): (30.03, 28.86),
    (32768, 512): (30.28, 28.98), (32768, 1024): (30.37, 29.01),
}  # fmt: skip


@pytest.mark.parametrize(("base", "side"), PUBLISHED, ids=lambda value: str(value))
def test_published_numbers_of_parameters(base, side):
    deep = StyleGAN2(channel_base=base)
    with shapes_alone():
        generator = deep.build_generator(512, (side, side, 3), 0)
        other = deep.build_discriminator((side, side, 3), 0, heads={})
        shallow = StyleGAN2(channel_base=base, mapping_layers=2)._mapping(512, 0, (), 1)
    numbers, discriminator = count(generator.trainable_variables), count(other.trainable_variables)
    assert (round(numbers / 1e6, 2), round(discriminator / 1e6, 2)) == PUBLISHED[base, side]
    assert (
        round((count(generator.get_layer("mapping").trainable_variables) - count(shallow.trainable_variables)) / 1e6, 2)
        == 1.58
    )
    assert generator.get_layer("synthesis").input_shape == (None, 2 * int(math.log2(side)) - 2, 512)


def test_filters_are_those_of_whole_kernels():
    x = RNG.standard_normal((2, 6, 8, 3))
    np.testing.assert_allclose(double(tf.constant(x, tf.float32)), slow.doubled(x), atol=1e-6)
    np.testing.assert_allclose(halve(tf.constant(x, tf.float32)), slow.filtered(x, 1, 1)[:, ::2, ::2], atol=1e-6)
    ones = double(tf.ones([1, 4, 4, 1]))[0, 1:-1, 1:-1, 0]
    np.testing.assert_allclose(ones, 1)


def test_layers_keep_the_second_moment():
    numbers = lambda *shape: tf.constant(RNG.standard_normal(shape), tf.float32)  # noqa: E731
    expected = 1.04  # of √2 LeakyReLU(0.2) of normal numbers
    wide = {
        "dense": EqualisedDense(256, activated=True)(numbers(512, 128)),
        "mapping's": EqualisedDense(256, activated=True, rate=0.01)(numbers(512, 128)),
        "convolution": EqualisedConv(128, 3)(numbers(8, 12, 12, 64))[:, 1:-1, 1:-1],
        "styled": StyledConv(128, 0)(numbers(64, 12, 12, 64), numbers(64, 1, 32))[:, 1:-1, 1:-1],
        # Of pictures that don't change from pixel to pixel, as the filter takes high frequencies away.
        "doubling": StyledConv(128, 0, doubles=True)(
            tf.broadcast_to(numbers(64, 1, 1, 64), [64, 8, 8, 64]), numbers(64, 1, 32)
        )[:, 3:-3, 3:-3],
        "halving": EqualisedConv(128, 3, halves=True)(
            tf.broadcast_to(numbers(64, 1, 1, 64), [64, 8, 8, 64])
        )[:, 1:-1, 1:-1],
    }  # fmt: skip
    for name, values in wide.items():
        assert abs(float(tf.reduce_mean(tf.square(values))) / expected - 1) < 0.12, name


def test_styles_begin_with_the_second_moment_of_so_many_layers():
    generator = StyleGAN2(channel_base=64, w_dim=256).build_generator(64, (32, 32, 3), 0)
    styles = generator.get_layer("mapping")(tf.constant(RNG.standard_normal((64, 64)), tf.float32))
    assert styles.shape == (64, 8, 256)
    np.testing.assert_allclose(tf.reduce_mean(tf.square(styles)), 1.04**8, rtol=0.2)


@pytest.fixture
def generator():
    return unlike_at_first(TINY.build_generator(4, (*SIZE, 2), 3))


@pytest.fixture
def discriminator():
    return unlike_at_first(TINY.build_discriminator((*SIZE, 2), 3, heads={}))


def test_generator_is_that_of_the_paper(generator):
    z, label = RNG.standard_normal((3, 4)), np.array([2, 0, 1])
    layers = slow.weights(generator.get_layer("mapping"))
    w = slow.mapping(layers, z, label)
    given = [tf.constant(z, tf.float32), tf.constant(label)]
    styles = generator.get_layer("mapping")(given)
    np.testing.assert_allclose(styles, np.repeat(w[:, None], 4, 1), rtol=1e-4, atol=1e-5)
    expected = slow.synthesis(slow.weights(generator.get_layer("synthesis")), np.asarray(styles, np.float64), SIZE)
    np.testing.assert_allclose(generator(given), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (24, 17)], ids=str)
def test_other_sizes_are_those_of_the_paper_cut_out_of_the_middle(size):
    whole = TINY.build_generator(4, (*size, 1), 0).get_layer("synthesis")
    unlike_at_first(whole)
    styles = RNG.standard_normal((2, *whole.input_shape[1:]))
    expected = slow.synthesis(slow.weights(whole), styles, size)
    np.testing.assert_allclose(whole(tf.constant(styles, tf.float32)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("residual", [True, False])
def test_discriminator_is_that_of_the_paper(residual):
    architecture = StyleGAN2(channel_base=48, channel_max=6, mapping_layers=2, group=2, residual=residual)
    for size, whole in [((16, 16), (16, 16)), ((9, 14), (10, 14)), ((17, 24), (20, 24))]:
        for classes in (0, 3):
            model = unlike_at_first(architecture.build_discriminator((*size, 3), classes, heads={}))
            images, label = RNG.standard_normal((4, *size, 3)), np.array([2, 0, 1, 1])
            given = tf.constant(images, tf.float32)
            named = {"label": label if classes else None, "residual": residual}
            expected = slow.discriminator(slow.weights(model), images, whole, 2, **named)
            logits = model([given, tf.constant(label)] if classes else given)
            np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


class _Chosen:
    """Noise that a test knows."""

    def __init__(self, planes):
        self.planes = planes

    def normal(self, layer, rows, numbers, *, shared=False):
        assert not shared
        return tf.constant(self.planes[layer].reshape(rows, numbers), tf.float32)


def test_noise_is_drawn_for_each_pixel_in_training(generator):
    synthesis = generator.get_layer("synthesis")
    styles = RNG.standard_normal((2, 4, 5))
    planes = {
        layer.name: RNG.standard_normal((2, *layer.output.shape[1:3], 1))
        for layer in synthesis.layers
        if isinstance(layer, StyledConv)
    }
    expected = slow.synthesis(slow.weights(synthesis), styles, SIZE, planes.get)
    with numbers_from(_Chosen(planes)):
        images = synthesis(tf.constant(styles, tf.float32), training=True)
    np.testing.assert_allclose(images, expected, rtol=1e-3, atol=1e-4)


def direction(model):
    """Where to move a model's weights, and how its layers look when they have moved so far, in NumPy."""
    moves = [RNG.standard_normal(v.shape) for v in model.trainable_variables]
    of = {v.path: move for v, move in zip(model.trainable_variables, moves, strict=True)}

    def moved(far):
        found = slow.weights(model)
        for layer in model.layers:
            for v in layer.trainable_variables:
                found[layer.name][v.name] = found[layer.name][v.name] + far * of[v.path]
        return found

    return moves, moved


def slope(function, step=1e-5):
    return (function(step) - function(-step)) / (2 * step)


def along(gradients, moves):
    return sum(float(np.sum(np.asarray(g, np.float64) * m)) for g, m in zip(gradients, moves, strict=True))


def numerical_gradient(function, x, step=1e-5):
    """Of a number, by each of the numbers of x."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient


@pytest.fixture
def smooth(monkeypatch):
    """No kinks, which the steps of finite differences would cross."""
    monkeypatch.setattr(tf.nn, "leaky_relu", lambda x, alpha: tf.nn.softplus(x))
    monkeypatch.setattr(slow, "activated", lambda x, gain=slow.ROOT: np.logaddexp(0, gain * x))


@pytest.mark.usefixtures("smooth")
def test_gradients_and_the_second_order_of_r1(discriminator):
    images, label = RNG.standard_normal((2, *SIZE, 2)), np.array([2, 1])
    moves, moved = direction(discriminator)

    def logits(layers, x):
        return slow.discriminator(layers, x, WHOLE, 2, label=label)

    given = tf.constant(images, tf.float32)
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = tf.reduce_sum(discriminator([given, tf.constant(label)]))
        gradient = tape.gradient(total, given)
        penalty = tf.reduce_sum(tf.square(gradient))
    variables = [v.value for v in discriminator.trainable_variables]
    zero = tf.UnconnectedGradients.ZERO
    first, second = (outer.gradient(each, variables, unconnected_gradients=zero) for each in (total, penalty))

    def squared(layers):
        return np.sum(numerical_gradient(lambda x: logits(layers, x).sum(), images) ** 2)

    np.testing.assert_allclose(gradient, numerical_gradient(lambda x: logits(moved(0), x).sum(), images), atol=1e-3)
    assert along(first, moves) == pytest.approx(slope(lambda far: logits(moved(far), images).sum()), rel=1e-3)
    assert along(second, moves) == pytest.approx(slope(lambda far: squared(moved(far))), rel=1e-3)


@pytest.mark.usefixtures("smooth")
def test_gradients_and_the_second_order_of_the_path_length(generator):
    synthesis = generator.get_layer("synthesis")
    styles, y = RNG.standard_normal((2, 4, 5)), RNG.standard_normal((2, *SIZE, 2))
    moves, moved = direction(synthesis)
    given = tf.constant(styles, tf.float32)
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = tf.reduce_sum(synthesis(given) * y.astype(np.float32))
        gradient = tape.gradient(total, given)
        lengths = tf.reduce_sum(tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(gradient), 2), 1)))
    variables = [v.value for v in synthesis.trainable_variables]
    zero = tf.UnconnectedGradients.ZERO
    first, second = (outer.gradient(each, variables, unconnected_gradients=zero) for each in (total, lengths))

    def projected(layers, w):
        return np.sum(slow.synthesis(layers, w, SIZE) * y)

    def length(layers):
        jacobian = numerical_gradient(lambda w: projected(layers, w), styles)
        return np.sqrt((jacobian**2).sum(2).mean(1)).sum()

    assert along(first, moves) == pytest.approx(slope(lambda far: projected(moved(far), styles)), rel=1e-3)
    assert along(second, moves) == pytest.approx(slope(lambda far: length(moved(far))), rel=1e-3)


def test_groups_are_neighbours_wherever_a_batch_is_cut():
    layer = MinibatchDeviation(4)
    x = tf.constant(RNG.standard_normal((8, 3, 5, 2)), tf.float32)
    np.testing.assert_array_equal(layer(x), tf.concat([layer(x[:4]), layer(x[4:])], 0))
    deviation = np.sqrt(np.asarray(x[:4]).var(0) + 1e-8).mean()
    np.testing.assert_allclose(layer(x)[:4, ..., 2], np.full((4, 3, 5), deviation), rtol=1e-5)
    with pytest.raises(MirageError, match=r"in groups of 4, and 6 on each replica .*group=2"):
        layer(x[:6])


def test_the_running_mean_of_styles_moves_in_training_alone():
    layer = Styles(3, momentum=0.75)
    w = tf.constant([[1.0, 2.0], [3.0, 6.0]])
    np.testing.assert_array_equal(layer(w), np.repeat(w[:, None], 3, 1))
    np.testing.assert_array_equal(layer.mean, [0, 0])
    layer(w, training=True)
    np.testing.assert_allclose(layer.mean, [0.5, 1.0])
    layer(w, training=True)
    np.testing.assert_allclose(layer.mean, [0.875, 1.75])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (32, 48), (45, 33)], ids=str)
def test_any_aspect_and_number_of_channels(size, channels):
    config = Config(
        model="stylegan2", model_args="channel_base=64,channel_max=8,w_dim=4,mapping_layers=1,group=2",
        conditional=True, conditioning="acgan", latent_dim=5,
    )  # fmt: skip
    networks = networks_of(config, DataSpec("shapes", "", (*size, channels), ("a", "b", "c"), 100))
    z, labels = tf.random.stateless_normal([2, 5], [1, 2]), tf.constant([0, 2])
    images = networks["generator"]([z, labels])
    assert images.shape == (2, *size, channels)
    np.testing.assert_array_equal(images, networks["generator"]([z, labels]))
    heads = networks["discriminator"]([images, labels])
    assert {name: head.shape.as_list() for name, head in heads.items()} == {"logits": [2], "classes": [2, 3]}


@contextlib.contextmanager
def computing_in(policy):
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_the_largest_pictures_alone_are_of_low_precision(policy):
    architecture = StyleGAN2(channel_base=256, channel_max=16, w_dim=8, mapping_layers=1, low_precision_stages=2)
    z, images = RNG.standard_normal((4, 8)).astype("f"), RNG.standard_normal((4, 32, 32, 3)).astype("f")
    exact = architecture.build_generator(8, (32, 32, 3), 0), architecture.build_discriminator((32, 32, 3), 0, heads={})
    with computing_in(policy):
        lower = (
            architecture.build_generator(8, (32, 32, 3), 0),
            architecture.build_discriminator((32, 32, 3), 0, heads={}),
        )
    policies = [
        {layer.name: layer.compute_dtype for layer in model._flatten_layers() if "_" in layer.name} for model in lower
    ]
    low = policy.removeprefix("mixed_")
    for found, layers in zip(
        policies, (("up_{}", "conv_{}", "image_{}"), ("conv_{}", "down_{}", "path_{}")), strict=True
    ):
        for side in (8, 16, 32):
            assert {found[name.format(side)] for name in layers} == {"float32" if side == 8 else low}
    assert {policies[0]["conv_4"], policies[0]["sum_32"], policies[1]["conv_4"]} == {"float32"}
    for one, other, x in zip(exact, lower, (z, images), strict=True):
        other.set_weights(one.get_weights())
        expected, found = np.asarray(one(x)), np.asarray(other(x))
        assert found.dtype == "float32"
        np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
        assert not np.array_equal(found, expected)


def test_float16_neither_overflows_nor_exceeds_256():
    layer = StyledConv(8, 0, dtype="mixed_float16")
    large = tf.fill([1, 4, 4, 16], tf.constant(250.0, tf.float16)), 1e4 * tf.ones([1, 1, 4])
    layer.build((1, 4, 4, 16), (1, 1, 4))
    layer.kernel.assign(tf.abs(layer.kernel.value))
    layer.affine_kernel.assign(tf.ones([4, 16]))
    assert float(tf.reduce_max(layer(*large))) == 256
    assert layer(*large).dtype == tf.float16


def test_they_are_built_again_from_their_configuration():
    architecture = StyleGAN2(channel_base=64, channel_max=8, w_dim=4, mapping_layers=1, group=2)
    for model in (
        architecture.build_generator(4, (12, 8, 3), 2),
        architecture.build_discriminator((12, 8, 3), 2, heads={"classes": 2}),
    ):
        again = stored.build(stored.configuration(model), "network")
        again.set_weights(model.get_weights())
        inputs = [RNG.standard_normal((2, *each.shape[1:])).astype(each.dtype) for each in model.inputs]
        for one, other in zip(tf.nest.flatten(model(inputs)), tf.nest.flatten(again(inputs)), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": "2000x500"}, "--image_size=2000x500 is outside 8 to 1024, .* choose 1024x256"),
        ({"spectral_norm": True}, "--spectral_norm does not go with --model=stylegan2"),
        ({"objective": "vae"}, "--model=stylegan2 has no encoder, which --objective=vae needs"),
        ({"model_args": "group=0"}, "group=0"),
        ({"model_args": "low_precision_stages=-1"}, "low_precision_stages=-1; expected a whole number of at least 0"),
    ],
)
def test_what_it_cannot_be_is_refused(changes, message):
    with pytest.raises(MirageError, match=message):
        Config(**{"model": "stylegan2", "objective": "nsgan", **changes}).validate()
