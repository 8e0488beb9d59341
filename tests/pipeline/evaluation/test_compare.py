"""Tiny runs of several kinds, scored and drawn side by side."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from matplotlib import axes
from PIL import Image

from pipeline import compare
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.evaluation import comparison
from pipeline.evaluation.options import ScoringOptions
from pipeline.runs.run_file import write_run
from tests.experiments import train


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """Sixty images with a bright bar, across or down, in a folder per class."""
    root = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(0)
    for name in ("across", "down"):
        (root / name).mkdir()
        for index in range(30):
            pixels = rng.integers(0, 60, (16, 16), dtype=np.uint8)
            at = rng.integers(0, 16)
            pixels[(at, slice(None)) if name == "across" else (slice(None), at)] = 250
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def runs(stripes, tmp_path_factory):
    """Run directories of a GAN with evaluations, a VAE and a semi-supervised GAN."""
    root = tmp_path_factory.mktemp("runs")
    common = Config(
        dataset=f"folder:{stripes}",
        data_dir=str(root),
        model="mlp",
        batch_size=20,
        latent_dim=4,
        steps=20,
        strategy="one_device",
    ).to_dict()
    made = {
        "gan": {"objective": "nsgan", "eval_every": 10, "eval_samples": 20},
        "vae": {"objective": "vae", "steps": 150, "learning_rate": 1e-3, "ema_images": 0},
        "sgan": {"objective": "sgan", "labelled": 60, "unlabelled_weight": 0.0, "steps": 300, "learning_rate": 1e-3},
    }
    for name, changes in made.items():
        train(Config(**{**common, **changes, "run_dir": str(root / name)}))
    return {name: root / name for name in made}


def call(*arguments):
    values = flags.FlagValues()
    compare.define_flags(values)
    rest = values(["compare", "--num_samples=40", *map(str, arguments)])
    return compare.main(values, rest)


def test_a_comparison_of_three_runs(runs, tmp_path, capsys):
    out = tmp_path / "three"
    assert call(*runs.values(), f"--out={out}") == 0
    written = ["curves.png", "report.html", "samples.png", "scores.json", "table.md"]
    assert sorted(path.name for path in out.iterdir()) == written
    scores = dict(zip(runs, json.loads((out / "scores.json").read_text()), strict=True))
    assert [row["step"] for row in scores.values()] == [20, 150, 300]
    # What a grey image would get; the VAE has learned to do better.
    grey = np.concatenate([np.full(15, 90.0), [-160]])  # of most pixels and of the bar's, roughly
    assert scores["vae"]["reconstruction_error"] < 0.9 * np.sqrt(np.mean(grey**2))
    assert "reconstruction_error" not in scores["gan"]
    assert scores["sgan"]["classification_error"] < 0.1
    assert "classification_error" not in scores["vae"]
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:5]] == [str(path) for path in runs.values()]
    assert "Extractor classifier, 40 samples" in table
    # Five strips of up to two rows of ten images and a title: samples of three, images and reconstructions of one.
    with Image.open(out / "samples.png") as image:
        picture = np.asarray(image)
    assert picture.shape[0] > 5 * 14 + (3 * 2 + 2) * 16
    assert picture.std() > 20
    with Image.open(out / "curves.png") as image:
        assert image.size == (1000, 400)


def test_curves_need_evaluations(runs, tmp_path):
    (tmp_path / "curves.png").write_bytes(b"of other runs")
    assert not comparison.draw_curves([runs["vae"]], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
    assert comparison.draw_curves([runs["vae"], runs["gan"]], tmp_path / "curves.png")


def test_curves_leave_out_what_is_damaged_and_tell_runs_of_one_name_apart(tmp_path, monkeypatch, capsys):
    good = {"step": 1, "images": 4, "seconds": 1.5, "frechet_distance": 9.0}
    for parent in ("a", "b"):
        (tmp_path / parent / "run").mkdir(parents=True)
        lines = [json.dumps(good).encode(), b"\xff", b'{"step": 2}', json.dumps({**good, "step": 3}).encode(), b""]
        write_run(tmp_path / parent / "run", Config(), DataSpec("shapes", "", (8, 8, 1), (), 4))
        (tmp_path / parent / "run" / "evaluations.jsonl").write_bytes(b"\n".join(lines))
    drawn = []
    monkeypatch.setattr(axes.Axes, "plot", lambda _, x, y, label: drawn.append((x, label)) or [])
    monkeypatch.setattr(axes.Axes, "legend", lambda _: None)
    monkeypatch.chdir(tmp_path / "b" / "run")
    assert comparison.draw_curves([tmp_path / "a" / "run", Path()], tmp_path / "curves.png")
    assert drawn == [(x, name) for x in ([4, 4], [1.5, 1.5]) for name in ("a/run", "b/run")]
    assert capsys.readouterr().err.count("has 2 lines that can't be understood, the first is line 2") == 2


def test_the_picture_shows_each_strip_below_its_title():
    dark, bright = np.zeros((12, 5, 5, 1), np.uint8), np.full((3, 5, 5, 1), 200, np.uint8)
    picture = comparison.picture([("dark", dark), ("bright", bright)])
    assert picture.shape[2] == 1
    column = picture[:, 2, 0]  # through the first image of each row
    runs = [int(column[0])] + [int(b) for a, b in itertools.pairwise(column) if a != b]
    assert runs.index(0) < runs.index(200)


@pytest.mark.parametrize("arguments", [[], ["nowhere"]])
def test_mistakes_are_told_in_one_sentence(arguments, capsys, tmp_path):
    assert call(*arguments, f"--out={tmp_path / 'out'}") == MISTAKE
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_runs_with_other_image_shapes_are_refused(runs, tmp_path):
    from pipeline.data.spec import DataSpec
    from pipeline.runs.run_file import write_run

    write_run(tmp_path, Config(run_dir=str(tmp_path)), DataSpec("other", "", (8, 8, 1), (), 10))
    with pytest.raises(MirageError, match="different shapes"):
        comparison.compare([runs["gan"], tmp_path], tmp_path / "out", ScoringOptions())


def test_folders_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / each for each in ("a/x/run", "b/x/run", "other", "c/digits", "c/letters")]
    assert comparison.distinct_names(paths) == ["a/x/run", "b/x/run", "other", "digits", "letters"]
    with pytest.raises(MirageError, match=r"run and .*x/\.\./x/run are the same run"):
        comparison.distinct_names([paths[0], paths[0].parent / ".." / "x" / "run"])


def write_evaluations(folder, distances, **changes):
    from pipeline.data.spec import DataSpec
    from pipeline.runs.run_file import write_run

    folder.mkdir(parents=True)
    write_run(folder, Config(run_dir=str(folder), **changes), DataSpec("bars", "", (8, 8, 1), (), 10))
    lines = [{"step": i, "images": i, "seconds": i, "frechet_distance": each} for i, each in enumerate(distances)]
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with (folder / "evaluations.jsonl").open("ab") as file:
        file.write(b'{"step": 9}\n\xff\xfe\n{"step"')  # cut off, or of something else
    return folder


@pytest.fixture
def curves(monkeypatch, tmp_path):
    """Draws; returns the curves by their names, and what the axis is called last."""
    from matplotlib import pyplot

    def draw(run_dirs):
        drawn = {}
        close = pyplot.close

        def keep(figure):
            drawn.update({line.get_label(): list(line.get_ydata()) for line in figure.axes[0].get_lines()})
            drawn["axis"] = figure.axes[0].get_ylabel()
            close(figure)

        monkeypatch.setattr(pyplot, "close", keep)
        assert comparison.draw_curves(run_dirs, tmp_path / "curves.png")
        return drawn

    return draw


def test_each_run_has_a_curve_of_its_own(curves, tmp_path):
    run_dirs = [write_evaluations(tmp_path / name / "run", [float(i + 1), 0.5]) for i, name in enumerate("ab")]
    assert curves(run_dirs) == {"a/run": [1, 0.5], "b/run": [2, 0.5], "axis": "FD-EfficientNet-Lite0"}


def test_runs_of_any_name_have_curves_and_a_line_in_the_table(tmp_path):
    names = [b"\xff".decode(errors="surrogateescape"), "a$b^{$x", "_hidden"]
    run_dirs = [write_evaluations(tmp_path / name, [1.0, 0.5]) for name in names]
    assert comparison.distinct_names(run_dirs) == [r"\xff", "a$b^{$x", "_hidden"]
    assert comparison.draw_curves(run_dirs, tmp_path / "curves.png")


def test_curves_by_other_judges_say_so(curves, tmp_path):
    first = write_evaluations(tmp_path / "first", [1.0])
    second = write_evaluations(tmp_path / "second", [2.0], extractor="inception", eval_samples=100)
    drawn = curves([first, second])
    assert drawn.pop("axis") == "Fréchet distance"
    assert {*drawn} == {"first (efficientnet, 5,000 samples)", "second (inception, 100 samples)"}


@pytest.mark.parametrize("known", [True, False], ids=["by content", "of an earlier version"])
def test_runs_on_other_data_are_refused(known, tmp_path):
    from pipeline.data.spec import DataSpec
    from pipeline.runs.run_file import write_run

    specs = {
        "a": DataSpec("folder:/a", "", (8, 8, 1), (), 10, "1" * known),
        "b": DataSpec("folder:/b", "", (8, 8, 1), (), 10, "2" * known),
    }
    for name, spec in specs.items():
        (tmp_path / name).mkdir()
        write_run(tmp_path / name, Config(dataset=spec.name), spec)
    with pytest.raises(MirageError, match=r"b was trained on other data than .*a, with") as caught:
        comparison.compare([tmp_path / "a", tmp_path / "b"], tmp_path / "out", ScoringOptions())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_runs_that_were_judged_by_different_extractors_are_refused(tmp_path):
    data = DataSpec("bars", "", (8, 8, 1), ("a", "b"), 10)
    for name, extractor in (("a", "auto"), ("b", "inception"), ("c", "classifier")):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name, Config(dataset="bars", extractor=extractor), data)
    a, b, c = (tmp_path / name for name in "abc")

    def refusal(run_dirs, **options):
        with pytest.raises(MirageError) as caught:
            comparison.compare(run_dirs, tmp_path / "out", ScoringOptions(**options))
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert f"judged {a} by classifier and {b} by inception; pass --extractor=" in refusal([a, b])
    assert "checkpoint" in refusal([a, c])  # goes on to look for one
    assert "checkpoint" in refusal([a, b], extractor="inception")


def test_runs_that_measured_different_things_are_refused(tmp_path):
    """Figures of one name may be of other parameters."""
    data = DataSpec("bars", "", (8, 8, 1), ("a", "b"), 10)
    for name, k in (("a", 3), ("b", 10)):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name, Config(dataset="bars", metrics=f"precision_recall(k={k})"), data)
    a, b = tmp_path / "a", tmp_path / "b"
    for options, said in (
        (ScoringOptions(), f"measured {a} precision_recall(k=3) and {b} precision_recall(k=10); pass --metrics="),
        (ScoringOptions(metrics="auto"), "checkpoint"),  # goes on to look for one
    ):
        with pytest.raises(MirageError) as caught:
            comparison.compare([a, b], tmp_path / "out", options)
        assert said in str(caught.value)


def test_the_same_classes_in_another_order_are_told_as_such():
    data = DataSpec("bars", "", (8, 8, 1), ("10", "2"), 10)
    assert DataSpec("bars", "", (8, 8, 1), ("2", "10"), 10).difference_from(data) == "the classes in another order"
