"""Files of NumPy as data sets."""

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import load, load_test

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 8, 6, 3), np.uint8)
LABELS = np.arange(20) % 3


def config(path, **more):
    return Config(dataset=f"array:{path}", batch_size=1, **more)


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("x_train", "y_train"), ("arr_0", "arr_1")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_and_labels_by_their_usual_names(tmp_path, names, save):
    save(tmp_path / "a.npz", **dict(zip(names, (IMAGES, LABELS), strict=True)))
    dataset = load(config(tmp_path / "a.npz"))
    np.testing.assert_array_equal(dataset.images, IMAGES)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.spec.class_names == ("0", "1", "2")
    half = load(config(tmp_path / "a.npz", split="train[:50%]"))
    np.testing.assert_array_equal(half.images, IMAGES[:10])
    assert load_test(config(tmp_path / "a.npz")) is None


def test_a_test_split_is_kept_apart(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:5], y_test=LABELS[:5])
    assert load(config(tmp_path / "a.npz")).spec.num_examples == 20
    np.testing.assert_array_equal(load_test(config(tmp_path / "a.npz")).images, IMAGES[:5])


def test_several_labels_of_each_picture(tmp_path):
    labels = np.stack([LABELS == 0, RNG.random(20)], 1).astype(np.float32)
    arrays = {"images": IMAGES, "labels": labels, "x_test": IMAGES[:1], "y_test": labels[:1]}
    np.savez(tmp_path / "a.npz", **arrays)
    dataset = load(config(tmp_path / "a.npz"))
    assert [each.name for each in dataset.spec.attributes] == ["attribute 0", "attribute 1"]
    np.testing.assert_array_equal(dataset.labels, labels)
    np.savez(tmp_path / "a.npz", attribute_names=["smiling", "age"], **arrays)
    named = load(config(tmp_path / "a.npz"))
    assert [each.name for each in named.spec.attributes] == ["smiling", "age"]
    part = load(config(tmp_path / "a.npz", split="train[:1]"))
    assert part.spec.attributes == named.spec.attributes
    np.testing.assert_array_equal(part.labels, labels[:1])
    test = load_test(config(tmp_path / "a.npz"), named.spec)
    assert test.spec.attributes == named.spec.attributes
    np.testing.assert_array_equal(test.labels, labels[:1])


def test_npy_with_labels_beside_it_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    dataset = load(config(tmp_path / "a.npy"))
    assert dataset.spec.class_names == ()
    assert isinstance(dataset.images, np.memmap)
    np.save(tmp_path / "a_labels.npy", LABELS)
    np.testing.assert_array_equal(load(config(tmp_path / "a.npy")).labels, LABELS)
    assert load(config(tmp_path / "a.npy", image_size=4)).spec.image_shape == (4, 4, 3)


FAULTS = {
    "pickle": (lambda path: np.savez(path, images=np.array([{}], object)), "can't be read"),
    "no images": (lambda path: np.savez(path, weights=IMAGES), "holds none of images"),
    "no archive": (lambda path: path.write_bytes(b"x" * 99), "can't be read"),
    "missing": (lambda path: None, "No such file"),
    "labels": (lambda path: np.savez(path, x=IMAGES, y=LABELS[:3]), "3 labels for 20 images"),
    "names": (
        lambda path: np.savez(path, x=IMAGES, y=np.eye(20)[:, :3] / 2, attribute_names=["a", "b"]),
        "attribute_names has 2 names for 3 columns of labels",
    ),
    "floats": (lambda path: np.savez(path, x=IMAGES / 255), "expected uint8 from 0 to 255: scale by 255"),
}


@pytest.mark.parametrize(("make", "named"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path, make, named):
    path = tmp_path / "a.npz"
    make(path)
    with pytest.raises(MirageError, match=named) as caught:
        load(config(path))
    assert "\n" not in str(caught.value)
