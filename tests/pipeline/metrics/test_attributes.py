"""Whether pictures have the attributes that were asked for."""

import types

import numpy as np
import pytest

from pipeline.data.spec import DataSpec
from pipeline.evaluation.judge import Judge
from pipeline.metrics.attribute_classifier import attribute_classifier
from pipeline.metrics.attributes import balanced_accuracy, correlation
from pipeline.metrics.choice import choose
from pipeline.metrics.metric import Images, TooFewError, labels_of
from serving.contract.attributes import Attribute
from tests.discs import COLUMNS, discs

RNG = np.random.default_rng(0)
ATTRIBUTES = (
    Attribute("red", "binary", 0, 1, 0),
    Attribute("right", "binary", 0, 1, 1),
    Attribute("diameter", "number", 4, 10, 7),
)
NAMES = ["attribute_accuracy", "attribute_correlation", "by_attribute"]


def test_balanced_accuracy_weighs_both_sides_the_same():
    labels = np.array([1] * 2 + [0] * 8)
    logits = np.array([1, -1] + [-1] * 6 + [1] * 2)
    assert balanced_accuracy(logits, labels)[0] == pytest.approx((1 / 2 + 6 / 8) / 2)
    assert balanced_accuracy(-np.ones(10), labels)[0] == 0.5
    assert balanced_accuracy(2 * labels - 1, labels)[0] == 1
    for wrong in (0, 1):
        with pytest.raises(TooFewError):
            balanced_accuracy(logits, np.full(10, wrong))


def test_correlation_is_pearsons_on_any_scale():
    x, y = RNG.standard_normal((2, 50))
    assert correlation(3 * x - 7, y)[0] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert correlation(-y, y)[0] == pytest.approx(-1)
    assert correlation(np.ones(50), y) == (0, 0)
    with pytest.raises(TooFewError):
        correlation(x, np.ones(50))


def test_errors_are_the_spread_over_samples():
    x = RNG.standard_normal((400, 200))
    y = 0.6 * x + 0.8 * RNG.standard_normal(x.shape)
    found = np.array([correlation(a, b) for a, b in zip(x, y, strict=True)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.15)
    labels = (RNG.random((400, 200)) < 0.3).astype(int)
    logits = np.where(RNG.random(labels.shape) < 0.8, 2 * labels - 1, 1 - 2 * labels)
    found = np.array([balanced_accuracy(a, b) for a, b in zip(logits, labels, strict=True)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.15)


def naming(named_of, held_out=None, attributes=ATTRIBUTES):
    """Says of images what a function says."""
    labels, named = held_out or (np.array([[0, 1, 5], [1, 0, 6]]), np.array([[-1, 1, 0.0], [1, -1, 1]]))

    class Mine:
        def __call__(self, images):
            return named_of(images)

    mine = Mine()
    mine.attributes, mine.labels, mine.named = attributes, labels, named
    return mine


def judge_of(named_of, metrics=NAMES, attributes=ATTRIBUTES, **more):
    images, labels = discs(40)
    real = Images("real", images, labels[:, : len(attributes)])
    made = []

    def make():
        made.append(1)
        return naming(named_of, attributes=attributes, **more)

    return Judge(None, real, real, 30, None, choose(list(metrics)), naming=make), made


def test_what_is_asked_for_is_compared_with_what_is_seen():
    judge, made = judge_of(lambda images: images[:, 0, 0].astype(np.float32))
    assert made == []
    np.testing.assert_array_equal(judge.labels, labels_of(30, judge.reference.labels))
    # Images that tell, in their first pixel, what is seen: red as asked, right turned round, diameters as asked.
    seen = np.stack([200 * judge.labels[:, 0], 200 * judge.labels[:, 1], 10 * judge.labels[:, 2]], 1)
    images = np.zeros((30, 16, 16, 3), np.uint8)
    images[:, 0, 0] = np.rint(seen)
    scores = judge.full(images, conditional=True, sure=True)
    assert made == [1]
    assert scores["by_attribute"] == [1, 1, pytest.approx(1, abs=0.001)]
    assert scores["attribute_accuracy"] == scores["attribute_accuracy_of_real"] == 1
    low, high = scores["attribute_accuracy_interval"]
    assert 0.8 < low < high == 1
    images[:, 0, 0, 1] = 200 - images[:, 0, 0, 1]
    again = judge.full(images, conditional=True)
    assert again["by_attribute"][:2] == [1, 0]
    assert again["attribute_accuracy"] == 0.5
    assert judge.facts()["attributes"] == ["red", "right", "diameter"]
    assert {*judge.quick(images, conditional=True)} >= {"attribute_accuracy", "attribute_correlation"}


def test_metrics_are_left_out_where_there_is_nothing_to_ask_for(capsys):
    judge, made = judge_of(lambda images: np.zeros((len(images), 1), np.float32), attributes=ATTRIBUTES[:1])
    scores = judge.full(np.zeros((30, 16, 16, 3), np.uint8), conditional=True)
    assert "attribute_correlation" not in scores
    assert scores["by_attribute"] == [0.5]
    note = "--metrics=attribute_correlation is left out: it needs a generator that is asked for attributes that are n"
    assert note in capsys.readouterr().err
    judge, made = judge_of(lambda images: images, metrics=[*NAMES, "sharpness", "intra_class_distance"])
    assert {*judge.full(np.zeros((30, 16, 16, 3), np.uint8), conditional=False)} == {
        "sharpness",
        "sharpness_of_reference",
    }
    assert made == []


def test_an_attribute_that_cannot_be_measured_is_left_out_of_means_and_named(capsys):
    held_out = np.array([[0, 1, 5], [1, 1, 6.0]]), np.array([[-1, 1, 0.0], [1, -1, 1]])
    judge, _ = judge_of(lambda images: np.ones((len(images), 3), np.float32), held_out=held_out)
    scores = judge.full(np.zeros((30, 16, 16, 3), np.uint8), conditional=True, sure=True)
    assert scores["attribute_accuracy_of_real"] == 1
    assert "by_attribute" not in scores
    assert (
        "by_attribute is left out: it is measured of pictures that all have an attribute, or all lack it: right."
        in (capsys.readouterr().err)
    )


def test_a_classifier_learns_them_once_and_is_kept(tmp_path, capsys):
    images, labels = discs(600)
    data = DataSpec("discs", "", (16, 16, 3), (), 600, attributes=ATTRIBUTES)
    train, test = Images("a", images[:500], labels[:500]), Images("b", images[500:], labels[500:])
    first = attribute_classifier(data, train, test, str(tmp_path))
    assert "training the classifier" in capsys.readouterr().out
    found = [
        (correlation if each == "diameter" else balanced_accuracy)(first.named[:, place], first.labels[:, place])[0]
        for place, each in enumerate(COLUMNS)
    ]
    assert min(found) > 0.9
    again = attribute_classifier(data, train, test, str(tmp_path))
    assert "training" not in capsys.readouterr().out
    np.testing.assert_array_equal(again.named, first.named)
    np.testing.assert_array_equal(again(test.pixels), first(test.pixels))
    np.testing.assert_allclose(first(test.pixels), first.named, atol=1e-5)


def test_another_fit_of_the_same_files_is_other_data():
    from pipeline.metrics.attribute_classifier import _content

    images, labels = discs(20)
    data = types.SimpleNamespace(fingerprint="x", image_shape=(16, 16, 3))
    contents = {
        _content(data, Images("a", *given))
        for given in ((images, labels), (images[:, ::-1], labels), (images, labels[::-1]), (images[:19], labels[:19]))
    }
    assert len(contents) == 4
