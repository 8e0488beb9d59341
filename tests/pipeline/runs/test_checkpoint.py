import dataclasses
import errno
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.runs import checkpoint
from pipeline.runs.best import best_by_evaluations
from pipeline.runs.checkpoint import Checkpoints, load_sampler
from pipeline.runs.checkpoint_files import DamagedCheckpointError, read_checkpoint, write_checkpoint
from pipeline.runs.run_file import write_run
from pipeline.training.configured import trainee_of

DATA = DataSpec("shapes", "", (8, 8, 1), (), 20)
CONFIG = Config(model="mlp", latent_dim=3, batch_size=2)


def state(trainee):
    return [np.asarray(v) for v in trainee.state().values()]


def save(run_dir, trainee, keep=3):
    checkpoints = Checkpoints(run_dir, trainee.state(), keep)
    checkpoints.save()
    checkpoints.wait()


def randomise(trainee, step, seed=0):
    rng = np.random.default_rng(seed)
    for model in [*trainee.networks.values(), *([trainee.ema] if trainee.ema else [])]:
        model.set_weights([rng.standard_normal(w.shape, np.float32) for w in model.get_weights()])
    for optimizer in trainee.optimizers.values():
        for variable in optimizer.state.values():
            if variable.dtype == tf.float32:
                variable.assign(rng.uniform(size=variable.shape))
    trainee.step.assign(step)


@pytest.fixture
def trainee():
    return trainee_of(CONFIG, DATA)


def test_a_new_folder_has_nothing_to_restore(tmp_path, trainee):
    assert Checkpoints(tmp_path, trainee.state(), 3).restore() is None


def test_restores_everything(tmp_path, trainee):
    randomise(trainee, step=12)
    save(tmp_path, trainee)
    other = trainee_of(CONFIG, DATA)
    assert Checkpoints(tmp_path, other.state(), 3).restore() == 12
    for restored, saved in zip(state(other), state(trainee), strict=True):
        np.testing.assert_array_equal(restored, saved)


def test_keeps_the_newest_across_restarts(tmp_path, trainee):
    for step in range(1, 6):
        randomise(trainee, step)
        save(tmp_path, trainee, keep=2)
    kept = sorted(path.stem for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step_0000004", "step_0000005"]


def test_leftovers_of_a_killed_save_are_removed(tmp_path, trainee):
    leftover = tmp_path / "checkpoints" / "step_0000007.partial"
    leftover.mkdir(parents=True)
    (leftover / "part").write_text("x")
    assert Checkpoints(tmp_path, trainee.state(), 3).restore() is None
    assert not leftover.exists()


def damages(path):
    """Every way to harm a file: yields a name, and harms it until it is asked for the next one."""
    original = path.read_bytes()
    for kind in ("deleted", "emptied", "truncated", "first bit", "middle bit", "last bit", "longer"):
        content = bytearray(original)
        if kind == "deleted":
            path.unlink()
        elif kind.endswith("bit"):
            content[{"first": 0, "middle": len(content) // 2, "last": -1}[kind.split()[0]]] ^= 1
            path.write_bytes(content)
        else:
            path.write_bytes({"emptied": b"", "truncated": content[:-1], "longer": content + b" "}[kind])
        yield kind
    path.write_bytes(original)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, trainee, capsys):
    write_run(tmp_path, CONFIG, DATA)
    for step in (4, 5):
        randomise(trainee, step, seed=step)
        save(tmp_path, trainee)
    randomise(trainee, 4, seed=4)
    expected = state(trainee)
    files = sorted((tmp_path / "checkpoints" / "step_0000005").iterdir())
    assert [file.name for file in files] == ["checksums.json", "state.npz"]
    other = trainee_of(CONFIG, DATA)
    for file in files:
        for kind in damages(file):
            assert Checkpoints(tmp_path, other.state(), 3).restore() == 4, (file.name, kind)
            for restored, saved in zip(state(other), expected, strict=True):
                np.testing.assert_array_equal(restored, saved)
            assert str(file) in capsys.readouterr().err
            assert load_sampler(tmp_path)[3] == 4
            assert str(file) in capsys.readouterr().err
    assert Checkpoints(tmp_path, other.state(), 3).restore() == 5
    assert capsys.readouterr().err == ""


@given(position=st.integers(0, 10**9), bit=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_no_flipped_bit_goes_unnoticed(tmp_path_factory, position, bit):
    folder = tmp_path_factory.mktemp("bits")
    path = write_checkpoint(folder, 3, {"step": np.int64(3), "w": np.arange(5, dtype=np.float32)})
    files = sorted(path.iterdir())
    sizes = [file.stat().st_size for file in files]
    position %= sum(sizes)
    file, offset = (files[0], position) if position < sizes[0] else (files[1], position - sizes[0])
    content = bytearray(file.read_bytes())
    content[offset] ^= 1 << bit
    file.write_bytes(content)
    with pytest.raises(DamagedCheckpointError):
        read_checkpoint(path)


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_afresh(tmp_path, trainee):
    write_run(tmp_path, CONFIG, DATA)
    for step in (4, 5):
        randomise(trainee, step)
        save(tmp_path, trainee)
        (tmp_path / "checkpoints" / f"step_{step:07}" / "state.npz").unlink()
    with pytest.raises(MirageError, match=r"none of the 2 checkpoints"):
        Checkpoints(tmp_path, trainee.state(), 3).restore()
    with pytest.raises(MirageError, match=r"none of the 2 checkpoints"):
        load_sampler(tmp_path)


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(tmp_path, trainee):
    for step in (4, 5):
        randomise(trainee, step)
        save(tmp_path, trainee)
    (tmp_path / "checkpoints" / "step_0000005" / "state.npz").write_bytes(b"")
    save(tmp_path, trainee)
    assert Checkpoints(tmp_path, trainee_of(CONFIG, DATA).state(), 3).restore() == 5


def test_a_failed_save_leaves_the_others_and_is_told(tmp_path, trainee, monkeypatch):
    randomise(trainee, step=4)
    save(tmp_path, trainee)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    randomise(trainee, step=5)
    checkpoints = Checkpoints(tmp_path, trainee.state(), 3)
    checkpoints.save()
    with pytest.raises(MirageError, match=r"step 5 can't be written.*No space left"):
        checkpoints.wait()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_0000004"]
    assert Checkpoints(tmp_path, trainee_of(CONFIG, DATA).state(), 3).restore() == 4


def test_a_defect_while_saving_is_not_swallowed(tmp_path, trainee, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(checkpoint, "write_checkpoint", broken)
    checkpoints = Checkpoints(tmp_path, trainee.state(), 3)
    checkpoints.save()
    with pytest.raises(ZeroDivisionError):
        checkpoints.wait()


@pytest.mark.parametrize("array", [np.float32(1.5), np.arange(6).reshape(2, 3).T, np.zeros([0, 3]), np.array([True])])
def test_arrays_of_any_form_are_read_as_they_were(tmp_path, array):
    read = read_checkpoint(write_checkpoint(tmp_path, 1, {"array": array}))["array"]
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_what_is_saved_is_the_state_at_the_call(tmp_path, trainee):
    """Training goes on while the files are written."""
    randomise(trainee, step=7)
    expected = state(trainee)
    checkpoints = Checkpoints(tmp_path, trainee.state(), 3)
    checkpoints.save()
    randomise(trainee, step=8, seed=1)
    checkpoints.wait()
    other = trainee_of(CONFIG, DATA)
    assert Checkpoints(tmp_path, other.state(), 3).restore() == 7
    for restored, saved in zip(state(other), expected, strict=True):
        np.testing.assert_array_equal(restored, saved)


def test_what_an_earlier_version_did_not_keep_stays_as_it_is(tmp_path):
    config = dataclasses.replace(CONFIG, objective="nsgan", augment="color", augment_adaptive=True)
    before, now = trainee_of(config, DATA), trainee_of(config, DATA)
    before.scalars["augment_p"].assign(0.25)
    kept = {name: v.numpy() for name, v in before.state().items() if name not in ("augment_acc", "augment_steps")}
    (tmp_path / "checkpoints").mkdir()
    write_checkpoint(tmp_path / "checkpoints", 3, kept)
    with pytest.raises(MirageError, match="for augment_acc it has nothing"):
        Checkpoints(tmp_path, now.state(), 3).restore()
    assert Checkpoints(tmp_path, now.state(), 3, now.scalars).restore() == 0
    found = {name: float(variable.numpy()) for name, variable in now.scalars.items()}
    assert found == {"augment_p": 0.25, "augment_acc": 0.0, "augment_steps": 0.0}


def test_other_networks_are_refused(tmp_path, trainee):
    save(tmp_path, trainee)
    other = trainee_of(Config(model="mlp", latent_dim=4, batch_size=2), DATA)
    with pytest.raises(MirageError, match="can't be restored"):
        Checkpoints(tmp_path, other.state(), 3).restore()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, trainee, value):
    checkpoints = Checkpoints(tmp_path, trainee.state(), 3)
    trainee.step.assign(1)
    checkpoints.save()
    checkpoints.wait()
    kernel = trainee.networks["discriminator"].trainable_variables[0]
    trainee.step.assign(2)
    kernel.assign(tf.fill(kernel.shape, value))
    with pytest.raises(MirageError, match=r"step 2 discriminator\..* is not finite"):
        checkpoints.save()
    assert [path.stem for path in (tmp_path / "checkpoints").iterdir()] == ["step_0000001"]


@pytest.mark.parametrize("ema_images", [0, 100])
def test_load_sampler_takes_the_average_generator_if_there_is_one(tmp_path, ema_images):
    config = Config(model="mlp", latent_dim=3, batch_size=2, ema_images=ema_images)
    trainee = trainee_of(config, DATA)
    randomise(trainee, step=9)
    save(tmp_path, trainee)
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


def folders(run_dir):
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def harm(run_dir, step):
    (run_dir / "checkpoints" / f"step_{step:07}" / "state.npz").write_bytes(b"harmed")


def test_a_damaged_checkpoint_ahead_of_the_run_drives_no_good_one_out(tmp_path, trainee):
    for step in (40, 50):
        randomise(trainee, step)
        save(tmp_path, trainee, keep=1)
    randomise(trainee, 40)
    save(tmp_path, trainee, keep=5)
    harm(tmp_path, 50)
    checkpoints = Checkpoints(tmp_path, trainee.state(), keep=1)
    assert checkpoints.restore() == 40
    randomise(trainee, 45)
    checkpoints.save()
    checkpoints.wait()
    assert "step_0000045" in folders(tmp_path)
    assert Checkpoints(tmp_path, trainee.state(), keep=1).restore() == 45
    for step in (50, 60):
        randomise(trainee, step)
        checkpoints.save()
        checkpoints.wait()
    assert folders(tmp_path) == ["step_0000060"]


def test_a_damaged_checkpoint_does_not_count_among_those_kept(tmp_path, trainee):
    for step in (1, 2, 3):
        randomise(trainee, step)
        save(tmp_path, trainee, keep=3)
    harm(tmp_path, 2)
    checkpoints = Checkpoints(tmp_path, trainee.state(), keep=3)
    checkpoints.restore()
    randomise(trainee, 4)
    checkpoints.save()
    checkpoints.wait()
    assert folders(tmp_path) == ["step_0000001", "step_0000002", "step_0000003", "step_0000004"]
    for step in (5, 6):
        randomise(trainee, step)
        checkpoints.save()
        checkpoints.wait()
    assert folders(tmp_path) == ["step_0000004", "step_0000005", "step_0000006"]


def test_an_old_checkpoint_that_cannot_be_removed_ends_nothing(tmp_path, trainee, monkeypatch, capsys):
    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(checkpoint, "remove_checkpoint", denied)
    for step in (1, 2):
        randomise(trainee, step)
        save(tmp_path, trainee, keep=1)
    assert folders(tmp_path) == ["step_0000001", "step_0000002"]
    assert "step_0000001 can't be removed (Permission denied)" in capsys.readouterr().err


def test_a_file_in_the_place_of_a_checkpoint_is_taken_for_a_damaged_one(tmp_path, trainee, capsys):
    randomise(trainee, 4)
    save(tmp_path, trainee)
    (tmp_path / "checkpoints" / "step_0000005").write_text("mine")
    checkpoints = Checkpoints(tmp_path, trainee.state(), keep=1)
    assert checkpoints.restore() == 4
    assert "step_0000005" in capsys.readouterr().err
    randomise(trainee, 5)
    checkpoints.save()
    checkpoints.wait()
    assert folders(tmp_path) == ["step_0000005"]
    assert Checkpoints(tmp_path, trainee.state(), keep=1).restore() == 5


@pytest.fixture
def judged(tmp_path, trainee):
    """Checkpoints 1 to 3, of which 2 is the best and 3 the next."""
    write_run(tmp_path, CONFIG, DATA)
    checkpoints = Checkpoints(tmp_path, trainee.state(), keep=3)
    lines = []
    for step, distance in ((1, 9.0), (2, 4.0), (3, 5.0)):
        randomise(trainee, step)
        checkpoints.save()
        checkpoints.keep_if_best(distance)
        lines.append(json.dumps({"step": step, "images": step, "seconds": 1, "frechet_distance": distance}) + "\n")
    checkpoints.wait()
    (tmp_path / "evaluations.jsonl").write_text("".join(lines))
    return tmp_path / "checkpoints" / "best.json"


BAD_NOTES = {
    "empty": b"",
    "cut": b'{"checkpoint": "step_00',
    "no text": b"\xff\xfe",
    "nested": b"[" * 100_000,
    "no object": b"[1]",
    "elsewhere": b'{"checkpoint": "../../step_0000002", "frechet_distance": 4.0}',
    "no name": b'{"checkpoint": 2, "frechet_distance": 4.0}',
    "no number": b'{"checkpoint": "step_0000002", "frechet_distance": "4"}',
    "not finite": b'{"checkpoint": "step_0000002", "frechet_distance": NaN}',
    "of no text": b'{"checkpoint": "step_0000002", "metric": 3, "value": 4, "higher_is_better": true, "extractor": ""}',
    "of no value": b'{"checkpoint": "step_0000002", "metric": "recall", "higher_is_better": true, "extractor": "a"}',
    "no float": b'{"checkpoint": "step_0000002", "frechet_distance": 1' + b"0" * 400 + b"}",
}


@pytest.mark.parametrize("note", BAD_NOTES.values(), ids=BAD_NOTES.keys())
def test_a_damaged_note_of_the_best_checkpoint_is_named_and_made_again(judged, trainee, capsys, note):
    good = json.loads(judged.read_bytes())
    judged.write_bytes(note)
    assert load_sampler(judged.parent.parent, "best")[3] == 2
    assert f"{judged} is damaged" in capsys.readouterr().err
    checkpoints = Checkpoints(judged.parent.parent, trainee.state(), keep=1)
    checkpoints.restore()
    assert f"{judged} is damaged" in capsys.readouterr().err
    assert json.loads(judged.read_bytes()) == good
    assert checkpoints.best.value == 4


def test_figures_that_no_float_holds_choose_no_best_checkpoint(judged, capsys):
    lines = [f'{{"step": {step}, "frechet_distance": {distance}}}' for step, distance in ((1, "9"), (3, "5"), (2, "4"))]
    for wrong in ('{"step": 2, "frechet_distance": NaN}', '{"step": 1%s, "frechet_distance": 1}' % ("0" * 400)):
        evaluations = judged.parent.parent / "evaluations.jsonl"
        evaluations.write_text("\n".join([lines[0], wrong, lines[1], wrong, lines[2]]) + "\n")
        assert best_by_evaluations(judged.parent).path.name == "step_0000002"


def test_a_best_checkpoint_that_is_damaged_makes_room_for_the_next(judged, trainee, capsys):
    run_dir = judged.parent.parent
    harm(run_dir, 2)
    checkpoints = Checkpoints(run_dir, trainee.state(), keep=1)
    assert checkpoints.restore() == 3
    assert "step_0000003 is the best of the others" in capsys.readouterr().err
    assert checkpoints.best.value == 5
    randomise(trainee, 4)
    checkpoints.save()
    checkpoints.wait()
    assert folders(run_dir) == ["best.json", "step_0000003", "step_0000004"]


def test_a_best_checkpoint_whose_steps_are_done_again_is_forgotten(judged, trainee, capsys):
    run_dir = judged.parent.parent
    harm(run_dir, 2)
    harm(run_dir, 3)
    checkpoints = Checkpoints(run_dir, trainee.state(), keep=3)
    assert checkpoints.restore() == 1
    assert checkpoints.best.value == 9
    assert "is to be done again" in capsys.readouterr().err
    checkpoints.wait()
    assert json.loads(judged.read_bytes())["checkpoint"] == "step_0000001"
