import dataclasses

import pytest

from export.run_source import RunSource
from pipeline.config import Config
from pipeline.data.spec import DataSpec

DATA = DataSpec("folder:/secret/pets", "", (8, 8, 1), (), 20, "f" * 64)


def source(run_dir, **settings):
    return RunSource(run_dir, Config(dataset=DATA.name, **settings), DATA, None, 3)


def test_scores_are_those_of_the_step_whatever_else_the_file_holds(tmp_path):
    assert source(tmp_path).scores == {}
    (tmp_path / "evaluations.jsonl").write_bytes(
        b'\xff\xfe\n[]\n{}\n{"step": 2, "recall": 0.1}\n{"step": 3, "recall": 0.2}\n{"step": 3, "rec'
    )
    assert source(tmp_path, eval_samples=50).scores == {"step": 3, "recall": 0.2, "num_samples": 50}


def test_scores_say_of_how_many_samples_they_were_measured(tmp_path):
    (tmp_path / "evaluations.jsonl").write_text('{"step": 3, "num_samples": 70, "recall": 0.2}\n')
    assert source(tmp_path, eval_samples=50).scores == {"step": 3, "recall": 0.2, "num_samples": 70}


def test_a_bundle_says_what_its_data_are_but_not_where_anything_lies(tmp_path):
    provenance = source(
        tmp_path, inception_weights="/secret/weights.h5", data_dir="/secret/data", dataset_args="root=/secret/own"
    ).provenance()
    assert "secret" not in str(provenance)
    assert provenance["data"]["fingerprint"] == DATA.fingerprint
    assert provenance["data"]["name"] == "folder:pets"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mnist", "mnist"),
        ("mnist:3.0.1", "mnist:3.0.1"),
        ("stacked:mnist5k", "stacked:mnist5k"),
        ("folder:/secret/pets/", "folder:pets"),
        ("folder:~nobody/a:b", "folder:a:b"),
        ("stacked:folder:/secret/digits", "stacked:folder:digits"),
    ],
)
def test_a_folder_goes_by_its_name_without_its_path(name, shown):
    spec = dataclasses.replace(DATA, name=name)
    assert RunSource(None, Config(dataset=name), spec, None, 3).name == shown
