"""Figures of samples with known answers: what they are, and whether their errors are the spread over seeds."""

import dataclasses
import json

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.metrics import METRICS
from pipeline.metrics.choice import choose
from pipeline.metrics.classes import InceptionScore
from pipeline.metrics.data_copying import DataCopying, data_copying
from pipeline.metrics.frechet import FrechetDistance, Transport, frechet_distance
from pipeline.metrics.frechet_infinity import FrechetDistanceInfinity, distance_infinity
from pipeline.metrics.intra_class import IntraClassDistance, small_distance
from pipeline.metrics.kernel import KernelDistance, kernel_distances
from pipeline.metrics.metric import Metric, TooFewError
from pipeline.metrics.moments import Moments
from pipeline.metrics.precision_recall import precision_recall
from pipeline.metrics.resampling import floor_intervals, intervals
from pipeline.metrics.sharpness import Sharpness
from tests.pipeline.metrics.make_torch_fidelity_figures import FIGURES, features
from tests.pipeline.metrics.samples import evidence, samples

SEEDS = 30


@pytest.mark.parametrize("case", ["near", "far"])
def test_figures_are_those_of_torch_fidelity(case):
    expected = json.loads(FIGURES.read_text())[case]
    generated, real = features(case)
    kernel = kernel_distances(generated, real, subsets=1, size=len(real)).mean
    assert kernel == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4, abs=1e-6)
    assert precision_recall(real, generated) == pytest.approx((expected["precision"], expected["recall"]), abs=1e-6)
    assert frechet_distance(generated, real) == pytest.approx(expected["frechet_inception_distance"], rel=1e-5)


def over_seeds(draw, measure):
    """Figures and errors, [SEEDS, figures] each."""
    found = [measure(draw(np.random.default_rng(seed))) for seed in range(SEEDS)]
    return tuple(np.asarray([each[i] for each in found], np.float64).reshape(SEEDS, -1) for i in range(2))


def by(metric):
    return lambda shown: (metric(shown), metric.errors(shown))


def honest(figures, errors, most=1.5):
    """Whether errors are about the spread, rather too large, and intervals hold the mean about as often as they say."""
    spread = figures.std(axis=0, ddof=1)
    assert (errors.mean(axis=0) > 0.75 * spread).all()
    assert (errors.mean(axis=0) < most * spread).all()
    assert (np.abs(figures - figures.mean(axis=0)) <= 1.96 * errors).mean(axis=0).min() >= 0.85


def gaussians(n, m, d, scale, shift):
    deviations = np.arange(1, d + 1) ** -0.5

    def draw(rng):
        return evidence(
            rng.standard_normal((n, d)) * scale * deviations + shift * deviations,
            rng.standard_normal((m, d)) * deviations,
        )

    return draw


@pytest.mark.parametrize("drawing", [(200, 300, 4, 1.3, 0.3), (150, 150, 20, 0.6, 0.5), (30, 80, 40, 1.2, 0.5)])
def test_the_error_of_the_frechet_distance_even_with_fewer_samples_than_features(drawing):
    honest(*over_seeds(gaussians(*drawing), by(FrechetDistance())))


def test_the_error_of_the_distance_of_equal_distributions_is_rather_too_large():
    honest(*over_seeds(gaussians(200, 200, 8, 1, 0), by(FrechetDistance())), most=2.5)


def test_the_error_knows_heavy_tails_from_gaussians():
    def draw(rng):
        return evidence(2 * rng.standard_t(5, (300, 3)), rng.standard_t(5, (300, 3)))

    figures, errors = over_seeds(draw, by(FrechetDistance()))
    assert errors.mean() > 0.6 * figures.std(ddof=1)
    moments = [
        (each.generated.moments, each.real.moments) for each in map(draw, map(np.random.default_rng, range(SEEDS)))
    ]
    as_gaussians = np.mean([Transport(*each).error(None, None) for each in moments])
    assert errors.mean() > 1.3 * as_gaussians


def test_where_only_moments_are_known_the_error_is_that_of_gaussians():
    draw = gaussians(400, 300, 6, 1.3, 0.3)
    figures, errors = over_seeds(draw, lambda e: (0, Transport(e.generated.moments, e.real.moments).error(None, None)))
    spread = np.std([FrechetDistance()(draw(np.random.default_rng(seed))) for seed in range(SEEDS)], ddof=1)
    assert figures.sum() == 0
    assert errors.mean() == pytest.approx(spread, rel=0.3)
    shown = draw(np.random.default_rng(0))
    known = dataclasses.replace(shown.real.moments, count=0)  # of a file that doesn't say
    alone = Transport(shown.generated.moments, known).error(shown.generated.features, None)
    assert 0 < alone < Transport(shown.generated.moments, shown.real.moments).error(shown.generated.features, None)


def test_the_distance_of_infinitely_many_has_no_bias():
    d = 16
    deviations = np.arange(1, d + 1) ** -0.5
    truth = 0.09 * np.square(deviations).sum()
    reference = Moments(np.zeros(d), np.diag(deviations**2), 0)
    drawn = [1.3 * np.random.default_rng(seed).standard_normal((200, d)) * deviations for seed in range(SEEDS)]
    plain = np.mean([frechet_distance(each, reference) for each in drawn])
    extrapolated = [distance_infinity(each, reference) for each in drawn]
    noise = np.std(extrapolated, ddof=1) / np.sqrt(SEEDS)
    assert plain - truth > 0.05
    assert np.mean(extrapolated) == pytest.approx(truth, abs=3 * noise)
    assert noise < 0.012
    honest(*over_seeds(gaussians(200, 400, 8, 1.3, 0.3), by(FrechetDistanceInfinity())), most=1.8)


def test_the_distance_of_infinitely_many_is_not_made_of_a_few():
    rng = np.random.default_rng(0)
    real, few, enough = (samples(rng.standard_normal((count, 8))) for count in (50, 15, 16))
    with pytest.raises(TooFewError, match="15 images are too few for features of size 8; it needs 16 or more"):
        FrechetDistanceInfinity()(evidence(few, real))
    assert np.isfinite(FrechetDistanceInfinity()(evidence(enough, real)))


def test_classes_are_compared_with_as_many_real_images():
    """Few samples make distances large, so that real images would otherwise get more than a perfect generator."""
    rng = np.random.default_rng(0)
    few, other, many = (samples(rng.standard_normal((count, 8)), np.zeros(count, int)) for count in (20, 20, 400))
    distance, of_real, _ = IntraClassDistance()(evidence(few, many, described_halves=(few, other)))
    cut = samples(many.features[:20], np.zeros(20, int))
    assert distance == pytest.approx(IntraClassDistance()(evidence(few, cut, described_halves=(few, other)))[0])
    assert distance == pytest.approx(of_real, rel=0.5)


def test_distances_of_few_samples_by_their_products_are_the_same():
    rng = np.random.default_rng(0)
    for n, m, d in ((12, 9, 20), (40, 30, 5), (5, 2, 3)):
        a, b = rng.standard_normal((n, d)), 0.5 * rng.standard_normal((m, d)) + 1
        distance, error = small_distance(a, b)
        transport = Transport(Moments.of(a), Moments.of(b))
        assert distance == pytest.approx(transport.distance, rel=1e-6)
        assert error == pytest.approx(transport.error(a, b), rel=1e-4)


def test_within_classes_it_sees_what_the_whole_does_not():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    centres = np.eye(3)[labels] * 20
    real = samples(centres + rng.standard_normal((200, 3)), labels)
    good = samples(centres + rng.standard_normal((200, 3)), labels)
    swapped = samples(centres[::-1] + rng.standard_normal((200, 3)), labels)
    scores = [IntraClassDistance()(evidence(each, real, described_halves=(real, good))) for each in (good, swapped)]
    assert scores[0][0] < 0.5
    assert scores[1][0] > 700
    assert scores[0][0] == pytest.approx(scores[0][1], rel=1e-9)  # of the same sets
    assert [each[2] for each in scores] == [0, 0]
    alone = samples(np.zeros((3, 3)), [0, 0, 5])
    distance, _, left_out = IntraClassDistance()(evidence(alone, real, described_halves=(real, good)))
    assert (distance > 0, left_out) == (True, 2)
    with pytest.raises(TooFewError, match="no class has them"):
        IntraClassDistance()(evidence(samples(np.eye(3), [0, 1, 2]), real))

    def draw(rng):
        sets = [samples(k * (centres + rng.standard_normal((200, 3))), labels) for k in (1.5, 1)]
        return evidence(*sets, described_halves=(sets[1], sets[1]))

    figures, errors = over_seeds(draw, lambda e: (IntraClassDistance()(e)[0], IntraClassDistance().errors(e)[0]))
    honest(figures, errors)


def test_the_error_of_the_kernel_distance():
    metric = KernelDistance(subsets=10, size=100)

    def draw(rng):
        return evidence(rng.standard_normal((300, 4)) + 0.5, rng.standard_normal((400, 4)))

    figures, errors = over_seeds(draw, lambda e: (metric(e)[0], metric.errors(e)[0]))
    honest(figures, errors)
    assert metric.errors(draw(np.random.default_rng(0)))[1] is None


def test_single_precision_is_enough_for_the_kernel_distance():
    rng = np.random.default_rng(0)
    a, b = (np.abs(rng.standard_normal((500, 64))).astype(np.float32) for _ in range(2))
    single, double = (kernel_distances(a.astype(t), b.astype(t), subsets=5, size=400) for t in (np.float32, np.float64))
    assert single.mean == pytest.approx(double.mean, rel=1e-4, abs=1e-7)


def test_copies_are_told_from_images_that_are_as_far_as_unseen_ones():
    assert data_copying(np.zeros(10), np.ones(10))[0] == 1
    assert data_copying(np.ones(10), np.ones(20))[0] == 0.5
    assert data_copying(np.array([1.0, 3.0]), np.array([2.0, 3.0]))[0] == pytest.approx((1 + 1 + 0 + 0.5) / 4)

    def draw(rng, share=0.0):
        train, unseen, fresh = rng.standard_normal((3, 200, 3))
        copied = rng.random(200) < share
        generated = np.where(copied[:, None], train + 0.001, fresh)
        return evidence(generated, unseen, described_halves=(samples(train), samples(unseen)))

    metric = DataCopying()
    honest(*over_seeds(draw, by(metric)))
    assert abs(metric(draw(np.random.default_rng(1))) - 0.5) < 4 * metric.errors(draw(np.random.default_rng(1)))
    assert metric(draw(np.random.default_rng(0), share=0.5)) > 0.65


def test_copies_are_found_among_all_training_images():
    train, unseen = np.random.default_rng(0).standard_normal((2, 400, 3))
    some, rest = samples(train[:100]), samples(train)
    copies = samples(train[-100:] + 0.001)
    shown = evidence(copies, unseen, described_halves=(some, samples(unseen)), describe_train=lambda: rest)
    assert DataCopying()(shown) > 0.99


def test_errors_of_score_and_sharpness():
    def draw(rng):
        probabilities = rng.dirichlet(np.full(4, 0.3), size=150)
        pixels = (rng.integers(0, 256, (150, 5, 5, 1)) * rng.uniform(0.2, 1, (150, 1, 1, 1))).astype(np.uint8)
        made = samples(np.zeros((150, 1)), probabilities=probabilities, pixels=pixels)
        return evidence(made, made)

    honest(*over_seeds(draw, by(InceptionScore())))
    honest(*over_seeds(draw, by(Sharpness())))


@dataclasses.dataclass(frozen=True)
class Mean(Metric):
    figures = ("mean", "mean_of_real", "parts")
    floors = ("mean_floor",)

    def __call__(self, evidence):
        features = evidence.generated.features
        return features.mean(), evidence.real.features.mean(), [1, 2]

    def floor(self, one, other):
        return one.features.mean()


def resampled(metric, shown):
    (chosen,) = choose([metric])
    figures = dict(zip(metric.figures, metric(shown), strict=True))
    return figures, intervals(chosen, figures, shown)


def test_users_metrics_get_intervals_of_random_halves(capsys):
    hits = {"mean": 0, "mean_of_real": 0}
    widths = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        shown = evidence(rng.standard_normal((100, 1)) + 3, 2 * rng.standard_normal((400, 1)))
        _, found = resampled(Mean(), shown)
        assert list(found) == ["mean_interval", "mean_of_real_interval"]
        for name, truth in (("mean", 3), ("mean_of_real", 0)):
            low, high = found[name + "_interval"]
            hits[name] += low <= truth <= high
            widths.append(high - low)
    assert np.mean(widths) == pytest.approx(2 * 2.093 * 0.1, rel=0.1)  # both have a standard error of 0.1
    assert min(hits.values()) >= 0.85 * SEEDS
    (chosen,) = choose([Mean()])
    one = samples(np.random.default_rng(0).standard_normal((100, 1)))
    low, high = floor_intervals(chosen, {"mean_floor": 0.0}, one, one)["mean_floor_interval"]
    assert 0.2 < high - low < 0.7
    assert intervals(chosen, {"mean": 1.0}, shown, resample=False) == {}
    assert capsys.readouterr().err == ""


class Fussy(Metric):
    figures = ("fussy",)

    def __call__(self, evidence):
        if len(evidence.generated) < 100:
            raise RuntimeError("too few for me")
        return 1.0


class Liar(Fussy):
    def errors(self, evidence):
        return "none"


def test_what_cannot_be_halved_has_no_interval_and_wrong_errors_are_told(capsys):
    shown = evidence(*np.random.default_rng(0).standard_normal((2, 100, 1)))
    (chosen,) = choose([Fussy()])
    assert intervals(chosen, {"fussy": 1.0}, shown) == {}
    assert "note: no interval, since half of the images can't be measured: --metrics=" in capsys.readouterr().err
    (chosen,) = choose([Liar()])
    with pytest.raises(MirageError, match=r"returned 'none' as its errors; expected a number, at least 0, or None"):
        intervals(chosen, {"fussy": 1.0}, shown)


def test_intervals_end_where_figures_do():
    (chosen,) = choose(["precision_recall"])
    real, generated = np.random.default_rng(0).standard_normal((2, 50, 2))
    shown = evidence(generated + 100, real)
    found = intervals(chosen, dict(zip(chosen.figures, chosen.metric(shown), strict=True)), shown)
    assert found["precision_interval"][0] == 0 < found["precision_interval"][1] < 0.2


def test_every_figure_says_which_is_better():
    found = {figure: each.better(figure) for each in choose() for figure in each.figures}
    assert {name for name, side in found.items() if side == "higher"} == {
        *("precision", "recall", "density", "coverage", "inception_score", "class_entropy", "label_accuracy", "modes"),
        *("attribute_accuracy", "attribute_correlation"),
    }
    assert {name for name, side in found.items() if side == "lower"} == {
        *("frechet_distance", "frechet_distance_infinity", "intra_class_distance", "kernel_distance", "kl_to_uniform"),
        *("feature_path_length", "reconstruction_error", "classification_error"),
    }
    (frechet,) = choose(["frechet_distance"])
    assert frechet.better("frechet_floor") is None
    assert frechet.metric.better("frechet_distance") == "lower"
    assert len(found) > len(METRICS)
