"""`python -m pipeline.prepare`: what it prepares is what training finds; what is kept is listed and removed."""

import shutil

import numpy as np
import pytest
from absl import flags

import pipeline.prepare
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.config import Config
from pipeline.data import prepared
from pipeline.data.dataset import load
from pipeline.data.kept import kept as sets_of


def call(*arguments):
    values = flags.FlagValues()
    pipeline.prepare.define_flags(values)
    return pipeline.prepare.main(values, values(["prepare", *arguments]))


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept"


def names(kept):
    return sorted(each.name for each in (kept / "decoded").iterdir() if each.is_dir())


def prepare(kept, root, *more):
    assert call(f"--dataset=folder:{root}", f"--data_dir={kept}", *more) == 0


def test_training_finds_what_was_prepared(image_folder, kept, capsys, monkeypatch):
    root = image_folder()
    prepare(kept, root)
    said = capsys.readouterr().out
    assert said.startswith("12 images of 16x16x1, 2 classes\nPrepared in ")
    assert said.rstrip().endswith(names(kept)[0])
    expected = load(Config(dataset=f"folder:{root}", batch_size=1)).images
    monkeypatch.setattr(prepared, "_prepare", None)  # so that nothing can be prepared
    found = load(Config(dataset=f"folder:{root}", data_dir=str(kept), device_data_mb=0, batch_size=1))
    np.testing.assert_array_equal(found.images, expected)


def test_what_is_kept_is_listed_and_removed(image_folder, kept, capsys):
    root = image_folder()
    prepare(kept, root)
    prepare(kept, root, "--image_size=8")
    capsys.readouterr()
    assert call("--list", f"--data_dir={kept}") == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed[:-1]] in (names(kept), names(kept)[::-1])
    assert sorted(line.rpartition(" images of ")[2] for line in listed[:-1]) == [
        "16x16x1, 2 classes",
        "8x8x1, 2 classes",
    ]
    assert listed[-1].startswith("together")
    first, second = names(kept)
    assert call(f"--remove={first[:6]}", f"--data_dir={kept}") == 0
    assert names(kept) == [second]
    assert first in capsys.readouterr().out
    assert call("--remove=all", f"--data_dir={kept}") == 0
    assert names(kept) == []


def test_the_longest_unused_is_removed_first(image_folder, kept, monkeypatch):
    root = image_folder()
    sizes = {}
    for size in (8, 12, 16):
        prepare(kept, root, f"--image_size={size}")
        sizes |= {name: size for name in names(kept) if name not in sizes}
    prepare(kept, root, "--image_size=8")  # used again
    room = sum(each.num_bytes for each in sets_of(str(kept))[:2]) - 1
    assert call(f"--at_most_gb={room / 1e9}", f"--data_dir={kept}") == 0
    assert [sizes[name] for name in names(kept)] == [8]
    assert call("--at_most_gb=1", f"--data_dir={kept}") == 0
    assert len(names(kept)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--remove=xyz"], "--remove=xyz is no prepared data set"),
        (["--list", "--at_most_gb=1"], "two things to do"),
        (["--list", "--dataset=mnist"], "leave that out"),
        (["photos"], "is not a flag"),
        (["--dataset=folder:/nowhere"], "there is no folder /nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(kept, capsys, arguments, said):
    assert call(*arguments, f"--data_dir={kept}") == MISTAKE
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("form", ["pixels", "pictures"])
def test_a_prepared_folder_is_a_data_set_wherever_it_is_taken(image_folder, tmp_path, form):
    root = image_folder()
    original = load(Config(dataset=f"folder:{root}", batch_size=1))
    prepare(tmp_path / "kept", root, f"--out={tmp_path / 'out'}", f"--prepared_as={form}")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    dataset = load(Config(dataset=f"prepared:{tmp_path / 'copy'}", batch_size=1))
    np.testing.assert_array_equal(np.asarray(dataset.images), original.images)
    np.testing.assert_array_equal(dataset.labels, original.labels)
    assert dataset.spec.difference_from(original.spec) == ""
    assert not dataset.streamed
    part = load(Config(dataset=f"prepared:{tmp_path / 'copy'}", split="train[3:]", batch_size=1))
    np.testing.assert_array_equal(np.asarray(part.images), original.images[3:])
    assert part.fingerprint != original.fingerprint
    assert str(root) not in (tmp_path / "out" / "about.json").read_text()


@pytest.mark.parametrize(("name", "was", "asked"), [("fit", "pad", "stretch"), ("transparency", "white", "keep")])
def test_what_was_decided_when_it_was_prepared_is_not_asked_for_again(image_folder, tmp_path, name, was, asked):
    out = tmp_path / "out"
    prepare(tmp_path / "kept", image_folder(), f"--out={out}", "--image_size=8", f"--{name}={was}")
    load(Config(dataset=f"prepared:{out}", batch_size=1, **{name: was}))
    with pytest.raises(MirageError, match=f"was prepared with --{name}={was}, and --{name}={asked} is asked for"):
        load(Config(dataset=f"prepared:{out}", batch_size=1, **{name: asked}))


def test_a_folder_of_another_data_set_is_refused(image_folder, tmp_path, capsys):
    root, out = image_folder(), tmp_path / "set.v1"
    out.mkdir()
    for _ in range(2):
        prepare(tmp_path / "kept", root, f"--out={out}")
    assert {path.name for path in tmp_path.iterdir()} - {"kept"} == {"images", "set.v1"}
    assert call(f"--dataset=folder:{root}", "--image_size=8", f"--out={out}") == MISTAKE
    assert "holds another data set, and this has images of 8x8x1 instead of 16x16x1" in capsys.readouterr().err
    assert load(Config(dataset=f"prepared:{out}", batch_size=1)).spec.image_shape == (16, 16, 1)


def test_a_damaged_or_other_folder_is_no_prepared_data_set(image_folder, tmp_path, capsys):
    prepare(tmp_path / "kept", image_folder(), f"--out={tmp_path / 'out'}")
    (tmp_path / "out" / "stamps.json").unlink()
    with (tmp_path / "out" / "images.npy").open("r+b") as file:
        file.seek(300)
        file.write(b"other")
    with pytest.raises(MirageError, match=r"images\.npy is damaged"):
        load(Config(dataset=f"prepared:{tmp_path / 'out'}", batch_size=1))
    with pytest.raises(MirageError, match="is no prepared data set"):
        load(Config(dataset=f"prepared:{tmp_path / 'images'}", batch_size=1))
    assert call(f"--dataset=folder:{tmp_path / 'images'}", f"--out={tmp_path / 'images'}") == MISTAKE
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "images" / "cat" / "0.png").exists()


def test_a_report_is_written_and_nothing_is_prepared(image_folder, kept, tmp_path, capsys):
    root = image_folder()
    (root / "cat" / "7.png").write_bytes(b"")
    prepare(kept, root, f"--report={tmp_path / 'look'}", "--image_size=8")
    said = capsys.readouterr()
    assert "training refuses this: 1 picture of 13 can't be read: cat/7.png (empty file)." in said.out
    assert said.out.rstrip().endswith(f"Report: {tmp_path / 'look' / 'data.html'}")
    assert {path.name for path in (tmp_path / "look").iterdir()} == {"data.html", "data.json"}
    assert not kept.exists()


def test_a_report_that_has_no_place_is_refused_before_the_look(image_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert call(f"--dataset=folder:{image_folder()}", f"--report={tmp_path / 'file'}") == MISTAKE
    assert call("--list", "--report=look") == MISTAKE
    place, two = capsys.readouterr().err.splitlines()
    assert place.startswith(f"error: --report={tmp_path / 'file'} can't be written (")
    assert two == "error: --list and --report are two things to do; pass one of them."
