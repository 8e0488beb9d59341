"""What images of all kinds become, and what is said of those that can't be read."""

import io
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data import fingerprint, looks
from pipeline.data.dataset import describe, load
from pipeline.data.pixels import to_grey_or_rgb
from tests.pipeline.data.image_fuzz import malformed_exif


def config(root, **changes):
    return Config(dataset=f"folder:{root}", batch_size=1, **changes)


def loaded(root, **changes):
    return load(config(root, **changes)).images


def png(path, pixels, sbit=None, transparent=None):
    """Writes uint16 [H, W] or [H, W, 3] as a PNG file of 16 bits, which Pillow can't do in colour, nor with sBIT."""
    height, width = pixels.shape[:2]
    colours = pixels.ndim == 3

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2 if colours else 0, 0, 0, 0))
        + (chunk(b"sBIT", bytes([sbit] * (3 if colours else 1))) if sbit else b"")
        + (chunk(b"tRNS", struct.pack(">H", transparent)) if transparent is not None else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


@pytest.mark.parametrize(
    ("values", "sbit"),
    [
        (RAMP << 8, None),
        (RAMP << 4, 12),  # as they are, in the lower bits
        ((RAMP << 8) | RAMP, 12),  # spread over all bits, as the standard wants
        (RAMP << 8, 12),
        (RAMP << 6, 14),
        (RAMP << 2, 10),
    ],
)
def test_sixteen_bit_greys_are_scaled_by_the_bits_that_count(tmp_path, capsys, values, sbit):
    values = values.copy()
    if sbit and values.max() < 2**sbit:
        values |= values & 3  # the lowest bits are used too, if only a little
        values[0, 1] |= 3
    png(tmp_path / "a.png", values, sbit)
    image = loaded(tmp_path)[0, ..., 0]
    np.testing.assert_array_equal(image, RAMP)
    assert "warning" not in capsys.readouterr().err


def test_a_dark_picture_of_all_bits_stays_dark(tmp_path):
    dark = RAMP << 4  # 12 bits, spread as the standard wants: all multiples of 16
    png(tmp_path / "a.png", dark, 12)
    np.testing.assert_array_equal(loaded(tmp_path)[0, ..., 0], RAMP >> 4)


def test_twelve_bits_in_sixteen_that_say_nothing_are_told(tmp_path, capsys):
    png(tmp_path / "a.png", RAMP << 4)
    png(tmp_path / "b.png", RAMP << 4)
    loaded(tmp_path)
    said = capsys.readouterr().err
    assert "warning: --dataset=" in said
    assert "2 images of more than 8 bits lie between 0.00% and 6.23%" in said


def test_the_same_in_colour_is_told(tmp_path, capsys):
    png(tmp_path / "a.png", np.stack([RAMP << 4] * 3, axis=-1))
    assert loaded(tmp_path).shape == (1, 16, 16, 3)
    assert "1 images of more than 8 bits" in capsys.readouterr().err


def test_transparent_sixteen_bit_greys_are_laid_over_white(tmp_path):
    png(tmp_path / "a.png", RAMP << 8, transparent=7 << 8)
    expected = RAMP.copy()
    expected[0, 7] = 255
    np.testing.assert_array_equal(loaded(tmp_path)[0, ..., 0], expected)


def tiff(path, pixels, bits=None, order="<", **tags):
    """Writes grey values as an uncompressed TIFF file whose tags are given by number, such as t341=4095."""
    height, width = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    if bits == 12:
        pairs = pixels.reshape(-1, 2).astype(int)
        packed = [(a >> 4, (a & 15) << 4 | b >> 8, b & 255) for a, b in pairs]
        data = np.array(packed, np.uint8).tobytes()
    fields = {256: width, 257: height, 258: bits or pixels.itemsize * 8, 259: 1, 262: 1, 277: 1, 278: height, 339: kind}
    fields |= {279: len(data), 273: 0} | {int(name[1:]): value for name, value in tags.items()}
    fields[273] = 8 + 2 + 12 * len(fields) + 4
    body = b""
    for tag, value in sorted(fields.items()):
        form = "f" if isinstance(value, float) else "i" if value < 0 else "I"
        body += struct.pack(f"{order}HHI{form}", tag, {"f": 11, "i": 9, "I": 4}[form], 1, value)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(fields))
    path.write_bytes(head + body + b"\0\0\0\0" + data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("values", "tags"),
    [
        (RAMP << 8, {}),
        (RAMP << 4, {"t341": 4095}),
        (RAMP << 4, {"bits": 12}),
        (RAMP * 4 + 1000, {"t340": 1000, "t341": 1000 + 255 * 4}),
        (RAMP.astype(np.uint32) << 24, {}),
        ((RAMP.astype(np.int32) << 8) - 2**15, {"as_type": np.int16}),
        ((RAMP.astype(np.int64) << 24) - 2**31, {"as_type": np.int32}),
        ((RAMP / 255), {"as_type": np.float32}),
        ((RAMP * 10.0), {"as_type": np.float32, "t340": 0.0, "t341": 2550.0}),
        (65535 - (RAMP << 8), {"t262": 0}),  # white is 0
    ],
)
def test_deep_tiff_files_are_scaled_by_their_range(tmp_path, capsys, order, values, tags):
    tags = dict(tags)
    values = values.astype(tags.pop("as_type", values.dtype))
    tiff(tmp_path / "a.tif", values, order=order, **tags)
    try:
        Image.open(tmp_path / "a.tif").load()
    except OSError:  # Pillow knows some of these kinds in one order of bytes only
        with pytest.raises(MirageError, match=r"a\.tif can't be read"):
            load(config(tmp_path))
        assert order == ">"
        return
    np.testing.assert_array_equal(loaded(tmp_path)[0, ..., 0], RAMP)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("values", "tags", "named"),
    [
        (RAMP.astype(np.float32), {}, r"values from 0\.0 to 255\.0, whose range it does not declare"),
        (np.full((16, 16), np.nan, np.float32), {}, "values that are not finite"),
        (RAMP, {"t340": 9, "t341": 9}, "SMinSampleValue"),
    ],
)
def test_values_that_mean_nothing_are_refused(tmp_path, values, tags, named):
    tiff(tmp_path / "a.tif", values, **tags)
    with pytest.raises(MirageError, match=rf"a\.tif can't be read \({named}"):
        load(config(tmp_path))


def test_lab_becomes_the_colour_that_it_is(tmp_path):
    Image.frombytes("LAB", (16, 16), bytes([128, 60, 40] * 256)).save(tmp_path / "a.tif")
    red, green, blue = loaded(tmp_path)[0, 0, 0].tolist()
    assert red > green + 50
    assert red > blue + 50


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_black_and_white_stay_so_in_every_mode(mode):
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, 4:] = 255
    image = Image.fromarray(pixels)
    if mode in ("I;16", "I"):
        image = Image.fromarray(pixels.astype(np.uint16) * 257)
    image = Image.fromarray(pixels.astype(np.float32) / 255) if mode == "F" else image.convert(mode)
    made = np.asarray(to_grey_or_rgb(image).convert("RGB"))
    assert (made[:, :4] == 0).all()
    assert (made[:, 4:] == 255).all()


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "avif", "tif"])
@pytest.mark.parametrize("kind", [0, 1, 2, 5, 7, 9, 13, 255])
def test_the_orientation_counts_whatever_else_stands_in_the_metadata(tmp_path, ending, kind):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255  # bright on the left; turned by 90 degrees, bright above
    if ending == "tif":
        information = TiffImagePlugin.ImageFileDirectory_v2()
        information[0x0112] = 6
        options = {"tiffinfo": information}
    else:
        # The writer of AVIF makes marks of its own of what it can read.
        options = {"exif": malformed_exif(3 if ending == "avif" else kind)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the writer of AVIF reads the metadata
        Image.fromarray(pixels).save(tmp_path / f"a.{ending}", **options)
    assert describe(config(tmp_path)).image_shape == (32, 16, 3)
    image = loaded(tmp_path)[0].astype(int)
    assert image[:14].min() > 200
    assert image[18:].max() < 50


def animated(path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif", "avif"])
@pytest.mark.parametrize("skip", [False, True])
def test_of_several_pictures_the_first_is_taken_and_that_is_said(tmp_path, capsys, ending, skip):
    animated(tmp_path / f"a.{ending}")
    red, _, blue = loaded(tmp_path, skip_bad_images=skip)[0, 8, 8].tolist()
    assert red > 200
    assert blue < 50
    assert "1 files hold several pictures, of which the first is taken." in capsys.readouterr().err


def test_a_picture_of_a_size_that_is_an_attack_is_named(tmp_path):
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    with pytest.raises(MirageError, match=r"a\.png can't be read \(Image size \(400000000 pixels\) exceeds"):
        load(config(tmp_path, image_size=16))


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (struct.error("unpack requires 4 bytes"), "error: unpack requires 4 bytes"),
        (AttributeError("x\ny"), "AttributeError: x"),
        (AssertionError(), "AssertionError"),
        (MemoryError(), "MemoryError"),
        (ValueError(), "ValueError"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
def test_whatever_a_decoder_raises_the_file_is_named(image_folder, monkeypatch, error, named):
    def fail(*arguments, **keywords):
        raise error

    root = image_folder(classes=(), per_class=1)
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MirageError, match=re.escape(f"0.png can't be read ({named}); mend")):
        load(config(root))


def with_bad_ones(root, good=20, bad=12):
    """Pictures of which some are damaged: in turn empty, no image, and cut, which shows only when they are decoded."""
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(good + bad):
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(root / f"{index}.png")
    for index in range(bad):
        path = root / f"{index}.png"
        path.write_bytes([b"", b"no image", path.read_bytes()[:-60]][index % 3])
    return root


@pytest.mark.parametrize("use", [load, describe])
def test_all_bad_images_are_told_at_once(tmp_path, use):
    with pytest.raises(
        MirageError, match=r"12 of 32 images can't be read: .* and 2 more; .*--skip_bad_images"
    ) as caught:
        use(config(with_bad_ones(tmp_path)))
    assert str(caught.value).count(".png (") == 10
    assert "(empty file)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_whose_damage_shows_only_in_their_pixels_are_told_at_once_too(tmp_path):
    with_bad_ones(tmp_path)
    for index in [*range(0, 12, 3), *range(1, 12, 3)]:
        (tmp_path / f"{index}.png").unlink()
    with pytest.raises(MirageError, match=r"4 of 24 images can't be read"):
        load(config(tmp_path))


@pytest.mark.parametrize("limit", [2048, 0])
def test_training_goes_on_without_bad_images_if_that_is_wanted(tmp_path, capsys, limit):
    root = with_bad_ones(tmp_path / "images")
    dataset = load(config(root, skip_bad_images=True, device_data_mb=limit, data_dir=str(tmp_path)))
    assert dataset.spec.num_examples == len(dataset.images) == 20
    said = capsys.readouterr().err
    assert "--skip_bad_images leaves out 12 of 32 images" in said
    assert "and 2 more" in said
    for path in [root / f"{index}.png" for index in range(12)]:
        path.unlink()
    np.testing.assert_array_equal(load(config(root)).images, dataset.images)


def test_with_skipping_it_is_remembered_which_images_can_be_decoded(tmp_path, monkeypatch):
    root = with_bad_ones(tmp_path / "images", bad=3)
    monkeypatch.setattr(looks, "_WORTHWHILE_S", 0.0)
    monkeypatch.setattr(fingerprint, "_SETTLED_NS", 0)
    seen = []
    original = to_grey_or_rgb
    monkeypatch.setattr(
        "pipeline.data.decoding.to_grey_or_rgb", lambda *given, **more: seen.append(1) or original(*given, **more)
    )
    counts = []
    for _ in range(3):
        load(config(root, skip_bad_images=True, data_dir=str(tmp_path / "kept")))
        counts.append(len(seen))
        seen.clear()
    # To find the bad ones and then for their pixels; then but for the damaged ones, of which one opens.
    assert counts == [21 + 20, 1 + 20, 1 + 20]


def test_nothing_but_bad_images_is_refused(tmp_path):
    with pytest.raises(MirageError, match="3 of 3 images can't be read"):
        load(config(with_bad_ones(tmp_path, good=0, bad=3), skip_bad_images=True))


def test_a_run_without_bad_images_is_not_continued_with_them():
    earlier = Config(skip_bad_images=True)
    assert Config().changes_from(earlier) == [("skip_bad_images", True, False)]
