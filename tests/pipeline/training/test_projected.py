"""A discriminator of another architecture, and the projected one above all: trained, continued, on several replicas."""

import dataclasses
import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import Experiment
from pipeline.base.errors import MirageError
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import dcgan, mlp, pretrained_maps
from pipeline.runs.checkpoint import load_network
from pipeline.training.configured import networks_of, trainee_of
from tests.pipeline.training.test_step import assert_same_trajectory, make, weights

PROJECTED = {"discriminator": "projected", "discriminator_args": "width=2,side=16"}
CONFIG = Config(**PROJECTED, model="mlp", latent_dim=4, objective="nsgan", conditional=True, batch_size=8)
DATA = DataSpec("shapes", "", (16, 16, 3), ("a", "b", "c"), 21)
IMAGES = np.random.default_rng(0).integers(0, 256, (21, 16, 16, 3), dtype=np.uint8)


def run(config, replicas=1, trainee=None):
    strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
    trainee, train_step = make(config, strategy, data=DATA, images=IMAGES, trainee=trainee)
    start = weights(trainee)
    return start, ([train_step(3)], weights(trainee)), trainee, train_step


class Few:
    """In the place of EfficientNet-Lite0, whose two hundred operations take seconds to trace: constants as its are."""

    def __init__(self, tensors):
        rng, planes = np.random.default_rng(0), (3, 4, 6, 8, 10)
        self.kernels = [
            tf.constant(rng.normal(0, 0.5, (3, 3, one, more)), tf.float32) for one, more in itertools.pairwise(planes)
        ]

    def maps(self, x):
        found = []
        for kernel in self.kernels:
            x = tf.nn.softplus(tf.nn.conv2d(x, tf.cast(kernel, x.dtype), 2 if found else 4, "SAME"))
            found.append(x)
        return found


def few(patch):
    """Smaller, and without kinks: rounding that moves a unit across one changes its gradient for good."""
    patch.setattr(pretrained_maps, "Lite0", Few)
    patch.setattr(keras.layers, "LeakyReLU", lambda negative_slope, **more: keras.layers.Activation("softplus", **more))


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    few(monkeypatch)


@pytest.fixture(scope="module")
def trained():
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        return run(CONFIG)


def test_two_replicas_follow_the_trajectory_of_one(trained):
    start, one, *_ = trained
    _, two, trainee, _ = run(CONFIG, 2)
    assert_same_trajectory(two, one, start)
    for variable in trainee.networks["discriminator"].variables:
        copies = [each.numpy() for each in variable.value.values]
        np.testing.assert_array_equal(*copies, err_msg=variable.path)


def test_a_continued_training_is_the_uninterrupted_one_to_the_last_bit(trained):
    _, _, trainee, train_step = trained
    other = trainee_of(CONFIG, DATA)
    # As a checkpoint brings it: what isn't in it, as what others have trained, is built again.
    for name, variable in trainee.state().items():
        other.state()[name].assign(variable)
    _, again = make(CONFIG, make_strategy("one_device"), data=DATA, images=IMAGES, trainee=other)
    np.testing.assert_array_equal(train_step(2), again(2))
    for name, value in weights(trainee).items():
        np.testing.assert_array_equal(weights(other)[name], value, err_msg=name)
    assert sum(np.prod(each.shape) for each in other.networks["discriminator"].variables) < 100_000
    changed = dataclasses.replace(CONFIG, discriminator="mlp", discriminator_args="")
    assert [name for name, _, _ in changed.changes_from(CONFIG)] == ["discriminator", "discriminator_args"]


@pytest.mark.parametrize("precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"])
def test_penalties_in_mixed_precision(precision):
    config = dataclasses.replace(CONFIG, objective="hinge", r1=1.0, precision=precision)
    _, (figures, _), trainee, _ = run(config)
    assert np.isfinite(figures).all()
    assert trainee.networks["discriminator"].get_layer("pretrained").compute_dtype == precision.removeprefix("mixed_")


def test_discriminators_of_other_pairs_judge_and_are_resumed_and_passed(config, tmp_path):
    flags = {**dataclasses.asdict(config), "virtual_devices": 1, "steps": 1}
    named = {"discriminator": "dcgan", "discriminator_args": "width=3"}
    passed = {"discriminator": dcgan.DCGAN(width=3), "run_dir": str(tmp_path / "passed")}
    first = Experiment(**{**flags, **named}).train()
    second = Experiment(**{**flags, **passed}).train()
    assert second.config.discriminator == "dcgan"
    assert second.config.discriminator_args == "width=3"
    one, other = (load_network(Path(each.run_dir), "discriminator") for each in (first.config, second.config))
    for a, b in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    expected = networks_of(Config(model_args="width=3", conditional=True), DataSpec("", "", (16, 16, 1), ("a", "b"), 9))
    assert [v.shape for v in one.variables] == [v.shape for v in expected["discriminator"].variables]
    own = networks_of(Config(model="mlp", latent_dim=4, conditional=True), DataSpec("", "", (16, 16, 1), ("a", "b"), 9))
    generator = load_network(Path(first.config.run_dir), "generator")
    assert [v.shape for v in generator.variables] == [v.shape for v in own["generator"].variables]


def test_flags_of_one_network_alone_are_those_of_its_architecture():
    # The generator's architecture has no spectral norm for its own discriminator, which isn't built.
    Config(model="resnet", discriminator="dcgan", spectral_norm=True).validate()
    with pytest.raises(MirageError, match="--spectral_norm does not go with --discriminator=resnet"):
        Config(discriminator="resnet", spectral_norm=True).validate()
    with pytest.raises(MirageError, match=r"^--image_size=8 .* which --discriminator=dcgan supports"):
        Config(model="mlp", discriminator="dcgan", image_size=8).validate()


class NoDiscriminator:
    build_generator = mlp.MLP.build_generator


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"discriminator": "vgg"}, "--discriminator=vgg is not known; .* or"),
        ({"discriminator": "json:Gone"}, "--discriminator=json:Gone: json has no Gone"),
        ({"discriminator_args": "width=3"}, "--discriminator_args=width=3 needs --discriminator"),
        ({"discriminator": "dcgan", "objective": "vae"}, "--discriminator=dcgan does not go with --objective=vae"),
        (
            {"discriminator": "tests.pipeline.training.test_projected:NoDiscriminator"},
            "NoDiscriminator has neither build_discriminator.* nor build_features",
        ),
    ],
)
def test_what_is_no_discriminator_is_refused(flags, sentence):
    with pytest.raises(MirageError, match=sentence):
        Config(**{"model": "mlp", **flags}).validate()


def test_who_names_classes_needs_an_objective_that_does():
    with pytest.raises(MirageError, match=r"^--discriminator=noisy_mlp names classes, which this objective does not"):
        trainee_of(Config(model="mlp", discriminator="noisy_mlp", objective="hinge"), DATA)


def test_semi_supervised_training_takes_no_discriminator_without_its_heads():
    config = Config(model="mlp", discriminator="dcgan", objective="sgan", labelled=6)
    with pytest.raises(
        MirageError, match=r"--discriminator=dcgan has no build_discriminator of its own, .* that of noisy_mlp"
    ):
        trainee_of(config, DATA)
