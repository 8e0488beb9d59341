"""A training as an object, and what its flags are checked for."""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import Callback, Config, Experiment, MirageError
from pipeline.base.parameters import flag_default
from pipeline.objectives import R3GAN
from tests.processes import ENVIRONMENT, ROOT


def test_importing_and_checking_takes_no_library():
    program = (
        "import sys, pipeline\n"
        "try:\n"
        "    pipeline.Experiment(batch_size=0)\n"
        "except pipeline.MirageError as error:\n"
        "    print(error)\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == ["--batch_size=0 is too small; expected at least 1.", "[]"]


def test_the_face_is_what_it_says():
    import pipeline

    assert {*pipeline.__all__} <= {*dir(pipeline)}
    assert all(getattr(pipeline, name) is not None for name in pipeline.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'experiment_'"):
        pipeline.experiment_  # noqa: B018


def test_every_flag_is_a_parameter_with_its_default_and_its_text():
    parameters = inspect.signature(Experiment).parameters
    for field in dataclasses.fields(Config):
        assert parameters[field.name].default == flag_default(field)
        assert f"  {field.name} (default {flag_default(field)!r}): " in Experiment.__doc__
    assert list(parameters)[:3] == ["data", "networks", "callbacks"]
    assert max(map(len, Experiment.__doc__.splitlines())) <= 110


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"batch_sise": 3}, "batch_sise=3: Experiment knows no batch_sise; did you mean batch_size?"),
        ({"batch": 3}, "did you mean batch_size?"),
        ({"data": None}, "data=None is a NoneType; expected a text or an object"),
        ({"networks": None}, "networks=None is a NoneType; expected a text or an object"),
        ({"networks": 5}, "--model=builtins:int has no build_generator"),
        ({"objective": 5}, "--objective=int is 5, which has no method `updates`"),
        ({"metrics": None}, "is no metric; expected an object of the form"),
        ({"metrics": ["sharpness", 5]}, "--metrics=builtins:int is no metric"),
        ({"callbacks": None}, "callbacks=None is a NoneType; expected a list"),
        ({"callbacks": Callback()}, "is a Callback; expected a list of objects of subclasses of pipeline.Callback"),
        ({"callbacks": [Callback]}, "callbacks: Callback is no callback"),
        ({"qqq": 3}, r"Experiment knows no qqq; help\(Experiment\) lists all"),
        ({"batch_size": "64"}, "batch_size='64' is a str; expected an integer or 'auto'"),
        ({"batch_size": True}, "batch_size=True is a bool; expected an integer"),
        ({"batch_size": 6.4}, "batch_size=6.4 is a float; expected an integer"),
        ({"conditional": 1}, "conditional=1 is a int; expected True or False"),
        ({"learning_rate": None}, "learning_rate=None is a NoneType; expected a number"),
        ({"precision": "bfloat16"}, "--precision=bfloat16 is not known; choose from float32"),
        ({"data": "mnist5k", "dataset": "mnist5k"}, "data and dataset are the same"),
        (
            {"objective_args": "gamma=1", "objective": R3GAN()},
            "objective_args='gamma=1' does not go with objective, a R3",
        ),
        ({"data": np.zeros([4, 8, 8]), "dataset_args": "a=1"}, "dataset_args='a=1' does not go with data, a ndarray"),
        ({"keep_best": True}, "--keep_best needs evaluations"),
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence(flags, sentence):
    with pytest.raises(MirageError, match=sentence) as caught:
        Experiment(**flags)
    assert "\n" not in str(caught.value)


def test_values_of_other_libraries_are_taken():
    experiment = Experiment(
        batch_size=np.int64(8), learning_rate=1, gamma=np.float32(0.5), conditional=np.True_, run_dir=Path("runs/mine")
    )
    assert dataclasses.asdict(experiment.config.plain()) == dataclasses.asdict(
        Config(batch_size=8, learning_rate=1.0, gamma=0.5, conditional=True, run_dir="runs/mine")
    )
    assert repr(experiment).startswith("Experiment(")
    assert eval(repr(experiment)).config == experiment.config
