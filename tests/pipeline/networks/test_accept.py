"""What users' models may be, and what is refused of them before anything is trained."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.base.needs import Needs
from pipeline.config import Config
from pipeline.networks import accept
from pipeline.networks.build import build_average, build_networks
from pipeline.networks.models import function_of, has_convolutions, noise_size, parts_of

SHAPE = (4, 4, 1)
CONFIG = Config(latent_dim=6)
CONDITIONAL = Config(latent_dim=6, conditional=True)
Z = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
LABELS = np.array([0, 2, 1], np.int32)


def dense(*inputs, units=16, activation=None):
    flat = [layers.Flatten()(each) for each in inputs]
    return layers.Dense(units, activation=activation)(layers.Concatenate()(flat) if len(flat) > 1 else flat[0])


def generator(*more, activation="tanh", units=16):
    z = keras.Input([6])
    x = dense(layers.Dense(units)(z), *more, activation=activation)
    return keras.Model([z, *more] if more else z, layers.Reshape(SHAPE)(x))


def discriminator(*more, activation=None):
    image = keras.Input(SHAPE)
    return keras.Model([image, *more] if more else image, dense(image, *more, units=1, activation=activation))


def build(make_generator=generator, make_discriminator=discriminator, config=CONFIG, said=None, **needs):
    architecture = types.SimpleNamespace(
        build_generator=lambda latent_dim, image_shape, num_classes: make_generator(),
        build_discriminator=lambda image_shape, num_classes: make_discriminator(),
    )
    say = (said if said is not None else []).append
    models = build_networks(architecture, Needs(**needs), config, SHAPE, 3, say)
    return models["generator"], models["discriminator"]


def test_a_model_that_is_as_expected_stays_as_it_is():
    own = generator(), discriminator(activation=None)
    made = build(lambda: own[0])
    assert made[0] is own[0]
    assert made[1](np.zeros((3, *SHAPE))).shape == (3,)  # of [N, 1]


class Painter(keras.Model):
    """As tutorials have them: no get_config, layers made in the constructor."""

    def __init__(self, units=16):
        super().__init__()
        self.paint = layers.Dense(units, activation="tanh")

    def call(self, z, training=False):
        return keras.ops.reshape(self.paint(z), [-1, *SHAPE])


class Labelled(keras.Model):
    def __init__(self):
        super().__init__()
        self.paint, self.name_of = layers.Dense(16, activation="tanh"), layers.Embedding(3, 2)

    def call(self, label, z):
        return keras.ops.reshape(self.paint(keras.ops.concatenate([self.name_of(label), z], -1)), [-1, *SHAPE])


@pytest.mark.parametrize(
    "make",
    [
        Painter,
        lambda: keras.Sequential([layers.Dense(16, activation="tanh"), layers.Reshape(SHAPE)]),
        lambda: keras.Sequential([keras.Input([6]), layers.Dense(16, activation="tanh"), layers.Reshape(SHAPE)]),
        generator,
    ],
    ids=["subclassed", "unbuilt", "sequential", "functional"],
)
def test_any_kind_of_model_is_called_alike(make):
    model, _ = build(make)
    first, second = build(make), function_of(model, training=False)(Z, LABELS)
    assert second.shape == (3, *SHAPE)
    assert len(model.trainable_variables) in (2, 4)
    assert {id(v) for v in first[0].variables}.isdisjoint(id(v) for v in model.variables)


def named_label(dtype, shape):
    return keras.Input(shape, dtype=dtype, name="label")


def label_first():
    z, label = keras.Input([6], name="z"), named_label("float32", [1])
    return keras.Model([label, z], layers.Reshape(SHAPE)(dense(label, z, activation="tanh")))


def by_name():
    z, label = keras.Input([6], name="z"), keras.Input([3], name="which")
    return keras.Model({"z": z, "which": label}, layers.Reshape(SHAPE)(dense(label, z, activation="tanh")))


@pytest.mark.parametrize(
    "make",
    [
        label_first,
        by_name,
        Labelled,
        lambda: generator(keras.Input([3])),
        lambda: generator(keras.Input([1], dtype="int32")),
    ],
    ids=["label first", "by name", "subclassed", "one-hot", "whole numbers"],
)
def test_labels_come_in_the_order_and_form_that_a_model_takes(make):
    model, _ = build(make, lambda: discriminator(keras.Input([1])), CONDITIONAL)
    assert [(each.name, each.dtype) for each in model.inputs] == [("z", "float32"), ("label", "int32")]
    same = np.repeat(Z[:1], 3, axis=0)
    images = function_of(model, training=False)(same, LABELS).numpy()
    assert not np.allclose(images[0], images[1])
    again = function_of(model, training=False)(same, LABELS[::-1].copy()).numpy()
    np.testing.assert_allclose(images, again[::-1], atol=1e-6)


def test_a_discriminators_inputs_and_heads_are_known_by_name():
    def make():
        label, image = keras.Input([], dtype="int32", name="label"), keras.Input(SHAPE, name="image")
        x = dense(image, keras.ops.one_hot(label, 3), units=5)
        heads = {"features": x, "codes": layers.Dense(2)(x), "logits": layers.Dense(1)(x)}
        return keras.Model([label, image], heads)

    model = build(lambda: generator(keras.Input([3])), make, CONDITIONAL, heads={"codes": 2})[1]
    outputs = function_of(model, training=True)(np.zeros((3, *SHAPE), np.float32), LABELS)
    assert {name: tuple(each.shape) for name, each in outputs.items()} == {"logits": (3,), "codes": (3, 2)}


def test_noise_is_given_where_the_objective_has_it():
    noise = keras.Input([9], name="noise")
    model = build(make_discriminator=lambda: discriminator(noise), noise=True)[1]
    assert noise_size(model) == 9
    with pytest.raises(MirageError, match=r"takes .* \[N, 4, 4, 1\], noise \[N, 9\]; expected image"):
        build(make_discriminator=lambda: discriminator(keras.Input([9], name="noise")))


@pytest.mark.parametrize(
    "end",
    [
        lambda x: layers.Dense(1, activation="sigmoid")(x),
        lambda x: layers.Activation("sigmoid")(layers.Dense(1)(x)),
        lambda x: layers.Reshape([1])(keras.Sequential([layers.Dense(1, activation="sigmoid")])(x)),
    ],
    ids=["layer", "activation", "nested"],
)
def test_a_discriminators_last_sigmoid_is_taken_off(end):
    image = keras.Input(SHAPE)
    said, models = [], []

    def make():
        models.append(keras.Model(image, end(layers.Flatten()(image))))
        before.append(models[-1](images).numpy())
        return models[-1]

    images = np.random.default_rng(1).standard_normal((3, *SHAPE)).astype(np.float32)
    before = []
    model = build(make_discriminator=make, said=said)[1]
    logits = function_of(model, training=False)(images).numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), before[0][:, 0], rtol=1e-5)
    assert said == ["note: the discriminator's last sigmoid is taken off, because objectives take logits."]


def test_a_generators_images_are_brought_to_the_range_of_ours():
    own, said = generator(activation="sigmoid"), []
    model, _ = build(lambda: own, said=said)
    expected = 2 * own(Z).numpy() - 1
    np.testing.assert_allclose(model(Z), expected, atol=1e-6)
    assert expected.min() < 0
    assert len(said) == 1
    assert "from [0, 1] to [-1, 1]" in said[0]
    build(lambda: generator(activation=None), said=said)
    assert "nothing holds the generator's images in [-1, 1]" in said[1]


def compiled():
    model = discriminator()
    model.compile("adam", "mse")
    return model


def test_a_compiled_model_is_taken_and_said_so():
    said = []
    build(make_discriminator=compiled, said=said)
    assert "was compiled with is not used" in said[0]


def frozen():
    model = discriminator()
    model.trainable = False
    return model


def of_bytes():
    z = keras.Input([6])
    return keras.Model(z, keras.ops.cast(layers.Reshape(SHAPE)(layers.Dense(16)(z)), "uint8"))


def fails():
    raise ZeroDivisionError("mine")


@pytest.mark.parametrize(
    ("pair", "config", "needs", "expected"),
    [
        ({"make_generator": lambda: layers.Dense(3)}, CONFIG, {}, "is no model; expected a keras.Model"),
        ({"make_generator": fails}, CONFIG, {}, r"failed: ZeroDivisionError: mine \(.*test_accept.py, line"),
        ({}, Config(latent_dim=7), {}, r"\[N, 6\]; expected z \[N, 7\].*--latent_dim=7"),
        ({}, CONDITIONAL, {}, r"expected z \[N, 6\] and label \[N\].*--noconditional"),
        ({"make_generator": label_first}, CONFIG, {}, "a label comes with --conditional"),
        ({"make_generator": of_bytes}, CONFIG, {}, r"returns uint8; expected images float32 \[N, 4, 4, 1\]"),
        (
            {
                "make_generator": lambda: keras.Sequential(
                    [keras.Input([6]), layers.Dense(9), layers.Reshape([3, 3, 1])]
                )
            },
            CONFIG,
            {},
            r"returns \[N, 3, 3, 1\]; expected images float32 \[N, 4, 4, 1\]",
        ),
        (
            {"make_generator": lambda: keras.Sequential([keras.Input([6], batch_size=2), layers.Dense(16)])},
            CONFIG,
            {},
            "takes batches of 2 alone; leave batch_size out",
        ),
        (
            {"make_discriminator": lambda: keras.Sequential([keras.Input(SHAPE), layers.Conv2D(1, 3)])},
            CONFIG,
            {},
            r"returns \[N, 2, 2, 1\]; expected one logit for each image",
        ),
        ({}, CONFIG, {"heads": {"codes": 2}}, r"needs codes; return a dictionary of logits \[N\], codes \[N, 2\]"),
        ({"make_discriminator": frozen}, CONFIG, {}, "has no weights to train"),
        (
            {
                "make_discriminator": lambda: keras.Sequential(
                    [layers.Flatten(), layers.Dense(1, dtype="mixed_float16")]
                )
            },
            CONFIG,
            {},
            "computes in mixed_float16; .*--precision",
        ),
        (
            {
                "make_discriminator": lambda: (
                    lambda image: keras.Model(image, keras.ops.sigmoid(layers.Dense(1)(layers.Flatten()(image))))
                )(keras.Input(SHAPE))
            },
            CONFIG,
            {},
            "ends in a sigmoid, and objectives take logits",
        ),
        (
            {"make_discriminator": lambda: keras.Sequential([discriminator(), layers.Reshape([1])])},
            Config(latent_dim=6, spectral_norm=True),
            {},
            "--spectral_norm can't look into the discriminator",
        ),
    ],
)
def test_what_can_not_be_trained_is_refused_in_one_sentence(pair, config, needs, expected):
    with pytest.raises(MirageError, match=expected) as error:
        build(config=config, **pair, **needs)
    assert "\n" not in str(error.value)


def test_networks_that_share_weights_are_refused():
    shared = layers.Dense(16)

    def first():
        return keras.Sequential([keras.Input([6]), shared, layers.Reshape(SHAPE)])

    def second():
        return keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(6), shared, layers.Dense(1)])

    with pytest.raises(MirageError, match=r"generator and discriminator share the weight .*kernel"):
        build(first, second)


def test_the_average_generator_has_weights_of_its_own():
    once = generator()
    given = (Needs(), CONFIG, SHAPE, 0)
    every = types.SimpleNamespace(build_generator=lambda *shape: generator())
    average = build_average(every, *given, of=once)
    assert [v.shape for v in average.variables] == [v.shape for v in once.variables]
    same = types.SimpleNamespace(build_generator=lambda *shape: once)
    with pytest.raises(MirageError, match="generator and second generator share the weight"):
        build_average(same, *given, of=once)
    wider = types.SimpleNamespace(build_generator=lambda *shape: generator(units=9))
    with pytest.raises(MirageError, match="makes other weights when it is called again"):
        build_average(wider, *given, of=once)


def test_several_judgements_of_an_image_are_taken_and_told():
    said = []
    made = build(make_discriminator=lambda: keras.Sequential([layers.Flatten(), layers.Dense(3)]), said=said)
    assert made[1](np.zeros((2, *SHAPE))).shape == (2, 3)
    assert said == ["note: the discriminator judges each image 3 times; losses and figures are means over these."]
    with pytest.raises(MirageError, match=r"ends in a softmax, .*end it in Dense\(1\)"):
        build(make_discriminator=lambda: keras.Sequential([layers.Flatten(), layers.Dense(2, activation="softmax")]))


def test_builders_may_ask_for_more_by_name():
    asked = {}

    class Mine:
        def build_generator(self, latent_dim, image_shape, num_classes):
            return generator()

        def build_discriminator(self, image_shape, num_classes, *, heads, latent_dim):
            asked.update(heads=heads, latent_dim=latent_dim)
            image = keras.Input(image_shape)
            x = layers.Flatten()(image)
            return keras.Model(image, {"logits": layers.Dense(1)(x), "codes": layers.Dense(heads["codes"])(x)})

    build_networks(Mine, Needs(heads={"codes": 4}), CONFIG, SHAPE, 0)
    assert asked == {"heads": {"codes": 4}, "latent_dim": 6}


class Short:
    def build_generator(self, latent_dim):
        return generator()


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (Short(), r"takes \(latent_dim\); expected build_generator\(latent_dim, image_shape, num_classes\)"),
        (types.ModuleType("mine"), "the networks mine have no build_generator"),
        (types.SimpleNamespace(build_generator=lambda *shape: generator()), "no build_discriminator or build_features"),
    ],
)
def test_what_is_no_architecture_is_refused(architecture, expected):
    with pytest.raises(MirageError, match=expected):
        build_networks(architecture, Needs(), CONFIG, SHAPE, 0)


def test_an_architecture_of_features_gets_mirages_heads():
    class Mine:
        def build_generator(self, latent_dim, image_shape, num_classes):
            return generator(keras.Input([num_classes]))

        def build_features(self, image_shape, num_classes):
            return keras.Sequential([layers.Conv2D(2, 3), layers.ReLU()])

    config = Config(latent_dim=6, conditional=True, conditioning="projection,acgan")
    model = build_networks(Mine(), Needs(heads={"classes": 3}), config, SHAPE, 3)["discriminator"]
    outputs = model([np.zeros((2, *SHAPE), np.float32), np.array([0, 1])])
    assert {name: tuple(each.shape) for name, each in outputs.items()} == {"logits": (2,), "classes": (2, 3)}
    assert has_convolutions([model])
    assert not has_convolutions([generator()])


def test_an_encoder_of_ones_own_is_standardised():
    class Mine:
        def build_generator(self, latent_dim, image_shape, num_classes):
            return generator()

        def build_encoder(self, image_shape, num_classes, code):
            return keras.Sequential([keras.Input(image_shape), layers.Flatten(), layers.Dense(code)])

    needs = Needs(("generator", "encoder"), code=6, standardised=True)
    model = build_networks(Mine(), needs, CONFIG, SHAPE, 0)["encoder"]
    images = np.random.default_rng(0).standard_normal((64, *SHAPE)).astype(np.float32)
    codes = np.asarray(model(tf.constant(images), training=True))
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-5)


def of_parts(name="mapping"):
    """A generator of two models."""
    z, styles = keras.Input([6], name="z"), keras.Input([5, 3])
    w = layers.Reshape([5, 3])(layers.Dense(15)(z))
    mapping = keras.Model(z, w, name=name)
    image = layers.Reshape(SHAPE)(layers.Dense(16, activation="tanh")(layers.Flatten()(styles)))
    synthesis = keras.Model(styles, image, name="synthesis")
    given = keras.Input([6], name="z")
    return keras.Model(given, synthesis(mapping(given)))


def test_parts_of_a_generator_are_found():
    parts = ("mapping", "synthesis")
    model = of_parts()
    accept.check_parts(model, parts)
    assert {*parts_of(model)} == {*parts}
    accept.check_parts(of_parts(name="other"), ())
    # What stands behind them would be left out where an objective calls them itself.
    made, z = of_parts(), keras.Input([6])
    with pytest.raises(MirageError, match="themselves, without what stands around them"):
        accept.check_parts(keras.Model(z, layers.Rescaling(2, -1)(made(z))), parts)
    with pytest.raises(MirageError, match="consists of no models mapping and synthesis, which --style_mixing"):
        accept.check_parts(of_parts(name="other"), parts)
    flat = keras.Sequential([keras.Input([6]), layers.Dense(16)], name="mapping")
    other = keras.Sequential([keras.Input([16]), layers.Dense(16)], name="synthesis")
    z = keras.Input([6])
    with pytest.raises(MirageError, match=r"mapping returns \[None, 16\] and its synthesis takes \[None, 16\]"):
        accept.check_parts(keras.Model(z, other(flat(z))), parts)
