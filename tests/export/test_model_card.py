"""The model card, whatever classes are called."""

import ast
import re
import types

import pytest

from export.model_card import model_card
from export.run_source import RunSource
from pipeline.config import Config
from pipeline.data.spec import DataSpec


@pytest.mark.parametrize("name", ["zero", 'a "b"', "a|b", "back\\slash", "ünï", "`tick`"])
def test_the_example_is_python_and_the_table_stays_whole(tmp_path, name):
    data = DataSpec("folder:pets", "", (8, 8, 1), (name, "other"), 20, "f" * 64)
    model = types.SimpleNamespace(count_params=lambda: 7)
    card = model_card(
        RunSource(tmp_path, Config(dataset=data.name, conditional=True), data, model, 3),
        {"scores": {}, "parity": {}, "sampler_readers": [], "onnx": None},
        formats=(),
    )
    (label,) = re.findall("labels=(.*)\\)  # uint8", card)
    assert ast.literal_eval(label) == name
    (row,) = re.findall("^\\| classes \\| .*", card, re.MULTILINE)
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


@pytest.mark.parametrize(
    ("judged", "told"),
    [
        ({"extractor": "classifier", "reference": "test"}, "70 samples, extractor `classifier`, reference test"),
        ({"extractor": "classifier"}, "70 samples, extractor `classifier`"),
        ({"reference": "test"}, "70 samples, reference test"),
    ],
)
def test_what_the_scores_are_of_is_told_as_far_as_it_is_known(tmp_path, judged, told):
    data = DataSpec("folder:pets", "", (8, 8, 1), (), 20, "f" * 64)
    model = types.SimpleNamespace(count_params=lambda: 7)
    scores = {"num_samples": 70, "recall": 0.25, **judged}
    card = model_card(
        RunSource(tmp_path, Config(dataset=data.name), data, model, 3),
        {"scores": scores, "parity": {}, "sampler_readers": [], "onnx": None},
        formats=(),
    )
    assert f"| scores are of | {told} |" in card
