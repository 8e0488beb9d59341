"""Loads folders of damaged images, in a process of its own: `python -m tests.pipeline.data.image_fuzz DIR COUNT SEED`.

Prints how many files were read and how many named. Whatever else happens is a bug: an exception, a crash of a
decoder, a line that a library prints.
"""

import contextlib
import faulthandler
import io
import re
import resource
import shutil
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import describe, load
from pipeline.data.image_file import ENDINGS

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F", "YCbCr", "LAB")
_BATCH = 100
_MEMORY = 6 * 2**30  # so that sizes that are lies become errors
_TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 255, 65535)  # of TIFF's fields, and some that are none
_ENDS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def exif(*fields: tuple[int, int, int, bytes]) -> bytes:
    """EXIF of (tag, type, count, four bytes of value or offset), which need not make sense."""
    body = b"".join(struct.pack("<HHI4s", *field) for field in fields)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(fields)) + body + struct.pack("<I", 0) + b"72 dpi\0\0"


def malformed_exif(kind: int) -> bytes:
    """An orientation mark beside a resolution of a type that it can't have."""
    return exif((0x0112, 3, 1, b"\6\0\0\0"), (0x011A, kind, 1, b"\1\0\0\0"), (0x8769, kind, 9, b"\x2c\0\0\0"))


def originals(rng: np.random.Generator) -> list[bytes]:
    """Undamaged files of every format that Pillow writes here, with metadata and several pictures."""
    noise = [Image.fromarray(rng.integers(0, 256, (9, 14, 3), dtype=np.uint8)) for _ in range(3)]
    deep = Image.fromarray(rng.integers(0, 65536, (9, 14), dtype=np.uint16))
    pictures = [deep if mode == "I;16" else in_mode(noise[0], mode) for mode in _MODES]
    ways = [(name, image, {}) for name in sorted(Image.SAVE) for image in pictures if name not in ("PALM", "PDF")]
    metadata = [malformed_exif(kind) for kind in _TYPES]
    ways += [(name, noise[0], {"exif": e}) for name in ("JPEG", "PNG", "WEBP", "AVIF", "MPO") for e in metadata]
    several = {"save_all": True, "append_images": noise[1:]}
    ways += [(name, noise[0], several) for name in ("GIF", "PNG", "WEBP", "AVIF", "TIFF", "MPO", "ICNS")]
    ways += [("TIFF", noise[0], {"compression": c}) for c in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")]
    ways += [("TIFF", deep, {"tiffinfo": {340: 0, 341: 4095}}), ("JPEG", noise[0], {"progressive": True})]
    return [content for way in ways if (content := saved(*way)) and len(content) < 20_000]


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    return Image.frombytes("LAB", image.size, image.tobytes()) if mode == "LAB" else image.convert(mode)


def saved(name: str, image: Image.Image, options: dict) -> bytes:
    file = io.BytesIO()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, struct.error), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.save(file, name, **options)
        return file.getvalue()
    return b""


def damaged(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Damages a file in one of several ways; one in thirty stays whole."""
    data, way, at = bytearray(content), rng.integers(30), int(rng.integers(len(content)))
    if way < 12:
        head = 64 if rng.random() < 0.5 else len(data)  # half of them where sizes and kinds stand
        for place in rng.integers(0, min(head, len(data)), rng.integers(1, 9)):
            data[place] = rng.integers(256)
    elif way < 18:
        width = int(rng.choice([2, 4]))
        value = int(rng.choice(_ENDS)) % 256**width
        data[at : at + width] = value.to_bytes(width, str(rng.choice(["little", "big"])))
    elif way < 22:
        del data[at:]
    elif way < 24:
        del data[at : at + int(rng.integers(1, 40))]
    elif way < 26:
        data[at:at] = rng.bytes(int(rng.integers(1, 40)))
    elif way < 28:
        data[at:] = others[rng.integers(len(others))][at:]
    elif way < 29:
        data = bytearray(rng.bytes(at))
    return with_checksums(bytes(data)) if rng.random() < 0.7 else bytes(data)


def with_checksums(data: bytes) -> bytes:
    """Mends the checksums of PNG's chunks, so that what is in them is looked at."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    result, at = data[:8], 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        result += data[at:end] + zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return result + data[at:]


def load_all(folder: Path, files: int) -> tuple[int, int]:
    """Loads a folder twice: without what is bad, and refusing it; returns how many files were (read, named)."""
    said = io.StringIO()
    data = Config(dataset=f"folder:{folder}", batch_size=1)
    with contextlib.redirect_stderr(said):
        try:
            count = len(load(Config(dataset=data.dataset, batch_size=1, image_size=8, skip_bad_images=True)).images)
        except MirageError as error:
            if f"{files} of {files} images" not in str(error):
                raise
            count = 0
        named = re.search(r"leaves out (\d+) of", said.getvalue())
        assert count in (0, files - int(named[1]) if named else files), said.getvalue()
        for refusing in (describe, load):
            with contextlib.suppress(MirageError):
                refusing(data)
    assert all("--dataset=" in line for line in said.getvalue().splitlines()), said.getvalue()
    return count, files - count


def main(folder: Path, count: int, seed: int) -> None:
    faulthandler.enable()
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    rng = np.random.default_rng(seed)
    whole, endings = originals(rng), sorted(ENDINGS)
    read = named = 0
    for batch in range(0, count, _BATCH):
        below = folder / f"{batch}"
        below.mkdir(parents=True)
        for index in range(min(_BATCH, count - batch)):
            original = whole[rng.integers(len(whole))]
            path = below / f"{index}{endings[rng.integers(len(endings))]}"
            path.write_bytes(damaged(original, whole, rng))
        more = load_all(below, min(_BATCH, count - batch))
        read, named = read + more[0], named + more[1]
        shutil.rmtree(below)  # what is left shows where it ended
    print(f"{read} read, {named} named")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
