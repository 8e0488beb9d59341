"""What describes a reference is computed once and kept; its statistics are exchanged with other tools."""

import dataclasses
import json
import pickle
import re

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.evaluation import references
from pipeline.evaluation.judge import Judge
from pipeline.evaluation.references import described, read_moments, write_moments
from pipeline.metrics.choice import choose
from pipeline.metrics.extractor import Features
from pipeline.metrics.metric import Images, Metric, Samples
from pipeline.metrics.moments import Moments

PIXELS = np.random.default_rng(0).integers(0, 256, (1200, 6, 6, 1), dtype=np.uint8)


def images(pixels=PIXELS):
    return Images("test", pixels, np.zeros(len(pixels), np.int32))


class Columns:
    """Describes images by their columns, and counts how many it has described."""

    name = "columns"

    def __init__(self, factor=1.0, **facts):
        self.factor, self.facts, self.count = factor, facts, 0

    def __call__(self, pixels):
        self.count += len(pixels)
        assert len(pixels) <= 512
        features = self.factor * pixels.astype(np.float32).mean(axis=(1, 3))
        return Features(features, features / 6, np.arange(len(pixels)), 7)


def kept(extractor, folder, pixels=PIXELS):
    extractor.count = 0
    return described(Samples(images(pixels), extractor), extractor, str(folder))


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(dataclasses.astuple(a), dataclasses.astuple(b), strict=True))


def test_a_reference_is_described_once(tmp_path):
    first, second = Columns(), Columns()
    features = kept(first, tmp_path)
    assert first.count == 1200
    assert equal(kept(second, tmp_path), features)
    assert second.count == 16  # to see whether it still says the same
    assert sorted(path.suffix for path in (tmp_path / "references").iterdir()) == [".lock", ".npz"]


@pytest.mark.parametrize(
    ("extractor", "pixels"),
    [
        (Columns(weights="b"), PIXELS),
        (Columns(), PIXELS[:-1]),
        (Columns(), np.concatenate([PIXELS[:-1], PIXELS[:1]])),
        (Columns(), PIXELS.reshape(1200, 4, 9, 1)),
        (Columns(1.01), PIXELS),  # which calls itself the same, and is another
    ],
    ids=["other weights", "fewer", "other content", "other shape", "other code"],
)
def test_what_is_kept_of_another_reference_or_extractor_is_not_taken(tmp_path, extractor, pixels):
    kept(Columns(), tmp_path)
    features = kept(extractor, tmp_path, pixels)
    assert extractor.count >= len(pixels)
    assert equal(features, Samples(images(pixels), extractor).described)
    assert equal(kept(extractor, tmp_path, pixels), features)
    assert extractor.count == 16


def test_a_damaged_file_is_told_and_made_again(tmp_path, capsys):
    features = kept(Columns(), tmp_path)
    (path,) = (tmp_path / "references").glob("*.npz")
    content = path.read_bytes()
    for harmed in (b"", content[:-9], content[:100] + b"x" + content[101:]):
        path.write_bytes(harmed)
        assert equal(kept(Columns(), tmp_path), features)
        assert f"warning: {path} is damaged" in capsys.readouterr().err
        assert path.read_bytes() == content


def test_where_nothing_can_be_kept_it_is_computed_each_time(tmp_path, capsys):
    (tmp_path / "references").write_text("in the way")
    extractor = Columns()
    assert len(kept(extractor, tmp_path).features) == extractor.count == 1200
    assert "so it is computed each time; pass --data_dir=" in capsys.readouterr().err


def test_statistics_are_written_as_other_tools_read_them(tmp_path):
    extractor = Columns()
    moments = Samples(images(), extractor).moments
    write_moments(tmp_path / "some", moments)
    with np.load(tmp_path / "some") as arrays:  # as pytorch_fid.fid_score.compute_statistics_of_path
        np.testing.assert_allclose(arrays["mu"][:], moments.mean)
        np.testing.assert_allclose(arrays["sigma"][:], np.cov(Samples(images(), extractor).features, rowvar=False))
    read = read_moments(str(tmp_path / "some"), extractor, 6)
    assert np.array_equal(read.mean, moments.mean)
    assert np.array_equal(read.covariance, moments.covariance)
    assert read.count == 0
    with pytest.raises(MirageError, match=r"--write_reference=.* can't be written"):
        write_moments(tmp_path / "none" / "some", moments)


def saved(path, **arrays):
    np.savez(path, **arrays)


def saved_alone(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(6))


def pickled(path):
    saved(path, mu=np.array([{}], object), sigma=np.eye(1))


BAD = {
    "nothing": (lambda path: None, "can't be read (No such file or directory)"),
    "empty": (lambda path: path.write_bytes(b""), "can't be understood"),
    "text": (lambda path: path.write_text("mu = 1"), "can't be understood"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps({"mu": 1})), "can't be understood"),
    "objects": (pickled, "can't be understood (Object arrays cannot be loaded"),
    "one array": (saved_alone, "can't be understood"),
    "no sigma": (lambda path: saved(path, mu=np.zeros(6)), "can't be understood (sigma is not a file"),
    "no square": (lambda path: saved(path, mu=np.zeros(6), sigma=np.zeros((6, 5))), "holds mu [6] and sigma [6, 5]"),
    "other size": (
        lambda path: saved(path, mu=np.zeros(5), sigma=np.eye(5)),
        "is of features of size 5, and",
    ),
    "not finite": (lambda path: saved(path, mu=np.full(6, np.nan), sigma=np.eye(6)), "holds numbers that are not"),
    "asymmetric": (lambda path: saved(path, mu=np.zeros(6), sigma=np.tri(6)), "holds a sigma that is not symmetric"),
}


@pytest.mark.parametrize(("make", "sentence"), BAD.values(), ids=BAD.keys())
def test_statistics_that_are_none_are_refused(tmp_path, make, sentence):
    path = tmp_path / "some.npz"
    make(path)
    with pytest.raises(MirageError, match=re.escape(f"--reference={path} {sentence}")) as error:
        read_moments(str(path), Columns(), 6)
    assert "\n" not in str(error.value)


def test_statistics_that_announce_too_much_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(references, "_LARGEST", 1000)
    saved(tmp_path / "some.npz", mu=np.zeros(20), sigma=np.eye(20))
    with pytest.raises(MirageError, match=r"can't be understood \(it announces more numbers than statistics have\)"):
        read_moments(str(tmp_path / "some.npz"), Columns(), 20)


class OfMoments(Metric):
    figures = ("apart",)
    needs = ("moments",)
    floors = ("apart_floor",)

    def __call__(self, evidence):
        return self.floor(evidence.generated, evidence.real)

    def floor(self, one, other):
        return np.square(one.moments.mean - other.moments.mean).sum()


def test_with_statistics_alone_what_needs_more_of_real_images_is_left_out(capsys):
    extractor, halves = Columns(), (images(PIXELS[:600]), images(PIXELS[600:]))
    moments = Moments(np.full(6, 100.0), np.eye(6), 0)
    metrics = choose([OfMoments(), "precision_recall", "sharpness"])
    judge = Judge(extractor, images(), images(), 50, halves, metrics, moments=("file.npz", moments))
    generated = PIXELS[:50]
    scores = judge.full(generated, conditional=False)
    assert list(scores) == ["apart", "sharpness", "sharpness_of_reference"]
    mean = Samples(images(generated), extractor).features.mean(axis=0, dtype=np.float64)
    assert scores["apart"] == pytest.approx(np.square(mean - 100).sum())
    assert {"reference": "file.npz", "num_reference": None}.items() <= judge.facts().items()
    assert judge.floors["apart_floor"] > 0
    note = "note: --metrics=precision_recall is left out: it needs an extractor's features, also of the real images, "
    note += "and file.npz holds their mean and covariance only.\n"
    assert capsys.readouterr().err == note
    assert json.loads(json.dumps(judge.facts())) == judge.facts()


class Counts(Metric):
    figures = ("counts",)
    needs = ("features",)
    floors = ("counts_floor",)

    def __call__(self, evidence):
        return [len(evidence.generated), len(evidence.real)]

    def floor(self, one, other):
        return [len(one.features), len(other.features)]


@pytest.mark.parametrize(
    ("reference", "halves", "floor"),
    [
        (images(PIXELS[600:]), (images(PIXELS[:600]), None), [50, 600]),  # the test split
        (images(PIXELS[:700]), (None, images(PIXELS[700:])), [700, 50]),  # all training images, as papers do
        (images(), None, [600, 50]),  # without a test split, where half of it is all that there is
    ],
    ids=["default", "paper", "no test split"],
)
def test_real_images_are_as_many_as_in_the_figure_they_stand_beside(reference, halves, floor):
    halves = halves and tuple(each or reference for each in halves)
    judge = Judge(Columns(), images(), reference, 50, halves, choose([Counts()]))
    assert judge.floors["counts_floor"] == floor


def test_real_images_are_not_held_against_statistics_of_themselves():
    """Where nothing says which images a file is of, those that are further from it are taken."""
    train, test = images(PIXELS[:600]), images(255 - PIXELS[600:])
    for known in (train, test):
        moments = Samples(known, Columns()).moments
        file = ("file.npz", Moments(moments.mean, moments.covariance, 0))
        judge = Judge(Columns(), train, test, 600, (train, test), choose([OfMoments()]), moments=file)
        apart = np.square(Samples(train, Columns()).moments.mean - Samples(test, Columns()).moments.mean).sum()
        assert judge.floors["apart_floor"] == pytest.approx(apart) != 0


def test_an_extractor_that_returns_no_numbers_is_named():
    with pytest.raises(MirageError, match="--extractor=columns returned features that are not finite"):
        Judge(Columns(np.float32(np.nan)), images(), images(), 50)
