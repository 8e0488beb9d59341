"""Objectives from outside: one file, and one line of registration or an import path."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from pipeline import objectives
from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.objectives import Update
from pipeline.objectives.composition import compose
from tests.experiments import train

# Anything with `updates`: no class of ours, a metric and a scalar of its own that moves from step to step.
FILE = """
import tensorflow as tf

from pipeline.objectives import Update


class Paired:
    absolute = True

    def __init__(self, margin=1.0):
        self.margin = margin

    def updates(self, num_labels):
        assert num_labels == 2

        def d(networks, batch):
            generated = networks["generator"](batch.z, batch.labels)
            gap = networks["discriminator"](batch.images, batch.labels)
            gap -= networks["discriminator"](generated, batch.labels)
            heat = batch.state["heat"]
            return tf.nn.relu(self.margin - gap) * heat, {"gap": gap, "heat": tf.fill(tf.shape(gap), heat)}

        def g(networks, batch):
            loss = -networks["discriminator"](networks["generator"](batch.z, batch.labels), batch.labels)
            return loss, {"g_loss": loss}

        return Update("discriminator", d, ("gap", "heat")), Update("generator", g, ("g_loss",), new_images=False)

    def state(self):
        return {"heat": 1.0}

    def next_state(self, state, means, images):
        return {"heat": state["heat"] * 0.5}


class Nothing:
    pass


class Wrong:
    def updates(self):
        return 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "my_objectives.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_objectives", None)


def records(config):
    lines = map(json.loads, (Path(config.run_dir) / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name in ("gap", "heat", "r1")} for line in lines]


def test_an_objective_by_its_import_path_trains_and_resumes_to_the_same_bits(on_two, tmp_path):
    own = dataclasses.replace(
        on_two, objective="my_objectives:Paired", objective_args="margin=2.0", r1=0.5, log_every=1
    )
    train(own)
    assert [record["heat"] for record in records(own)] == [0.5**step for step in range(6)]
    assert all("r1" in record for record in records(own))  # what is added to any objective is added to this one
    stopped = dataclasses.replace(own, run_dir=str(tmp_path / "stopped"))
    train(dataclasses.replace(stopped, steps=4))
    train(stopped)
    assert records(stopped) == records(own)
    with pytest.raises(MirageError, match=r"--objective_args=margin=3.0 .the run has margin=2.0"):
        train(dataclasses.replace(stopped, steps=7, objective_args="margin=3.0"))


def test_a_registered_objective_has_a_name(monkeypatch):
    monkeypatch.setitem(objectives.OBJECTIVES, "paired", "my_objectives:Paired")
    assert compose(Config(objective="paired", objective_args="margin=3.0").to_dict()).objective.margin == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"objective": "my_objectives:Nothing"}, "--objective=my_objectives:Nothing is .* no method `updates`"),
        ({"objective": "my_objectives:Paired", "d_batches": "split"}, "--d_batches=split does not go with"),
        ({"objective": "hinge", "objective_args": "d_steps=2"}, "--objective_args=d_steps=2 .*flags of their own"),
    ],
)
def test_what_does_not_go_is_refused(changes, sentence):
    with pytest.raises(MirageError, match=sentence):
        compose(Config(**changes).to_dict())


def test_updates_must_be_updates():
    with pytest.raises(MirageError, match=r"Wrong.updates returned 3; expected a tuple of pipeline.objectives.Update"):
        compose(Config(objective="my_objectives:Wrong").to_dict()).updates()


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: 1 / 0, r"Odd.updates failed: ZeroDivisionError: .*test_own_objective.py, line \d+\); mend it"),
        (
            lambda foo: (),
            r"failed: TypeError: .*'foo'.*it may take images, labels, num_labels, attributes, seed by name",
        ),
        (lambda: Update("generator", len, "g_loss"), r"of the generator with metrics='g_loss'; expected a tuple"),
        (lambda: Update("generator", len, ("step",)), "of the generator that reports 'step'; choose another name"),
        (lambda: Update("generator", len, ("a b",)), "of the generator that reports 'a b'; choose another name"),
    ],
)
def test_updates_that_cannot_be_made_or_named_are_refused(made, sentence):
    class Odd:
        updates = staticmethod(made)

    with pytest.raises(MirageError, match=sentence):
        compose({**Config().to_dict(), "objective": Odd()}).updates()


def test_an_objective_that_does_not_say_its_needs_has_codes_of_a_latents_size():
    class Coded:
        def updates(self):
            return (Update("generator+encoder", len, ("loss",)),)

    objective = compose({**Config().to_dict(), "objective": Coded()})
    needs = objective.needs(objective.updates(), 0, 7)
    assert (needs.networks, needs.trained, needs.code) == (("generator", "encoder"), ("generator+encoder",), 7)
