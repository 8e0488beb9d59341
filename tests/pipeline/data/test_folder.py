import numpy as np
import pytest
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import describe, load
from pipeline.data.pixels import to_grey_or_rgb


def config(root, **changes):
    return Config(dataset=f"folder:{root}", batch_size=changes.pop("batch_size", 1), **changes)


def test_class_folders(image_folder):
    root = image_folder()
    dataset = load(config(root))
    assert dataset.spec.class_names == ("cat", "dog")
    assert dataset.spec.image_shape == (16, 16, 1)
    assert dataset.images.shape == (12, 16, 16, 1)
    assert dataset.images.dtype == np.uint8
    assert np.bincount(dataset.labels).tolist() == [6, 6]
    for image, label in zip(dataset.images, dataset.labels, strict=True):
        originals = [np.asarray(Image.open(p)) for p in (root / dataset.spec.class_names[label]).iterdir()]
        assert any(np.array_equal(image[..., 0], original) for original in originals)
    assert describe(config(root)) == dataset.spec


def test_flat_folder_has_no_labels(image_folder):
    dataset = load(config(image_folder(classes=(), mode="RGB")))
    assert dataset.spec.class_names == ()
    assert dataset.images.shape == (6, 16, 16, 3)


def test_order_is_fixed_and_a_slice_holds_every_class(image_folder):
    root = image_folder(per_class=20)
    whole, half = load(config(root)), load(config(root, split="train[:50%]"))
    np.testing.assert_array_equal(half.images, whole.images[:20])
    assert set(half.labels) == {0, 1}
    np.testing.assert_array_equal(load(config(root, split="train[30:]")).images, whole.images[30:])
    np.testing.assert_array_equal(load(config(root, split="train[-10%:]")).images, whole.images[36:])


def test_sizes_and_modes_are_brought_to_one(tmp_path):
    rng = np.random.default_rng(0)
    for mode, size in [("RGB", (40, 20)), ("L", (20, 30)), ("RGBA", (33, 33)), ("P", (20, 20)), ("CMYK", (50, 20))]:
        bands = len(Image.new(mode, (1, 1)).getbands())
        shape = (size[1], size[0], bands) if bands > 1 else (size[1], size[0])
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        image = Image.frombytes(mode, size, pixels.tobytes())
        if mode == "P":
            image.putpalette(list(range(256)) * 3)
        image.save(tmp_path / (f"{mode}.jpg" if mode == "CMYK" else f"{mode}.png"))
    dataset = load(config(tmp_path, image_size=16))
    assert dataset.images.shape == (5, 16, 16, 3)


def test_grey_modes_stay_grey():
    deep = Image.fromarray(np.array([[0, 256, 65535]], np.uint16))
    assert np.asarray(to_grey_or_rgb(deep)).tolist() == [[0, 1, 255]]
    transparent = Image.new("LA", (2, 1))
    transparent.putdata([(9, 0), (9, 255)])
    assert np.asarray(to_grey_or_rgb(transparent)).tolist() == [[255, 9]]


def test_orientation_marks_are_applied(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was upside down
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = load(config(tmp_path)).images[0]
    assert (image[:8] == 0).all()
    assert (image[8:] == 255).all()


def mixed_depths(root):
    (root / "deep").mkdir(parents=True)
    Image.new("L", (16, 16)).save(root / "a.png")
    Image.new("L", (16, 16)).save(root / "deep" / "b.png")


def mixed_sizes(root):
    root.mkdir()
    Image.new("L", (16, 16)).save(root / "a.png")
    Image.new("L", (16, 18)).save(root / "b.png")


def corrupt(root):
    root.mkdir()
    (root / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")


def truncated(root):
    root.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "a.jpg")
    (root / "a.jpg").write_bytes((root / "a.jpg").read_bytes()[:900])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda root: None, "there is no folder"),
        (lambda root: root.mkdir(), "no image below"),
        (lambda root: (root.mkdir(), (root / "notes.txt").write_text("x")), "no image below"),
        (mixed_depths, "several depths"),
        (mixed_sizes, r"(b\.png is 18x16 and a\.png is 16x16|a\.png is 16x16 and b\.png is 18x16); set --image_size"),
        (corrupt, r"a\.png can't be read"),
        (truncated, r"a\.jpg can't be read"),
    ],
)
def test_unusable_folders_are_refused_in_one_sentence(tmp_path, make, named):
    root = tmp_path / "images"
    make(root)
    with pytest.raises(MirageError, match=named) as caught:
        load(config(root))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "split",
    ["test", "", "train[", "train[5]", "train[90%:10%]", "train[:0]", "train[:150%]", "train[:" + "9" * 5000 + "]"],
)
def test_unusable_splits_are_refused(image_folder, split):
    with pytest.raises(MirageError, match="--split="):
        load(config(image_folder(), split=split))


def test_folders_within_folders_name_classes_to_a_depth(tmp_path):
    for index, name in enumerate(["cat/black/a/1.png", "cat/white/2.png", "dog/black/3.png", "dog/black/b/c/4.png"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), index).save(path)
    expected = {
        0: ((), {0: 0, 1: 0, 2: 0, 3: 0}),
        1: (("cat", "dog"), {0: 0, 1: 0, 2: 1, 3: 1}),
        2: (("cat/black", "cat/white", "dog/black"), {0: 0, 1: 1, 2: 2, 3: 2}),
    }
    for depth, (names, labels) in expected.items():
        dataset = load(config(tmp_path, class_depth=depth))
        assert dataset.spec.class_names == names
        assert dict(zip(dataset.images[:, 0, 0, 0].tolist(), dataset.labels.tolist(), strict=True)) == labels
    with pytest.raises(MirageError, match=r"(2|3)\.png does not lie 3 folders below"):
        load(config(tmp_path, class_depth=3))
    with pytest.raises(MirageError, match=r"too deep, .*--class_depth"):
        load(config(tmp_path))


def test_a_folder_of_several_sets_says_which_to_pass(tmp_path):
    for name in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    with pytest.raises(MirageError, match=r"several sets, .* pass one of them: --dataset=folder:.*/(train|test)\."):
        load(config(tmp_path))
    assert load(config(tmp_path / "train")).spec.class_names == ("cat", "dog")
