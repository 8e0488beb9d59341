import dataclasses
import os
import socket
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.dataset import describe, load, load_test, open_data
from pipeline.data.objects import recorded
from serving.contract.pixels import over_white


def builder(name, feature_dict, examples):
    """Registers a tensorflow-datasets builder; its name is the class name in lower case."""

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(feature_dict))

    def split_generators(self, dl_manager):
        return {split: self._generate_examples(rows) for split, rows in examples.items()}

    def generate_examples(self, rows):
        yield from enumerate(rows)

    members = {
        "VERSION": tfds.core.Version("1.0.0"),
        "_info": info,
        "_split_generators": split_generators,
        "_generate_examples": generate_examples,
        "__module__": __name__,
    }
    return type(name, (tfds.core.GeneratorBasedBuilder,), members)


def noise(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


COLOUR = noise(6, 20, 20, 3)
builder(
    "Colourset",
    {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(20, 20, 3)),
        "kind": tfds.features.ClassLabel(names=["a", "b"]),
    },
    {
        "train": [{"id": "x", "image": image, "kind": i % 2} for i, image in enumerate(COLOUR)],
        "test": [{"id": "y", "image": COLOUR[0], "kind": 0}],
    },
)
SPRITES = noise(5, 12, 10, 4)
builder("Spriteset", {"image": tfds.features.Image(shape=(12, 10, 4))}, {"train": [{"image": i} for i in SPRITES]})
builder(
    "Variousset",
    {"image": tfds.features.Image()},
    {"train": [{"image": noise(20 + i, 30, 3)} for i in range(3)]},
)
builder(
    "Manyset",
    {"image": tfds.features.Image(shape=(20, 20, 1)), "label": tfds.features.ClassLabel(num_classes=101)},
    {"train": [{"image": noise(20, 20, 1), "label": 0}]},
)
builder("Textset", {"text": tfds.features.Text()}, {"train": [{"text": "x"}]})
FACES = [
    {
        "image": noise(10, 10, 3) + np.uint8(i),
        "attributes": {"Male": i % 2 == 0, "Smiling": i % 3 == 0},
        "age": np.float32(20 + i / 2),
        "id": f"face {i}",
        "kind": i % 2,
    }
    for i in range(12)
]
builder(
    "Faceset",
    {
        "image": tfds.features.Image(shape=(10, 10, 3)),
        "attributes": {"Male": np.bool_, "Smiling": np.bool_},
        "age": np.float32,
        "id": tfds.features.Text(),
        "kind": tfds.features.ClassLabel(names=["b", "a"]),
        "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
    },
    {"train": [{**face, "box": np.zeros(4, np.float32)} for face in FACES]},
)
DEEP = np.zeros((20, 20, 1), np.uint16)
builder("Deepset", {"image": tfds.features.Image(shape=(20, 20, 1), dtype=np.uint16)}, {"train": [{"image": DEEP}]})


@pytest.fixture
def config(tmp_path):
    return lambda dataset, **changes: Config(dataset=dataset, **{"data_dir": str(tmp_path), "batch_size": 1, **changes})


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments, **keywords):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_mnist5k_is_real_digits_without_network(config, no_network):
    dataset = load(config("mnist5k", conditional=True))
    assert dataset.spec.image_shape == (28, 28, 1)
    assert dataset.spec.version == "1.0.0"
    assert dataset.images.shape == (5000, 28, 28, 1)
    assert np.bincount(dataset.labels).tolist() == [500] * 10
    means = np.array([dataset.images[dataset.labels == k].mean() for k in range(10)])
    # Ones have the least ink and zeros the most, as in MNIST; the overall mean there is 33.3.
    assert (means.argmin(), means.argmax()) == (1, 0)
    assert abs(dataset.images.mean() - 33.3) < 1
    quarter = load(config("mnist5k", split="train[:25%]"))
    assert np.bincount(quarter.labels).min() > 90
    np.testing.assert_array_equal(quarter.images, dataset.images[:1250])


def test_a_labelled_colour_set(config):
    dataset = load(config("colourset"))
    assert dataset.spec.class_names == ("a", "b")
    assert dataset.spec.num_examples == 6
    found = [next(i for i in range(6) if np.array_equal(COLOUR[i], image)) for image in dataset.images]
    assert sorted(found) == list(range(6))
    assert dataset.labels.tolist() == [i % 2 for i in found]
    resized = load(config("colourset", image_size=16))
    assert resized.images.shape == (6, 16, 16, 3)


def test_describe_prepares_nothing(config, tmp_path):
    spec = describe(config("mnist"))
    assert spec.image_shape == (28, 28, 1)
    assert spec.class_names == tuple("0123456789")
    assert spec.num_examples == 0
    assert not list(tmp_path.iterdir())


def test_various_sizes_need_an_image_size(config):
    with pytest.raises(MirageError, match="set --image_size"):
        load(config("variousset"))
    assert load(config("variousset", image_size=16)).images.shape == (3, 16, 16, 3)


def test_transparent_pictures_stay_so_or_are_laid_over_white(config):
    assert describe(config("spriteset", transparency="keep")).image_shape == (12, 10, 4)
    kept = load(config("spriteset", transparency="keep")).images
    assert {each.tobytes() for each in kept} == {each.tobytes() for each in SPRITES}
    flat = load(config("spriteset"))
    assert flat.spec.image_shape == (12, 10, 3)
    np.testing.assert_array_equal(flat.images, over_white(kept))


@pytest.mark.parametrize("dataset", ["variousset", "colourset"])
def test_sizes_need_not_be_square(dataset, config):
    sizes = {"image_size": "24x16", "random_crop": 1.25}
    pictures = {}
    for fit in ("crop", "pad", "stretch"):
        found = load(config(dataset, fit=fit, **sizes))
        assert found.images.shape[1:] == describe(config(dataset, fit=fit, **sizes)).image_shape == (24, 16, 3)
        assert found.drawn.shape[1:] == (30, 20, 3)
        pictures[fit] = found.drawn.tobytes()
    assert len(set(pictures.values())) == 3
    with pytest.raises(
        MirageError, match=f"--dataset={dataset}: .* pixels, and with --fit=none all must have 30x20, which"
    ):
        load(config(dataset, fit="none", **sizes))


@pytest.mark.parametrize(
    ("dataset", "changes", "named"),
    [
        ("mnits", {}, "did you mean .*mnist"),
        ("no/such set", {}, "--dataset=no/such set"),
        ("mnist:9.9.9", {}, r"--dataset=mnist:9\.9\.9 can't be used .* only: 3\.0\.1"),
        ("mnist/data_dir=3", {}, "--dataset=mnist/data_dir=3 can't be used"),
        ("mnist/a=1", {}, "--dataset=mnist/a=1 can't be used"),
        ("stacked:", {}, "--dataset= can't be used"),
        ("stacked:stacked:mnist5k", {}, "needs grey images with labels"),
        ("stacked:manyset", {}, r"would have 1,030,301 classes; use data of at most 100"),
        ("mnist", {"manual_dir": "/nonexistent"}, r"--manual_dir=/nonexistent can't be looked through \(No such file"),
        ("mnist", {"manual_dir": "/dev/null"}, "--manual_dir=/dev/null can't be looked through"),
        ("mnist", {"manual_dir": "~nosuchuser"}, "--manual_dir=~nosuchuser names the home directory"),
        ("mnist5k", {"data_dir": "gs://bucket/x"}, "--data_dir=gs://bucket/x is no folder of this machine"),
        ("mnist5k", {"data_dir": "x\0y"}, "--data_dir="),
        ("mnist5k", {"data_dir": "~nosuchuser/x"}, "--data_dir=~nosuchuser/x names the home directory"),
        ("mnist5k", {"data_dir": "/dev/null/x"}, "can't be prepared in /dev/null/x/mnist5k"),
        ("mnist5k", {"data_dir": "/" + "x" * 300}, "can't be prepared .*File name too long"),
        ("colourset", {"split": ""}, "--split= is not a split"),
        ("colourset", {"split": "x\0"}, r"--split=x\\x00 is not a split"),
        ("colourset", {"split": "train[:150%]"}, r"--split=train\[:150%\] is not a split"),
        ("colourset", {"split": "train[5:2]"}, r"--split=train\[5:2\] .* no examples"),
        ("colourset", {"split": "train[99999999999999999999:]"}, "is not a split"),
        ("textset", {}, "has no images"),
        ("deepset", {}, "1 channels of uint16"),
        ("colourset", {"split": "validation"}, "--split=validation .* choose from test, train"),
        ("colourset", {"split": "train[:"}, "--split="),
        ("colourset", {"split": "train[:0%]"}, r"--split=train\[:0%\] .* no examples"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(config, dataset, changes, named):
    with pytest.raises(MirageError, match=named) as caught:
        load(config(dataset, **changes))
    assert "\n" not in str(caught.value)


def test_without_network_the_way_out_is_named_at_once(config, no_network):
    with pytest.raises(MirageError, match=r"--manual_dir.*mnist5k"):
        load(config("mnist"))


def test_a_set_is_known_by_what_it_was_prepared_from_and_not_by_where(config, tmp_path, no_network):
    first = load(config("mnist5k", split="train[:50%]"))
    assert len(first.fingerprint) == 64
    assert load(config("mnist5k", split="train[50%:]")).fingerprint != first.fingerprint
    elsewhere = load(config("mnist5k", split="train[:50%]", data_dir=str(tmp_path / "elsewhere")))
    assert elsewhere.fingerprint == first.fingerprint


def test_a_set_without_recorded_checksums_is_known_by_its_examples(config, tmp_path):
    def prepared(name, images, labels):
        """The same set, as prepared from these examples."""
        rows = [{"image": image, "kind": label} for image, label in zip(images, labels, strict=True)]
        features = {"image": tfds.features.Image(shape=(20, 20, 3)), "kind": tfds.features.ClassLabel(num_classes=2)}
        builder("Sameset", features, {"train": rows})
        return load(config("sameset", data_dir=str(tmp_path / name)))

    with pytest.MonkeyPatch.context() as patch:
        # Registered anew under the same name each time, as if they were of different days.
        patch.setattr(tfds.core.registered, "_DATASET_REGISTRY", dict(tfds.core.registered._DATASET_REGISTRY))
        first = prepared("a", COLOUR, [0, 1] * 3)
        tfds.core.registered._DATASET_REGISTRY.pop("sameset")
        again = prepared("b", COLOUR, [0, 1] * 3)
        tfds.core.registered._DATASET_REGISTRY.pop("sameset")
        swapped = prepared("c", noise(7, 20, 20, 3)[:6], [0, 1] * 3)
        tfds.core.registered._DATASET_REGISTRY.pop("sameset")
        relabelled = prepared("d", COLOUR, [1, 0] * 3)
    assert again.fingerprint == first.fingerprint
    assert swapped.spec == relabelled.spec == first.spec
    assert len({each.fingerprint for each in (first, swapped, relabelled)}) == 3


def test_an_empty_folder_of_original_files_is_refused_before_anything_is_fetched(config, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MirageError, match=r"--manual_dir=.*empty is empty; expected the original files"):
        load(config("mnist", manual_dir=str(tmp_path / "empty")))
    assert not list(tmp_path.rglob("*mnist-train*"))


def test_what_was_given_to_prepare_is_not_needed_again(config):
    first = load(config("colourset"))
    assert load(config("colourset", manual_dir="/nonexistent")).spec == first.spec


@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_prepared_files_that_are_damaged_are_one_sentence(config, tmp_path, damage):
    load(config("colourset"))
    [records] = tmp_path.rglob("colourset-train*")
    if damage == "cut":
        records.write_bytes(records.read_bytes()[:-100])
    else:
        records.unlink()
    with pytest.raises(MirageError, match=r"can't be read .*colourset/1\.0\.0, so that it is") as caught:
        load(config("colourset"))
    assert "\n" not in str(caught.value)


def test_more_memory_than_there_is_is_refused(config, monkeypatch):
    def refuse(*arguments):
        raise MemoryError

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.data.prepared._prepare", full)
    monkeypatch.setattr("pipeline.data.dataset.np", types.SimpleNamespace(empty=refuse, uint8=np.uint8))
    with pytest.raises(MirageError, match=r"colourset needs 4\.5 GiB of memory, .* lower --device_data_mb"):
        load(config("colourset", image_size=16383, device_data_mb=2**20))


def test_what_tensorflow_datasets_returns_is_data_as_well(config, tmp_path):
    named = load(config("colourset"))
    builder = tfds.builder("colourset", data_dir=str(tmp_path))
    passed = open_data(builder, config("mnist5k"))
    assert recorded(builder) == ("colourset:1.0.0", "")
    assert passed.fingerprint == named.fingerprint
    assert dataclasses.replace(passed.spec, name="colourset") == named.spec
    again = load(config("colourset:1.0.0"))
    assert again.spec == passed.spec
    np.testing.assert_array_equal(passed.images, named.images)
    assert load_test(config("mnist5k"), data=builder).spec.num_examples == 1
    contents = {image.tobytes() for image in named.images}
    splits = tfds.load("colourset", data_dir=str(tmp_path))
    for data in (splits, splits["train"].map(lambda each: {"image": each["image"], "label": each["kind"]})):
        streamed = open_data(data, config("mnist5k"))
        assert {image.tobytes() for image in streamed.images} == contents
    assert streamed.spec.class_names == ("0", "1")
    assert load_test(config("mnist5k"), data=splits).spec.num_examples == 1


@pytest.mark.mnist
def test_original_mnist_files_from_a_folder(config, no_network):
    dataset = load(config("mnist", manual_dir=os.environ["MIRAGE_MNIST_DIR"]))
    assert dataset.images.shape == (60000, 28, 28, 1)
    # Published per-class counts of the training set.
    expected = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(dataset.labels).tolist() == expected


@pytest.mark.parametrize(
    ("labels", "names", "columns"),
    [
        ("Male,Smiling,age", ["Male", "Smiling", "age"], lambda i: (i % 2 == 0, i % 3 == 0, 20 + i / 2)),
        ("attributes", ["Male", "Smiling"], lambda i: (i % 2 == 0, i % 3 == 0)),
        ("attributes/Smiling,kind", ["attributes/Smiling", "kind=b"], lambda i: (i % 3 == 0, i % 2 == 0)),
        ("age", ["age"], lambda i: (20 + i / 2,)),
    ],
)
def test_labels_are_features_by_name(config, labels, names, columns):
    found = load(config("faceset", labels=labels))
    assert [each.name for each in found.spec.attributes] == names
    by_image = {image.tobytes(): label for image, label in zip(found.images, found.labels, strict=True)}
    for i, face in enumerate(FACES):
        np.testing.assert_array_equal(by_image[face["image"].tobytes()], np.array(columns(i), np.float32))


@pytest.mark.parametrize(
    ("labels", "names"),
    [("kind", ("b", "a")), ("Male=class", ("False", "True")), ("attributes/Male", ("False", "True"))],
)
def test_an_only_feature_is_classes_unless_it_is_a_number(config, labels, names):
    found = load(config("faceset", labels=labels))
    assert found.spec.class_names == names
    assert not found.spec.attributes


def test_other_labels_are_other_data(config):
    prints = [load(config("faceset", labels=labels)).fingerprint for labels in ("", "kind", "Male,Smiling", "age")]
    assert len({*prints}) == 4


@pytest.mark.parametrize("labels", ["smile", "box", "image", "attributes=number", "Male,Male"])
def test_features_that_are_no_labels_are_refused_by_name(config, labels):
    name = labels.partition(",")[0].partition("=")[0]
    with pytest.raises(MirageError, match=f"--labels={labels}.*{name}"):
        load(config("faceset", labels=labels))
