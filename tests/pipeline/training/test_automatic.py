"""What is chosen where a flag is `auto`."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags

import pipeline.__main__
from pipeline import Experiment
from pipeline.base.errors import MirageError
from pipeline.base.parameters import AUTO
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.runs.run_file import CONFIG_FILE, read_automatic, read_run, write_run
from pipeline.training.automatic import RULES
from pipeline.training.chosen import choose, described

AUTOMATIC = tuple(field.name for field in dataclasses.fields(Config) if field.metadata["automatic"])
LABELS = tuple("0123456789")
STYLES = {"model": "stylegan2", "objective": "nsgan"}
PROJECTED = {"discriminator": "projected", "objective": "hinge"}


def asked(**given):
    """A configuration of which all that can be is `auto`, unless it is given."""
    return Config(**{**dict.fromkeys(AUTOMATIC, AUTO), **given})


def spec(size=32, channels=3, pictures=50_000):
    return DataSpec("shapes", "", (size, size, channels), LABELS, pictures)


def preset(name):
    """The flags that a preset sets."""
    lines = (Path(__file__).parents[3] / "configs" / f"{name}.flags").read_text().splitlines()
    return dict(line[2:].partition("=")[::2] for line in lines if line.startswith("--"))


def test_there_is_a_rule_for_whatever_is_automatic():
    assert {*RULES} == {*AUTOMATIC}
    assert asked().automatic() == AUTOMATIC
    assert Config().automatic() == ()
    assert asked().plain() == Config()


@pytest.mark.parametrize("name", ["demo", "mnist"])
def test_the_presets_of_digits_are_what_the_rules_choose(name):
    flags = preset(name)
    pictures = {"demo": 5_000, "mnist": 60_000}[name]
    config = asked(conditional=True, steps=int(flags["steps"]), batch_size=int(flags["batch_size"]))
    chosen = choose(config, spec(28, 1, pictures), "CPU", 1)
    stated = {each: value for each, value in flags.items() if each in chosen and each != "latent_dim"}
    assert len(stated) == 9
    assert {each: type(chosen[each])(value) for each, value in stated.items()} == {
        each: chosen[each] for each in stated
    }
    assert choose(asked(), spec(28, 1, pictures), "CPU", 1)["batch_size"] == int(flags["batch_size"])


def test_the_preset_of_few_images_is_what_the_rules_choose():
    flags = preset("few_images")
    given = {name: flags[name] for name in ("model", "discriminator", "objective")}
    chosen = choose(asked(**given), spec(64, 3, 600), "CPU", 1)
    stated = {each: type(chosen[each])(flags[each]) for each in chosen if each in flags}
    assert {*stated} >= {"batch_size", "latent_dim", "learning_rate", "beta_2", "ema_images", "augment"}
    assert stated == {each: chosen[each] for each in stated}


@pytest.mark.parametrize(
    ("data", "given", "expected"),
    [
        (spec(), {}, {"batch_size": 64, "conditioning": "concat", "gamma": 0.1, "learning_rate": 0.002}),
        (spec(), {"conditional": True}, {"conditioning": "projection,acgan", "class_weight": 0.05, "gamma": 0.03}),
        (spec(), {"model": "r3gan", "conditional": True}, {"conditioning": "projection", "learning_rate": 0.0002}),
        (spec(), {"model": "r3gan", "model_args": "width=192"}, {"conditioning": "concat", "learning_rate": 0.0008}),
        (spec(64), {"model": "r3gan", "model_args": "width=(32,32,32,32,16)"}, {"learning_rate": 0.001}),
        (spec(64), {"model": "resnet"}, {"learning_rate": 0.0003}),
        (spec(64), {"model": "resnet", "model_args": "doubling=false,width=64"}, {"learning_rate": 0.001}),
        (spec(32, 1), {"model": "resnet"}, {"learning_rate": 0.0006}),
        (spec(28, 1, 20_000), {"model": "resnet"}, {"batch_size": 128, "learning_rate": 0.0006}),
        (spec(48), {"model": "resnet"}, {"learning_rate": 0.0003}),
        (spec(64), {"conditional": True}, {"batch_size": 32, "gamma": 0.24, "learning_rate": 0.001}),
        (spec(), {"steps": 1000}, {"lr_decay_images": 80_000}),
        (spec(), {"steps": 1000, "batch_size": 16, "accumulate": 4}, {"lr_decay_images": 80_000, "ema_images": 20_000}),
        (spec(), {"steps": 1000, "d_steps": 2}, {"lr_decay_images": 160_000}),
        (spec(28, 1), {"batch_size": 32}, {"learning_rate": 0.0006, "ema_images": 15_000}),
        (spec(pictures=4_999), {}, {"augment": "translation,cutout,color"}),
        (spec(pictures=5_000), {}, {"augment": ""}),
        (spec(pictures=0), {}, {"augment": "", "batch_size": 64}),  # not known yet
        (spec(), {"conditional": True, "conditioning": "acgan"}, {"class_weight": 1.0}),
        (spec(), {"categories": 60, "codes": 9}, {"latent_dim": 69}),
        (spec(pictures=50), {}, {"batch_size": 50}),
        (spec(128), STYLES, {"batch_size": 32, "latent_dim": 512, "r1": 0.0512, "ema_images": 10_000}),
        (spec(1024), STYLES, {"batch_size": 4, "learning_rate": 0.002, "r1": 26.2, "ema_images": 1250}),
        (spec(), PROJECTED, {"batch_size": 64, "augment": "translation,cutout,color", "r1": 0.0, "lr_decay_images": 0}),
        (spec(64), {**PROJECTED, "objective": "r3gan"}, {"batch_size": 64, "augment": "", "gamma": 0.5}),
        (spec(256), {**STYLES, "batch_size": 64}, {"learning_rate": 0.0025, "r1": 0.102, "beta_2": 0.99}),
    ],
)
def test_rules(data, given, expected):
    chosen = choose(asked(**given), data, "CPU", 1)
    assert {name: chosen[name] for name in expected} == expected
    assert {*chosen} == {*AUTOMATIC} - {*given}


def test_a_gpu_takes_larger_batches():
    assert choose(asked(), spec(), "GPU", 1)["batch_size"] == 256
    assert choose(asked(**PROJECTED), spec(64), "GPU", 1)["batch_size"] == 64


@pytest.mark.parametrize(
    ("replicas", "given", "batch_size"),
    [
        (3, {}, 63),
        (7, {"objective": "nsgan", "d_batches": "split"}, 56),
        (99, {}, 99),
        (3, STYLES, 60),
        (9, STYLES, 36),
    ],
)
def test_a_batch_that_is_chosen_can_be_shared(replicas, given, batch_size):
    assert choose(asked(**given), spec(), "CPU", replicas)["batch_size"] == batch_size


@pytest.mark.parametrize(("pictures", "replicas", "batch_size"), [(30, 1, 28), (10, 1, 8), (60, 2, 56)])
def test_few_pictures_are_shared_in_groups_where_d_compares_them(pictures, replicas, batch_size):
    few = spec(pictures=pictures)
    assert choose(asked(**STYLES), few, "CPU", replicas)["batch_size"] == batch_size
    assert choose(asked(**STYLES, model_args="group=2"), few, "CPU", 1)["batch_size"] % 2 == 0


@pytest.mark.parametrize(
    "given",
    [
        {"objective": "nsgan"},
        {"objective": "vae"},
        {"model": "mlp"},
        {"model": "mine:Networks"},
        {"objective": "mine:Loss"},
    ],
)
def test_what_the_rules_do_not_know_has_the_defaults(given):
    chosen = choose(asked(conditional=True, **given), spec(), "CPU", 1)
    assert chosen == {name: getattr(Config(), name) for name in AUTOMATIC}


@pytest.mark.parametrize("objective", ["r3gan", "nsgan"])
@pytest.mark.parametrize("kind", ["CPU", "GPU"])
def test_whatever_is_chosen_has_its_flags_type_and_is_valid(objective, kind):
    for size, channels, pictures, conditional in ((16, 1, 3, True), (128, 3, 10**7, False), (32, 3, 0, True)):
        config = asked(objective=objective, conditional=conditional)
        settled = dataclasses.replace(config, **choose(config, spec(size, channels, pictures), kind, 2))
        settled.validate()
        assert Config.from_dict(settled.to_dict()) == settled
        assert settled.automatic() == ()


def test_what_was_chosen_is_said():
    config, names = Config(gamma=0.03), ["gamma", "augment", "class_weight", "batch_size"]
    assert described(names, config, continued=False) == "Chosen: gamma=0.03 batch_size=64; set any of them by its flag."
    assert described(names, config, continued=True) == "Kept from the run: gamma=0.03 batch_size=64."
    named = dataclasses.replace(config, objective="nsgan", conditioning="acgan")
    assert described(names, named, continued=True) == "Kept from the run: class_weight=1.0 batch_size=64."
    assert described(["augment"], config, continued=False) == ""


def parsed(*arguments):
    values = flags.FlagValues()
    pipeline.__main__.define_flags(values)
    values(["pipeline", *arguments])
    return pipeline.__main__.config_from_flags(values)


def test_flags_are_auto_unless_they_are_set():
    assert parsed() == asked()
    assert parsed("--gamma=auto", "--gamma=2", "--batch_size=0x10", "--augment=").automatic() == tuple(
        name for name in AUTOMATIC if name not in ("gamma", "batch_size", "augment")
    )
    assert parsed("--gamma=1", "--gamma=auto").gamma == AUTO
    assert Experiment.of(parsed("--gamma=2")).config == parsed("--gamma=2")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("--gamma=automatic", "expected auto or a number"), ("--batch_size=2.5", "expected auto or an integer")],
)
def test_a_flag_says_what_it_takes(argument, expected):
    with pytest.raises(flags.IllegalFlagValueError, match=f"^flag {argument}: {expected}$"):
        parsed(argument)


def test_flags_are_written_as_they_are_read():
    values = flags.FlagValues()
    pipeline.__main__.define_flags(values)
    values(["pipeline", "--gamma=2"])
    assert {"--gamma=2.0", "--batch_size=auto", "--augment=auto"} <= {*values.flags_into_string().split()}


def test_an_experiment_takes_auto_and_is_auto_unless_it_is_set():
    assert Experiment().config == asked()
    experiment = Experiment(learning_rate="auto", gamma=1)
    assert (experiment.config.learning_rate, experiment.config.gamma) == (AUTO, 1.0)
    assert repr(experiment) == "Experiment(gamma=1.0)"
    with pytest.raises(MirageError, match="steps='auto' is a str; expected an integer"):
        Experiment(steps="auto")


def test_what_is_auto_keeps_no_run_from_continuing():
    now = asked(batch_size=32)
    assert now.changes_from(Config(gamma=7.0)) == [("batch_size", 64, 32)]


SMALL = {"strategy": "one_device", "log_every": 2, "preview_every": 50, "checkpoint_every": 50, "jit": "off"}


def digits(count=24):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, [count, 16, 16, 1], dtype=np.uint8), np.arange(count) % 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of which everything was chosen but the networks' size."""
    folder = tmp_path_factory.mktemp("runs") / "auto"
    return Experiment(data=digits(), conditional=True, model_args="width=2", steps=2, **SMALL).train(folder)


def test_a_run_says_what_was_chosen(trained):
    config = trained.config
    assert (config.batch_size, config.latent_dim, config.lr_decay_images) == (24, 64, 60)
    assert (config.conditioning, config.augment) == ("projection,acgan", "translation,cutout,color")
    document = json.loads((trained.run_dir / CONFIG_FILE).read_text())
    assert document["config"]["batch_size"] == 24
    assert {*document["decided"]["automatic"]} == {*AUTOMATIC} - {"model_args"}
    assert {"d_class_loss", "r1"} <= {*trained.history()}


def copy_of(run, folder):
    shutil.copytree(run.run_dir, folder)
    return folder


def test_a_run_keeps_what_was_chosen(trained, tmp_path, capsys, monkeypatch):
    folder = copy_of(trained, tmp_path / "run")
    for name in RULES:
        monkeypatch.setitem(RULES, name, None)  # whatever this version would choose now
    capsys.readouterr()
    more = Experiment(data=digits(), conditional=True, model_args="width=2", gamma=0.5, steps=3, **SMALL).train(folder)
    assert more.config == dataclasses.replace(trained.config, steps=3, run_dir=str(folder))
    assert read_automatic(folder) == read_automatic(trained.run_dir)  # gamma as well, as it was when the run began
    said = capsys.readouterr().out
    assert "Kept from the run: batch_size=24 latent_dim=64 conditioning=projection,acgan" in said
    assert "note: the learning rate falls to 0 at step 2 of 3" in said


def test_what_is_given_must_be_the_runs(trained, tmp_path):
    folder = copy_of(trained, tmp_path / "run")
    with pytest.raises(MirageError, match=r"--gamma=9.0 \(the run has 0.5\)"):
        Experiment(data=digits(), conditional=True, model_args="width=2", gamma=9, steps=3, **SMALL).train(folder)


def test_a_run_of_before_keeps_its_numbers(trained, tmp_path):
    given = {"data": digits(), "model_args": "width=2", "latent_dim": 3, "batch_size": 8, **SMALL}
    before = Config(model_args="width=2", latent_dim=3, batch_size=8, steps=2)
    old = {name: getattr(before, name) for name in AUTOMATIC}
    first = Experiment(**{**given, **old}, steps=2).train(tmp_path / "run")
    document = json.loads((first.run_dir / CONFIG_FILE).read_text())
    del document["decided"]["automatic"], document["config"]["gamma"]
    (first.run_dir / CONFIG_FILE).write_text(json.dumps(document))
    more = Experiment(data=digits(), steps=3, **SMALL).train(first.run_dir)
    assert more.config == dataclasses.replace(first.config, steps=3)
    assert (more.config.learning_rate, more.config.gamma, read_automatic(first.run_dir)) == (2e-4, 0.5, ())


def test_a_run_has_values(trained, tmp_path):
    folder = copy_of(trained, tmp_path / "run")
    document = json.loads((folder / CONFIG_FILE).read_text())
    document["config"]["gamma"] = AUTO
    (folder / CONFIG_FILE).write_text(json.dumps(document))
    with pytest.raises(MirageError, match="its 'gamma' is 'auto', where a run has a value"):
        read_run(folder)


@pytest.mark.parametrize(("seed", "gamma"), [(0, 9.0), (1, 0.5)], ids=["the run's", "not the run's"])
def test_the_dry_run_shows_what_would_be_trained(tmp_path, capsys, seed, gamma):
    data = DataSpec("mnist5k", "", (28, 28, 1), LABELS, 5_000)
    write_run(tmp_path, Config(gamma=9.0, model_args="width=2"), data)
    (tmp_path / "checkpoints" / "step_0000001").mkdir(parents=True)
    values = flags.FlagValues()
    pipeline.__main__.define_flags(values)
    values(["pipeline", "--model_args=width=2", f"--seed={seed}", "--steps=100", "--dry_run", f"--run_dir={tmp_path}"])
    assert pipeline.__main__.main(values, ["pipeline"]) == 0
    shown, _ = json.JSONDecoder().raw_decode(capsys.readouterr().out)
    assert shown["config"]["gamma"] == gamma
    assert shown["config"]["latent_dim"] == (100 if seed == 0 else 64)
    assert shown["config"]["lr_decay_images"] == (0 if seed == 0 else 8_000)


def test_more_replicas_than_images_are_told_so(tmp_path):
    flags = {**SMALL, "strategy": "mirrored", "virtual_devices": 2, "model_args": "width=2", "steps": 1}
    with pytest.raises(MirageError, match="--batch_size=2 is larger than the 1 images"):
        Experiment(data=digits(1), **flags).train(tmp_path / "run")
