"""A run goes on only with its own data, wherever they lie and whichever version began it."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.runs.checkpoint import load_sampler
from pipeline.runs.run_file import read_run
from tests.experiments import train
from tests.processes import saved


def final_weights(config):
    return [np.asarray(v) for v in load_sampler(Path(config.run_dir))[2].variables]


def images_of(config):
    return Path(config.dataset.removeprefix("folder:"))


def recorded_data(config):
    return json.loads((Path(config.run_dir) / "config.json").read_text())["data"]


def as_written_before_content_counted(config):
    """Makes of a run's `config.json` what it was when data were known by their description alone."""
    path = Path(config.run_dir) / "config.json"
    document = json.loads(path.read_text())
    del document["data"]["fingerprint"]
    path.write_text(json.dumps(document))


def swap_a_picture(root):
    target = root / "cat" / "0.png"
    stamp = target.stat()
    pixels = np.random.default_rng(9).integers(0, 256, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(target)
    os.utime(target, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def renamed(root):
    (root / "dog" / "0.png").rename(root / "dog" / "zero.png")


def relabelled(root):
    (root / "dog" / "0.png").rename(root / "cat" / "0b.png")


def another_class(root):
    (root / "cow").mkdir()
    (root / "dog" / "0.png").rename(root / "cow" / "0.png")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (swap_a_picture, "other content of the pictures"),
        (renamed, "other file names"),
        (relabelled, "other file names"),
        (another_class, "3 classes instead of 2"),
        (lambda root: (root / "dog" / "0.png").unlink(), "11 images instead of 12"),
    ],
)
def test_data_that_look_alike_but_are_others_are_refused_in_one_sentence(config, change, named):
    train(dataclasses.replace(config, steps=2))
    change(images_of(config))
    with pytest.raises(MirageError, match=f"was trained on other data than .*{named}") as caught:
        train(config)
    assert "\n" not in str(caught.value)
    assert saved(Path(config.run_dir)) == ["step_0000002"]


@pytest.mark.parametrize("kind", ["folder", "stacked:folder"])
def test_a_folder_that_has_moved_is_the_same_data(config, tmp_path, kind):
    root = images_of(config)
    first = dataclasses.replace(config, dataset=f"{kind}:{root}", steps=2)
    train(first)
    for path in root.rglob("*.png"):
        path.touch()
    root.rename(tmp_path / "elsewhere")
    moved = dataclasses.replace(first, dataset=f"{kind}:{tmp_path / 'elsewhere'}", steps=6)
    assert train(moved).step == 6
    assert json.loads((Path(config.run_dir) / "config.json").read_text())["config"]["dataset"] == moved.dataset
    straight = dataclasses.replace(moved, run_dir=config.run_dir + "-straight")
    train(straight)
    for a, b in zip(final_weights(straight), final_weights(moved), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(MirageError, match="--dataset=mnist5k"):
        train(dataclasses.replace(moved, dataset="mnist5k"))


def test_stacked_pictures_and_their_base_are_other_data(config):
    train(dataclasses.replace(config, steps=2))
    with pytest.raises(MirageError, match=r"can't be continued with --dataset=stacked:folder:"):
        train(dataclasses.replace(config, dataset=f"stacked:{config.dataset}"))


def test_a_run_of_before_content_counted_goes_on_and_is_known_by_it_from_then_on(config, tmp_path):
    train(dataclasses.replace(config, steps=2))
    known = recorded_data(config)["fingerprint"]
    as_written_before_content_counted(config)
    images_of(config).rename(tmp_path / "elsewhere")
    moved = dataclasses.replace(config, dataset=f"folder:{tmp_path / 'elsewhere'}")
    with pytest.raises(MirageError, match=r"the name folder:.*elsewhere instead of"):
        train(moved)
    (tmp_path / "elsewhere").rename(images_of(config))
    assert train(dataclasses.replace(config, steps=4)).step == 4
    assert recorded_data(config)["fingerprint"] == known
    images_of(config).rename(tmp_path / "elsewhere")
    assert train(moved).step == 6


def as_written_before_all_images_counted(config):
    """Makes of a run's `config.json` what it was when the average's half life counted one batch in each step."""
    path = Path(config.run_dir) / "config.json"
    document = json.loads(path.read_text())
    assert document["decided"].pop("ema_unit") == "real images"
    path.write_text(json.dumps(document))


def test_a_run_of_before_all_images_counted_keeps_its_average_to_the_last_bit(config, tmp_path):
    base = dataclasses.replace(config, objective="nsgan", d_steps=2, ema_warmup=0.5, checkpoint_every=1)
    # Twice as many images in a step, with twice the half life, are the same average.
    now = dataclasses.replace(base, ema_images=16, steps_per_call=1, run_dir=str(tmp_path / "now"))
    train(now)
    before = dataclasses.replace(base, ema_images=8, steps_per_call=1)
    train(dataclasses.replace(before, steps=1))
    shutil.rmtree(Path(before.run_dir) / "checkpoints")  # as if it had ended before its first checkpoint
    as_written_before_all_images_counted(before)
    train(dataclasses.replace(before, steps=3))
    train(before)
    for a, b in zip(final_weights(now), final_weights(before), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_directory_of_an_earlier_version_goes_on(config):
    run_dir = Path(config.run_dir)
    run_dir.mkdir()
    before = (Path(__file__).parents[1] / "config_of_before.json").read_text()
    (run_dir / "config.json").write_text(
        before.replace("PICTURES", str(images_of(config))).replace("RUN", str(run_dir))
    )
    earlier, _ = read_run(run_dir)
    swap = dataclasses.replace(earlier, dataset=f"{earlier.dataset}/cat", conditional=False)
    with pytest.raises(MirageError, match="--conditional=False"):
        train(swap)
    assert train(earlier).step == 2
    document = json.loads((run_dir / "config.json").read_text())
    assert document["decided"]["ema_unit"] == "batches"
    assert len(document["data"]["fingerprint"]) == 64


@pytest.mark.parametrize(
    ("classes", "changes", "named"),
    [
        (("cat", "dog"), {"batch_size": 13}, "--batch_size=13 is larger than the 12 images of --dataset=folder:"),
        ((), {}, "--conditional needs labels, and --dataset=folder:.* has none"),
    ],
    ids=["too few", "without labels"],
)
def test_data_that_cannot_be_trained_on_are_refused_before_they_are_decoded(
    config, image_folder, tmp_path, classes, changes, named
):
    shutil.rmtree(images_of(config))
    data_dir = tmp_path / "kept"
    changed = {"dataset": f"folder:{image_folder(classes)}", "data_dir": str(data_dir), "device_data_mb": 0, **changes}
    with pytest.raises(MirageError, match=named):
        train(dataclasses.replace(config, **changed))
    assert not (data_dir / "decoded").exists()
    assert not Path(config.run_dir).exists()


@pytest.fixture
def tall(config, tmp_path):
    """Trains on parts of 24x16 pixels, of pictures of other sizes."""
    root = tmp_path / "tall"
    for index in range(12):
        (root / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (40 + index, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "ab"[index % 2] / f"{index}.png")
    return dataclasses.replace(
        config,
        dataset=f"folder:{root}",
        image_size="24x16",
        random_crop=1.25,
        flip=True,
        model="dcgan",
        model_args="width=4",
    )


def test_tall_pictures_are_continued_to_the_last_bit_resident_or_streamed(tall, tmp_path):
    train(tall)
    broken = dataclasses.replace(tall, run_dir=str(tmp_path / "broken"))
    train(dataclasses.replace(broken, steps=4))
    train(dataclasses.replace(broken, device_data_mb=0, data_dir=str(tmp_path / "data")))
    for a, b in zip(final_weights(tall), final_weights(broken), strict=True):
        np.testing.assert_array_equal(a, b)
    assert recorded_data(tall)["image_shape"] == [24, 16, 3]
    with Image.open(Path(tall.run_dir) / "samples" / "step_0000006.png") as picture:
        assert picture.size == (8 * 18 + 2, 2 * 26 + 2)
    with Image.open(Path(tall.run_dir) / "nearest.png") as picture:
        assert picture.size == (9 * 18 + 6, 8 * 26 + 2)
    for changes in ({"image_size": "16x24"}, {"fit": "pad"}, {"random_crop": 1.5}):
        [(flag, value)] = changes.items()
        with pytest.raises(MirageError, match=f"--{flag}={value}"):
            train(dataclasses.replace(tall, **changes))


def test_a_size_of_a_run_of_before_is_the_same_however_it_is_written(config):
    square = dataclasses.replace(config, image_size=8)
    train(square)
    path = Path(square.run_dir) / "config.json"
    assert json.loads(path.read_text())["config"]["image_size"] == 8  # a number, as it always was
    document = json.loads(path.read_text())
    del document["config"]["fit"], document["config"]["random_crop"]  # flags that there were not
    path.write_text(json.dumps(document))
    train(dataclasses.replace(square, image_size="8x8", steps=8))
