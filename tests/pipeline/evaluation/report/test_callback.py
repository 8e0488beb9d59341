"""The page of a run that is trained: written on the way and at the end, and never in the training's way."""

import dataclasses
import json

import pytest

from pipeline import Callback, Experiment
from pipeline.evaluation.report import callback
from pipeline.metrics.metric import Metric
from tests.experiments import train
from tests.pipeline.evaluation.report.parsed import Page


def test_a_training_writes_its_page(config):
    config = dataclasses.replace(config, virtual_devices=0, strategy="one_device")
    run = train(config)
    page = Page((run.run_dir / "report.html").read_text())
    shown = [each["id"] for each in page.all("section")]
    assert shown == ["pictures", "classes", "nearest", "training", "flags", "machine", "commands"]
    (machine,) = json.loads((run.run_dir / "machine.json").read_text())
    assert machine["from_step"] == 0
    assert machine["TensorFlow"] in page.text
    assert f"step {config.steps} of {config.steps}" in page.text
    # Eight generated pictures, each beside the eight nearest of the twelve.
    (nearest,) = [image for alt, image in page.pictures() if "nearest" in alt]
    side = run.data.image_shape[0]
    assert nearest.size == (9 * (side + 2) + 6, 8 * (side + 2) + 2)


class Brightness(Metric):
    """Needs no extractor."""

    figures = ("brightness",)

    def __call__(self, evidence):
        return float(next(evidence.generated.batches()).mean())


class Watch(Callback):
    """Looks at the page at each second step, after what Mirage itself does then."""

    every = 2

    def __init__(self):
        self.seen = []

    def on_interval(self, training):
        path = training.run_dir / "report.html"
        self.seen.append(path.exists() and f"step {training.step} of" in path.read_text())


def test_it_is_refreshed_at_each_evaluation(config, image_folder, monkeypatch):
    monkeypatch.setattr(callback.Reports, "on_end", lambda *_: None)
    watch = Watch()
    image_folder(per_class=10)  # fewer are too few to be judged
    flags = {**config.to_dict(), "virtual_devices": 0, "strategy": "one_device", "eval_every": 2, "eval_samples": 10}
    run = Experiment(callbacks=[watch], **{**flags, "metrics": [Brightness()]}).train()
    assert watch.seen == [True, True, False]  # the last one is written at the end
    assert "Brightness" in Page((run.run_dir / "report.html").read_text()).text


@pytest.mark.parametrize("broken", ["write_report", "sheet", "note_machine"])
def test_what_fails_is_a_warning(config, monkeypatch, capsys, broken):
    def fail(*_, **__):
        raise ValueError("no\nway")

    monkeypatch.setattr(callback, broken, fail)
    run = train(dataclasses.replace(config, virtual_devices=0, strategy="one_device"))
    assert run.step == config.steps
    warnings = [each for each in capsys.readouterr().out.splitlines() if each.startswith("warning: ")]
    assert len(warnings) == 1
    assert "can't be written (ValueError: no way" in warnings[0]
    assert (run.run_dir / "report.html").exists() == (broken != "write_report")


def test_a_folder_in_its_place_is_a_warning(config, capsys):
    config = dataclasses.replace(config, virtual_devices=0, strategy="one_device")
    run = train(config)
    (run.run_dir / "report.html").unlink()
    (run.run_dir / "report.html").mkdir()
    assert train(dataclasses.replace(config, steps=8)).step == 8
    assert capsys.readouterr().out.count("report.html can't be written") == 1
