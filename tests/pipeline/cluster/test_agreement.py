import dataclasses

import pytest

from pipeline.cluster.agreement import data_facts, difference, program_facts
from pipeline.config import Config
from pipeline.data.spec import DataSpec

SPEC = DataSpec("folder:/a", "", (2, 2, 1), ("cat", "dog"), 3, "1")


def other(field):
    """Another value of a flag."""
    if field.metadata["choices"]:
        return next(choice for choice in field.metadata["choices"] if choice != field.default)
    if isinstance(field.default, bool):
        return not field.default
    return field.default + "x" if isinstance(field.default, str) else field.default + 1


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_every_flag_that_all_workers_use_must_agree(field):
    config = dataclasses.replace(Config(), **{field.name: other(field)})
    sentence = difference({0: program_facts(Config(), "1 CPU"), 1: program_facts(config, "1 CPU")})
    if field.name == "init_from":
        assert "--init_from is not given on worker 0 and given on worker 1;" in sentence
    elif field.metadata["may_differ"]:
        assert sentence is None
    else:
        default = "empty" if field.default == "" else field.default
        assert f"--{field.name} is {default} on worker 0 and {other(field)} on worker 1;" in sentence


def test_only_what_a_machine_needs_or_the_chief_alone_looks_at_may_differ():
    assert {field.name for field in dataclasses.fields(Config) if field.metadata["may_differ"]} == {
        "data_dir",
        "dataset_args",
        "device_data_mb",
        "download",
        "eval_samples",
        "extractor",
        "inception_weights",
        "init_from",
        "labels",
        "prepared_as",
        "best_by",
        "keep_best",
        "keep_checkpoints",
        "manual_dir",
        "metrics",
        "run_dir",
        "strategy",
        "timeout_s",
    }


def test_what_a_training_begins_with_may_lie_elsewhere():
    configs = [Config(init_from=path) for path in ("/a", "/b")]
    assert difference({index: program_facts(config, "1 CPU") for index, config in enumerate(configs)}) is None


def test_a_folder_may_lie_elsewhere():
    configs = [Config(dataset=f"folder:{path}") for path in ("/a", "/b c\n")]
    assert difference({index: program_facts(config, "1 CPU") for index, config in enumerate(configs)}) is None
    assert difference({0: program_facts(configs[0], ""), 1: program_facts(Config(), "")})


@pytest.mark.parametrize("name", ["Mirage", "Python", "TensorFlow", "Keras", "NumPy"])
def test_versions_must_agree(name):
    name = f"the version of {name}"
    facts = program_facts(Config(), "1 CPU")
    sentence = difference({0: facts, 1: {**facts, name: "0.0"}})
    assert sentence.startswith(f"the workers differ: {name} is {facts[name]} on worker 0 and 0.0 on worker 1;")


def test_devices_must_agree():
    facts = {index: program_facts(Config(), devices) for index, devices in enumerate(("2 GPU", "2 GPU", "1 CPU"))}
    assert "devices is 2 GPU on workers 0 and 1 and 1 CPU on worker 2; start" in difference(facts)


def test_the_program_itself_must_agree(tmp_path, monkeypatch):
    before = program_facts(Config(), "1 CPU")["Mirage's code"]
    monkeypatch.setattr("pipeline.cluster.agreement.__file__", str(tmp_path / "cluster" / "agreement.py"))
    (tmp_path / "agreement.py").write_text("a = 1\n")
    one = program_facts(Config(), "1 CPU")["Mirage's code"]
    (tmp_path / "agreement.py").write_text("a = 2\n")
    assert len({before, one, program_facts(Config(), "1 CPU")["Mirage's code"]}) == 3


def test_data_agree_by_content_wherever_they_lie():
    moved = dataclasses.replace(SPEC, name="folder:/b")
    assert data_facts(SPEC) == data_facts(moved)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fingerprint": "2"}, "the data's content is 1 on worker 0 and 2 on worker 1"),
        ({"class_names": ("dog", "cat")}, "the data's class names is"),
        ({"num_examples": 4}, "the data's num examples is 3 on worker 0 and 4"),
        ({"version": "2"}, "the data's version is"),
    ],
)
def test_other_data_are_named(changes, named):
    assert named in difference({0: data_facts(SPEC), 1: data_facts(dataclasses.replace(SPEC, **changes))})


def test_many_and_long_differences_stay_one_sentence():
    facts = {index: {f"--flag_{n}": f"{index}{'x' * 500}" for n in range(9)} for index in range(2)}
    sentence = difference(facts)
    assert "; and 4 more; start all" in sentence
    assert len(sentence) < 2000
    # What is cut off differs still.
    assert difference({0: {"a": "x" * 500 + "1"}, 1: {"a": "x" * 500 + "2"}}).count("digest") == 2


def test_a_fact_that_one_does_not_know_differs():
    assert "--new is unknown on worker 0 and 1 on worker 1" in difference({0: {}, 1: {"--new": "1"}})
    assert difference({0: {"a": "1"}, 1: {"a": "1"}}) is None
