import numpy as np
import pytest
import tensorflow as tf

from pipeline.checkpoint import Checkpoints, load_sampler
from pipeline.config import Config, DataSpec, MirageError, write_run
from pipeline.step import build_trainee

DATA = DataSpec("shapes", "", (8, 8, 1), (), 20)
CONFIG = Config(model="mlp", latent_dim=3, batch_size=2)


def state(trainee):
    variables = [v for model in [*trainee.networks.values(), trainee.ema] if model for v in model.variables]
    variables += [v for optimizer in trainee.optimizers.values() for v in optimizer.variables]
    return [np.asarray(v) for v in variables]


def randomise(trainee, step, seed=0):
    rng = np.random.default_rng(seed)
    for model in [*trainee.networks.values(), *([trainee.ema] if trainee.ema else [])]:
        model.set_weights([rng.standard_normal(w.shape, np.float32) for w in model.get_weights()])
    for optimizer in trainee.optimizers.values():
        for variable in optimizer.variables:
            if variable.dtype == "float32":
                variable.assign(rng.uniform(size=variable.shape))
    trainee.step.assign(step)


@pytest.fixture
def trainee():
    return build_trainee(CONFIG, DATA)


def test_a_new_folder_has_nothing_to_restore(tmp_path, trainee):
    assert Checkpoints(tmp_path, trainee, 3).restore() is None


def test_restores_everything(tmp_path, trainee):
    randomise(trainee, step=12)
    Checkpoints(tmp_path, trainee, 3).save()
    other = build_trainee(CONFIG, DATA)
    assert Checkpoints(tmp_path, other, 3).restore() == 12
    for restored, saved in zip(state(other), state(trainee), strict=True):
        np.testing.assert_array_equal(restored, saved)


def test_keeps_the_newest_across_restarts(tmp_path, trainee):
    for step in range(1, 6):
        randomise(trainee, step)
        Checkpoints(tmp_path, trainee, keep=2).save()
    kept = sorted(path.stem for path in (tmp_path / "checkpoints").glob("*.index"))
    assert kept == ["ckpt-4", "ckpt-5"]


def test_leftovers_of_a_killed_save_are_removed(tmp_path, trainee):
    leftover = tmp_path / "checkpoints" / "ckpt-7_temp"
    leftover.mkdir(parents=True)
    (leftover / "part").write_text("x")
    assert Checkpoints(tmp_path, trainee, 3).restore() is None
    assert not leftover.exists()


@pytest.mark.parametrize("text", [None, "", "garbage"])
def test_an_unreadable_state_file_does_not_start_the_run_afresh(tmp_path, trainee, text):
    randomise(trainee, step=5)
    Checkpoints(tmp_path, trainee, 3).save()
    state_file = tmp_path / "checkpoints" / "checkpoint"
    state_file.unlink() if text is None else state_file.write_text(text)
    assert Checkpoints(tmp_path, build_trainee(CONFIG, DATA), 3).restore() == 5


@pytest.mark.parametrize("damage", ["truncate", "delete_data", "truncate_index"])
def test_a_damaged_checkpoint_is_named(tmp_path, trainee, damage):
    randomise(trainee, step=5)
    Checkpoints(tmp_path, trainee, 3).save()
    data = tmp_path / "checkpoints" / "ckpt-5.data-00000-of-00001"
    index = tmp_path / "checkpoints" / "ckpt-5.index"
    if damage == "truncate":
        data.write_bytes(data.read_bytes()[:100])
    elif damage == "delete_data":
        data.unlink()
    else:
        index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(MirageError, match=r"ckpt-5 can't be restored.*delete the files"):
        Checkpoints(tmp_path, build_trainee(CONFIG, DATA), 3).restore()
    write_run(tmp_path, CONFIG, DATA)
    with pytest.raises(MirageError, match=r"ckpt-5 can't be restored"):
        load_sampler(tmp_path)


def test_other_networks_are_refused(tmp_path, trainee):
    Checkpoints(tmp_path, trainee, 3).save()
    other = build_trainee(Config(model="mlp", latent_dim=4, batch_size=2), DATA)
    with pytest.raises(MirageError, match="can't be restored"):
        Checkpoints(tmp_path, other, 3).restore()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, trainee, value):
    checkpoints = Checkpoints(tmp_path, trainee, 3)
    trainee.step.assign(1)
    checkpoints.save()
    kernel = trainee.networks["discriminator"].trainable_variables[0]
    trainee.step.assign(2)
    kernel.assign(tf.fill(kernel.shape, value))
    with pytest.raises(MirageError, match=r"step 2 weight .* is not finite"):
        checkpoints.save()
    assert [path.stem for path in (tmp_path / "checkpoints").glob("*.index")] == ["ckpt-1"]


@pytest.mark.parametrize("ema_images", [0, 100])
def test_load_sampler_takes_the_average_generator_if_there_is_one(tmp_path, ema_images):
    config = Config(model="mlp", latent_dim=3, batch_size=2, ema_images=ema_images)
    trainee = build_trainee(config, DATA)
    randomise(trainee, step=9)
    Checkpoints(tmp_path, trainee, 3).save()
    write_run(tmp_path, config, DATA)
    loaded_config, data, model, step = load_sampler(tmp_path)
    assert (loaded_config, data, step) == (config, DATA, 9)
    expected = trainee.ema if ema_images else trainee.networks["generator"]
    for loaded, saved in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)


def test_load_sampler_says_that_there_is_no_checkpoint(tmp_path):
    write_run(tmp_path, CONFIG, DATA)
    with pytest.raises(MirageError, match="no checkpoint yet"):
        load_sampler(tmp_path)
