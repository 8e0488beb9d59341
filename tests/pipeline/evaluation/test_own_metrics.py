"""A metric and an extractor from outside: one file, and one line of registration or an import path."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

from pipeline import compare, evaluate
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.config import Config
from pipeline.evaluation.evaluate import evaluate as evaluated
from pipeline.evaluation.judge import Judge
from pipeline.metrics import EXTRACTORS, METRICS
from pipeline.metrics.choice import choose
from pipeline.metrics.metric import Images
from tests.experiments import train
from tests.processes import ENVIRONMENT, ROOT

# What a user would write; it knows Mirage's form and nothing else.
OWN = """
import dataclasses
import numpy as np
from pipeline.metrics.extractor import Features
from pipeline.metrics.metric import Metric

@dataclasses.dataclass(frozen=True)
class Contrast(Metric):
    times: int = 1
    figures = ("contrast", "contrast_of_real")

    def __call__(self, evidence):
        return self.times * evidence.generated.pixels.std(), self.times * evidence.real.pixels.std()

class Bad:
    figures = ("good", "bad")

    def __call__(self, evidence):
        raise RuntimeError("no such luck")

class Histogram:
    figures = ("grey_histogram",)

    def __call__(self, evidence):
        return np.bincount(evidence.generated.pixels.ravel() // 64, minlength=4)

class Slow(Metric):
    figures = ("wander", "codes")
    needs = ("generator",)
    quick = False

    def __call__(self, evidence):
        z = np.zeros((3, evidence.latent_dim), np.float32)
        return evidence.generate(z, np.zeros(3, np.int32)).std(axis=0).max(), [1, 2]

class Neutral(Metric):
    figures = ("neither",)
    neutral = ("neither",)

class OfEncoder(Metric):
    figures = ("code_size",)
    needs = ("encoder",)

    def __call__(self, evidence):
        return evidence.networks["encoder"](np.zeros((1, 16, 16, 1), np.float32), np.zeros(1, np.int32)).shape[1]

class Greys:
    name = "greys"

    def __call__(self, images):
        return Features(images.reshape(len(images), -1, 64).astype(np.float32).mean(axis=2), None)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose training measured a metric of the user's, with an extractor of the user's; what it printed."""
    root = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    (root / "pictures").mkdir()
    for index in range(24):
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(root / "pictures" / f"{index}.png")
    (root / "own_metrics.py").write_text(OWN)
    config = Config(
        dataset=f"folder:{root / 'pictures'}",
        data_dir=str(root / "data"),
        model="mlp",
        batch_size=4,
        latent_dim=4,
        steps=2,
        strategy="one_device",
        eval_every=1,
        eval_samples=12,
        keep_best=True,
        extractor="own_metrics:Greys",
        metrics="auto,own_metrics:Contrast(times=2),own_metrics:Bad,own_metrics:Histogram,own_metrics:Slow",
        run_dir=str(root / "run"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        yield root, config


@pytest.fixture(scope="module")
def trained(made):
    root, config = made
    train(config)
    return root


def lines_of(root, name="run"):
    return [json.loads(line) for line in (root / name / "evaluations.jsonl").read_text().splitlines()]


def test_during_training_it_is_printed_and_written_and_failures_cost_nothing(made, capfd, tmp_path):
    root, config = made
    assert train(dataclasses.replace(config, run_dir=str(tmp_path / "run"))).step == 2
    out, error = capfd.readouterr()
    first, second = lines_of(tmp_path)
    assert first["frechet_distance_interval"][0] <= first["frechet_distance"] <= first["frechet_distance_interval"][1]
    assert [name for name in first if not name.endswith("_interval")] == [
        *("step", "images", "seconds", "extractor", "num_samples", "reference", "frechet_distance", "precision"),
        *("recall", "density", "coverage", "contrast", "contrast_of_real", "frechet_floor"),
    ]
    assert first["contrast"] != second["contrast"]
    assert first["contrast_of_real"] == second["contrast_of_real"] > 100
    assert f"contrast of real {first['contrast_of_real']:.4g}" in out
    warnings = [line for line in error.splitlines() if line.startswith("warning: --metrics=")]
    assert len(warnings) == 4
    assert warnings[0].startswith("warning: --metrics=own_metrics:Bad failed (RuntimeError: no such luck; ")
    assert str(root / "own_metrics.py") in warnings[0]
    assert "own_metrics:Histogram returned a list for grey_histogram; during training expected a number" in warnings[1]
    assert (tmp_path / "run" / "checkpoints" / "best.json").exists()


def call(command, root, capsys, *arguments):
    values = flags.FlagValues()
    command.define_flags(values)
    rest = values(["program", "--num_samples=12", *arguments])
    status = command.main(values, rest)
    out, error = capsys.readouterr()
    return status, out, error


def test_evaluate_takes_the_runs_own_metrics_or_those_that_are_named(trained, capsys):
    run = f"--run_dir={trained / 'run'}"
    status, out, error = call(evaluate, trained, capsys, run)
    assert (status, out) == (MISTAKE, "")
    assert error.startswith("error: --metrics=own_metrics:Bad failed (RuntimeError: no such luck; ")
    assert error.count("\n") == 1
    status, out, error = call(evaluate, trained, capsys, run, "--metrics=own_metrics:Slow,own_metrics:Contrast")
    assert (status, error) == (0, "")
    scores = json.loads(out.splitlines()[-1])
    # Neither needs features, so that nothing is said of what would describe images.
    expected = ["source", "step", "protocol", "num_samples", "reference", "num_reference"]
    intervals = ["contrast_interval", "contrast_of_real_interval"]
    assert list(scores) == [*expected, "wander", "codes", "contrast", "contrast_of_real", *intervals]
    assert scores["wander"] == 0
    assert scores["codes"] == [1, 2]
    assert f"real images: {scores['contrast_of_real']:.4g}" in out
    status, out, _ = call(evaluate, trained, capsys, run, "--metrics=auto")
    assert "contrast" not in out
    assert {"extractor": "greys"}.items() <= json.loads(out.splitlines()[-1]).items()


def test_what_it_needs_and_is_not_there_is_said(trained, capsys):
    run = f"--run_dir={trained / 'run'}"
    status, out, error = call(evaluate, trained, capsys, run, "--metrics=sharpness,own_metrics:OfEncoder")
    assert (status, "code_size" in out) == (0, False)
    assert error == "note: --metrics=own_metrics:OfEncoder is left out: it needs an encoder, and there is none.\n"
    status, _, error = call(evaluate, trained, capsys, run, "--metrics=label_accuracy")
    assert status == MISTAKE
    assert error.endswith("error: none of --metrics applies to this generator; name others, or auto.\n")


def test_a_run_with_an_encoder_is_measured_by_what_needs_one(made, tmp_path):
    _, config = made
    run = dataclasses.replace(config, objective="vae", eval_every=0, keep_best=False, run_dir=str(tmp_path))
    train(run)
    scores = evaluated(tmp_path, num_samples=12, metrics="own_metrics:OfEncoder,reconstruction_error")
    assert scores["code_size"] == 8  # means and logarithms of variances
    assert scores["reconstruction_error"] > 0


def test_it_stands_in_the_table_that_compares_runs(trained, capsys, tmp_path):
    more = "--metrics=frechet_distance,kernel_distance,own_metrics:Contrast"
    status, out, _ = call(compare, trained, capsys, str(trained / "run"), more, f"--out={tmp_path / 'out'}")
    assert status == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in out
    assert table.startswith("| run | step | frechet distance | frechet floor | contrast | contrast of real |\n")
    assert "kernel_distance" in (tmp_path / "out" / "scores.json").read_text()


def test_a_line_in_the_registry_gives_it_a_name(trained, capsys, monkeypatch):
    monkeypatch.setitem(METRICS, "contrast", "own_metrics:Contrast")
    monkeypatch.setitem(EXTRACTORS, "greys", "own_metrics:Greys")
    run = f"--run_dir={trained / 'run'}"
    _, out, _ = call(evaluate, trained, capsys, run, "--metrics=auto", "--extractor=greys")
    assert list(json.loads(out.splitlines()[-1]))[-4:-2] == ["contrast", "contrast_of_real"]
    _, out, _ = call(evaluate, trained, capsys, run, "--metrics=contrast(times=3)")
    assert list(json.loads(out.splitlines()[-1]))[-4:-2] == ["contrast", "contrast_of_real"]


def test_python_passes_objects(trained):
    import own_metrics

    scores = evaluated(trained / "run", num_samples=12, metrics=[own_metrics.Contrast(times=2), "sharpness"])
    once = evaluated(str(trained / "run"), num_samples=12, metrics=own_metrics.Contrast())
    assert scores["contrast"] == 2 * once["contrast"]
    assert scores["contrast_of_real"] == lines_of(trained)[0]["contrast_of_real"]
    assert "sharpness" in scores


def test_an_extractor_that_fails_is_named():
    class Broken:
        name = "broken"

        def __call__(self, images):
            raise RuntimeError("no weights")

    images = Images("some", np.zeros((4, 3, 3, 1), np.uint8), np.zeros(4, np.int32))
    with pytest.raises(MirageError, match=r"--extractor=broken failed \(RuntimeError: no weights; "):
        Judge(Broken(), images, images, 4, (images, images), choose("frechet_distance"))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"metrics": "sharp"}, "--metrics=sharp is not known; choose from auto, frechet_distance"),
        ({"extractor": "vgg"}, "--extractor=vgg is not known; choose from auto, classifier, efficientnet"),
        (
            {"keep_best": True, "best_by": "sharpness"},
            "--best_by=sharpness is no figure of --metrics that is better or worse during training; choose from f",
        ),
        (
            {"metrics": "precision_recall", "patience": 2},
            "--best_by=frechet_distance .* from precision, recall.",
        ),
        ({"eval_every": 0, "patience": 2}, "--patience=2 counts evaluations; set --eval_every, such as"),
        (
            {"metrics": "sharpness", "keep_best": True},
            "--best_by=frechet_distance is no figure of --metrics that is better or worse during training; none of",
        ),
    ],
)
def test_names_are_looked_at_before_anything_else(more, sentence):
    with pytest.raises(MirageError, match=sentence):
        Config(**{"eval_every": 2, **more}).validate()
    Config(eval_every=2, metrics="my_package.mine:Mine", extractor="my_package.mine:Mine").validate()


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        ("sharpness,own_metrics:Slow", "--metrics=sharpness,own_metrics:Slow has nothing that evaluations during"),
        ("own_metrics:Missing", "--metrics=own_metrics:Missing: own_metrics has no Missing"),
        ("frechet_distance,own_metrics:Slow,own_metrics:Neutral", "--best_by=wander is no figure .* from frechet_dis"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training_begins(made, tmp_path, metrics, sentence):
    _, config = made
    compared = {"patience": 3, "best_by": "wander"} if "Neutral" in metrics else {}
    run = dataclasses.replace(config, keep_best=False, **compared, metrics=metrics, run_dir=str(tmp_path / "run"))
    with pytest.raises(MirageError, match=sentence):
        train(run)
    assert list(Path(run.run_dir).rglob("state.npz")) == []


@pytest.mark.parametrize("command", ["pipeline", "pipeline.evaluate", "pipeline.compare"])
def test_a_mistake_in_names_is_told_at_once(command, tmp_path):
    code = f"import sys, runpy; sys.argv = ['x', '--metrics=sharp', 'run'][:{3 if 'compare' in command else 2}]\n"
    code += "import atexit; atexit.register(lambda: print('tensorflow' in sys.modules, 'numpy' in sys.modules))\n"
    code += f"runpy.run_module({command!r}, run_name='__main__')"
    arguments = [sys.executable, "-c", code]
    result = subprocess.run(
        arguments, cwd=tmp_path, capture_output=True, text=True, check=False, env={**ENVIRONMENT, "PYTHONPATH": ROOT}
    )
    assert result.stderr.startswith("error: --metrics=sharp is not known; choose from auto, frechet_distance")
    assert result.stdout == "False False\n"
