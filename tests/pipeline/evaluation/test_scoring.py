"""Extractors and the judge, on images whose quality is known."""

import dataclasses
import io
import json

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.base.kept_files import unsealed
from pipeline.config import Config
from pipeline.data.dataset import Dataset
from pipeline.data.spec import DataSpec
from pipeline.evaluation import scoring
from pipeline.evaluation.scoring import make_judge
from pipeline.metrics import classifier as classifiers
from pipeline.metrics.classifier import Classifier, classifier
from pipeline.metrics.extractor import Features, Labelled

SPEC = DataSpec("bars", "", (8, 8, 1), ("across", "down"), 120)


def bars(count, seed=0):
    """A bright bar, across or down, on dark noise: (uint8 [n, 8, 8, 1], labels)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, 8, 8, 1), dtype=np.uint8)
    labels = rng.integers(0, 2, count, dtype=np.int32)
    for image, label in zip(images, labels, strict=True):
        at = rng.integers(0, 8)
        image[(at, slice(None)) if label == 0 else (slice(None), at)] = 250
    return images, labels


@pytest.fixture
def short(monkeypatch):
    """Trains the classifier in a second."""
    monkeypatch.setattr(classifiers, "_IMAGES", 4000)
    monkeypatch.setattr(classifiers, "_EPOCHS", 100)
    monkeypatch.setattr(classifiers, "_BATCH_SIZE", 32)


@pytest.mark.usefixtures("short")
def test_the_classifier_is_trained_once_and_always_the_same(tmp_path, capsys):
    train, test = bars(120), bars(60, seed=1)
    first = classifier(SPEC, train, test, str(tmp_path / "a"))
    assert "training the classifier" in capsys.readouterr().out
    assert first.facts["test_accuracy"] > 0.95
    again = classifier(SPEC, train, test, str(tmp_path / "a"))
    assert capsys.readouterr().out == ""
    elsewhere = classifier(SPEC, train, test, str(tmp_path / "b"))
    described = first(test[0])
    assert described.features.shape == (60, 128)
    np.testing.assert_allclose(described.probabilities.sum(axis=1), 1, rtol=1e-5)
    for other in (again, elsewhere):
        assert other.facts == first.facts
        np.testing.assert_array_equal(other(test[0]).features, described.features)


@pytest.mark.usefixtures("short")
def test_other_data_get_another_classifier(tmp_path, capsys):
    test = bars(20, seed=1)
    for seed in (0, 2):
        classifier(SPEC, bars(120, seed), test, str(tmp_path))
    assert capsys.readouterr().out.count("training the classifier") == 2
    assert len(list((tmp_path / "extractors").glob("*.npz"))) == 2


def emptied(content):
    return b""


def zeroed(content):
    return bytes(len(content))


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def of_other_arrays(content):
    file = io.BytesIO()
    np.savez(file, np.float64(1), np.zeros(3))
    return file.getvalue()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "of an earlier version"])
def test_a_damaged_classifier_is_named_and_trained_again(tmp_path, capsys, sealed):
    train, test = bars(120), bars(60, seed=1)
    first = classifier(SPEC, train, test, str(tmp_path))
    (path,) = (tmp_path / "extractors").glob("*.npz")
    intact = path.read_bytes() if sealed else unsealed(path.read_bytes())
    path.write_bytes(intact)
    capsys.readouterr()
    assert classifier(SPEC, train, test, str(tmp_path)).facts == first.facts
    assert capsys.readouterr() == ("", "")
    for damage in (emptied, zeroed, truncated, flipped, of_other_arrays):
        path.write_bytes(damage(intact))
        again = classifier(SPEC, train, test, str(tmp_path))
        out, error = capsys.readouterr()
        assert "training the classifier" in out
        assert error.startswith(f"warning: {path} is damaged (")
        assert error.count("\n") == 1
        assert again.facts == first.facts
        np.testing.assert_array_equal(again(test[0]).features, first(test[0]).features)
    assert sorted(each.suffix for each in path.parent.iterdir()) == [".lock", ".npz"]


def test_data_without_labels_have_no_classifier(tmp_path):
    with pytest.raises(MirageError, match="--extractor=classifier needs labels"):
        classifier(dataclasses.replace(SPEC, class_names=()), bars(20), bars(20), str(tmp_path))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MirageError, match="--data_dir="):
        classifier(SPEC, bars(20), bars(20), str(tmp_path / "file"))


def judge_of(tmp_path, monkeypatch, test_set=True, num_samples=100):
    images, labels = bars(120)
    other = Dataset(SPEC, *bars(100, seed=1)) if test_set else None
    monkeypatch.setattr(scoring, "load_test", lambda *_: other)
    config = Config(dataset="bars", data_dir=str(tmp_path))
    return make_judge(config, Dataset(SPEC, images, labels), num_samples)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("test_set", [True, False])
def test_real_images_score_like_the_floor_and_bad_ones_worse(tmp_path, monkeypatch, test_set):
    judge = judge_of(tmp_path, monkeypatch, test_set)
    facts = judge.facts()
    assert facts["extractor"] == "classifier"
    assert facts["extractor_test_accuracy"] > 0.8
    assert (facts["reference"], facts["num_reference"]) == (("test", 100) if test_set else ("train", 120))
    assert facts["num_samples"] == 100
    images, labels = bars(1000, seed=2)
    asked = np.concatenate([np.flatnonzero(labels == label)[i : i + 1] for i, label in enumerate(judge.labels)])
    real = judge.full(images[asked], conditional=True, sure=True)
    noise = judge.full(np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8), conditional=True)
    one = judge.full(np.repeat(images[:1], 100, axis=0), conditional=True)
    assert real["frechet_distance"] < 4 * judge.floors["frechet_floor"]
    assert noise["frechet_distance"] > 5 * real["frechet_distance"]
    assert real["label_accuracy"] > 0.9
    assert real["recall"] > 0.5
    assert one["recall"] < 0.1
    assert one["class_entropy"] == 0
    assert real["class_entropy"] > 0.9
    assert sum(real["class_histogram"]) == pytest.approx(1)
    assert real["kernel_distance"] < noise["kernel_distance"]
    assert json.loads(json.dumps(real)) == real
    copies = judge.full(bars(120)[0][:100], conditional=False)
    assert copies["nearest_training_image"] == 0
    assert real["nearest_training_image"] > 0
    assert "label_accuracy" not in copies
    quick = judge.quick(images[asked], conditional=True)
    assert quick == {name: real[name] for name in quick}


def test_too_few_images_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(scoring, "load_test", lambda *_: None)
    with pytest.raises(MirageError, match="has 19 images, too few"):
        make_judge(Config(dataset="bars", data_dir=str(tmp_path)), Dataset(SPEC, *bars(19)), 10)


@pytest.mark.parametrize(("accuracy", "warned"), [(0.68, True), (0.95, False)])
def test_a_classifier_that_is_often_wrong_is_warned_of(monkeypatch, capsys, accuracy, warned):
    monkeypatch.setattr(classifiers, "classifier", lambda *_: Classifier(lambda images, training: images, accuracy))
    labelled = Labelled("bars", ("across", "down"), (8, 8, 1), bars(20), bars(20))
    assert classifiers.of_labelled_data(lambda: labelled).facts == {"test_accuracy": accuracy}
    said = capsys.readouterr().err
    assert (
        "warning: the classifier that judges images of bars names only 68.0% of unseen ones right" in said
    ) == warned
    assert warned or said == ""


class Raw:
    """Describes images by their pixels."""

    name = "raw"

    def __call__(self, images):
        return Features(images.reshape(len(images), -1).astype(np.float32), None)


@pytest.mark.usefixtures("short")
def test_data_in_the_order_of_their_classes_are_judged_like_mixed_ones(monkeypatch, tmp_path):
    images, labels = bars(400)
    monkeypatch.setattr(scoring, "load_test", lambda *_: None)
    monkeypatch.setattr(scoring, "make_extractor", lambda *_, **__: Raw())
    order, fitted = np.argsort(labels, kind="stable"), []
    floors = []
    for places in (np.arange(400), order):
        config = Config(dataset="bars", data_dir=str(tmp_path))
        dataset = Dataset(SPEC, images[places], labels[places])
        judge = make_judge(config, dataset, 100, metrics="frechet_distance,data_copying,intra_class_distance")
        floors.append(judge.floors["frechet_floor"])
        fitted.append(scoring._labelled(config, dataset))
        made = judge.full(bars(100, seed=1)[0], conditional=True)
        assert abs(made["data_copying"] - 0.5) < 0.15
        assert made["intra_class_distance_of_real"] > 0
    assert floors[1] < 2 * floors[0]
    for each in fitted:
        assert {*each.train[1].tolist()} == {*each.test[1].tolist()} == {0, 1}
        assert (len(each.train[0]), len(each.test[0])) == (360, 40)
