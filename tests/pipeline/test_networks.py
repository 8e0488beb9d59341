import keras
import numpy as np
import pytest

from pipeline import networks
from pipeline.config import Config, DataSpec, MirageError


def spec(size=28, channels=1, classes=10):
    return DataSpec("shapes", "", (size, size, channels), tuple(map(str, range(classes))), 100)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_mlp_has_the_classic_parameter_counts():
    config = Config(model="mlp")
    discriminator = networks.build_discriminator(config, spec())
    generator = networks.build_generator(config, spec())
    assert count(discriminator.weights) == 533_505
    assert count(generator.weights) == 1_493_520
    assert count(generator.trainable_weights) == 1_489_936
    assert count(generator.non_trainable_weights) == 3_584


@pytest.mark.parametrize("conditional", [False, True], ids=["unconditional", "conditional"])
@pytest.mark.parametrize(
    ("model", "size", "channels"),
    [
        ("mlp", 8, 3),
        ("mlp", 28, 1),
        ("dcgan", 16, 1),
        ("dcgan", 28, 1),
        ("dcgan", 33, 3),
        ("dcgan", 64, 3),
        ("dcgan", 128, 3),
    ],
)
def test_shapes_and_ranges(model, size, channels, conditional):
    config = Config(model=model, conditional=conditional, latent_dim=5)
    data = spec(size, channels, 3)
    z = 3 * np.random.default_rng(0).standard_normal((2, 5), np.float32)
    labels = np.array([0, 2])
    images = np.asarray(networks.build_generator(config, data)([z, labels] if conditional else z))
    assert images.shape == (2, size, size, channels)
    assert images.dtype == "float32"
    assert np.abs(images).max() <= 1
    logits = networks.build_discriminator(config, data)([images, labels] if conditional else images)
    assert logits.shape == (2,)


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_labels_decide_the_output(model):
    config = Config(model=model, conditional=True)
    data = spec(16, 1, 4)
    z = np.ones((4, 100), np.float32)
    labels = np.arange(4)
    images = np.asarray(networks.build_generator(config, data)([z, labels]))
    same = np.repeat(images[:1], 4, axis=0)
    logits = np.asarray(networks.build_discriminator(config, data)([same, labels]))
    for i in range(4):
        for j in range(i):
            assert not np.allclose(images[i], images[j])
            assert logits[i] != logits[j]


def test_label_planes_hold_the_one_hot_vector_at_every_pixel():
    inputs = keras.Input([3])
    planes = keras.Model(inputs, networks.conditioning.label_planes(inputs, 2, 4))
    one_hot = np.eye(3, dtype=np.float32)
    expected = np.broadcast_to(one_hot[:, None, None, :], (3, 2, 4, 3))
    np.testing.assert_array_equal(np.asarray(planes(one_hot)), expected)


def test_discriminators_treat_samples_independently():
    # Gradient penalties per sample rely on it.
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (3, 16, 16, 1)).astype(np.float32)
    for model in ("mlp", "dcgan"):
        discriminator = networks.build_discriminator(Config(model=model), spec(16))
        alone = np.asarray(discriminator(images[:1], training=True))
        together = np.asarray(discriminator(images, training=True))
        np.testing.assert_allclose(alone[0], together[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "data", "named"),
    [
        (Config(conditional=True), spec(classes=0), "--conditional"),
        (Config(), DataSpec("wide", "", (16, 32, 3), (), 9), "--image_size"),
        (Config(), spec(8), "--model=dcgan"),
        (Config(), spec(129), "--model=dcgan"),
    ],
)
def test_refuses_impossible_shapes(config, data, named):
    for build in (networks.build_generator, networks.build_discriminator):
        with pytest.raises(MirageError, match=named):
            build(config, data)
