"""What is scored is what is said to be scored: the run's own data, that checkpoint, that bundle."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

import serving.contract.manifest
import serving.generator
from pipeline import evaluate
from pipeline.base.errors import MISTAKE
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.evaluation.evaluate import evaluate as evaluated
from pipeline.evaluation.options import ScoringOptions
from pipeline.evaluation.provenance import Provenance
from pipeline.evaluation.sampling import networks_of_run
from pipeline.metrics import classifier as classifiers
from pipeline.runs.run_file import read_run, write_run
from serving.contract.manifest import ModelInfo
from tests.experiments import train


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose best checkpoint is not its newest, and its pictures."""
    root = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    for name in ("across", "down"):
        (root / "pictures" / name).mkdir(parents=True)
        for index in range(15):
            pixels = rng.integers(0, 60, (16, 16), dtype=np.uint8)
            at = rng.integers(0, 16)
            pixels[(at, slice(None)) if name == "across" else (slice(None), at)] = 250
            Image.fromarray(pixels).save(root / "pictures" / name / f"{index}.png")
    config = Config(
        dataset=f"folder:{root / 'pictures'}",
        data_dir=str(root / "data"),
        model="mlp",
        objective="nsgan",
        batch_size=4,
        latent_dim=4,
        steps=4,
        checkpoint_every=2,
        strategy="one_device",
        run_dir=str(root / "run"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "_IMAGES", 300)
        patch.setattr(classifiers, "_TRUSTED", 0)  # so few images make a bad one, of which a warning would tell
        train(config)
        (root / "run" / "checkpoints" / "best.json").write_text(
            json.dumps({"checkpoint": "step_0000002", "frechet_distance": 1.0})
        )
        yield root


@pytest.fixture
def root(made, tmp_path):
    """A copy of it, to change."""
    shutil.copytree(made / "run", tmp_path / "run")
    shutil.copytree(made / "pictures", tmp_path / "pictures")
    replace(tmp_path, "config", dataset=f"folder:{tmp_path / 'pictures'}")
    return tmp_path


def replace(root, section, **changes):
    """Changes `config.json`; None removes."""
    path = root / "run" / "config.json"
    document = json.loads(path.read_text())
    document[section].update(changes)
    document[section] = {name: value for name, value in document[section].items() if value is not None}
    path.write_text(json.dumps(document))


TOO_FEW = (
    "note: --metrics=frechet_distance_infinity is left out: 20 images are too few for features of size 128; it needs "
    "256 or more.\n"
)


def call(root, capsys, *arguments):
    """Returns (scores, or None where it failed; what was printed on standard error)."""
    values = flags.FlagValues()
    evaluate.define_flags(values)
    rest = values(["evaluate", f"--run_dir={root / 'run'}", "--num_samples=20", *arguments])
    status = evaluate.main(values, rest)
    out, error = capsys.readouterr()
    if status:
        assert status == MISTAKE
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return None, error
    return json.loads(out.splitlines()[-1]), error.replace(TOO_FEW, "")  # as is right of so few


def test_the_step_is_that_of_the_checkpoint_that_was_scored(root, capsys):
    newest, _ = call(root, capsys)
    assert newest["step"] == 4
    best, _ = call(root, capsys, "--checkpoint=best")
    assert best["step"] == 2
    assert best["frechet_distance"] != newest["frechet_distance"]
    state = root / "run" / "checkpoints" / "step_0000004" / "state.npz"
    state.write_bytes(state.read_bytes()[:-1])
    fallen_back, error = call(root, capsys)
    assert "is damaged" in error
    assert fallen_back == best


def test_pictures_that_have_moved_are_found_with_dataset(root, capsys):
    expected, _ = call(root, capsys)
    (root / "pictures").rename(root / "elsewhere")
    _, error = call(root, capsys)
    assert f"there is no folder {root / 'pictures'}; where they have moved, pass --dataset=" in error
    moved, error = call(root, capsys, f"--dataset=folder:{root / 'elsewhere'}")
    assert (moved, error) == (expected, "")


def swapped(root):
    Image.new("L", (16, 16)).save(root / "pictures" / "across" / "3.png")


def fewer(root):
    (root / "pictures" / "across" / "3.png").unlink()


@pytest.mark.parametrize(("change", "named"), [(swapped, "other content"), (fewer, "29 images instead of 30")])
@pytest.mark.parametrize("moved", [False, True])
def test_other_pictures_are_refused(root, capsys, change, named, moved):
    change(root)
    arguments = []
    if moved:
        (root / "pictures").rename(root / "elsewhere")
        arguments = [f"--dataset=folder:{root / 'elsewhere'}"]
    _, error = call(root, capsys, *arguments)
    assert f"is not what the run was trained on: {named}" in error


def test_a_run_of_before_content_counted_is_scored(root, capsys):
    expected, _ = call(root, capsys)
    replace(root, "data", fingerprint=None, name=f"folder:{root / 'pictures'}")
    assert call(root, capsys) == (expected, "")
    (root / "pictures").rename(root / "elsewhere")
    scores, error = call(root, capsys, f"--dataset=folder:{root / 'elsewhere'}")
    assert scores == expected
    assert error.startswith("warning: ")
    assert "is taken on trust" in error
    fewer_still = root / "elsewhere" / "across" / "3.png"
    fewer_still.unlink()
    assert "29 images instead of 30" in call(root, capsys, f"--dataset=folder:{root / 'elsewhere'}")[1]


class Drawing:
    """Stands for a bundle's generator."""

    def __init__(self, info):
        self.info = info

    def decode(self, z, labels):
        assert z.shape[1] == self.info.latent_dim
        assert (np.abs(z).max() < 1) == (self.info.latent_distribution == "uniform")
        assert (labels is not None) == self.info.conditional
        return np.zeros((len(z), *self.info.image_shape), np.uint8)


@pytest.fixture
def bundle(root, monkeypatch):
    """Returns a function that makes `--bundle=` mean a bundle of the run, with some things changed."""
    config, data = read_run(root / "run")
    settings = {name: value for name, value in config.to_dict().items() if name not in ("data_dir", "run_dir")}
    names = dataclasses.replace(data, name="folder:pictures")
    origin = {"config": {**settings, "dataset": "folder:pictures"}, "data": names.to_dict(), "step": 3}

    def make(info=None, **changes):
        model = {"latent_dim": 4, "image_shape": (16, 16, 1), "conditional": False, "class_names": (), **(info or {})}
        provenance = {**origin, **{name: {**origin[name], **change} for name, change in changes.items()}}
        manifest = serving.contract.manifest.Manifest(
            "", ModelInfo(**model), {}, {}, {"provenance": provenance} if origin else {}
        )
        monkeypatch.setattr(serving.generator.Generator, "load", lambda path: Drawing(manifest.model))
        monkeypatch.setattr(serving.contract.manifest, "read_manifest", lambda path: manifest)
        return "--bundle=b"

    make.origin = origin
    return make


def test_a_bundle_is_scored_under_its_own_step(root, capsys, bundle):
    scores, error = call(root, capsys, bundle())
    assert (scores["step"], scores["source"], error) == (3, "b", "")


def test_a_bundle_is_given_the_latents_that_it_was_made_for(root, capsys, bundle):
    assert call(root, capsys, bundle({"latent_distribution": "uniform"}))[0]["step"] == 3


def test_a_bundle_of_another_run_on_the_same_data_is_scored_and_said_to_be_one(root, capsys, bundle):
    argument = bundle({"latent_dim": 9}, config={"latent_dim": 9, "seed": 7})
    scores, error = call(root, capsys, argument)
    assert scores["step"] == 3
    assert error == (
        "note: --bundle=b is of another run, which had --latent_dim=9 instead of 4, --seed=7 instead of 0; it is "
        "scored on this run's data.\n"
    )


def test_a_bundle_that_says_nothing_of_its_run_is_scored_and_said_to_be_one(root, capsys, bundle):
    bundle.origin.clear()
    scores, error = call(root, capsys, bundle())
    assert scores["step"] is None
    assert "note: --bundle=b doesn't say which run it is of" in error


@pytest.mark.parametrize(
    ("info", "data", "named"),
    [
        ({"image_shape": (8, 8, 1)}, {}, "images of 16x16x1 instead of 8x8x1"),
        ({"conditional": True, "class_names": ("a", "b")}, {}, "other names of classes"),
        ({}, {"fingerprint": "0" * 64}, "other content"),
        ({}, {"num_examples": 31}, "30 images instead of 31"),
        ({}, {"name": "stripes", "fingerprint": ""}, "the name folder:"),
    ],
)
def test_a_bundle_of_other_data_is_refused(root, capsys, bundle, info, data, named):
    _, error = call(root, capsys, bundle(info, data=data))
    assert "--bundle=b was trained on other data than the run: the run has " in error
    assert named in error


def test_a_bundle_of_before_content_counted_is_known_by_its_description(root, capsys, bundle):
    assert call(root, capsys, bundle(data={"fingerprint": ""}))[1] == ""


def test_a_bundle_has_no_choice_of_checkpoints(root, capsys, bundle):
    assert "--checkpoint=best does not go with --bundle" in call(root, capsys, bundle(), "--checkpoint=best")[1]


@pytest.mark.parametrize("section", [None, 3, [], {}, {"config": 1, "data": {"name": "x"}, "step": "3"}])
def test_a_provenance_that_cannot_be_understood_says_nothing(section):
    assert Provenance.of(section) == Provenance({}, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"name": 3},
        {"version": None},
        {"fingerprint": 1},
        {"num_examples": "5"},
        {"num_examples": True},
        {"image_shape": [8, 8]},
        {"image_shape": [8, 8, 1.0]},
        {"class_names": "ab"},
        {"class_names": [1]},
        {"more": 1},
    ],
)
def test_a_provenance_with_data_of_wrong_types_says_nothing_of_them(change):
    spec = DataSpec("folder:pictures", "", (8, 8, 1), (), 5).to_dict()
    assert Provenance.of({"data": spec}).data is not None
    assert Provenance.of({"data": {**spec, **change}}).data is None


def test_auto_is_the_extractor_of_the_training(root, capsys):
    missing = root / "none.h5"
    replace(root, "config", extractor="inception", inception_weights=str(missing))
    assert f"--inception_weights={missing} is no file" in call(root, capsys)[1]
    other = root / "other.h5"
    assert f"--inception_weights={other} is no file" in call(root, capsys, f"--inception_weights={other}")[1]
    scores, _ = call(root, capsys, "--extractor=classifier")
    assert scores["extractor"] == "classifier"


@pytest.mark.parametrize("flag", ["--inception_weights=some.pth", "--download"])
def test_weights_that_the_extractor_does_not_take_are_refused(root, capsys, flag):
    error = call(root, capsys, flag)[1]
    assert f"{flag} goes with --extractor=inception, and it is auto; add --extractor=inception" in error


def test_statistics_are_not_written_over_a_folder(root, capsys):
    assert (
        f"--write_reference={root} is a folder; expected a file in it"
        in call(root, capsys, f"--write_reference={root}")[1]
    )


def test_the_protocol_of_papers_compares_with_all_training_images(root, capsys):
    held_out, _ = call(root, capsys)
    scores, _ = call(root, capsys, "--protocol=paper")
    expected = {"name": "paper", "samples": 20, "repeats": 1, "seed": 0, "reference": "train", "reference_count": 30}
    assert expected.items() <= scores["protocol"].items()
    assert scores["protocol"]["extractor"] == "classifier"
    assert held_out["protocol"] == {**scores["protocol"], "name": "default"}  # pictures in folders have no test split
    assert held_out["frechet_distance"] == scores["frechet_distance"]
    options = ScoringOptions(protocol="paper")
    assert (options.count, ScoringOptions().count) == (50_000, 10_000)
    values = flags.FlagValues()
    evaluate.define_flags(values)
    rest = values(["evaluate", f"--run_dir={root / 'run'}", "--num_samples=9"])
    assert evaluate.main(values, rest) == MISTAKE
    assert capsys.readouterr().err == "error: --num_samples=9 is too small; expected at least 10.\n"


def test_repeats_give_means_with_intervals(root, capsys):
    single = [call(root, capsys, f"--seed={seed}")[0]["frechet_distance"] for seed in (5, 25, 45)]
    scores, _ = call(root, capsys, "--seed=5", "--repeats=3")
    assert scores["frechet_distance"] == pytest.approx(np.mean(single), rel=1e-6)
    low, high = scores["frechet_distance_interval"]
    assert low < scores["frechet_distance"] < high
    assert len(scores["class_histogram"]) == 2
    assert scores["protocol"]["repeats"] == 3


def test_scores_and_pictures_are_written(root, capsys):
    out = root / "some" / "out"
    scores, _ = call(root, capsys, f"--out={out}", f"--write_reference={root / 'reference.npz'}")
    assert json.loads((out / "scores.json").read_text()) == scores
    with Image.open(out / "samples.png") as samples, Image.open(out / "neighbours.png") as neighbours:
        assert (samples.size, neighbours.size[1]) == ((182, 182), 182)
    again, _ = call(root, capsys, f"--reference={root / 'reference.npz'}", "--metrics=frechet_distance,sharpness")
    assert again["frechet_distance"] == pytest.approx(scores["frechet_distance"], rel=1e-6)
    assert (again["reference"], again["num_reference"]) == (str(root / "reference.npz"), None)
    (root / "file").write_text("")
    for flag in ("out", "write_reference"):
        _, error = call(root, capsys, f"--{flag}={root / 'file' / 'x'}")
        assert f"--{flag}={root / 'file' / 'x'}" in error
    _, error = call(root, capsys, f"--write_reference={root / 'x.npz'}", "--metrics=sharpness")
    assert "is of an extractor's features; add frechet_distance to --metrics." in error
    _, error = call(root, capsys, f"--reference={root / 'reference.npz'}", "--metrics=sharpness")
    assert "is for metrics of features; add frechet_distance to --metrics." in error


def test_what_describes_the_reference_is_kept(root, capsys):
    first, _ = call(root, capsys)
    data_dir = json.loads((root / "run" / "config.json").read_text())["config"]["data_dir"]
    kept = {path: path.stat().st_mtime_ns for path in Path(data_dir).glob("references/*.npz")}
    assert kept
    assert call(root, capsys)[0] == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_python_takes_the_name_of_where_data_are_now(root):
    expected = evaluated(root / "run", num_samples=20, metrics="sharpness")
    (root / "pictures").rename(root / "elsewhere")
    moved = evaluated(root / "run", num_samples=20, metrics="sharpness", dataset=f"folder:{root / 'elsewhere'}")
    assert moved == expected


def test_seeds_are_integers_of_64_bits(root):
    values = flags.FlagValues()
    evaluate.define_flags(values)
    with pytest.raises(flags.IllegalFlagValueError, match="seed"):
        values(["evaluate", f"--seed={2**63}"])
    values(["evaluate", f"--seed={-(2**63)}"])


def test_a_provenance_names_data_as_the_run_does():
    spec = DataSpec("folder:pictures", "", (8, 8, 1), (), 5)
    for name in (f"folder:{os.sep}some{os.sep}pictures", "folder:elsewhere"):
        assert Provenance({}, spec, None).other_data(dataclasses.replace(spec, name=name)) == ""
    assert Provenance({}, spec, None).other_data(dataclasses.replace(spec, name="mnist"))
    stacked = dataclasses.replace(spec, name="stacked:folder:pictures")
    assert Provenance({}, stacked, None).other_data(dataclasses.replace(spec, name="stacked:folder:/a/pictures")) == ""


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, {"discriminator"}),
        ({"objective": "vae"}, {"encoder"}),
        ({"objective": "sgan"}, {"discriminator", "classes"}),
        # It names classes, but the generator is told them.
        ({"conditional": True, "conditioning": "projection,acgan"}, {"discriminator"}),
    ],
    ids=["gan", "vae", "sgan", "acgan"],
)
def test_metrics_find_the_networks_that_a_run_has(tmp_path, more, names):
    write_run(tmp_path, Config(model="mlp", **more), DataSpec("bars", "", (16, 16, 1), ("a", "b"), 10))
    assert {*networks_of_run(tmp_path)} == names  # which are loaded only when they are used: there is no checkpoint
