import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.base.needs import Needs
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import conditioning, spectral_norm
from pipeline.networks.build import build_networks
from pipeline.networks.models import noise_size
from pipeline.training.configured import networks_of


def spec(size=28, channels=1, classes=10):
    return DataSpec("shapes", "", (size, size, channels), tuple(map(str, range(classes))), 100)


def build_generator(config, data):
    return networks_of(config, data)["generator"]


def build_discriminator(config, data):
    return networks_of(config, data)["discriminator"]


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_mlp_has_the_classic_parameter_counts():
    config = Config(model="mlp")
    discriminator = build_discriminator(config, spec())
    generator = build_generator(config, spec())
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
        ("resnet", 16, 1),
        ("resnet", 28, 1),
        ("resnet", 33, 3),
        ("resnet", 64, 3),
    ],
)
def test_shapes_and_ranges(model, size, channels, conditional):
    config = Config(model=model, conditional=conditional, latent_dim=5)
    data = spec(size, channels, 3)
    z = 3 * np.random.default_rng(0).standard_normal((2, 5), np.float32)
    labels = np.array([0, 2])
    images = np.asarray(build_generator(config, data)([z, labels] if conditional else z))
    assert images.shape == (2, size, size, channels)
    assert images.dtype == "float32"
    assert np.abs(images).max() <= 1
    logits = build_discriminator(config, data)([images, labels] if conditional else images)
    assert logits.shape == (2,)


# (height, width): the smallest picture; a side that a doubling would exceed; odd ones; the widest.
BASES = {(96, 64): (6, 4), (24, 16): (6, 4), (28, 20): (7, 5), (17, 31): (5, 8), (16, 128): (4, 32), (45, 33): (6, 5)}


@pytest.mark.parametrize("model", ["mlp", "dcgan", "resnet"])
@pytest.mark.parametrize("size", [*BASES, (20, 28), (128, 96)], ids=lambda size: "x".join(map(str, size)))
def test_any_aspect(model, size):
    config = Config(
        model=model, model_args="" if model == "mlp" else "width=4", conditional=True, latent_dim=5,
        conditioning="concat,projection,acgan", spectral_norm=model != "resnet",
    )  # fmt: skip
    data = DataSpec("shapes", "", (*size, 3), ("a", "b", "c"), 100)
    networks = networks_of(config, data)
    z, labels = np.random.default_rng(0).standard_normal((2, 5), np.float32), np.array([0, 2])
    images = np.asarray(networks["generator"]([z, labels]))
    assert images.shape == (2, *size, 3)
    assert np.abs(images).max() <= 1
    logits, classes = tf.nest.flatten(networks["discriminator"]([images, labels]))
    assert sorted([logits.shape.rank, classes.shape.rank]) == [1, 2]
    if model != "mlp" and size in BASES:
        reshaped = next(each for each in networks["generator"].layers if isinstance(each, keras.layers.Reshape))
        assert reshaped.target_shape[:2] == BASES[size]


@pytest.mark.parametrize("objective", ["vae", "autoencoder"])
@pytest.mark.parametrize("model", ["mlp", "dcgan", "resnet"])
def test_encoders_of_any_aspect(model, objective):
    config = Config(model=model, model_args="width=4", objective=objective, latent_dim=5)
    networks = networks_of(config, DataSpec("shapes", "", (24, 17, 3), (), 100))
    code = networks["encoder"](np.zeros((2, 24, 17, 3), np.float32))
    assert code.shape == (2, 10 if objective == "vae" else 5)
    assert networks["generator"](np.zeros((2, 5), np.float32)).shape == (2, 24, 17, 3)


def test_a_turned_picture_has_the_same_number_of_weights():
    for model in ("dcgan", "resnet"):
        tall, wide = (
            networks_of(Config(model=model), DataSpec("shapes", "", (*size, 1), (), 9)) for size in [(96, 64), (64, 96)]
        )
        for name in tall:
            assert tall[name].count_params() == wide[name].count_params()


@pytest.mark.parametrize(
    ("size", "nearest"),
    [("200x150", "128x96"), ("8x12", "16x24"), (256, 128), (8, 16), ("300x10", "128x16"), ("1000x500", "128x64")],
)
@pytest.mark.parametrize("model", ["dcgan", "resnet"])
def test_sizes_that_cannot_be_name_the_nearest_that_can(size, nearest, model):
    config = Config(model=model, image_size=size)
    with pytest.raises(
        MirageError, match=f"^--image_size={size} is outside 16 to 128, .* choose {nearest}, or --model="
    ):
        config.validate()
    Config(model=model, image_size=nearest).validate()
    Config(model="mlp", image_size=size).validate()


@pytest.mark.parametrize("model", ["mlp", "dcgan", "resnet"])
def test_labels_decide_the_output(model):
    config = Config(model=model, conditional=True)
    data = spec(16, 1, 4)
    z = np.ones((4, 100), np.float32)
    labels = np.arange(4)
    images = np.asarray(build_generator(config, data)([z, labels]))
    same = np.repeat(images[:1], 4, axis=0)
    logits = np.asarray(build_discriminator(config, data)([same, labels]))
    for i in range(4):
        for j in range(i):
            assert not np.allclose(images[i], images[j])
            assert logits[i] != logits[j]


def test_label_planes_hold_the_one_hot_vector_at_every_pixel():
    inputs = keras.Input([3])
    planes = keras.Model(inputs, conditioning.label_planes(inputs, 2, 4))
    one_hot = np.eye(3, dtype=np.float32)
    expected = np.broadcast_to(one_hot[:, None, None, :], (3, 2, 4, 3))
    np.testing.assert_array_equal(np.asarray(planes(one_hot)), expected)


def test_discriminators_treat_samples_independently():
    # Gradient penalties per sample rely on it.
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (3, 16, 16, 1)).astype(np.float32)
    for model in ("mlp", "dcgan", "resnet"):
        discriminator = build_discriminator(Config(model=model), spec(16))
        alone = np.asarray(discriminator(images[:1], training=True))
        together = np.asarray(discriminator(images, training=True))
        np.testing.assert_allclose(alone[0], together[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "data", "named"),
    [
        (Config(conditional=True), spec(classes=0), "--conditional"),
        (Config(), DataSpec("flat", "", (8, 32, 3), (), 9), "have 8x32; set --image_size=16x64,"),
        (Config(), spec(8), "--model=dcgan"),
        (Config(), spec(129), "--model=dcgan"),
        (Config(model="resnet"), spec(8), "--model=resnet"),
    ],
)
def test_refuses_impossible_shapes(config, data, named):
    for network in ("generator", "discriminator"):
        needs = Needs(networks=(network,))
        with pytest.raises(MirageError, match=named):
            build_networks(config.architecture(), needs, config, data.image_shape, len(data.class_names))


@pytest.mark.parametrize("model", ["mlp", "dcgan", "resnet"])
@pytest.mark.parametrize("conditional", [False, True])
def test_encoders_return_codes(model, conditional):
    data, images, labels = spec(16, 3, 4), np.zeros((2, 16, 16, 3), np.float32), np.array([0, 3])
    for objective, width in (("vae", 10), ("autoencoder", 5)):
        config = Config(model=model, conditional=conditional, latent_dim=5, objective=objective)
        built = networks_of(config, data)
        assert set(built) == {"generator", "encoder"}
        assert built["encoder"]([images, labels] if conditional else images).shape == (2, width)


def test_an_autoencoders_codes_are_standardised_over_the_batch():
    config = Config(model="mlp", latent_dim=4, objective="autoencoder")
    images = np.random.default_rng(0).uniform(-1, 1, (64, 16, 16, 1)).astype(np.float32)
    codes = np.asarray(networks_of(config, spec(16))["encoder"](tf.constant(images), training=True))
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(codes.std(axis=0), 1, atol=0.05)  # short of 1 by batch norm's epsilon


def test_projection_adds_features_times_the_labels_embedding():
    config = Config(model="mlp", conditional=True, conditioning="projection")
    data = spec(16, 1, 3)
    model = build_discriminator(config, data)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 1)).astype(np.float32)
    image = np.repeat(images[:1], 3, axis=0)
    before = np.asarray(model([image, np.arange(3)]))
    assert np.ptp(before) == 0  # embeddings are zero at first
    embeddings = next(v for v in model.variables if v.name == "embeddings")
    values = np.random.default_rng(1).standard_normal(embeddings.shape).astype(np.float32)
    embeddings.assign(values)
    features = keras.Model(
        model.inputs, next(t for t in reversed(model.layers) if t.name.startswith("leaky_re_lu")).output
    )
    expected = before + np.asarray(features([image, np.arange(3)]))[0] @ values.T
    np.testing.assert_allclose(model([image, np.arange(3)]), expected, rtol=1e-4, atol=1e-5)


def test_an_acgan_discriminator_is_not_told_the_label_and_names_it():
    model = build_discriminator(Config(model="mlp", conditional=True, conditioning="acgan"), spec(16, 1, 3))
    assert [each.name for each in model.inputs] == ["image"]
    output = model(np.zeros((2, 16, 16, 1), np.float32))
    assert output["logits"].shape == (2,)
    assert output["classes"].shape == (2, 3)


def test_residual_blocks_start_as_the_identity_and_keep_the_scale_of_images():
    keras.utils.set_random_seed(0)
    discriminator = build_discriminator(Config(model="resnet"), spec(32, 3))
    images = np.random.default_rng(0).standard_normal((64, 32, 32, 3)).astype(np.float32)
    adds = [layer for layer in discriminator.layers if isinstance(layer, keras.layers.Add)]
    assert len(adds) == 8  # two at each of 32, 16, 8 and 4 pixels
    for add in adds:
        before, branch = keras.Model(discriminator.input, add.input)(images)
        np.testing.assert_array_equal(branch, np.zeros_like(branch))
        assert np.std(before) > 0.1
    # Standard deviations gain sqrt(2 / 1.04) for the activation, and lose 8 ** (1/4) for the number of blocks.
    kernel = next(
        layer for layer in discriminator.layers if getattr(layer, "kernel_size", 0) == (3, 3) and layer.filters == 64
    ).kernel
    assert float(np.std(kernel)) * (9 * 64) ** 0.5 == pytest.approx((2 / 1.04) ** 0.5 * 8**-0.25, rel=0.02)


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_spectral_norm_divides_kernels_by_their_largest_singular_value(model):
    keras.utils.set_random_seed(0)
    config = Config(model=model, conditional=True, spectral_norm=True)
    discriminator = build_discriminator(config, spec(16, 1, 3))
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(-1, 1, (5, 16, 16, 1)).astype(np.float32), np.array([0, 1, 2, 0, 1])
    for _ in range(200):  # of the power iteration
        discriminator([images, labels], training=True)
    logits = discriminator([images, labels])
    plain = build_discriminator(Config(model=model, conditional=True), spec(16, 1, 3))
    arrays = [np.asarray(weight) for weight in discriminator.trainable_variables]
    assert [each.shape for each in arrays] == [weight.shape for weight in plain.trainable_variables]
    # NumPy's singular values instead of the power iteration's.
    for weight, array in zip(plain.trainable_variables, arrays, strict=True):
        norm = np.linalg.norm(array.reshape(-1, array.shape[-1]), 2) if array.ndim > 1 else 1.0
        weight.assign(array / norm)
    np.testing.assert_allclose(logits, plain([images, labels]), rtol=1e-3, atol=1e-4)


def test_a_projection_goes_with_the_spectral_norm():
    config = Config(model="mlp", conditional=True, conditioning="projection", spectral_norm=True)
    discriminator = build_discriminator(config, spec(8))
    assert discriminator([np.zeros((2, 8, 8, 1)), np.array([0, 1])]).shape == (2,)


def test_gradients_pass_through_the_spectral_norm():
    """By the paper's equation 12, or that W / sigma does not change with W's scale: the gradient is orthogonal to W."""
    keras.utils.set_random_seed(0)
    layer = spectral_norm.SpectralNormalization(keras.layers.Dense(4, use_bias=False))
    x = tf.constant(np.random.default_rng(0).standard_normal((3, 6)), tf.float32)
    for _ in range(200):
        layer(x, training=True)
    kernel = layer.layer.kernel.value
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(x)))
    gradient = tape.gradient(loss, kernel).numpy()
    assert np.linalg.norm(gradient) > 0.1
    assert np.sum(gradient * kernel.numpy()) == pytest.approx(0, abs=1e-4 * float(np.linalg.norm(gradient)))


def test_the_semi_supervised_discriminator_adds_its_noise_to_pixels_and_layers():
    model = build_discriminator(Config(model="mlp", objective="sgan"), spec(16, 1, 3))
    rng = np.random.default_rng(0)
    image, noise = rng.uniform(-1, 1, (4, 16, 16, 1)), rng.standard_normal((4, 256 + 2250))
    x, rest = image.reshape(4, 256) + 0.3 * noise[:, :256], noise[:, 256:]
    for layer in (each for each in model.layers if isinstance(each, keras.layers.Dense) and each.units != 3):
        x = np.maximum(x @ np.asarray(layer.kernel), 0) + 0.5 * rest[:, : layer.units]
        rest = rest[:, layer.units :]
    assert rest.shape[1] == 0
    outputs = model([np.float32(image), np.float32(noise)])
    np.testing.assert_allclose(outputs["features"], x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["logits"], np.log(np.exp(outputs["classes"]).sum(axis=1)), rtol=1e-4, atol=1e-5)
    assert noise_size(model) == 256 + 2250
    assert noise_size(build_generator(Config(conditional=True), spec(16, 1, 3))) == 0


def test_a_head_guesses_categories_and_codes():
    config = Config(model="mlp", categories=4, codes=2, conditional=True, conditioning="acgan")
    outputs = build_discriminator(config, spec(16, 1, 3))(np.zeros((5, 16, 16, 1), np.float32))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "logits": (5,),
        "classes": (5, 3),
        "codes": (5, 6),
    }


def test_labels_can_enter_in_several_ways_at_once():
    config = Config(model="mlp", conditional=True, conditioning="concat,projection,acgan")
    model = build_discriminator(config, spec(16, 1, 3))
    outputs = model([np.zeros((5, 16, 16, 1), np.float32), np.array([0, 1, 2, 0, 1])])
    assert set(outputs) == {"logits", "classes"}
    assert len(np.unique(outputs["logits"])) == 3  # by concatenation, since embeddings start at zero
