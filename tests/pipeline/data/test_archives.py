"""Archives are what the folder in them would be."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import load


def config(root, **changes):
    return Config(dataset=f"folder:{root}", batch_size=1, **changes)


def zipped(folder, path, prefix="", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def tarred(folder, path, prefix="", mode="w"):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, prefix or ".")
    return path


PACKED = {
    "zip": lambda folder, path: zipped(folder, path),
    "stored zip": lambda folder, path: zipped(folder, path, compression=zipfile.ZIP_STORED),
    "zip of the folder": lambda folder, path: zipped(folder, path, "data/animals/"),
    "tar": lambda folder, path: tarred(folder, path),
    "tar of the folder": lambda folder, path: tarred(folder, path, "animals"),
}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("classes", [("cat", "dog"), ()], ids=["classes", "flat"])
def test_an_archive_is_what_its_folder_is(image_folder, tmp_path, pack, classes):
    root = image_folder(classes=classes, per_class=30, mode="RGB")
    archive = pack(root, tmp_path / "packed")
    folder, packed = load(config(root)), load(config(archive))
    assert packed.spec.class_names == folder.spec.class_names
    assert packed.fingerprint == folder.fingerprint
    np.testing.assert_array_equal(packed.images, folder.images)
    np.testing.assert_array_equal(packed.labels, folder.labels)
    half = load(config(archive, split="train[:50%]"))
    np.testing.assert_array_equal(half.images, folder.images[: len(half.images)])


def picture(value=0):
    content = io.BytesIO()
    Image.new("L", (4, 4), value).save(content, "PNG")
    return content.getvalue()


def test_what_systems_put_into_archives_is_left_aside(tmp_path, capsys):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("set/1.png", "set/2.png", "set/.DS_Store", "__MACOSX/set/._1.png", "set/notes.txt"):
            archive.writestr(name, picture())
        archive.writestr("../outside.png", picture(9))
        archive.writestr("/set/3.png", picture())
    assert load(config(path)).spec.num_examples == 3
    assert "left aside 2 hidden, 1 ending in .txt" in capsys.readouterr().err
    assert not (tmp_path.parent / "outside.png").exists()


def test_links_in_a_tar_file(tmp_path, capsys):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, value in (("x/1.png", 1), ("x/2.png", 2)):
            member = tarfile.TarInfo(name)
            content = picture(value)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        links = [("3.png", tarfile.LNKTYPE, "2.png"), ("4.png", tarfile.SYMTYPE, "/etc/passwd")]
        links += [("5.png", tarfile.SYMTYPE, "6.png"), ("6.png", tarfile.SYMTYPE, "../x/./1.png")]
        for name, kind, target in links:
            name, target = f"x/{name}", f"x/{target}" if kind == tarfile.LNKTYPE else target
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    assert sorted(load(config(path)).images[:, 0, 0, 0]) == [1, 1, 1, 2, 2]
    assert "1 file that are links to no file in it, left aside" in capsys.readouterr().err


def of_pictures(path, names, **more):
    """A tar file of pictures, and of what else is given."""
    with tarfile.open(path, "w") as archive:
        for name, content in {**{name: picture(value) for value, name in enumerate(names)}, **more}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_what_lies_behind_damage_in_a_tar_file_is_missed(tmp_path):
    path = of_pictures(tmp_path / "a.tar", [f"{i}.png" for i in range(9)])
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        content[archive.getmember("5.png").offset + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(MirageError, match=r"can't be read \(damaged at byte"):
        load(config(path))
    both = tmp_path / "b.tar"
    both.write_bytes(of_pictures(tmp_path / "c.tar", ["1.png"]).read_bytes() * 2)
    with pytest.raises(MirageError, match=r"damaged at byte"):
        load(config(both))


def test_a_tar_file_is_one_whatever_lies_in_it(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("9.png", picture(9))
    path = of_pictures(tmp_path / "a.tar", ["BZ0.png", "BZ1.png"], **{"z.zip": inner.getvalue()})
    assert load(config(path)).spec.num_examples == 2


def damaged(path):
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)


FAULTS = {
    "no archive": (lambda folder, path: path.write_bytes(b"text" * 999), "is a file, but no archive"),
    "empty": (lambda folder, path: path.write_bytes(b""), "is a file, but no archive"),
    "compressed": (lambda folder, path: tarred(folder, path, mode="w:xz"), "compressed by xz.* unpack it"),
    "gzip": (lambda folder, path: tarred(folder, path, mode="w:gz"), "compressed by gzip"),
    "cut zip": (lambda folder, path: os.truncate(zipped(folder, path), 500), "no archive"),
    "cut tar": (lambda folder, path: os.truncate(tarred(folder, path), 3000), "can't be read"),
    "damaged member": (lambda folder, path: damaged(zipped(folder, path)), r"image .*\.png can't be read"),
    "no image": (lambda folder, path: zipfile.ZipFile(path, "w").writestr("a.txt", "x"), "no image below"),
}


@pytest.mark.parametrize(("make", "named"), FAULTS.values(), ids=FAULTS)
def test_archives_that_cannot_be_used_are_refused_in_one_sentence(image_folder, tmp_path, make, named):
    make(image_folder(), tmp_path / "packed")
    with pytest.raises(MirageError, match=named) as caught:
        load(config(tmp_path / "packed"))
    assert "\n" not in str(caught.value)


def test_an_encrypted_picture_is_named(image_folder, tmp_path):
    path = zipped(image_folder(classes=(), per_class=2), tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(MirageError, match=r"can't be read \(encrypted\)"):
        load(config(path))
