"""StyleGAN2 with all that belongs to it: mixed styles, path lengths, lazy penalties, noise, augmentation, labels."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.runs.checkpoint import load_sampler
from tests.experiments import train
from tests.pipeline.training.test_step import assert_same_trajectory, make, weights

NETWORKS = "channel_base=64,channel_max=6,w_dim=5,mapping_layers=2,group=2,low_precision_stages=1"
EVERYTHING = Config(
    model="stylegan2", model_args=NETWORKS, latent_dim=5, objective="nsgan", conditional=True, r1=1.0, penalty_every=4,
    style_mixing=0.9, path_length=2.0, path_length_every=2, augment="translation,color", augment_adaptive=True,
    batch_size=16, learning_rate=0.002, flip=True,
)  # fmt: skip
DATA = DataSpec("tall", "", (12, 8, 3), ("a", "b", "c"), 21)  # two stages, of 6x4 and 12x8
IMAGES = np.random.default_rng(0).integers(0, 256, (21, 12, 8, 3), dtype=np.uint8)


def softened(patch):
    """Builds networks without kinks: rounding that moves a unit across one changes its gradient for good."""
    patch.setattr(tf.nn, "leaky_relu", lambda x, alpha: tf.nn.softplus(x))


@pytest.fixture
def smooth(monkeypatch):
    """Networks of this test have no kinks."""
    softened(monkeypatch)


@pytest.fixture(scope="module")
def alone():
    """What one replica does without kinks: (weights at first, (figures, weights), scalars of the state)."""
    with pytest.MonkeyPatch.context() as patch:
        softened(patch)
        start, trajectory, trainee = run(EVERYTHING)
    return start, trajectory, {name: float(scalar.numpy()) for name, scalar in trainee.scalars.items()}


def run(config, replicas=1, calls=(4, 5), **how):
    """Trains; returns (the weights at first, (figures of each call, weights), the trainee)."""
    strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
    trainee, train_step = make(config, strategy, data=DATA, images=IMAGES, **how)
    start = weights(trainee)
    return start, ([train_step(count) for count in calls], weights(trainee)), trainee


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_any_number_of_replicas_follows_the_trajectory_of_one(alone, replicas):
    start, one, scalars = alone
    assert scalars["path_length_mean"] > 0
    means = [name for name in start if name.endswith("/mean")]
    assert len(means) == 2  # of the generator and of its average
    for name in means:
        assert np.abs(one[1][name]).max() > 0
    _, several, other = run(EVERYTHING, replicas)
    assert_same_trajectory(several, one, start)
    for name, expected in scalars.items():
        values = [float(each.numpy()) for each in other.scalars[name].values]
        np.testing.assert_allclose(values, expected, rtol=1e-5, err_msg=name)
    for variable in [v for model in other.networks.values() for v in model.variables]:
        for copy in variable.value.values[1:]:
            np.testing.assert_array_equal(copy, variable.value.values[0], err_msg=variable.path)


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_accumulated_batches_are_one_larger_batch(alone, replicas):
    start, (figures, weights_of_whole), _ = alone
    whole = figures, {**weights_of_whole}
    _, parts, _ = run(dataclasses.replace(EVERYTHING, batch_size=8, accumulate=2), replicas)
    for trajectory in (whole, parts):  # of which the running mean sees one batch at a time, as batch norm does
        for name in [name for name in start if name.endswith("/mean")]:
            trajectory[1][name] = start[name]
    assert_same_trajectory(parts, whole, start)


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize(
    "changes",
    [
        {"path_length": 0.0, "style_mixing": 0.0, "conditional": False},
        pytest.param({}, marks=pytest.mark.slow),  # which takes half a minute to compile
    ],
    ids=["networks", "everything"],
)
def test_xla_computes_the_same_step(changes):
    config = dataclasses.replace(EVERYTHING, augment="", augment_adaptive=False, **changes)
    start, plain, _ = run(config, calls=(3,))
    _, compiled, _ = run(config, calls=(3,), jit=True)
    assert_same_trajectory(compiled, plain, start)


@pytest.fixture(scope="module")
def in_float32():
    """What four steps tell."""
    return run(EVERYTHING, calls=(4,))[1][0]


@pytest.mark.parametrize(
    ("precision", "replicas"),
    [("mixed_bfloat16", 1), ("mixed_float16", 1), pytest.param("mixed_float16", 2, marks=pytest.mark.slow)],
)
def test_mixed_precision_stays_near_float32(in_float32, precision, replicas):
    exact, config = in_float32, dataclasses.replace(EVERYTHING, precision=precision)
    _, (found, _), trainee = run(config, replicas, calls=(4,))
    generator = trainee.networks["generator"]
    dtypes = {layer.name: layer.compute_dtype for layer in generator.get_layer("synthesis").layers}
    assert dtypes["up_8"] == dtypes["conv_8"] == dtypes["image_8"] == precision.removeprefix("mixed_")
    assert dtypes["conv_4"] == dtypes["sum_8"] == trainee.sampler.compute_dtype == "float32"
    assert {v.dtype for v in generator.variables} == {"float32"}
    np.testing.assert_allclose(found, exact, rtol=0.1, atol=0.05)
    assert not np.array_equal(found, exact)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_continued_run_is_the_uninterrupted_one_to_the_last_bit(config, tmp_path, replicas):
    values = {name: getattr(EVERYTHING, name) for name in ("model", "model_args", "objective", "r1", "penalty_every")}
    values |= {
        name: getattr(EVERYTHING, name) for name in ("style_mixing", "path_length", "augment", "augment_adaptive")
    }
    config = dataclasses.replace(config, **values, path_length_every=2, batch_size=8)
    config = dataclasses.replace(config, virtual_devices=replicas)
    whole = dataclasses.replace(config, run_dir=str(tmp_path / "whole"))
    train(whole)
    train(dataclasses.replace(config, steps=3))
    train(config)
    models = [load_sampler(Path(each.run_dir))[2] for each in (whole, config)]
    for one, other in zip(*(model.variables for model in models), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    archives = [next((Path(each.run_dir) / "checkpoints" / "step_0000006").glob("*.npz")) for each in (whole, config)]
    one, other = (np.load(path) for path in archives)
    assert {*one.files} == {*other.files}
    assert "path_length_mean" in " ".join(one.files)
    for name in one.files:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize(
    ("changes", "replicas", "message"),
    [
        ({"batch_size": 6}, 2, "in groups of 2, and 3 on each replica"),
        (
            {"model_args": NETWORKS + ",residual=false", "batch_size": 14, "r1": 0.0, "penalty_every": 1},
            2,
            "which has 7",
        ),
        ({"model": "mlp", "model_args": ""}, 1, "consists of no models mapping and synthesis, which --style_mixing"),
    ],
)
def test_what_cannot_be_is_refused(changes, replicas, message):
    changes = {"augment_adaptive": False, "augment": "", **changes}
    if "residual" in str(changes):
        changes["model_args"] = changes["model_args"].replace("group=2", "group=1")
    with pytest.raises(MirageError, match=message):
        run(dataclasses.replace(EVERYTHING, **changes), replicas, calls=(1,))
