"""What picture files are is remembered until one is written to."""

import os
import time

import numpy as np
import pytest
from PIL import Image

from pipeline.data import fingerprint, looks
from pipeline.data.collection import FolderCollection
from pipeline.data.looks import look

NAMES = [f"{folder}/{index}.png" for folder in "ab" for index in range(20)]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (8, 6, 3) if name.startswith("b") else (8, 6)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
    return tmp_path / "pictures"


class Counted(FolderCollection):
    """Notes the files that are read."""

    def __init__(self, root, names=NAMES):
        super().__init__(root, names)
        self.seen = []

    def read(self, index):
        self.seen.append(self.names[index])
        return super().read(index)


@pytest.fixture(autouse=True)
def worthwhile(monkeypatch):
    monkeypatch.setattr(looks, "_WORTHWHILE_S", 0.0)
    monkeypatch.setattr(fingerprint, "_SETTLED_NS", 10**7)


def seen(folder, memory, names=NAMES):
    """Returns (looks, names of the files that were read)."""
    time.sleep(0.02)  # until what was written before has settled
    files = Counted(folder, names)
    return look(files, memory, "pictures"), sorted(files.seen)


def same(one, other):
    for name in ("checksums", "sizes", "traits"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.bad == other.bad


def test_sizes_colours_and_checksums(folder):
    found, _ = seen(folder, None)
    assert (found.sizes == (6, 8)).all()
    assert found.grey.tolist() == [True] * 20 + [False] * 20
    assert not found.several.any()
    checksums = fingerprint.file_checksums(folder, [folder / name for name in NAMES], None)
    assert [each.tobytes().hex() for each in found.checksums] == list(checksums.values())


def test_a_file_is_read_again_only_when_it_was_written_to(folder, tmp_path):
    memory = tmp_path / "kept" / "memory"
    first, read = seen(folder, memory)
    assert read == sorted(NAMES)
    again, read = seen(folder, memory)
    same(again, first)
    assert read == []
    # Of the same size, with its old time of change: only what nobody can set back tells.
    target = folder / "b" / "1.png"
    status = target.stat()
    content = bytearray(target.read_bytes())
    content[-20] ^= 1
    target.write_bytes(content)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed, read = seen(folder, memory)
    assert read == ["b/1.png"]
    assert np.flatnonzero((changed.checksums != first.checksums).any(1)).tolist() == [NAMES.index("b/1.png")]


def test_slices_of_a_folder_do_not_forget_each_other(folder, tmp_path):
    memory = tmp_path / "memory"
    counts = [len(seen(folder, memory, names)[1]) for names in (NAMES[:9], NAMES[9:], NAMES, NAMES[:1], NAMES[::-1])]
    assert counts == [9, 31, 0, 0, 0]


def test_what_was_written_a_moment_ago_is_not_relied_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "_SETTLED_NS", 2 * 10**9)
    assert [len(seen(folder, tmp_path / "memory")[1]) for _ in range(2)] == [40, 40]


def test_bad_files_are_not_remembered(folder, tmp_path):
    (folder / "a" / "3.png").write_bytes(b"no picture")
    (folder / "a" / "4.png").unlink()
    for expected in (NAMES, ["a/3.png", "a/4.png"]):
        found, read = seen(folder, tmp_path / "memory")
        assert found.bad == {3: "no image format that is known", 4: "No such file or directory"}
        assert read == sorted(expected)


@pytest.mark.parametrize("damage", [b"", b"\0" * 400, b"{}"])
def test_a_damaged_memory_is_no_memory(folder, tmp_path, damage):
    memory = tmp_path / "memory"
    first, _ = seen(folder, memory)
    memory.write_bytes(damage)
    again, read = seen(folder, memory)
    same(again, first)
    assert len(read) == 40
    assert seen(folder, memory)[1] == []  # and it was written anew


def test_no_altered_byte_of_the_memory_is_believed(folder, tmp_path):
    memory = tmp_path / "memory"
    first, _ = seen(folder, memory)
    content = memory.read_bytes()
    for place in range(0, len(content), 97):
        memory.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        same(look(Counted(folder), memory, "pictures"), first)


def test_a_memory_that_cannot_be_written_is_a_warning(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    seen(folder, tmp_path / "file" / "memory")
    error = capsys.readouterr().err
    assert error.startswith("warning: checksums can't be kept in")
    assert error.count("\n") == 1
