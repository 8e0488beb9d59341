"""Where a run was trained, as it was noted when it began."""

import json

from pipeline.evaluation.report import machine
from pipeline.evaluation.report.machine import note_machine, read_machine, read_machines


def test_the_machine_is_known():
    found = read_machine()
    assert found["cores"] >= 1
    assert found["cpu"]
    assert found["TensorFlow"].count(".") == 2
    assert found["replicas_on"].split()[1] in ("CPU", "GPU")
    json.dumps(found)


def test_it_is_noted_once_and_again_where_it_is_another(tmp_path, monkeypatch):
    facts = {"cpu": "Abacus 9", "cores": 2}
    monkeypatch.setattr(machine, "read_machine", lambda: dict(facts))
    note_machine(tmp_path, 0)
    note_machine(tmp_path, 100)
    assert [(each["from_step"], each["cpu"]) for each in read_machines(tmp_path)] == [(0, "Abacus 9")]
    facts["cpu"] = "Abacus 10"
    note_machine(tmp_path, 200)
    assert [each["from_step"] for each in read_machines(tmp_path)] == [0, 200]
    facts["cpu"] = "Abacus 9"
    note_machine(tmp_path, 150)  # continued from a checkpoint before the second one
    assert [each["from_step"] for each in read_machines(tmp_path)] == [0]


def test_a_damaged_note_is_none(tmp_path):
    for content in ("", "{", "3", "[[]]", '[{"from_step": "x"}]', "[" * 100_000):
        (tmp_path / "machine.json").write_text(content)
        assert read_machines(tmp_path) == []
