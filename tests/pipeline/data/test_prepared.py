"""Prepared data are used only as they were written, and prepared again otherwise; an end in the middle is no loss."""

import dataclasses
import itertools
import os
import shutil
import signal
import subprocess
import sys

import filelock
import numpy as np
import pytest
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder
from pipeline.base.kept_files import write_sealed
from pipeline.config import Config
from pipeline.data import fingerprint, folder, prepared
from pipeline.data.dataset import load
from pipeline.data.encoded import EncodedImages
from pipeline.data.objects import origin_of
from pipeline.data.source import Source
from tests.processes import ENVIRONMENT, ROOT


@pytest.fixture
def config(image_folder, tmp_path):
    return Config(dataset=f"folder:{image_folder()}", device_data_mb=0, data_dir=str(tmp_path / "kept"), batch_size=1)


def decoded_folder(config):
    (folder,) = (path for path in (cache_folder(config.data_dir) / "decoded").iterdir() if path.is_dir())
    return folder


def expected(config):
    resident = load(Config(dataset=config.dataset, batch_size=1))
    return resident.images, resident.labels


def same(dataset, images, labels):
    assert isinstance(dataset.images, np.memmap)
    np.testing.assert_array_equal(dataset.images, images)
    np.testing.assert_array_equal(dataset.labels, labels)


def test_what_was_decoded_is_used_again(config, capsys):
    same(load(config), *expected(config))
    folder = decoded_folder(config)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert set(before) == {"images.npy", "labels.npy", "checksums.json", "about.json", "stamps.json"}
    same(load(config), *expected(config))
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before
    assert capsys.readouterr().err == ""


def test_a_folder_that_has_moved_is_not_decoded_again(config, tmp_path):
    arrays = expected(config)
    load(config)
    stamp = (decoded_folder(config) / "images.npy").stat().st_mtime_ns
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    moved = Config(dataset=f"folder:{tmp_path / 'elsewhere'}", device_data_mb=0, data_dir=config.data_dir, batch_size=1)
    same(load(moved), *arrays)
    assert (decoded_folder(config) / "images.npy").stat().st_mtime_ns == stamp


def zeroed(path):
    size = path.stat().st_size
    path.write_bytes(bytes(size))


def zeroed_behind_its_head(path):
    content = path.read_bytes()
    path.write_bytes(content[:128] + bytes(len(content) - 128))


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = [zeroed, zeroed_behind_its_head, flipped, lambda path: os.truncate(path, 150), lambda path: path.unlink()]


@pytest.mark.parametrize("remembered", [False, True], ids=["fresh", "remembered"])
@pytest.mark.parametrize("damage", DAMAGES, ids=["zeroed", "zeroed behind its head", "flipped", "truncated", "missing"])
@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "checksums.json"])
def test_damaged_files_are_named_and_decoded_again(config, capsys, monkeypatch, name, damage, remembered):
    if remembered:  # as if the files had been checked before, long after they were written
        monkeypatch.setattr(fingerprint, "_WORTHWHILE_S", 0.0)
        monkeypatch.setattr(fingerprint, "_SETTLED_NS", 0)
    arrays = expected(config)
    for _ in range(2):
        load(config)
    path = decoded_folder(config) / name
    status = path.stat()
    damage(path)
    if path.exists():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    same(load(config), *arrays)
    assert capsys.readouterr().err == f"warning: {path} is damaged; it is decoded again.\n"
    same(load(config), *arrays)
    assert capsys.readouterr().err == ""


def test_a_picture_that_was_swapped_is_decoded(config, image_folder):
    load(config)
    root = image_folder(per_class=7)
    (root / "cat" / "6.png").rename(root / "cat" / "0.png")
    same(load(config), *expected(config))


@pytest.mark.parametrize("device_data_mb", [0, 1])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda examples: itertools.islice(examples, 5), "ends after 5 of its 12 images"),
        (lambda examples: itertools.chain(examples, [(np.zeros((16, 16, 1), np.uint8), 0)]), "more than its 12 images"),
    ],
    ids=["fewer", "more"],
)
def test_data_of_another_number_leave_nothing(config, monkeypatch, device_data_mb, change, named):
    open_folder = folder.open_folder

    def changed(options):
        source = open_folder(options)
        return dataclasses.replace(source, examples=lambda start: change(source.examples(start)))

    monkeypatch.setattr(folder, "open_folder", changed)
    with pytest.raises(MirageError, match=named):
        load(dataclasses.replace(config, device_data_mb=device_data_mb))
    decoded = cache_folder(config.data_dir) / "decoded"
    assert not decoded.exists() or not [path for path in decoded.iterdir() if path.is_dir()]


def test_a_file_system_without_locks_is_told_in_one_sentence(config, monkeypatch):
    def unlocked(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", unlocked)
    with pytest.raises(MirageError, match=r"can't be decoded into .* \(FileSystem does not .*pass --data_dir="):
        load(config)


@pytest.fixture
def worthwhile(monkeypatch):
    """Any images are worth a file, and fit a device."""
    monkeypatch.setattr("pipeline.data.dataset._WORTHWHILE", 0)


def test_images_that_fit_a_device_are_kept_too_if_they_take_a_while(config, worthwhile, monkeypatch):
    config = dataclasses.replace(config, device_data_mb=2048)
    arrays = expected(config)
    same(load(config), *arrays)
    monkeypatch.setattr("pipeline.data.decoding.to_grey_or_rgb", None)  # so that nothing can be decoded
    same(load(config), *arrays)
    assert not load(config).streamed


def test_without_a_place_they_are_decoded_into_memory_with_a_warning(config, worthwhile, tmp_path, capsys):
    arrays = expected(config)
    (tmp_path / "file").write_text("x")
    config = dataclasses.replace(config, device_data_mb=2048, data_dir=str(tmp_path / "file"))
    images = load(config).images
    assert not isinstance(images, np.memmap)
    np.testing.assert_array_equal(images, arrays[0])
    error = capsys.readouterr().err
    assert error.startswith("warning: the images of --dataset=folder:")
    assert "decoded at each start" in error
    with pytest.raises(MirageError, match="can't be decoded into"):
        load(dataclasses.replace(config, device_data_mb=0))


_KILLED = """
import os, signal, sys
import numpy as np
from pipeline.config import Config
from pipeline.data import prepared
from pipeline.data.dataset import load
from pipeline.data.encoded import EncodedImages
from pipeline.data.source import Source
from tests.processes import ENVIRONMENT, ROOT

prepared._SAVE_EVERY_S = 0.0
left = [int(sys.argv[3])]
write = prepared.write_sealed

def counted(path, content):
    write(path, content)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

prepared.write_sealed = counted
load(Config(dataset="folder:" + sys.argv[1], device_data_mb=0, data_dir=sys.argv[2], batch_size=1))
"""


def test_a_process_that_is_killed_is_gone_on_from(config, tmp_path, monkeypatch):
    arrays = expected(config)
    folder = config.dataset.removeprefix("folder:")
    for _ in range(3):
        command = [sys.executable, "-c", _KILLED, folder, config.data_dir, "3"]
        assert subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=False).returncode == -signal.SIGKILL
    (partial,) = (cache_folder(config.data_dir) / "decoded").glob("*.partial")
    starts = []
    since = Source.since
    monkeypatch.setattr(Source, "since", lambda self, start: starts.append(start) or since(self, start))
    same(load(config), *arrays)
    assert starts == [9]
    assert not partial.exists()


def test_a_damaged_beginning_is_not_gone_on_from(config, tmp_path):
    arrays = expected(config)
    command = [sys.executable, "-c", _KILLED, config.dataset.removeprefix("folder:"), config.data_dir, "5"]
    assert subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=False).returncode == -signal.SIGKILL
    (partial,) = (cache_folder(config.data_dir) / "decoded").glob("*.partial")
    with (partial / "images.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"other pixels")
    same(load(config), *arrays)


@pytest.mark.parametrize("change", [{"fit": "stretch"}, {"image_size": 8}, {}], ids=str)
def test_under_one_name_only_the_same_is_gone_on_with(image_folder, tmp_path, monkeypatch, change):
    """What `--out` names may have been begun with another size or fit, or other pictures of as many."""
    out, first = tmp_path / "out", {"image_size": "12x8", "fit": "pad"}
    options = Config(dataset=f"folder:{image_folder()}", batch_size=1, **first)

    def prepare(options):
        return prepared.prepared(options, origin_of(None, options).open(), out)[0]

    calls = iter(range(100))

    def seal(path, content):
        write_sealed(path, content)
        if path.name == prepared._PROGRESS and next(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(prepared, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(prepared, "write_sealed", seal)
    with pytest.raises(KeyboardInterrupt):
        prepare(options)
    if not change:
        for path in (tmp_path / "images").rglob("*.png"):
            Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    other = dataclasses.replace(options, **change)
    np.testing.assert_array_equal(prepare(other), load(dataclasses.replace(other, data_dir=str(tmp_path))).images)
    with pytest.raises(MirageError, match="choose a new folder"):
        prepare(dataclasses.replace(other, fit="pad" if change else "stretch", image_size="12x8"))


def test_what_was_begun_in_one_form_goes_on_in_it(config, monkeypatch):
    """What is free is less by what has been written."""
    command = [sys.executable, "-c", _KILLED, config.dataset.removeprefix("folder:"), config.data_dir, "5"]
    assert subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=False).returncode == -signal.SIGKILL
    usage, arrays = shutil.disk_usage, expected(config)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=4000))
    same(load(config), *arrays)


@pytest.fixture
def pictures(config):
    return dataclasses.replace(config, prepared_as="pictures")


@pytest.mark.parametrize("changes", [{}, {"image_size": 12}], ids=["as they are", "resized"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_compressed_pictures_are_the_same_pixels(image_folder, tmp_path, mode, changes):
    root = image_folder(mode=mode)
    options = {"dataset": f"folder:{root}", "batch_size": 1, **changes}
    plain = load(Config(**options)).images
    config = Config(**options, device_data_mb=0, data_dir=str(tmp_path / "kept"), prepared_as="pictures")
    images = load(config).images
    assert isinstance(images, EncodedImages)
    assert images.shape == plain.shape
    np.testing.assert_array_equal(np.asarray(images), plain)
    order = np.array([[3, 1], [0, 11]])
    np.testing.assert_array_equal(images[order], plain[order])
    np.testing.assert_array_equal(images[5], plain[5])
    np.testing.assert_array_equal(np.asarray(images[:, 2:7, 3:5]), plain[:, 2:7, 3:5])
    np.testing.assert_array_equal(images[:, 2:7, 3:5][4:][order[0]], plain[4:, 2:7, 3:5][order[0]])
    part = images[2:9:2]
    assert len(part) == len(plain[2:9:2])
    np.testing.assert_array_equal(part[np.array([1, -1])], plain[2:9:2][np.array([1, -1])])
    np.testing.assert_array_equal(images[plain[:, 0, 0, 0] > 99], plain[plain[:, 0, 0, 0] > 99])


def test_pictures_of_the_right_size_are_kept_as_they_are(pictures):
    load(pictures)
    content = (decoded_folder(pictures) / "pictures.bin").read_bytes()
    assert content.count(b"\x89PNG\r\n") == 12


def test_what_does_not_fit_is_kept_compressed(config, monkeypatch):
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=4000))  # 3,072 bytes of pixels
    assert isinstance(load(config).images, EncodedImages)
    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert isinstance(load(config).images, EncodedImages)  # as it was prepared


def test_compressed_pictures_are_gone_on_with(pictures):
    command = [sys.executable, "-c", _KILLED.replace("device_data_mb=0", "device_data_mb=0, prepared_as='pictures'")]
    command += [pictures.dataset.removeprefix("folder:"), pictures.data_dir, "4"]
    assert subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=False).returncode == -signal.SIGKILL
    (partial,) = (cache_folder(pictures.data_dir) / "decoded").glob("*.partial")
    with (partial / "pictures.bin").open("ab") as file:
        file.write(b"half a picture")
    np.testing.assert_array_equal(np.asarray(load(pictures).images), expected(pictures)[0])


def test_a_damaged_picture_is_named(pictures, monkeypatch):
    load(pictures)
    path = decoded_folder(pictures) / "pictures.bin"
    content = bytearray(path.read_bytes())
    content[100:140] = bytes(40)
    monkeypatch.setattr("pipeline.data.prepared._damaged", lambda folder: None)  # as of a disk that fails later
    path.write_bytes(content)
    with pytest.raises(MirageError, match=r"picture \d+ of the prepared data can't be decoded .*--remove"):
        np.asarray(load(pictures).images)


@pytest.mark.parametrize("pack", [None, "zip", "tar"])
@pytest.mark.parametrize("form", ["pixels", "pictures"])
def test_many_files_are_decoded_by_processes_to_the_same_pixels(image_folder, tmp_path, monkeypatch, pack, form):
    root = image_folder(per_class=40)
    place = root if pack is None else shutil.make_archive(str(tmp_path / "packed"), pack, root)
    options = {
        "dataset": f"folder:{place}",
        "image_size": 12,
        "batch_size": 1,
        "device_data_mb": 0,
        "prepared_as": form,
    }
    by_threads = load(Config(**options, data_dir=str(tmp_path / "threads")))
    monkeypatch.setattr("pipeline.base.crew._WORTHWHILE", 10)
    by_processes = load(Config(**options, data_dir=str(tmp_path / "processes")))
    np.testing.assert_array_equal(np.asarray(by_processes.images), np.asarray(by_threads.images))
    assert by_processes.fingerprint == by_threads.fingerprint
