"""Metrics by name, by import path and as objects; and what they may return."""

import dataclasses
import itertools
import types

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.metrics import EXTRACTORS, METRICS, chosen_extractor, distance_title
from pipeline.metrics.choice import as_text, choose, measured
from pipeline.metrics.extractor import make_extractor
from pipeline.metrics.metric import Evidence, Images, Metric, Samples
from pipeline.metrics.names import BETTER, check_extractor, check_metrics, split_metrics
from pipeline.metrics.precision_recall import PrecisionRecall


@dataclasses.dataclass(frozen=True)
class Contrast(Metric):
    radius: int = 1

    figures = ("contrast",)

    def __call__(self, evidence):
        return float(evidence.generated.pixels.std()) * self.radius


HERE = f"{__name__}:Contrast"


def test_every_metric_has_the_form_and_a_name_of_its_own():
    chosen = choose()
    assert [each.name for each in chosen] == list(METRICS)
    assert not any(each.asked for each in chosen)
    figures = [name for each in chosen for name in (*each.figures, *each.floors)]
    assert len(figures) == len({*figures}) == 32
    assert all(isinstance(each.metric, Metric) for each in chosen)
    assert [name for each in chosen if each.quick for name in each.figures] == [
        "frechet_distance",
        "precision",
        "recall",
        "density",
        "coverage",
        "inception_score",
        "class_entropy",
        "label_accuracy",
        *("attribute_accuracy", "attribute_accuracy_of_real"),
        *("attribute_correlation", "attribute_correlation_of_real"),
        "modes",
        "kl_to_uniform",
    ]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("sharpness,modes", ["sharpness", "modes"]),
        (f"sharpness, {HERE}", ["sharpness", HERE]),
        (f"auto,{HERE}(radius=2)", [*METRICS, f"{HERE}(radius=2)"]),
        ("auto,sharpness", [*(name for name in METRICS if name != "sharpness"), "sharpness"]),
        ("precision_recall(k=5)", ["precision_recall(k=5)"]),
        (["sharpness", Contrast(), PrecisionRecall(k=5)], ["sharpness", f"{HERE}(radius=1)", "precision_recall(k=5)"]),
        ([Contrast], [HERE]),
        ((), [*METRICS]),
    ],
)
def test_metrics_are_named_or_passed(given, names):
    chosen = choose(given)
    assert [each.name for each in chosen] == names
    # What is noted of them leads to the same again.
    again = choose(as_text(given))
    assert [each.metric for each in again] == [each.metric for each in chosen]


def test_arguments_reach_the_metric():
    assert choose("precision_recall(k=5)")[0].metric == PrecisionRecall(k=5)
    assert choose(f"{HERE}(radius=7)")[0].metric == Contrast(7)


class Unnamed:
    def __call__(self, evidence):
        return 1.0


def plain(evidence):
    return 1.0


def with_attributes(**attributes):
    def metric(evidence):
        return 1.0

    for name, value in attributes.items():
        setattr(metric, name, value)
    return metric


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("sharpnes", "--metrics=sharpnes is not known; did you mean sharpness"),
        ("precision_recall(j=5)", r"--metrics=precision_recall\(j=5\): got an unexpected .* takes k: int = 3"),
        ("no_such_module:Metric", "--metrics=no_such_module:Metric: there is no module no_such_module"),
        (f"{__name__}:Missing", "has no Missing"),
        (f"{__name__}:plain", "is no metric; expected an object of the form of"),
        ([Unnamed()], "is no metric"),
        ([3], "is no metric"),
        ([with_attributes(figures="contrast")], "is no metric"),
        ([with_attributes(figures=("edge contrast",))], "has a figure 'edge contrast'; expected names such as"),
        (
            [with_attributes(figures=("x",), needs=("depth",))],
            "needs 'depth', which is not known; choose from features",
        ),
        (
            [with_attributes(figures=("contrast",), higher_is_better=True)],
            r"has higher_is_better = True; expected a tuple of names of its",
        ),
        (
            [with_attributes(figures=("contrast",), higher_is_better={"contrast": False})],
            r"higher_is_better = {'contrast': False}; expected",
        ),
        (
            [with_attributes(figures=("contrast",), neutral=("kontrast",))],
            r"has neutral = \('kontrast',\); .*, as in \('contrast',\)",
        ),
        ([with_attributes(figures=("step",))], "has a figure step, as has an evaluation itself; rename one"),
        ([Contrast(), Contrast(2)], r"has a figure contrast, as has .*Contrast\(radius=1\); rename one"),
        (["auto", with_attributes(figures=("recall",))], "has a figure recall, as has precision_recall"),
        ("sharpness,,modes", "can't be understood; expected names joined by commas"),
        ("precision_recall(k=5", "can't be understood"),
    ],
)
def test_what_is_no_metric_is_told_in_a_sentence(given, sentence):
    with pytest.raises(MirageError, match=sentence) as caught:
        choose(given)
    assert "\n" not in str(caught.value)


def returning(value):
    def metric(evidence):
        if isinstance(value, Exception):
            raise value
        return value

    return metric


def measure(value, names=("figure",)):
    metric = with_attributes(figures=names)
    (chosen,) = choose([metric])
    return measured(chosen, names, returning(value), None)


class Tensor:
    def numpy(self):
        return np.float32(0.5)


@pytest.mark.parametrize(
    ("value", "names", "figures"),
    [
        (1.5, ("a",), {"a": 1.5}),
        (3, ("a",), {"a": 3}),
        (np.float32(0.5), ("a",), {"a": 0.5}),
        (np.int64(7), ("a",), {"a": 7}),
        (np.array(2.0), ("a",), {"a": 2.0}),
        (Tensor(), ("a",), {"a": 0.5}),
        ([0.25, np.float64(0.75)], ("a",), {"a": [0.25, 0.75]}),
        (np.array([1, 2]), ("a",), {"a": [1, 2]}),
        ((1.0, 2), ("a", "b"), {"a": 1.0, "b": 2}),
        (np.array([1.0, 2.0]), ("a", "b"), {"a": 1.0, "b": 2.0}),
        ((1.0, [2.0, 3.0]), ("a", "b"), {"a": 1.0, "b": [2.0, 3.0]}),
    ],
)
def test_numbers_become_figures_of_json(value, names, figures):
    found = measure(value, names)
    assert found == figures
    assert {type(each) for each in found.values()} <= {int, float, list}


@pytest.mark.parametrize(
    ("value", "names", "sentence"),
    [
        ("1.5", ("a",), "returned '1.5' for a; expected a number"),
        (None, ("a",), "returned None for a; expected a number"),
        (True, ("a",), "returned True for a; expected a number"),
        ([], ("a",), r"returned \[\] for a; expected a number"),
        (np.zeros((2, 2)), ("a",), "for a; expected a number"),
        ({"a": 1.0}, ("a",), "returned {'a': 1.0} for a; expected a number"),
        (float("nan"), ("a",), "returned nan for a; expected a finite number"),
        ([1.0, float("inf")], ("a",), "expected a finite number"),
        ((1.0,), ("a", "b"), "returned 1 value; expected 2: a, b"),
        ((1.0, 2.0, 3.0), ("a", "b"), "returned 3 values; expected 2: a, b"),
        (1.0, ("a", "b"), "returned 1 value; expected 2: a, b"),
        (ValueError("too\nbad"), ("a",), r"failed \(ValueError: too; .*test_choice.py, line \d+\); mend it or leave"),
        (MemoryError(), ("a",), r"failed \(MemoryError: ; "),
    ],
)
def test_other_returns_are_told_in_a_sentence(value, names, sentence):
    with pytest.raises(MirageError, match=sentence) as caught:
        measure(value, names)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "entries"),
    [("", ["auto"]), ("a", ["a"]), ("a,b:C(x=1,y=(2,3)),d", ["a", "b:C(x=1,y=(2,3))", "d"])],
)
def test_commas_within_brackets_belong_to_a_metric(text, entries):
    assert split_metrics(text) == entries


def test_a_new_line_in_a_registry_is_known_to_flags(monkeypatch):
    for check, registry, flag in ((check_metrics, METRICS, "metrics"), (check_extractor, EXTRACTORS, "extractor")):
        with pytest.raises(MirageError, match=f"--{flag}=mine is not known; choose from auto, .* or give package"):
            check("mine")
        monkeypatch.setitem(registry, "mine", HERE)
        check("mine")
        check("auto")
        check("my_package.mine:Mine")


def test_auto_is_an_extractor_that_suits_the_data():
    grey, colour = (8, 8, 1), (8, 8, 3)
    assert chosen_extractor("auto", ("a", "b"), grey) == "classifier"
    assert chosen_extractor("auto", ("a",), grey) == chosen_extractor("auto", (), grey) == "efficientnet"
    assert chosen_extractor("auto", ("a", "b"), colour) == chosen_extractor("auto", (), colour) == "efficientnet"
    assert chosen_extractor("auto", [*map(str, range(8))], colour) == "efficientnet"
    for bases in (("0", "1", "2"), ("a-b", "c"), ("", "-", "--")):  # as stacked data name theirs
        names = ["-".join(each) for each in itertools.product(bases, repeat=3)]
        assert chosen_extractor("auto", names, colour) == "classifier"
    assert chosen_extractor("inception", ("a", "b"), grey) == "inception"


@pytest.mark.parametrize(
    ("extractor", "title"),
    [
        ("efficientnet", "FD-EfficientNet-Lite0"),
        ("EfficientNet-Lite0", "FD-EfficientNet-Lite0"),
        ("classifier", "FD-classifier"),
        ("stacked classifier", "FD-stacked classifier"),
        ("inception", "FID"),
        ("inception_pytorch", "FID (PyTorch resizing)"),
        ("inception_clean", "FID (clean)"),
        ("Inception (clean)", "FID (clean)"),
        ("nets/dino.onnx(mean=0)", "FD-dino.onnx"),
        ("dino.onnx", "FD-dino.onnx"),
        ("greys", "FD-greys"),
    ],
)
def test_a_distance_is_called_after_its_extractor(extractor, title):
    assert distance_title(extractor) == title


class Weighted:
    name = "weighted"

    def __init__(self, weights, data_dir=""):
        self.weights = weights
        self.data_dir = data_dir

    def __call__(self, images):
        return types.SimpleNamespace(features=np.zeros((len(images) + 1, 2)))


def test_an_extractor_is_made_of_what_it_takes():
    extractor = make_extractor(f"{__name__}:Weighted", labelled=None, data_dir="d", weights="w")
    assert (extractor.weights, extractor.data_dir) == ("w", "d")
    pixels = np.zeros((3, 2, 2, 1), np.uint8)
    samples = Samples(Images("some", pixels, np.zeros(3, np.int32)), extractor)
    with pytest.raises(MirageError, match=r"--extractor=weighted returned .* of shape \[4, 2\] for 3 images; expected"):
        _ = samples.features


def nothing():
    return None


def demanding(more):
    return more


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing", "made None; expected an object with a `name` that can be called"),
        ("demanding", "can't be made .*; it may take labelled, stacked, data_dir, weights and download"),
        ("HERE", "is no class or function"),
        ("missing", "has no missing"),
    ],
)
def test_what_is_no_extractor_is_told_in_a_sentence(name, sentence):
    with pytest.raises(MirageError, match=sentence):
        make_extractor(f"{__name__}:{name}", labelled=None)


def test_features_that_were_not_asked_for_are_not_made():
    samples = Samples(Images("some", np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int32)), None)
    (chosen,) = choose([with_attributes(figures=("a",))])
    evidence = Evidence(samples, samples, samples.images, (samples.images, samples.images))
    with pytest.raises(MirageError, match=r"a metric whose `needs` does not name them; add them there"):
        measured(chosen, ("a",), lambda evidence: evidence.generated.features.sum(), evidence)


def test_flags_know_which_figures_are_better_or_worse():
    known = {each.name: (*each.directions,) for each in choose() if each.quick and each.directions}
    assert known == {name: figures for name, figures in BETTER.items() if name in METRICS}
