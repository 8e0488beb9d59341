"""Networks that take several numbers in the place of a class."""

import dataclasses
import types

import keras
import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.base.needs import Needs
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import stored
from pipeline.networks.build import build_networks
from pipeline.networks.conditioning import label_input
from pipeline.networks.models import function_of
from pipeline.networks.projection import Projection
from pipeline.training.configured import networks_of, trainee_of
from serving.contract.attributes import Attribute

ATTRIBUTES = (
    Attribute("male", "binary", 0, 1, 0),
    Attribute("age", "number", 16, 80, 40),
    Attribute("income", "number", -20_000, 300_000, 50_000),
)
DATA = DataSpec("faces", "", (16, 16, 3), (), 100, attributes=ATTRIBUTES)
LABELS = np.array([[0, 16, -20_000], [1, 80, 300_000], [0, 48, 140_000]], np.float32)
CODES = np.array([[-1, -1, -1], [1, 1, 1], [-1, 0, 0]], np.float32)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
Z = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32)


def test_codes_go_from_the_least_to_the_greatest():
    label, code = label_input(3, ATTRIBUTES)
    assert (label.name, label.dtype, label.shape) == ("label", "float32", (None, 3))
    np.testing.assert_allclose(keras.Model(label, code)(LABELS), CODES, atol=1e-6)


@pytest.mark.parametrize("conditioning", ["concat", "projection", "concat,projection", "projection,acgan", "acgan"])
@pytest.mark.parametrize("model", ["mlp", "dcgan", "resnet"])
def test_all_networks_take_them(model, conditioning):
    config = Config(model=model, conditional=True, conditioning=conditioning, latent_dim=5)
    networks = networks_of(config, DATA)
    generator, discriminator = networks["generator"], networks["discriminator"]
    assert [(each.name, each.shape) for each in generator.inputs] == [("z", (None, 5)), ("label", (None, 3))]
    assert generator([Z, LABELS]).shape == (3, 16, 16, 3)
    assert not np.allclose(generator([Z, LABELS]), generator([Z, LABELS[::-1]]))
    outputs = function_of(discriminator, training=False)(IMAGES, LABELS)
    if "acgan" in conditioning:
        assert outputs["attributes"].shape == (3, 3)
        outputs = outputs["logits"]
    assert outputs.shape == (3,)
    told = conditioning != "acgan"
    assert [each.name for each in discriminator.inputs] == ["image", *(["label"] if told else [])]
    unlike = function_of(discriminator, training=False)(IMAGES, LABELS[::-1])
    unlike = unlike["logits"] if isinstance(unlike, dict) else unlike
    assert np.allclose(outputs, unlike) == ("concat" not in conditioning)  # what projection adds begins at zero


@pytest.mark.parametrize(
    ("model", "model_args", "conditioning"),
    [
        ("r3gan", "width=16", "projection"),
        ("r3gan", "width=16", "concat,acgan"),
        ("stylegan2", "channel_base=128,channel_max=16,w_dim=8,mapping_layers=2,group=3", "projection"),
    ],
)
def test_networks_of_papers_take_them(model, model_args, conditioning):
    config = Config(model=model, model_args=model_args, conditional=True, conditioning=conditioning, latent_dim=5)
    networks = networks_of(dataclasses.replace(config, objective="nsgan"), DATA)
    generator, discriminator = (function_of(each, training=False) for each in networks.values())
    assert generator(Z, LABELS).shape == (3, 16, 16, 3)
    discriminated = [discriminator(IMAGES, each) for each in (LABELS, LABELS[::-1])]
    assert not np.allclose(generator(Z, LABELS), generator(Z, LABELS[::-1]))
    if "acgan" in conditioning:
        assert discriminated[0]["attributes"].shape == (3, 3)
        discriminated = [each["logits"] for each in discriminated]
    assert discriminated[0].shape == (3,)
    assert not np.allclose(*discriminated)


def test_an_encoder_takes_them():
    config = Config(objective="vae", model="mlp", conditional=True, conditioning="concat", latent_dim=5)
    encoder = networks_of(config, DATA)["encoder"]
    assert encoder([IMAGES, LABELS]).shape == (3, 10)


def test_unconditional_networks_know_nothing_of_them():
    networks = networks_of(Config(model="mlp", latent_dim=5), DATA)
    assert [len(each.inputs) for each in networks.values()] == [1, 1]


def test_projection_is_a_product_with_a_linear_function_of_the_code():
    layer = Projection(3)
    features = np.random.default_rng(2).standard_normal((3, 7)).astype(np.float32)
    assert not np.asarray(layer(features, CODES)).any()
    w = np.random.default_rng(3).standard_normal((3, 7)).astype(np.float32)
    layer.set_weights([w])
    np.testing.assert_allclose(layer(features, CODES), ((CODES @ w) * features).sum(1), rtol=1e-5)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_large_units_survive_half_precision(precision):
    config = Config(model="mlp", conditional=True, latent_dim=5, precision=precision, ema_images=1000)
    trainee = trainee_of(config, DATA)
    exact, rough = (
        function_of(each, training=False)(Z, LABELS) for each in (trainee.ema, trainee.networks["generator"])
    )
    np.testing.assert_allclose(rough, exact, atol=0.03)


def test_networks_are_built_again_from_their_configuration():
    config = Config(model="dcgan", conditional=True, conditioning="projection,acgan", latent_dim=5)
    for name, model in networks_of(config, DATA).items():
        again = stored.build(stored.configuration(model), name)
        again.set_weights(model.get_weights())
        inputs = Z if name == "generator" else IMAGES
        for ours, theirs in zip(*(keras.tree.flatten(each([inputs, LABELS])) for each in (model, again)), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def somebodys(label_shape, dtype="float32", attributes=ATTRIBUTES):
    """Networks of somebody's own, whose generator takes labels of this form."""
    asked = []

    def build_generator(latent_dim, image_shape, num_classes, *, attributes):
        asked.append((num_classes, attributes))
        z, label = keras.Input([latent_dim], name="z"), keras.Input(label_shape, dtype=dtype, name="label")
        flat = keras.layers.Reshape([max(1, *label_shape, 0)])(label)
        x = keras.layers.Concatenate()([z, keras.ops.cast(flat, "float32")])
        x = keras.layers.Dense(int(np.prod(image_shape)), activation="tanh")(x)
        return keras.Model([label, z], keras.layers.Reshape(image_shape)(x))

    def build_features(image_shape, num_classes):
        image = keras.Input(image_shape, name="image")
        return keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(image)))

    networks = types.SimpleNamespace(build_generator=build_generator, build_features=build_features)
    config = Config(conditional=True, conditioning="projection", latent_dim=5)
    models = build_networks(networks, Needs(), config, (16, 16, 3), len(attributes), attributes=attributes)
    return models, asked


def test_somebodys_networks_may_ask_for_them_by_name():
    models, asked = somebodys([3])
    assert asked == [(3, ATTRIBUTES)]
    assert [each.name for each in models["generator"].inputs] == ["z", "label"]
    assert models["generator"]([Z, LABELS]).shape == (3, 16, 16, 3)
    assert models["discriminator"]([IMAGES, LABELS]).shape == (3,)


def test_a_single_one_may_be_a_number_for_each_picture():
    for shape in ([], [1]):
        models, _ = somebodys(shape, attributes=ATTRIBUTES[1:2])
        assert models["generator"]([Z, LABELS[:, 1:2]]).shape == (3, 16, 16, 3)


@pytest.mark.parametrize(("shape", "dtype"), [([3], "int32"), ([2], "float32"), ([], "int32"), ([1], "float32")])
def test_networks_that_take_something_else_are_refused(shape, dtype):
    with pytest.raises(MirageError, match=r"expected z \[N, 5\] and label float32 \[N, 3\], inputs of these names"):
        somebodys(shape, dtype)
