import os
import signal

import numpy as np
import pytest
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import describe, load


def config(root, **changes):
    return Config(dataset=f"folder:{root}", batch_size=1, **changes)


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (16, 16), value).save(path, "PNG")


def test_links_to_folders_and_files_are_followed(tmp_path):
    root = tmp_path / "root"
    picture(root / "cat" / "a.png", 1)
    picture(tmp_path / "elsewhere" / "b.png", 2)
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "c.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    dataset = load(config(root))
    assert dataset.spec.class_names == ("cat", "dog")
    values = dataset.images[:, 0, 0, 0].tolist()
    assert sorted(zip(dataset.labels.tolist(), values, strict=True)) == [(0, 1), (0, 2), (1, 2)]
    (tmp_path / "link").symlink_to(root)
    assert len(load(config(tmp_path / "link")).labels) == 3


def test_links_are_not_followed_in_circles(tmp_path, capsys):
    picture(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "cat" / "here").symlink_to(".")
    (tmp_path / "around.png").symlink_to("around.png")
    assert load(config(tmp_path)).spec.num_examples == 1
    assert "2 links in circles, 1 broken links" in capsys.readouterr().err


def test_many_ways_to_the_same_folders_are_walked_once(tmp_path):
    picture(tmp_path / "cat" / "a.png")
    for level in range(40):  # 2**40 paths
        folder = tmp_path / "deep" / f"{level}"
        folder.mkdir(parents=True)
        for name in ("x", "y"):
            (folder / name).symlink_to(f"../{level + 1}")
    (tmp_path / "deep" / "40").mkdir()
    assert load(config(tmp_path)).spec.class_names == ("cat",)


def test_hidden_names_are_ignored_and_said(tmp_path, capsys):
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / ".ipynb_checkpoints" / "a.png")
    picture(tmp_path / "__MACOSX" / "a.png")
    picture(tmp_path / "cat" / "@eaDir" / "a.png")
    (tmp_path / "cat" / "._a.png").write_bytes(b"\0")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "cat" / "README").write_text("x")
    (tmp_path / "bird").mkdir()
    for _ in range(2):
        assert load(config(tmp_path)).spec.class_names == ("cat",)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for part in ("left aside 4 hidden", "1 ending in .txt", "1 without an ending", "1 folder without images (bird)"):
        assert part in said


def test_nothing_is_said_of_a_folder_without_oddities(image_folder, capsys):
    load(config(image_folder()))
    assert capsys.readouterr() == ("", "")


def test_what_is_said_is_short_however_many_kinds_there_are(tmp_path, capsys):
    picture(tmp_path / "a.png")
    for index in range(100):
        (tmp_path / f"x.{'y' * 100}{index}").touch()
    load(config(tmp_path))
    assert len(capsys.readouterr().err) < 500


@pytest.mark.parametrize(
    "ending", ["JPG", "jfif", "jpe", "tif", "TIFF", "ppm", "pgm", "webp", "avif", "jp2", "tga", "dib", "mpo"]
)
def test_every_format_that_pillow_reads_counts(tmp_path, ending):
    name = Image.registered_extensions()[f".{ending.lower()}"]
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / f"a.{ending}", name)
    image = load(config(tmp_path)).images[0]
    assert abs(image.astype(int) - 90).max() < 6


def test_endings_may_be_wrong(tmp_path):
    picture(tmp_path / "a.jpg", 7)
    assert load(config(tmp_path)).images[0, 0, 0, 0] == 7


def test_what_is_no_file_is_neither_opened_nor_waited_for(tmp_path, capsys):
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("/dev/zero")
    (tmp_path / "d.png").symlink_to("/nonexistent/d.png")
    (tmp_path / "e.png").mkdir()
    signal.alarm(20)
    try:
        assert load(config(tmp_path)).spec.num_examples == 1
    finally:
        signal.alarm(0)
    said = capsys.readouterr().err
    assert "2 neither files nor folders" in said
    assert "1 broken links" in said
    assert "1 folder without images (e.png)" in said


def test_names_are_bytes(tmp_path):
    root = os.fsencode(tmp_path)
    picture(tmp_path / "cat" / "a.png", 1)
    os.mkdir(root + b"/\xffdog")
    for name in (b"\xff.png", b"\xfe\n.png"):
        os.link(root + b"/cat/a.png", root + b"/\xffdog/" + name)
    dataset = load(config(tmp_path))
    assert dataset.spec.class_names == ("cat", "\\xffdog")
    assert sorted(dataset.labels) == [0, 1, 1]
    assert dataset.spec == type(dataset.spec).from_dict(dataset.spec.to_dict())
    os.unlink(root + b"/\xffdog/\xfe\n.png")
    with open(root + b"/\xffdog/\xfe\n.png", "wb") as file:
        file.write(b"broken")
    with pytest.raises(MirageError, match=r"\\xffdog/\\xfe\\n\.png can't be read"):
        load(config(tmp_path))


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("10", "9", "1", "0"), ("0", "1", "9", "10")),
        (("-1", "2", "02", "10"), ("-1", "02", "2", "10")),
        (("10", "9", "x"), ("10", "9", "x")),
        (("b", "C", "a"), ("C", "a", "b")),
    ],
)
def test_classes_are_in_the_order_of_their_numbers_or_of_their_text(tmp_path, names, order):
    for value, name in enumerate(names):
        picture(tmp_path / name / "a.png", value)
    dataset = load(config(tmp_path))
    assert dataset.spec.class_names == order
    for image, label in zip(dataset.images, dataset.labels, strict=True):
        assert names[image[0, 0, 0]] == order[label]


def test_the_order_of_examples_is_the_one_of_runs_before(tmp_path):
    for value in range(6):
        picture(tmp_path / f"é{value % 2}" / f"{value}.png", value)
    dataset = load(config(tmp_path))
    # By the SHA-256 of the relative name in UTF-8; fixed here, because checkpoints rely on it.
    assert dataset.images[:, 0, 0, 0].tolist() == [5, 0, 1, 2, 4, 3]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["a.png", "x/b.png"], "such as a.png and x/b.png"),
        (["x/y/b.png"], "such as x/y/b.png"),
        ([".a.png", "b.txt"], r"no image below .* \(1 ending in .txt, 1 hidden\)"),
    ],
)
def test_unusable_folders_say_what_is_in_them(tmp_path, files, named):
    for file in files:
        picture(tmp_path / file)
    with pytest.raises(MirageError, match=named):
        describe(config(tmp_path))


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("~nosuchuser/x", "home directory of a user"),
        ("x\0y", "no folder of this machine"),
        ("gs://bucket/x", "no folder of this machine"),
        ("x" * 300, "there is no folder"),
        ("/dev/null", "there is no folder"),
    ],
)
def test_names_that_are_no_folder_are_one_sentence(name, named):
    with pytest.raises(MirageError, match=named) as caught:
        describe(config(name))
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


def test_a_folder_that_cannot_be_looked_through_is_named(tmp_path, monkeypatch):
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / "dog" / "a.png")
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(MirageError, match=r"folder .*dog can't be looked through \(Permission denied\)"):
        load(config(tmp_path))
