"""Data are known by their content: names and bytes of files, not by where they lie or when they were written."""

import io
import os
import shutil
import time

import pytest
from PIL import Image

from pipeline.config import Config
from pipeline.data import fingerprint
from pipeline.data.dataset import load
from pipeline.data.fingerprint import file_checksums, fingerprint_of
from pipeline.data.spec import DataSpec


@pytest.fixture
def folder(tmp_path):
    for value, name in enumerate(["a/1.png", "a/2.png", "b/1.png"]):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(value))
    return tmp_path / "pictures"


def picture(value):
    content = io.BytesIO()
    Image.new("L", (4, 4), value).save(content, "PNG")
    return content.getvalue()


def identify(folder, data_dir):
    return load(Config(dataset=f"folder:{folder}", data_dir=str(data_dir), batch_size=1)).fingerprint


def age(folder):
    """Makes files seem older than the grain of clocks; returns when they have that stamp."""
    for path in folder.rglob("*.*"):
        os.utime(path, (1e9, 1e9))


def test_a_copy_that_was_touched_is_the_same(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    age(tmp_path / "copy")
    assert identify(folder, tmp_path) == identify(tmp_path / "copy", tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a/1.png").write_bytes(picture(9)),
        lambda folder: (folder / "a/1.png").rename(folder / "a/3.png"),
        lambda folder: (folder / "a/1.png").rename(folder / "b/2.png"),
        lambda folder: (folder / "a/2.png").unlink(),
        lambda folder: [(folder / f"a/{name}.png").write_bytes(picture(2 - name)) for name in (1, 2)],
    ],
)
def test_any_other_byte_name_or_place_is_other_data(folder, tmp_path, change):
    before = identify(folder, tmp_path)
    change(folder)
    assert identify(folder, tmp_path) != before


def test_names_that_are_no_text_count_by_their_bytes(folder, tmp_path):
    path = os.fsencode(folder) + b"/a/\xff.png"
    with open(path, "wb") as file:
        file.write(picture(4))
    first = identify(folder, tmp_path)
    os.rename(path, os.fsencode(folder) + b"/a/\xfe.png")
    assert identify(folder, tmp_path) != first


def test_no_two_sequences_look_alike():
    assert (
        len({fingerprint_of(parts) for parts in (["ab"], ["a", "b"], ["", "ab"], ["ab", ""], [b"a", b"bc"], [])}) == 6
    )


@pytest.fixture
def counted(monkeypatch):
    """Counts the files that are read, all of which are worth remembering."""
    read = []
    digest = fingerprint.hashlib.file_digest

    def count(file, name):
        read.append(os.path.basename(file.name))
        return digest(file, name)

    monkeypatch.setattr(fingerprint.hashlib, "file_digest", count)
    monkeypatch.setattr(fingerprint, "_WORTHWHILE_S", 0.0)
    monkeypatch.setattr(fingerprint, "_SETTLED_NS", 10**7)
    return read


def checksums(folder, memory):
    time.sleep(0.02)  # until what was written before has settled
    return file_checksums(folder, sorted(folder.rglob("*.png")), memory)


def test_a_file_is_read_again_only_when_it_was_written_to(folder, tmp_path, counted):
    memory = tmp_path / "kept" / "memory.json"
    first = checksums(folder, memory)
    assert len(counted) == 3
    assert checksums(folder, memory) == first
    assert len(counted) == 3
    # Of the same size, with its old time of change: only what nobody can set back tells.
    target = folder / "b" / "1.png"
    status = target.stat()
    target.write_bytes(picture(200))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = checksums(folder, memory)
    assert counted[3:] == ["1.png"]
    assert {path for path in first if first[path] != changed[path]} == {target}


def test_slices_of_a_folder_do_not_forget_each_other(folder, tmp_path, counted):
    paths, memory = sorted(folder.rglob("*.png")), tmp_path / "memory.json"
    time.sleep(0.02)
    for chosen in (paths[:2], paths[2:], paths, paths[:1], paths):
        file_checksums(folder, chosen, memory)
    assert len(counted) == 3


def test_what_was_written_a_moment_ago_is_not_relied_on(folder, tmp_path, counted, monkeypatch):
    monkeypatch.setattr(fingerprint, "_SETTLED_NS", 2 * 10**9)
    for _ in range(2):
        checksums(folder, tmp_path / "memory.json")
    assert len(counted) == 6


@pytest.mark.parametrize("damage", [b"", b"\0" * 400, b"{}", b'{"a/1.png": [3, 0, 0, 0, "0"]}'])
def test_a_damaged_memory_is_no_memory(folder, tmp_path, counted, damage):
    memory = tmp_path / "memory.json"
    first = checksums(folder, memory)
    memory.write_bytes(damage)
    assert checksums(folder, memory) == first
    assert len(counted) == 6
    assert checksums(folder, memory) == first  # and it was written anew
    assert len(counted) == 6


def test_no_altered_byte_of_the_memory_is_believed(folder, tmp_path, counted):
    memory = tmp_path / "memory.json"
    first = checksums(folder, memory)
    content = memory.read_bytes()
    for place in range(0, len(content), 7):
        memory.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert checksums(folder, memory) == first


def test_a_memory_that_cannot_be_written_is_a_warning(folder, tmp_path, counted, capsys):
    (tmp_path / "file").write_text("x")
    assert len(checksums(folder, tmp_path / "file" / "memory.json")) == 3
    error = capsys.readouterr().err
    assert error.startswith("warning: checksums can't be kept in")
    assert error.count("\n") == 1


def test_a_small_folder_leaves_no_memory(image_folder, tmp_path):
    load(Config(dataset=f"folder:{image_folder()}", data_dir=str(tmp_path / "kept"), batch_size=1))
    assert not (tmp_path / "kept").exists()


def test_load_says_what_the_data_are_wherever_they_lie(image_folder, tmp_path):
    root = image_folder()
    config = Config(dataset=f"folder:{root}", batch_size=1)
    first = load(config).fingerprint
    assert len(first) == 64
    half = load(Config(dataset=f"folder:{root}", batch_size=1, split="train[:50%]")).fingerprint
    assert half != first
    root.rename(tmp_path / "moved")
    assert load(Config(dataset=f"folder:{tmp_path / 'moved'}", batch_size=1)).fingerprint == first


SPEC = DataSpec("folder:/a", "1", (8, 8, 1), ("x", "y"), 1200, "f")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (DataSpec("folder:/b", "1", (8, 8, 1), ("x", "y"), 1200, "f"), ""),
        (DataSpec("folder:/a", "1", (8, 8, 1), ("x", "y"), 1200, ""), ""),
        (DataSpec("folder:/b", "1", (8, 8, 1), ("x", "y"), 1200, ""), "the name folder:/b instead of folder:/a"),
        (DataSpec("folder:/a", "2", (8, 8, 1), ("x", "y"), 1200, "f"), "version '2' instead of '1'"),
        (DataSpec("folder:/a", "1", (8, 9, 1), ("x", "y"), 1200, "f"), "images of 8x9x1 instead of 8x8x1"),
        (DataSpec("folder:/a", "1", (8, 8, 1), ("x", "y"), 1201, "f"), "1,201 images instead of 1,200"),
        (DataSpec("folder:/a", "1", (8, 8, 1), (), 1200, "f"), "no classes instead of 2 classes"),
        (DataSpec("folder:/a", "1", (8, 8, 1), ("x", "z"), 1200, "f"), "other names of classes"),
        (DataSpec("folder:/a", "1", (8, 8, 1), ("x", "y"), 1200, "g"), "other content of the pictures"),
    ],
)
def test_what_differs_is_said(now, said):
    assert now.difference_from(SPEC).startswith(said)
    assert bool(now.difference_from(SPEC)) == bool(said)


def test_a_description_without_content_is_read_and_written_as_before():
    document = DataSpec("set", "1", (8, 8, 1), (), 5).to_dict()
    assert "fingerprint" not in document
    assert DataSpec.from_dict(document).fingerprint == ""
    assert DataSpec.from_dict(SPEC.to_dict()).fingerprint == "f"
