"""Anything that holds images is a data set: arrays, what can only be read through, and functions that return them."""

import itertools
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.data import SOURCES, stream
from pipeline.data.dataset import describe, load, load_test, open_data
from pipeline.data.names import is_import_path
from pipeline.data.objects import recorded
from pipeline.data.options import DataOptions

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
GREY = IMAGES[..., 0]
LABELS = np.arange(12) % 3


@pytest.fixture
def options(tmp_path):
    return DataOptions(data_dir=str(tmp_path / "kept"))


class Batches(keras.utils.PyDataset):
    """Batches of five, the last of two."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(5 * index, 5 * index + 5)
        return IMAGES[part], LABELS[part]


class Endless(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return IMAGES, LABELS


class Pictures:
    """As torchvision has them."""

    classes = ("a", "b", "c")

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return Image.fromarray(IMAGES[index]), int(LABELS[index])


def generated():
    for image, label in zip(IMAGES, LABELS, strict=True):
        yield {"image": image, "label": label}


def tensors(images=IMAGES, labels=LABELS):
    return tf.data.Dataset.from_tensor_slices((images, labels))


STREAMS = {
    "one by one": tensors,
    "in batches": lambda: tensors().batch(5),
    "with labels in a column": lambda: tensors(labels=LABELS[:, None]).batch(5),
    "shuffled": lambda: tensors().shuffle(12).batch(5),
    "as tfds gives it": lambda: tensors().map(lambda image, label: {"image": image, "label": label}),
    "whole floats": lambda: tensors(IMAGES.astype(np.float32)).batch(5),
    "of unknown length": lambda: tensors().filter(lambda image, label: True),
    "Keras": Batches,
    "pictures": Pictures,
    "generator": lambda: generated,
    "a list": lambda: list(zip(IMAGES, LABELS, strict=True)),
}


def as_pairs(dataset):
    return sorted(
        (label, image.tobytes()) for image, label in zip(dataset.images, dataset.labels.tolist(), strict=True)
    )


EXPECTED = sorted((int(label), image.tobytes()) for image, label in zip(IMAGES, LABELS, strict=True))


@pytest.mark.parametrize("device_data_mb", [0, 2048], ids=["into a file", "into memory"])
@pytest.mark.parametrize("kind", STREAMS)
def test_what_can_only_be_read_through_is_the_same_data_in_the_same_order(options, kind, device_data_mb, monkeypatch):
    limits = DataOptions(data_dir=options.data_dir, device_data_mb=device_data_mb)
    dataset = open_data(STREAMS[kind](), limits)
    reference = open_data(tensors(), options)
    assert as_pairs(dataset) == EXPECTED
    np.testing.assert_array_equal(dataset.images, reference.images)
    np.testing.assert_array_equal(dataset.labels, reference.labels)
    assert dataset.fingerprint == reference.fingerprint
    assert dataset.spec.class_names == (("a", "b", "c") if kind == "pictures" else ("0", "1", "2"))
    assert dataset.streamed == (device_data_mb == 0)
    assert isinstance(dataset.images, np.memmap) == dataset.streamed


@pytest.mark.parametrize(
    "other",
    [
        lambda: tensors(IMAGES[::-1]),
        lambda: tensors(labels=LABELS[::-1].copy()),
        lambda: tensors().take(11),
        lambda: tensors().map(lambda image, label: (tf.image.flip_left_right(image), label)),
        lambda: tf.data.Dataset.from_tensor_slices(IMAGES),
    ],
    ids=["other pairs", "other labels", "fewer", "other pictures", "no labels"],
)
def test_another_content_is_other_data(options, other):
    first, second = open_data(tensors(), options), open_data(other(), options)
    assert second.spec.difference_from(first.spec)


def test_images_alone_have_no_labels(options):
    for data in (IMAGES, tf.data.Dataset.from_tensor_slices(IMAGES), list(IMAGES)):
        dataset = open_data(data, options)
        assert dataset.spec.class_names == ()
        assert not dataset.labels.any()
        assert dataset.images.shape == IMAGES.shape
    assert open_data(tf.data.Dataset.from_tensor_slices(GREY), options).images.shape == (12, 16, 16, 1)
    assert open_data(tf.data.Dataset.from_tensor_slices(GREY).batch(5), options).images.shape == (12, 16, 16, 1)


def test_arrays_are_used_where_they_are(options, tmp_path):
    dataset = open_data((IMAGES, LABELS), options)
    assert dataset.images is IMAGES
    assert dataset.labels.dtype == np.int32
    assert not dataset.streamed
    assert open_data(IMAGES, DataOptions(device_data_mb=0)).streamed
    assert np.shares_memory(open_data(GREY, options).images, GREY)
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = open_data((np.load(tmp_path / "images.npy", mmap_mode="r"), LABELS), options)
    assert isinstance(mapped.images, np.memmap)
    assert mapped.streamed
    assert mapped.spec == dataset.spec
    assert mapped.fingerprint == dataset.fingerprint
    assert not (tmp_path / "kept").exists()


def test_what_an_array_of_another_type_holds_is_not_changed(options):
    expected = open_data((IMAGES, LABELS), options)
    for data in (
        IMAGES.astype(np.float64),
        IMAGES.astype(np.int16),
        tf.constant(IMAGES),
        tf.constant(IMAGES, tf.float32),
    ):
        dataset = open_data((data, LABELS), options)
        np.testing.assert_array_equal(dataset.images, IMAGES)
        assert dataset.fingerprint == expected.fingerprint


def test_arrays_are_resized_as_folders_are(options, image_folder):
    root = image_folder(classes=(), size=20)
    small = DataOptions(image_size=16)
    folder = load(DataOptions(dataset=f"folder:{root}", image_size=16))
    originals = load(DataOptions(dataset=f"folder:{root}")).images
    for data in (originals, originals.astype(np.int64), list(originals)):
        assert {i.tobytes() for i in open_data(data, small).images} == {i.tobytes() for i in folder.images}


def test_what_is_of_various_sizes_is_resized(options):
    def various():
        for size, image in zip(range(12, 24), IMAGES, strict=True):
            yield {"image": np.resize(image, (size, size + 1, 3)), "label": "x", "boxes": np.zeros((size, 4))}

    shapes = {"image": ((None, None, 3), tf.uint8), "label": ((), tf.string), "boxes": ((None, 4), tf.float32)}
    signature = {name: tf.TensorSpec(*spec) for name, spec in shapes.items()}
    for data in (various, tf.data.Dataset.from_generator(various, output_signature=signature)):
        dataset = open_data(data, DataOptions(image_size=8))
        assert dataset.images.shape == (12, 8, 8, 3)
        assert dataset.spec.class_names == ("x",)
        with pytest.raises(MirageError, match="set image_size to bring all to one"):
            open_data(data, options)


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        ([0, 2, 2], [0, 2, 2], ("0", "1", "2")),
        ([[1], [0], [1]], [1, 0, 1], ("0", "1")),
        (np.array([1.0, 0.0, 1.0]), [1, 0, 1], ("0", "1")),
        ([True, False, True], [1, 0, 1], ("0", "1")),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        (np.array([b"dog", b"cat", b"dog"], object), [1, 0, 1], ("cat", "dog")),
        (["10", "9", "10"], [1, 0, 1], ("9", "10")),
        (np.array([3, 1, 2], np.uint8), [3, 1, 2], ("0", "1", "2", "3")),
    ],
)
def test_labels_are_numbers_or_names(options, labels, codes, names):
    for data in ((IMAGES[:3], labels), list(zip(IMAGES[:3], labels, strict=True))):
        dataset = open_data(data, options)
        assert dataset.spec.class_names == names
        pairs = {image.tobytes(): label for image, label in zip(dataset.images, dataset.labels.tolist(), strict=True)}
        assert [pairs[image.tobytes()] for image in IMAGES[:3]] == codes


@given(
    arrays_of.arrays(
        st.sampled_from([np.uint8, np.float32, np.int64]),
        st.tuples(*(st.integers(min_value=1, max_value=6),) * 3, st.sampled_from([1, 3])),
        elements=st.integers(min_value=0, max_value=255),
    )
)
def test_no_array_of_whole_numbers_is_changed(images):
    if images.dtype != np.uint8 and images.max() <= 1:
        with pytest.raises(MirageError, match="scale by 255"):
            open_data(images, DataOptions())
        return
    dataset = open_data(images, DataOptions())
    np.testing.assert_array_equal(dataset.images, images)
    assert dataset.spec.image_shape == images.shape[1:]
    assert dataset.spec.num_examples == len(images)


@given(
    arrays_of.arrays(
        st.sampled_from([np.float32, np.float64]),
        (2, 3, 3, 1),
        elements=st.floats(min_value=-300, max_value=300, width=32),
    )
)
def test_an_array_of_floats_is_kept_exactly_or_refused(images):
    if images.max() > 1 and set(images.ravel().tolist()) <= set(range(256)):
        np.testing.assert_array_equal(open_data(images, DataOptions()).images, images)
        return
    with pytest.raises(MirageError, match="expected uint8 from 0 to 255") as caught:
        open_data(images, DataOptions())
    assert "\n" not in str(caught.value)


def nothing(**parameters):
    return None


BAD = {
    "floats from 0 to 1": (lambda: IMAGES / 255, r"float64 from 0 to 1; .*scale by 255, round"),
    "floats from -1 to 1": (lambda: IMAGES / 127.5 - 1, r"from -1 to 1; .*add 1, scale by 127\.5"),
    "fractions": (lambda: IMAGES / 2, r"from 0 to 127\.5; .*: round and cast"),
    "too large": (lambda: IMAGES * 2.0, "from 0 to 510; .*bring them to that range"),
    "negative": (lambda: IMAGES.astype(int) - 9, "int64 from -9 to 246"),
    "black and white as floats": (lambda: (IMAGES > 9).astype("f"), "float32 from 0 to 1; .*scale by 255"),
    "bools": (lambda: IMAGES > 9, "images of bool"),
    "NaN": (lambda: np.where(IMAGES[0, 0, 0, 0] == IMAGES, np.nan, IMAGES), "NaN"),
    "channels first": (lambda: IMAGES.transpose(0, 3, 1, 2), r"shape \[3, 16, 16\]; .*channels come last"),
    "five channels": (lambda: np.zeros((2, 8, 8, 5), np.uint8), "expected 1, 3 or, with alpha, 4 channels"),
    "one image": (lambda: IMAGES[0, 0], r"an array of shape \[16, 3\]"),
    "no images": (lambda: IMAGES[:0], "an array of shape"),
    "no pixels": (lambda: IMAGES[:, :0], "images of shape"),
    "fewer labels": (lambda: (IMAGES, LABELS[:9]), "9 labels for 12 images"),
    "one-hot": (lambda: (IMAGES, np.eye(3)[LABELS]), r"labels of shape \[12, 3\]; .*argmax"),
    "missing labels": (lambda: (IMAGES, np.where(LABELS, LABELS, np.nan)), "labels of float64"),
    "missing numbers": (lambda: (IMAGES, np.where(LABELS, LABELS / 2, np.nan)), "no finite one, for 4 of 12 pictures"),
    "a constant attribute": (lambda: (IMAGES, np.ones((12, 2))), "attribute 0 is 1 for all pictures"),
    "attributes of several lengths": (lambda: (IMAGES, {"a": LABELS, "b": LABELS[:3]}), r"\(a 12, b 3\)"),
    "no attributes": (lambda: (IMAGES, {}), r"\(none\)"),
    "fewer attributes": (lambda: (IMAGES, np.random.default_rng(0).random((9, 2))), "9 labels for 12 images"),
    "attributes of two sizes": (
        lambda: [(IMAGES[0], [1, 2.5]), (IMAGES[1], [1])],
        "numbers and some are names, or lis",
    ),
    "negative labels": (lambda: (IMAGES, LABELS - 1), "labels from -1 to 1"),
    "labels that are no classes": (lambda: (IMAGES, LABELS * 10**9), "labels from 0 to 2,000,000,000"),
    "objects for labels": (lambda: (IMAGES, [None] * 12), "labels of object"),
    "a triple": (lambda: (IMAGES, LABELS, LABELS), "a tuple of ndarray, ndarray, ndarray"),
    "lists": (lambda: ([1], [2]), "a tuple of list, list"),
    "nothing to iterate": (lambda: object(), "is object; expected uint8 arrays"),
    "a number": (lambda: 7, "is int; expected"),
    "bytes": (lambda: b"x", "is bytes; expected"),
    "nothing": (lambda: nothing, "returned None"),
    "no elements": (list, "gives no images"),
    "an iterator": (lambda: generated(), "can be read once only; pass the function"),
    "paths": (lambda: ["a.png", "b.png"], r"an element of shape \[\]"),
    "mixed sizes": (
        lambda: [IMAGES[0], IMAGES[1, :8]],
        "16x16x3 and number 2 is 8x16x3; set image_size",
    ),
    "mixed colours": (lambda: [IMAGES[0], GREY[1][..., None]], "16x16x1; make all grey, all RGB or all RGBA"),
    "mixed labels": (lambda: [(IMAGES[0], 1), (IMAGES[1], "a")], "some labels are numbers and some are names"),
    "some labels": (lambda: [(IMAGES[0], 1), IMAGES[1]], r"an element of .* with no label after 1 others"),
    "labels of a batch": (lambda: tf.data.Dataset.from_tensors((IMAGES, LABELS[:5])), "5 labels for 12 images"),
    "channels first, alone": (lambda: list(IMAGES.transpose(0, 3, 1, 2)), "channels come last"),
    "channels first, with labels": (
        lambda: list(zip(IMAGES.transpose(0, 3, 1, 2), LABELS, strict=True)),
        "channels come last",
    ),
    "three parts": (lambda: [(IMAGES[0], 1, 1)], "an element of 3 parts"),
    "other keys": (lambda: [{"picture": IMAGES[0]}], "an element with picture"),
    "floats, streamed": (lambda: tensors(IMAGES / 255).batch(4), "scale by 255"),
    "black and white, streamed": (lambda: tensors((IMAGES > 9).astype("f")), "scale by 255"),
    "endless": (lambda: tensors().repeat(), r"has no end; give it one, such as by \.take\(n\)"),
    "endless Keras": (lambda: Endless(), "has no end"),
    "ragged": (lambda: tf.data.Dataset.from_tensors(tf.ragged.constant([[1], [2, 3]])), "data failed|an element"),
    "another split": (lambda: {"validation": IMAGES}, "--split=train is not a split of data; choose from validation"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_be_no_data_is_one_sentence(options, case):
    make, named = BAD[case]
    with pytest.raises(MirageError, match=named) as caught:
        open_data(make(), options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_data_that_repeat_without_end_are_noticed(options, monkeypatch):
    monkeypatch.setattr(stream, "_FEWEST", 100)
    endless = {
        "cycle": lambda: itertools.cycle(IMAGES),
        "filtered": lambda: tensors().repeat().filter(lambda image, label: True),
        "shuffled": lambda: tensors().shuffle(12).repeat().filter(lambda image, label: True).batch(5),
    }
    for make in endless.values():
        with pytest.raises(MirageError, match=r"gives the same images again and again, .*\.take\(n\)"):
            open_data(make, options)
    many = [*IMAGES, *[IMAGES[0]] * 500]  # of which one comes often
    assert open_data(lambda: iter(many), options).spec.num_examples == 512


def test_a_disk_that_fills_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "_LOOK_EVERY", 2000)
    monkeypatch.setattr(stream.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=4000))
    options = DataOptions(data_dir=str(tmp_path), device_data_mb=0)
    with pytest.raises(MirageError, match=r"can't be written out after .* \(too little space"):
        open_data(tensors(), options)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_data_says_where_it_is(options):
    def broken():
        yield IMAGES[0]
        raise KeyError("row 7")

    with pytest.raises(MirageError, match=r"data failed: KeyError: 'row 7' \(.*test_objects\.py, line \d+\); mend it"):
        open_data(broken, options)


@pytest.mark.parametrize(
    "data",
    [
        ((IMAGES, LABELS), (IMAGES[:5], LABELS[:5])),
        {"train": tensors(), "test": tensors().take(5)},
        lambda split: (IMAGES, LABELS) if split == "train" else tensors().take(5),
        lambda split="train", size=5: {"image": IMAGES, "label": LABELS} if split == "train" else Pictures(),
        lambda: ((IMAGES, LABELS), (IMAGES[:5], LABELS[:5, None])),
    ],
    ids=["as Keras gives them", "by name", "asked for", "a dict of arrays", "returned"],
)
def test_images_may_be_kept_apart_for_testing(options, data):
    assert as_pairs(open_data(data, options)) == EXPECTED
    test = load_test(options, data=data)
    assert test.spec.num_examples in (5, 12)
    assert open_data(data, DataOptions(split="test", data_dir=options.data_dir)).fingerprint == test.fingerprint


ATTRIBUTES = np.stack([LABELS == 2, 10 + LABELS + np.arange(12) / 16], 1).astype(np.float32)


@pytest.mark.parametrize(
    "make",
    [
        lambda images, values: (images, values),
        lambda images, values: (images, values.astype(object)),
        lambda images, values: (images, {"attribute 0": values[:, 0] > 0, "attribute 1": values[:, 1]}),
        lambda images, values: list(zip(images, values, strict=True)),
        lambda images, values: list(zip(images, values.tolist(), strict=True)),
        lambda images, values: [{"image": images[:7], "label": values[:7]}, {"image": images[7:], "label": values[7:]}],
        lambda images, values: tensors(images, values).batch(5),
        lambda images, values: tensors(images, {"attribute 0": values[:, 0], "attribute 1": values[:, 1]}),
    ],
    ids=["array", "objects", "by name", "pairs", "lists", "batches", "tf.data", "tf.data by name"],
)
def test_labels_may_be_several_numbers(options, make):
    data = {"train": make(IMAGES, ATTRIBUTES), "test": make(IMAGES[:2], ATTRIBUTES[:2] * [0, 1])}
    dataset = open_data(data, options)
    zero, one = dataset.spec.attributes
    assert (zero.name, zero.kind, zero.typical) == ("attribute 0", "binary", 0)
    assert (one.name, one.kind, one.low, one.high) == ("attribute 1", "number", *np.sort(ATTRIBUTES[:, 1])[[0, -1]])
    expected = {image.tobytes(): label.tolist() for image, label in zip(IMAGES, ATTRIBUTES, strict=True)}
    found = {image.tobytes(): label.tolist() for image, label in zip(dataset.images, dataset.labels, strict=True)}
    assert found == expected
    test = load_test(options, dataset.spec, data)  # of which one is constant
    assert test.spec.attributes == dataset.spec.attributes
    assert sorted(test.labels[:, 1].tolist()) == sorted(ATTRIBUTES[:2, 1].tolist())


def test_columns_of_a_table_have_its_names(options):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"smiling": LABELS == 2, "age": ATTRIBUTES[:, 1], "kind": [*"abcabcabcabc"]})
    spec = open_data((IMAGES, table), options).spec
    assert [each.name for each in spec.attributes] == ["smiling", "age", "kind=a", "kind=b", "kind=c"]
    assert [each.name for each in open_data((IMAGES, table[["age"]]), options).spec.attributes] == ["age"]


def test_texts_of_tensors_are_texts(options):
    data = tensors(IMAGES, {"kind": np.array(["a", "b", "c"])[LABELS], "age": ATTRIBUTES[:, 1]})
    assert [each.name for each in open_data(data, options).spec.attributes] == ["kind=a", "kind=b", "kind=c", "age"]


def test_few_test_images_are_not_taken_for_something_else(options):
    for labels, test in ((ATTRIBUTES, [[1.0, 0.0], [0.0, 1.0]]), (ATTRIBUTES[:, 1], [0.0, 2.0])):
        data = {"train": (IMAGES, labels), "test": (IMAGES[:2], np.array(test))}
        spec = open_data(data, options).spec
        found = load_test(options, spec, data)
        assert found.spec.attributes == spec.attributes
        np.testing.assert_array_equal(found.labels, np.reshape(test, [2, -1]))


def test_numbers_that_are_no_whole_ones_are_an_attribute(options):
    for data in ((IMAGES, ATTRIBUTES[:, 1]), list(zip(IMAGES, ATTRIBUTES[:, 1], strict=True))):
        dataset = open_data(data, options)
        assert [each.name for each in dataset.spec.attributes] == ["attribute 0"]
        assert sorted(dataset.labels[:, 0].tolist()) == sorted(ATTRIBUTES[:, 1].tolist())


def test_test_images_of_other_attributes_are_refused(options):
    train = open_data((IMAGES, ATTRIBUTES), options).spec
    for labels, said in (
        (LABELS, "other attributes than the training images"),
        (ATTRIBUTES[:, ::-1], "other attributes"),
        (np.concatenate([ATTRIBUTES, ATTRIBUTES[:, 1:]], 1), "other attributes"),
    ):
        with pytest.raises(MirageError, match=said):
            load_test(options, train, {"train": (IMAGES, ATTRIBUTES), "test": (IMAGES, labels)})


def test_without_a_split_for_it_nothing_is_kept_apart(options):
    for data in (IMAGES, tensors(), lambda split: IMAGES if split == "train" else None, {"train": IMAGES}):
        assert load_test(options, data=data) is None
    with pytest.raises(MirageError, match="--split=test does not go with data, which has no splits"):
        open_data(IMAGES, DataOptions(split="test"))


def test_classes_of_the_images_kept_apart_have_the_numbers_of_training(options):
    data = ((IMAGES, np.array(["a", "b", "c"])[LABELS]), (IMAGES[:2], ["c", "b"]))
    train = open_data(data, options).spec
    test = load_test(options, train, data)
    assert test.spec.class_names == ("a", "b", "c")
    assert test.labels.tolist() == [2, 1]
    for labels, named in ((["c", "d"], "the class d, which the training"), (None, "no labels")):
        with pytest.raises(MirageError, match=f"the test images of --dataset=.* have {named}"):
            load_test(options, train, {"train": data[0], "test": (IMAGES[:2], labels) if labels else IMAGES[:2]})


def test_import_paths_are_told_from_names():
    for dataset in ("my_data:load", "my.package.data:Data.load"):
        assert is_import_path(dataset)
    for dataset in (
        *("mnist", "mnist:3.0.1", "imagenet_resized/32x32:0.1.0", "folder:pictures", "folder:/x", "stacked:mnist"),
        *("stacked:my_data:load", "huggingface:mnist", "python:arrays", "", ":", "a:", ":b", "a:b:c", "mnist:3.*.*"),
    ):
        assert not is_import_path(dataset)


MODULE = """
import numpy as np

def load(split="train", count=12, bright=False):
    rng = np.random.default_rng(0 if split == "train" else 1)
    return rng.integers(100 if bright else 0, 256, (count, 16, 16, 1), dtype=np.uint8), np.arange(count) % 2

class Rows:
    def __init__(self, count=7):
        self.count = count
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        return np.full((8, 8), index, np.uint8)

images = load()[0]
kind = dict

def fails():
    raise ValueError("no such\\nplace")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "somebodys_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "somebodys_data"
    sys.modules.pop("somebodys_data", None)


def test_an_import_path_leads_to_data(module, options):
    def of(dataset, **changes):
        return DataOptions(dataset=f"{module}:{dataset}", data_dir=options.data_dir, **changes)

    dataset = load(of("load", dataset_args="count=20,bright=true"))
    assert dataset.spec.name == "somebodys_data:load"
    assert dataset.images.shape == (20, 16, 16, 1)
    assert dataset.images.min() >= 100
    assert load_test(of("load")).spec.num_examples == 12
    assert describe(of("Rows", dataset_args="count=3")).num_examples == 3
    assert load(of("images")).spec.class_names == ()
    stacked = load(DataOptions(dataset=f"stacked:{module}:load", dataset_args="count=30"))
    assert stacked.images.shape == (30, 16, 16, 3)
    assert stacked.spec.class_names[:2] == ("0-0-0", "0-0-1")
    assert load_test(DataOptions(dataset=f"stacked:{module}:load")).spec.num_examples == 12


@pytest.mark.parametrize(
    ("dataset", "changes", "named"),
    [
        ("laod", {}, "has no laod; did you mean load"),
        ("load", {"dataset_args": "number=3"}, "--dataset_args=number=3: .*; load takes split='train', count=12"),
        ("load", {"dataset_args": "split=test"}, "names a split; give it as --split="),
        ("images", {"dataset_args": "x=1"}, "--dataset_args=x=1 does not go with --dataset=somebodys_data:images"),
        ("images", {"split": "test"}, "--split=test does not go with --dataset=somebodys_data:images"),
        ("fails", {}, r"--dataset=somebodys_data:fails failed: ValueError: no such place \(.*somebodys_data\.py, line"),
        ("np", {}, "is module; expected uint8 arrays"),
        ("kind", {}, "--dataset=somebodys_data:kind failed: ValueError: no signature found"),
    ],
)
def test_an_import_path_that_leads_nowhere_is_one_sentence(module, dataset, changes, named):
    with pytest.raises(MirageError, match=named) as caught:
        load(DataOptions(dataset=f"{module}:{dataset}", **changes))
    assert "\n" not in str(caught.value)


def test_a_run_names_what_was_passed_so_that_it_is_found_again(module):
    somebodys = __import__(module)
    assert recorded("folder:/x") == ("folder:/x", "")
    assert recorded(somebodys.load) == ("somebodys_data:load", "")
    assert recorded(IMAGES) == recorded((IMAGES, LABELS)) == ("python:arrays", "")
    assert recorded(tensors()) == recorded(tensors().batch(3)) == ("python:tf.data", "")
    assert recorded(lambda: IMAGES) == recorded(generated.__call__) == ("python:function", "")
    with pytest.raises(MirageError, match=r"--dataset=python:arrays was passed in Python; pass data= there again"):
        load(DataOptions(dataset="python:arrays"))


def test_a_source_from_outside_is_one_file_and_one_line(tmp_path, monkeypatch, options):
    (tmp_path / "stripes_source.py").write_text(
        "import numpy as np\n"
        "def stripes(options, split, width=4):\n"
        "    size = options.image_size or int(options.dataset.removeprefix('stripes:'))\n"
        "    for shift in range(8):\n"
        "        row = np.where((np.arange(size) + shift) // width % 2, 255, 0).astype(np.uint8)\n"
        "        yield np.tile(row, (size, 1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SOURCES, "stripes:", "stripes_source:stripes")
    given = DataOptions(dataset="stripes:24", dataset_args="width=8")
    given.check(given.to_dict())
    dataset = load(given)
    assert dataset.images.shape == (8, 24, 24, 1)
    assert dataset.spec.name == "stripes:24"
    assert set(np.unique(dataset.images)) == {0, 255}
