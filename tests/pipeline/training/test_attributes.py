"""Trainings whose labels are several numbers: wherever they are kept, on however many replicas, and gone on with."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline import Experiment
from pipeline.base.errors import MirageError
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.dataset import load
from pipeline.objectives.composition import compose
from pipeline.runs.run_file import read_run
from pipeline.training.configured import trainee_of
from pipeline.training.feed import Layout, make_feed
from pipeline.training.memory import estimate
from pipeline.training.step import TrainStep
from tests.discs import COLUMNS, discs, write_discs
from tests.experiments import PLAIN, train
from tests.processes import last_checkpoint

PLAIN = {**PLAIN, "model": "mlp", "model_args": "width=4", "latent_dim": 4, "batch_size": 4}
PLAIN |= {"conditioning": "projection,acgan", "strategy": "one_device", "jit": "off"}
LABELS = f"labels.csv:{','.join(COLUMNS)}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("discs") / "set", 24)


def config_of(folder, **more):
    return Config(**{**PLAIN, "dataset": f"folder:{folder}", "labels": LABELS, "conditional": True, **more})


def trained(config, replicas, steps=3, jit=False):
    """Weights and metrics after some steps."""
    strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
    dataset = load(config)
    known = {"num_labels": dataset.spec.num_labels, "attributes": dataset.spec.attributes}
    updates = compose(config.to_dict()).updates(images=dataset.images, labels=dataset.labels, **known)
    with strategy.scope():
        trainee = trainee_of(config, dataset.spec)
    layout = Layout(updates, config.batch_size, config.accumulate, replicas)
    feed = make_feed(strategy, layout, dataset, config, 0)
    step = TrainStep(config, strategy, trainee, updates, feed, jit=jit)
    metrics = step(tf.constant(steps, tf.int64), tf.constant(0.0))[0].numpy()
    return [np.asarray(v) for model in trainee.networks.values() for v in model.variables], metrics


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"conditioning": "concat", "accumulate": 2}, marks=pytest.mark.slow),
        pytest.param({"model": "dcgan"}, marks=pytest.mark.slow),
        pytest.param({"model": "resnet", "accumulate": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_any_number_of_replicas_follows_the_trajectory_of_one(folder, changes):
    config = config_of(folder, **changes)
    weights, metrics = trained(config, 1)
    for replicas in (2, 4) if changes else (2,):
        others, of_others = trained(config, replicas)
        np.testing.assert_allclose(of_others, metrics, rtol=1e-4, atol=1e-5)
        for one, other in zip(weights, others, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)


def test_xla_computes_the_same(folder):
    plain, compiled = (trained(config_of(folder), 1, jit=jit)[1] for jit in (False, True))
    np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kept", ["pixels", "pictures"])
def test_streamed_ones_give_the_same_bits(folder, tmp_path, kept):
    resident = trained(config_of(folder), 2)
    streamed = trained(config_of(folder, device_data_mb=0, prepared_as=kept, data_dir=str(tmp_path)), 2)
    for one, other in zip(resident[0], streamed[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_networks_are_given_the_labels_of_their_pictures(folder):
    dataset = load(config_of(folder))
    strategy = make_strategy("mirrored", 2)
    layout = Layout(compose(Config(**PLAIN).to_dict()).updates(), 4, 1, 2)
    feed = make_feed(strategy, layout, dataset, Config(**PLAIN), 0)
    of_picture = {image.tobytes(): label.tolist() for image, label in zip(dataset.images, dataset.labels, strict=True)}

    @tf.function
    def step(number):
        return feed.next(number)

    images, marks = (strategy.experimental_local_results(part) for part in step(tf.constant(0, tf.int64)))
    assert {part.dtype for part in marks} == {tf.float32}
    for image, mark in zip(np.concatenate(images), np.concatenate(marks), strict=True):
        assert of_picture[image.tobytes()] == mark.tolist()


def test_a_run_goes_on_to_the_same_bits_and_is_asked_for_attributes(folder, tmp_path):
    whole, parts = (config_of(folder, steps=4, run_dir=str(tmp_path / name)) for name in ("whole", "parts"))
    run = train(whole)
    train(dataclasses.replace(parts, steps=2))
    train(parts)
    first, second = last_checkpoint(Path(whole.run_dir)), last_checkpoint(Path(parts.run_dir))
    assert {*first} == {*second}
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert [each.name for each in read_run(Path(whole.run_dir))[1].attributes] == list(COLUMNS)
    assert run.history()["d_attribute_loss"].size == len(run.history()["step"])
    assert [each.name for each in run.generator.inputs] == ["z", "label"]
    typical = run.sample(2, seed=3)
    assert typical.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(run.sample(2, seed=3, attributes={}), typical)
    assert (run.sample(2, seed=3, attributes={"red": 1, "diameter": 9}) != typical).any()
    several = run.sample(2, seed=3, attributes=[{"right": 1}, {"right": 0}])
    np.testing.assert_array_equal(several[1:], run.sample(1, seed=4, attributes={"right": False}))
    for given, said in (
        ({"attributes": {"blue": 1}}, "there is no attribute 'blue'; there are red, right, diameter"),
        ({"attributes": {"diameter": 99}}, "attribute '?diameter'? is 99; expected a number from"),
        ({"labels": 3}, r"takes attributes \(red, right, diameter\); pass attributes="),
    ):
        with pytest.raises(MirageError, match=said):
            run.sample(2, **given)


def test_what_needs_classes_says_so(folder, tmp_path):
    for changes, said in (
        ({"balance": True}, r"--balance needs classes, and --dataset=folder:.* has attributes"),
        ({"objective": "sgan", "conditional": False, "conditioning": "concat"}, "--objective=sgan needs classes"),
    ):
        with pytest.raises(MirageError, match=said):
            train(config_of(folder, steps=1, run_dir=str(tmp_path / "run"), **changes))


def test_a_run_of_classes_or_of_other_attributes_is_not_gone_on_with(folder, tmp_path):
    config = config_of(folder, steps=1, run_dir=str(tmp_path / "run"))
    train(config)
    for labels, said in (
        ("labels.csv:red", "2 classes"),
        ("labels.csv:right,red,diameter", "the attributes right, red, diameter instead of red, right, diameter"),
    ):
        with pytest.raises(MirageError, match=said):
            train(dataclasses.replace(config, labels=labels, steps=2))


def test_memory_is_estimated(folder):
    config = config_of(folder)
    rows, _ = estimate(config, load(config).spec, 1)
    assert rows["data set, resident"] == 24 * (16 * 16 * 3 + 3 * 4)


def test_an_experiment_trains_on_them(folder, tmp_path):
    values = {name: value for name, value in PLAIN.items() if name not in ("model_args",)}
    experiment = Experiment(data=f"folder:{folder}", labels=LABELS, conditional=True, steps=1, **values)
    run = experiment.train(tmp_path / "run")
    assert run.sample(1, attributes={"red": True}).shape == (1, 16, 16, 3)


def test_arrays_are_trained_on_by_the_names_of_their_columns(tmp_path):
    images, labels = discs(24)
    data = images, dict(zip(COLUMNS, labels.T, strict=True))
    more = {**PLAIN, "conditional": True, "data_dir": str(tmp_path), "eval_every": 1, "eval_samples": 10}
    metrics = ["attribute_accuracy", "attribute_correlation"]
    data = {"train": data, "test": data}
    run = Experiment(data=data, metrics=metrics, steps=1, **more).train(tmp_path / "run")
    assert {*metrics} <= {*run.evaluations()}
    assert Experiment(data=data, metrics=metrics, steps=2, **more).train(tmp_path / "run").step == 2
    scores = run.evaluate(num_samples=20, metrics="by_attribute")
    assert len(scores["by_attribute"]) == 3
    data["train"] = images, {**data["test"][1], "red": 1 - labels[:, 0]}
    with pytest.raises(MirageError, match=r"other content of the pictures|other values"):
        Experiment(data=data, steps=3, **more).train(tmp_path / "run")
