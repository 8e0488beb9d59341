"""R3GAN's networks against the paper's numbers, and against NumPy."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import stored
from pipeline.networks.grouped import GroupedConv2D
from pipeline.networks.learned_basis import WeightedSum
from pipeline.training.configured import networks_of
from tests.pipeline.networks.r3gan_in_numpy import generate, judge
from tests.pipeline.networks.shapes import shapes_alone

# Published in millions, generator and discriminator.
PUBLISHED = {
    "CIFAR-10": ("", 32, 10, (20_781_952, 21_280_512), ("20.8", "21.3")),
    "CIFAR-10, unconditional": ("", 32, 0, (20_732_160, 20_683_776), ("20.7", "20.7")),
    "FFHQ-64": ("", 64, 0, (22_429_824, 22_381_440), ("22.4", "22.4")),
    "FFHQ-256": ("", 256, 0, (23_057_952, 23_009_568), ("23.06", "23.01")),
    "ImageNet-32": ("width=1536,group=32", 32, 1000, (82_914_304, 86_548_992), ("82.9", "86.55")),
    "ImageNet-64": ("width=1536,group=32,wide_stages=5", 64, 1000, (103_570_432, 107_205_120), ("103.6", "107.2")),
}


def built(model_args="", size=32, classes=0, **flags):
    flags = {"latent_dim": 64, "conditional": classes > 0, **flags}
    flags.setdefault("conditioning", "projection" if classes else "concat")
    height, width = size if isinstance(size, tuple) else (size, size)
    data = DataSpec("shapes", "", (height, width, 3), tuple(map(str, range(classes))), 100)
    return networks_of(Config(model="r3gan", model_args=model_args, **flags), data)


@pytest.mark.parametrize(("args", "size", "classes", "counts", "millions"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_parameter_counts_are_the_papers(args, size, classes, counts, millions):
    with shapes_alone():
        networks = built(args, size, classes)
    for name, count, published in zip(("generator", "discriminator"), counts, millions, strict=True):
        model = networks[name]
        assert sum(math.prod(weight.shape) for weight in model.trainable_variables) == count
        assert not model.non_trainable_variables
        assert f"{count / 1e6:.{len(published.partition('.')[2])}f}" == published


@pytest.mark.parametrize(
    ("args", "size", "planes", "groups"),
    [
        ("", 32, [768] * 4, [96] * 4),
        ("", 64, [768] * 4 + [384], [96] * 4 + [48]),
        ("", 256, [768] * 4 + [384, 192, 96], [96] * 4 + [48, 24, 12]),
        ("width=1536,group=32,wide_stages=5", 64, [1536] * 5, [96] * 5),
        ("width=64", 128, [64] * 4 + [32, 16], [8] * 4 + [4, 2]),
        ("width=(64,32,16),group=8", 16, [64, 32, 16], [16, 8, 4]),
    ],
)
def test_widths_and_groups_of_stages(args, size, planes, groups):
    with shapes_alone():
        networks = built(args, size)
    for name, order in (("generator", 1), ("discriminator", -1)):
        found = [layer for layer in networks[name].layers if isinstance(layer, GroupedConv2D)][::2][::order]
        assert [layer.filters for layer in found] == [2 * each for each in planes]
        assert [layer.groups for layer in found] == groups


@pytest.mark.parametrize("size", [16, 28, 33, (96, 64), (17, 31), (128, 16), (45, 33)], ids=str)
def test_any_aspect(size):
    height, width = size if isinstance(size, tuple) else (size, size)
    networks = built("width=16,group=8,blocks=1", size, 3, conditioning="concat,projection,acgan", latent_dim=5)
    z, labels = np.random.default_rng(0).standard_normal((2, 5), np.float32), np.array([0, 2])
    images = networks["generator"]([z, labels])
    assert images.shape == (2, height, width, 3)
    assert images.dtype == "float32"
    outputs = networks["discriminator"]([images, tf.constant(labels)])
    assert {name: tuple(each.shape) for name, each in outputs.items()} == {"logits": (2,), "classes": (2, 3)}


@pytest.mark.parametrize("objective", ["vae", "autoencoder", "sgan", "hinge"])
def test_any_objective_has_its_networks(objective):
    classes = 3 if objective == "sgan" else 0
    flags = {"objective": objective, "latent_dim": 5, "conditional": False, "conditioning": "concat"}
    networks = built("width=8,group=4,blocks=1", (24, 17), classes, **flags)
    assert networks["generator"](np.zeros((2, 5), np.float32)).shape == (2, 24, 17, 3)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 24, 17, 3)).astype(np.float32)
    if objective in ("vae", "autoencoder"):
        assert networks["encoder"](images).shape == (2, 10 if objective == "vae" else 5)
    elif objective == "hinge":
        assert networks["discriminator"](images).shape == (2,)
    else:
        outputs = networks["discriminator"](images)
        assert {name: tuple(each.shape) for name, each in outputs.items()} == {
            "logits": (2,), "classes": (2, 3), "features": (2, 8)
        }  # fmt: skip
        np.testing.assert_allclose(outputs["logits"], np.log(np.exp(outputs["classes"]).sum(axis=1)), rtol=1e-5)


def test_the_discriminator_treats_samples_independently():
    model = built("width=16,blocks=1", 16)["discriminator"]
    randomised(model)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    alone, together = (np.asarray(model(each, training=True)) for each in (images[:1], images))
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-5, atol=1e-6)


def test_labels_decide_the_output():
    networks = built("width=16,blocks=1", 16, 4, latent_dim=5)
    for model in networks.values():
        randomised(model)
    labels = np.arange(4)
    images = np.asarray(networks["generator"]([np.ones((4, 5), np.float32), labels]))
    logits = np.asarray(networks["discriminator"]([np.repeat(images[:1], 4, axis=0), labels]))
    for i in range(4):
        for j in range(i):
            assert not np.allclose(images[i], images[j])
            assert logits[i] != logits[j]


# -- against NumPy -----------------------------------------------------------------------------------------------------

TINY = "width=(8,8,4),group=4,blocks=1,embedding=3"


def randomised(model, seed=0):
    """Gives all weights values, those too that start at zero."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        fan_in = max(1, math.prod(weight.shape[:-1]))
        weight.assign(rng.standard_normal(weight.shape) / fan_in**0.5)
    return [np.asarray(weight, np.float64) for weight in model.trainable_variables]


@pytest.fixture(scope="module")
def tiny():
    networks = built(TINY, 16, 3, latent_dim=5)
    rng = np.random.default_rng(5)
    z, images = rng.standard_normal((2, 5)), rng.uniform(-1, 1, (2, 16, 16, 3))
    return networks, {name: randomised(model) for name, model in networks.items()}, z, images, np.array([2, 0])


def test_forward_passes_against_numpy(tiny):
    networks, weights, z, images, labels = tiny
    made = networks["generator"]([z.astype(np.float32), labels])
    np.testing.assert_allclose(made, generate(weights["generator"], z, labels), rtol=1e-4, atol=1e-5)
    logits = networks["discriminator"]([images.astype(np.float32), labels])
    np.testing.assert_allclose(logits, judge(weights["discriminator"], images, labels), rtol=1e-4, atol=1e-5)


def along(function, weights, direction, h):
    """The derivative of a function of weights along a direction, float64."""
    ahead, behind = ([w + sign * h * d for w, d in zip(weights, direction, strict=True)] for sign in (1, -1))
    return (function(ahead) - function(behind)) / (2 * h)


def directions(weights, parts=1000):
    """One in which all weights move, and one for each of them, or for each of so many parts."""
    rng = np.random.default_rng(9)
    random = [rng.standard_normal(w.shape) for w in weights]
    yield random
    parts = min(parts, len(weights))
    for part in range(parts):
        yield [r if i % parts == part else np.zeros_like(r) for i, r in enumerate(random)]


def test_gradients_of_the_generator_against_finite_differences(tiny):
    networks, weights, z, _, labels = tiny
    model, target = networks["generator"], np.random.default_rng(1).standard_normal((2, 16, 16, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model([z.astype(np.float32), labels]) * target.astype(np.float32))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for direction in directions(weights["generator"]):
        expected = along(lambda w: np.sum(generate(w, z, labels) * target), weights["generator"], direction, 1e-7)
        actual = sum(float(np.sum(np.asarray(g) * d)) for g, d in zip(gradients, direction, strict=True))
        assert actual == pytest.approx(expected, rel=2e-3, abs=2e-3)


def r1_by_differences(weights, images, labels, h=1e-6):
    """The sum over images of the squared norm of each logit's gradient, pixel by pixel."""
    steps = np.eye(images[0].size).reshape(-1, *images.shape[1:]) * h
    total = 0.0
    for image, label in zip(images, labels, strict=True):
        both = judge(weights, np.concatenate([image + steps, image - steps]), np.full(2 * len(steps), label))
        total += np.sum(((both[: len(steps)] - both[len(steps) :]) / (2 * h)) ** 2)
    return total


@pytest.mark.parametrize("parts", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_r1_and_its_gradients_against_finite_differences_of_finite_differences(tiny, parts):
    networks, weights, _, images, labels = tiny
    model = networks["discriminator"]
    images, labels = images[:1], labels[:1]
    x = tf.constant(images, tf.float32)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(x)
            total = tf.reduce_sum(model([x, tf.constant(labels)]))
        penalty = tf.reduce_sum(tf.square(inner.gradient(total, x)))
    gradients = outer.gradient(
        penalty, [v.value for v in model.trainable_variables], unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    own = weights["discriminator"]
    assert float(penalty) == pytest.approx(r1_by_differences(own, images, labels), rel=1e-3)
    for direction in directions(own, parts):
        expected = along(lambda w: r1_by_differences(w, images, labels), own, direction, 1e-6)
        actual = sum(float(np.sum(np.asarray(g) * d)) for g, d in zip(gradients, direction, strict=True))
        assert actual == pytest.approx(expected, rel=5e-3, abs=5e-3 * float(penalty))


# -- how training begins -----------------------------------------------------------------------------------------------


def outputs_of(model, kind, given):
    layers = [layer for layer in model.layers if isinstance(layer, kind)]
    return [np.asarray(each) for each in keras.Model(model.input, [layer.output for layer in layers])(given)]


def test_kernels_start_as_the_paper_says():
    keras.utils.set_random_seed(0)
    gain = math.sqrt(2 / 1.04) * 8**-0.25  # of eight blocks
    networks = built("width=64", 32, 10)
    for name, model in networks.items():
        convolutions = [each for each in model.layers if isinstance(each, keras.layers.Conv2D)]
        for layer in convolutions:
            kernel = np.asarray(layer.kernel)
            if not layer.use_bias and kernel.shape[2] == 128:
                assert not kernel.any()  # a block's last
                continue
            expected = gain if layer.use_bias else 1.0
            assert kernel.std() * math.prod(kernel.shape[:3]) ** 0.5 == pytest.approx(expected, rel=0.1)
            if layer.use_bias:
                assert not np.asarray(layer.bias).any()
        assert len(convolutions) == 8 * 3 + 1  # from or to RGB
        dense = {
            each.kernel.shape: np.std(each.kernel) for each in model.layers if isinstance(each, keras.layers.Dense)
        }
        expected = {(10, 64): 10**-0.5, (128, 64): 128**-0.5}
        if name == "discriminator":
            expected = {(10, 64): 10**-0.5 / 8, (64, 64): 1 / 8}  # the embedding, a 64th of its variance
        assert dense == {shape: pytest.approx(std, rel=0.1) for shape, std in expected.items()}
    basis = next(each for each in networks["generator"].variables if each.name == "basis")
    assert np.std(basis) == pytest.approx(1, rel=0.1)


def test_the_scale_of_activations_from_layer_to_layer():
    keras.utils.set_random_seed(0)
    model = built("width=64", 32)["discriminator"]
    images = np.random.default_rng(0).standard_normal((64, 32, 32, 3)).astype(np.float32)
    activated = outputs_of(model, keras.layers.LeakyReLU, images)
    # In eight blocks each convolution takes a factor of 8 ** -(1/2) off the mean square, which is 1 behind the first.
    inside = [np.mean(np.square(each[:, 1:-1, 1:-1])) for each in activated[:4]]
    start = np.mean(np.square(outputs_of(model, keras.layers.Conv2D, images)[0]))
    assert start == pytest.approx(1, rel=0.2)  # of 3 x 64 random weights
    np.testing.assert_allclose(inside / start, [8**-0.5, 1 / 8] * 2, rtol=0.1)
    sums = outputs_of(model, keras.layers.Add, images)
    for first, second in zip(sums[::2], sums[1::2], strict=True):
        np.testing.assert_array_equal(first, second)  # blocks begin as the identity
    z = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    made = outputs_of(built("width=64", 32)["generator"], keras.layers.Add, z)
    assert np.mean(np.square(made[0])) == pytest.approx(1, rel=0.15)


# -- precision, storage, refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "size", "low"), [("", 32, 3), ("", 64, 4), ("", 256, 4), (",low_precision_stages=1", 32, 1),
                              (",low_precision_stages=0", 32, 0), (",low_precision_stages=9", 32, 4)]
)  # fmt: skip
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_only_the_largest_pictures_are_computed_in_low_precision(args, size, low, policy):
    keras.config.set_dtype_policy(policy)
    try:
        with shapes_alone():
            networks = built(f"width=64{args}", size, 3)
    finally:
        keras.config.set_dtype_policy("float32")
    stages = int(math.log2(size / 4)) + 1
    for name, model in networks.items():
        blocks = [each for each in model.layers if isinstance(each, GroupedConv2D)]
        types = [each.compute_dtype for each in blocks[:: -1 if name == "generator" else 1]]
        expected = [policy.removeprefix("mixed_")] * (2 * low) + ["float32"] * (2 * (stages - low))
        assert types == expected
        assert {each.dtype for each in model.variables} == {"float32"}
        others = [each for each in model.layers if isinstance(each, (keras.layers.Dense, WeightedSum))]
        assert {each.compute_dtype for each in others} == {"float32"}
    assert networks["generator"].layers[-1].compute_dtype == "float32"


def test_networks_are_stored_without_their_code():
    networks = built("width=16,blocks=1", (28, 20), 3, conditioning="projection,acgan", codes=2)
    z, labels = np.ones((2, 64), np.float32), np.array([0, 2])
    given = {"generator": [z, labels], "discriminator": [np.ones((2, 28, 20, 3), np.float32), labels]}
    for name, model in networks.items():
        randomised(model)
        again = stored.build(stored.configuration(model), name)
        again.set_weights(model.get_weights())
        for actual, expected in zip(
            tf.nest.flatten(again(given[name])), tf.nest.flatten(model(given[name])), strict=True
        ):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"image_size": 1024}, "--image_size=1024 is outside 16 to 512, which --model=r3gan supports .* choose 512"),
        ({"spectral_norm": True}, "--spectral_norm does not go with --model=r3gan"),
        ({"model_args": "width=0"}, "--model_args=width=0: .*width=0; expected a whole number of at least 1"),
        ({"model_args": "group=0"}, "--model_args=group=0: .*group=0"),
        (
            {"model_args": "low_precision_stages=-1"},
            "--model_args=low_precision_stages=-1: .*expected a number of stages",
        ),
    ],
)
def test_refuses_flags_that_cannot_be(flags, named):
    with pytest.raises(MirageError, match=f"^{named}"):
        Config(model="r3gan", **flags).validate()


@pytest.mark.parametrize(
    ("args", "size", "named"),
    [
        (
            "",
            8,
            "--model=r3gan supports 16 to 512 pixels on each side, and the images have 8x8; set --image_size=16,",
        ),
        ("width=(64,32)", 32, r"--model_args=width=\(64,32\) has 2 stages, and 32x32 pixels have 4, from 4x4 up; give"),
        (
            "width=64",
            512,
            "--model=r3gan has stages of 64,64,64,64,32,16,8,4 planes at 512x512 pixels, and twice 4 can't",
        ),
        (
            "width=10",
            32,
            "--model=r3gan has stages of 10,10,10,10 planes at 32x32 pixels, and twice 10 can't be shared by",
        ),
    ],
)
def test_refuses_networks_that_cannot_be(args, size, named):
    with pytest.raises(MirageError, match=f"^{named}"):
        built(args, size)
