"""Trainings that begin with the weights of others."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline import Run
from pipeline.base.errors import MirageError
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks.models import freeze
from pipeline.runs.checkpoint import read_newest
from pipeline.runs.run_file import read_init
from pipeline.training.alignment import Facts, Weight, in_order
from pipeline.training.configured import networks_of, trainee_of
from pipeline.training.transfer import Source, _matched, take_over
from serving.contract.attributes import Attribute
from tests.experiments import train

SHAPES = DataSpec("shapes", "", (16, 16, 3), ("a", "b", "c"), 21)


def state_of(run_dir) -> dict[str, np.ndarray]:
    return read_newest(Path(run_dir))[1]


def weights_of(arrays, *networks):
    return {name: value for name, value in arrays.items() if name.partition(".")[0] in networks}


def moved(before, after) -> set[str]:
    return {name for name, value in before.items() if not np.array_equal(value, after[name])}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of six steps, on two replicas."""
    folder = tmp_path_factory.mktemp("trained")
    pictures = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), dtype=np.uint8)
    np.savez(folder / "pictures.npz", images=pictures, labels=np.arange(12) % 2)
    config = Config(
        dataset=f"array:{folder / 'pictures.npz'}",
        model="mlp",
        latent_dim=4,
        conditional=True,
        batch_size=4,
        steps=6,
        virtual_devices=2,
        seed=3,
        run_dir=str(folder / "run"),
    )
    assert train(config).step == 6
    return config


@pytest.fixture
def source(trained, tmp_path):
    """A copy of that run, which a test may change."""
    shutil.copytree(trained.run_dir, tmp_path / "source")
    return dataclasses.replace(trained, run_dir=str(tmp_path / "source"))


def test_a_run_gives_all_networks_their_weights(source, config, capsys):
    config = dataclasses.replace(config, init_from=source.run_dir, steps=1, learning_rate=0.0, ema_warmup=0)
    assert train(config).step == 1
    before, after = (weights_of(state_of(run.run_dir), "generator", "discriminator", "ema") for run in (source, config))
    still = {name for name in before if "moving" not in name}
    assert moved(before, after) & still == {name for name in moved(before, after) if name.startswith("ema")} & still
    said = capsys.readouterr().out
    assert "Weights from source, step 6:" in said
    init = read_init(Path(config.run_dir))
    assert (init["name"], init["step"], len(init["sha256"])) == ("source", 6, 64)
    assert set(init["weights"]) == {"generator", "discriminator", "ema"}
    assert {each["new"] + each["resized"] for each in init["weights"].values()} == {0}
    assert int(state_of(config.run_dir)["step"]) == 1


def test_the_average_that_was_taken_goes_on(source, config):
    """By its half life from the first step on, as it has no initial weights to forget."""
    config = dataclasses.replace(config, init_from=source.run_dir, steps=1)
    train(config)
    before, after = (state_of(run.run_dir) for run in (source, config))
    name = max((name for name in before if name.startswith("ema.")), key=lambda name: before[name].size)
    weight = 1 - 0.5 ** (config.plain().batch_size / config.plain().ema_images)
    expected = before[name] + weight * (after[name.replace("ema", "generator")] - before[name])
    np.testing.assert_allclose(after[name], expected, atol=1e-6)


def test_a_continued_run_takes_nothing_again(source, config, tmp_path):
    config = dataclasses.replace(config, init_from=source.run_dir, freeze_d=1, augment="bgc", augment_adaptive=True)
    whole = dataclasses.replace(config, run_dir=str(tmp_path / "whole"))
    assert train(whole).step == 6
    assert train(dataclasses.replace(config, steps=3)).step == 3
    shutil.rmtree(source.run_dir)
    assert train(config).step == 6
    one, other = state_of(whole.run_dir), state_of(config.run_dir)
    assert one.keys() == other.keys()
    assert moved(one, other) == set()
    assert read_init(Path(config.run_dir)) == read_init(Path(whole.run_dir))


@pytest.mark.parametrize("replicas", [1, 2])
def test_frozen_layers_stay_and_the_others_move(source, config, replicas):
    config = dataclasses.replace(config, init_from=source.run_dir, freeze_d=1, virtual_devices=replicas)
    assert train(config).step == 6
    before, after = (weights_of(state_of(run.run_dir), "discriminator") for run in (source, config))
    still, alone = {"discriminator.000.kernel", "discriminator.001.bias"}, {"discriminator.005.bias"}
    assert moved(before, after) - alone == before.keys() - still - alone  # r3gan moves it by rounding, if at all
    slots = [name for name in state_of(config.run_dir) if name.startswith("optimizer.discriminator.0")]
    assert len(slots) == 2 * (len(before) - 2)


def test_a_run_of_one_replica_is_taken_over_alike(source, config, tmp_path):
    runs = {}
    for replicas in (1, 2):
        run_dir = str(tmp_path / f"of{replicas}")
        own = dataclasses.replace(
            config, init_from=source.run_dir, freeze_d=1, run_dir=run_dir, virtual_devices=replicas, steps=2
        )
        train(own)
        runs[replicas] = weights_of(state_of(run_dir), "generator", "discriminator", "ema")
    for name, value in runs[1].items():
        np.testing.assert_allclose(runs[2][name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def untrained(data=SHAPES, width=8, **flags):
    config = Config(model_args=f"width={width}", **{"latent_dim": 6, **flags})
    with make_strategy("one_device").scope():
        return config, trainee_of(config, data)


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory):
    """A tiny run of dcgan on grey pictures of 16 pixels."""
    folder = tmp_path_factory.mktemp("dcgan")
    pictures = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), dtype=np.uint8)
    np.savez(folder / "pictures.npz", images=pictures)
    config = Config(
        dataset=f"array:{folder / 'pictures.npz'}",
        model_args="width=8",
        latent_dim=6,
        batch_size=4,
        steps=1,
        run_dir=str(folder / "run"),
    )
    train(config)
    return config


def test_other_sizes_share_the_layers_that_both_have(convolutional):
    data = DataSpec("larger", "", (32, 32, 3), ("a", "b"), 9)
    config, trainee = untrained(data, conditional=True, init_from=convolutional.run_dir)
    lines, origin = take_over(trainee, config, config, data)
    arrays = state_of(convolutional.run_dir)
    kernels = [np.asarray(v) for v in trainee.networks["generator"].variables if v.name == "kernel"]
    # Twice as deep at the front; at the back the same, in colour.
    np.testing.assert_array_equal(kernels[-1], np.repeat(arrays["generator.015.kernel"], 3, axis=-1))
    np.testing.assert_array_equal(kernels[-2], arrays["generator.010.kernel"])
    first = np.asarray(trainee.networks["discriminator"].variables[0])
    grey = arrays["discriminator.000.kernel"]
    np.testing.assert_allclose(first[:, :, :3], np.repeat(grey, 3, axis=2) / 3, rtol=1e-6)
    second = np.asarray(trainee.networks["discriminator"].variables[2])
    np.testing.assert_array_equal(second, arrays["discriminator.002.kernel"])
    assert "discriminator, resized: " in "\n".join(lines)
    assert origin["weights"]["generator"]["new"] > 0


def test_nothing_that_fits_is_refused_and_nothing_has_changed(source):
    config, trainee = untrained(width=12, init_from=source.run_dir)
    before = {name: variable.numpy() for name, variable in trainee.state().items()}
    with pytest.raises(MirageError, match="has no weight of the name and shape of any"):
        take_over(trainee, config, config, SHAPES)
    for name, variable in trainee.state().items():
        np.testing.assert_array_equal(variable.numpy(), before[name])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_saved_generator_is_taken_for_both_generators(suffix, tmp_path):
    config, trainee = untrained(init_from=str(tmp_path / f"theirs{suffix}"), seed=9)
    layers = keras.layers
    theirs = keras.Sequential(
        [
            layers.Input([6]),
            layers.Dense(4 * 4 * 32, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Reshape([4, 4, 32]),
            layers.Conv2DTranspose(16, 4, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2DTranspose(8, 4, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(3, 3, padding="same", activation="tanh"),
        ]
    )
    theirs.save(config.init_from)
    _, origin = take_over(trainee, config, config, SHAPES)
    assert origin["weights"]["discriminator"] == {"taken": 0, "resized": 0, "new": 6}
    for name in ("generator", "ema"):
        assert origin["weights"][name]["new"] == 0
        ours = trainee.ema if name == "ema" else trainee.networks[name]
        for one, other in zip(ours.variables, theirs.variables, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    frozen, trainee = untrained(init_from=config.init_from, freeze_d=2)  # the second is the first with weights
    with pytest.raises(MirageError, match="--freeze_d=2 holds layers still that --init_from"):
        take_over(trainee, frozen, frozen, SHAPES)


def test_a_bundle_gives_the_generator_that_it_shows(convolutional, tmp_path):
    bundle = tmp_path / "bundle"
    Run(convolutional.run_dir).export(bundle, formats=("saved_model",))
    config, trainee = untrained(DataSpec("grey", "", (16, 16, 1), (), 12), init_from=str(bundle), seed=9)
    _, origin = take_over(trainee, config, config, DataSpec("grey", "", (16, 16, 1), (), 12))
    assert origin["weights"]["generator"]["new"] == 0
    arrays = weights_of(state_of(convolutional.run_dir), "ema")
    for (name, value), variable in zip(arrays.items(), trainee.ema.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), value, err_msg=name)
    shutil.rmtree(bundle / "saved_model")
    with pytest.raises(MirageError, match="is a bundle without a SavedModel"):
        take_over(trainee, config, config, SHAPES)


def test_the_bundle_of_such_a_run_says_so(source, config, tmp_path):
    config = dataclasses.replace(config, init_from=source.run_dir, steps=1)
    train(config)
    bundle = tmp_path / "bundle"
    Run(config.run_dir).export(bundle, formats=("saved_model",))
    provenance = json.loads((bundle / "manifest.json").read_text())["provenance"]
    assert provenance["init_from"] == read_init(Path(config.run_dir))
    assert source.run_dir not in json.dumps(provenance)
    assert "| first weights | from source, step 6 (SHA-256 " in (bundle / "README.md").read_text()


def test_refuses_what_is_not_there_or_cannot_be_trained_on(tmp_path, config):
    missing = dataclasses.replace(config, init_from=str(tmp_path / "nowhere"))
    with pytest.raises(MirageError, match="nowhere is not there; pass a run directory, a bundle"):
        train(missing)
    (tmp_path / "text").write_text("no network")
    with pytest.raises(MirageError, match="text"):
        train(dataclasses.replace(config, init_from=str(tmp_path / "text")))
    assert not (Path(config.run_dir) / "config.json").exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"freeze_d": 1}, "--freeze_d=1 would hold layers still that have learned nothing"),
        ({"freeze_d": 9, "init_from": "run"}, "--freeze_d=9 would hold all of the discriminator still"),
        ({"freeze_d": 1, "init_from": "run", "objective": "vae"}, "--freeze_d=1 needs a discriminator"),
        (
            {"freeze_d": 1, "init_from": "run", "discriminator": "projected"},
            "does not go with --discriminator=proj",
        ),
        (
            {"ema_scheduled": True, "init_from": "run", "schedule_images": 9},
            "--ema_scheduled does not go with --init_",
        ),
    ],
)
def test_refuses_to_freeze_what_cannot_be(flags, named):
    def build():
        config = Config(latent_dim=6, model_args="width=8", **flags)
        config.validate()
        trainee_of(config, SHAPES)

    with pytest.raises(MirageError, match=named):
        build()


def test_frozen_layers_are_counted_from_the_image():
    _, trainee = untrained(init_from="run", freeze_d=2)
    discriminator = trainee.networks["discriminator"]
    kinds = [type(layer) for layer in discriminator.layers if layer.variables and not layer.trainable]
    assert kinds == [keras.layers.Conv2D] * 2
    assert discriminator.layers[1].trainable is False
    assert len(trainee.optimizers["discriminator"].variables) == len(discriminator.variables) - 4


def test_layers_that_only_labels_pass_through_are_not_held_still():
    flags = {"model": "stylegan2", "objective": "nsgan", "latent_dim": 8, "conditional": True}
    arguments = "channel_base=64,channel_max=8,w_dim=8,mapping_layers=2"
    networks = networks_of(Config(**flags, model_args=arguments), SHAPES)
    freeze(networks["discriminator"], 4)
    held = [layer.name for layer in networks["discriminator"].layers if layer.variables and not layer.trainable]
    assert {*held} == {"from_image", "path_16", "conv_16", "down_16"}


class Within(keras.Model):
    """Somebody's discriminator, of which only its parts are known."""

    def __init__(self):
        super().__init__()
        self.first, self.last = keras.layers.Conv2D(4, 3, 2), keras.layers.Dense(1)

    def call(self, x):
        return self.last(keras.ops.mean(self.first(x), axis=(1, 2)))


def test_layers_within_a_model_of_ones_own_are_counted():
    image = keras.Input([16, 16, 3])
    discriminator = keras.Model(image, Within()(image))
    freeze(discriminator, 1)
    assert [layer.trainable for layer in discriminator.layers[1].layers] == [False, True]


def test_attributes_are_known_by_their_names(monkeypatch):
    male, smiling = (Attribute(name, "binary", 0, 1, 0) for name in ("male", "smiling"))
    age = Attribute("age", "number", 16, 80, 40)
    known, data = (
        dataclasses.replace(SHAPES, class_names=(), attributes=a) for a in ((age, male), (male, smiling, age))
    )
    flags = {"conditional": True, "conditioning": "projection", "latent_dim": 6}
    config, other = untrained(known, **flags)
    arrays = {name: np.asarray(value) for name, value in other.state().items()}
    source = Source(
        {name: in_order(arrays, name) for name in ("generator", "discriminator")},
        Facts(3, ("age", "male"), 6),
        {"name": "x"},
    )
    monkeypatch.setattr("pipeline.training.transfer.read_source", lambda path: source)
    config, trainee = untrained(data, seed=5, init_from="x", **flags)
    before = np.array(trainee.networks["generator"].variables[0])
    take_over(trainee, config, config, data)
    theirs, ours = (np.asarray(each.networks["generator"].variables[0]) for each in (other, trainee))
    np.testing.assert_array_equal(ours[:6], theirs[:6])  # of the latent
    np.testing.assert_array_equal(ours[[6, 8]], theirs[[7, 6]])
    np.testing.assert_array_equal(ours[7], before[7])


@pytest.mark.parametrize("classes", [(), ("a", "b")])
def test_layers_of_one_width_are_taken_by_their_resolution(classes):
    """StyleGAN2's layers are named by it, and these are all alike."""
    flags = {"model": "stylegan2", "objective": "nsgan", "conditional": bool(classes)}
    arguments = "channel_base=4096,channel_max=8,w_dim=8,mapping_layers=2"
    small, large = (
        networks_of(
            Config(**flags, latent_dim=8, model_args=arguments), DataSpec("squares", "", (size, size, 3), classes, 9)
        )
        for size in (16, 32)
    )
    facts = Facts(3, classes, 8)
    for name in ("generator", "discriminator"):
        paths = [variable.path for variable in small[name].variables]
        theirs = [Weight(v.name, np.full(v.shape, place)) for place, v in enumerate(small[name].variables)]
        row, values = _matched(name, large[name], theirs, facts, facts)
        assert (row.taken, row.resized) == (len(theirs), 0)
        for variable, value in values:
            assert variable.path.split("/")[-2:] == paths[int(value.flat[0])].split("/")[-2:]
