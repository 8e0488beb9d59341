import json
from contextlib import closing

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.runs import run_log
from pipeline.runs.run_log import RunLog, format_duration


def make(run_dir, start_step=0):
    return RunLog(
        run_dir, ["d_loss", "g_loss"], images_per_step=4, num_examples=40, start_step=start_step, total_steps=100
    )


def records(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_writes_means_over_the_steps_since_the_last_line(tmp_path):
    with closing(make(tmp_path)) as log:
        log.add(np.array([1.0, 4.0]), 1)
        log.add(np.array([3.0, 8.0]), 3)
        log.write()
        log.add(np.array([7.0, 9.0]), 6)
        log.write()
    first, second = records(tmp_path)
    assert (first["step"], first["images"], first["epoch"]) == (4, 16, 0.4)
    assert (first["d_loss"], first["g_loss"]) == (2.5, 7.0)
    assert (second["step"], second["d_loss"], second["g_loss"]) == (10, 7.0, 9.0)
    assert first["images_per_s"] > 0


def test_seconds_of_training_leave_evaluations_out_and_go_on_in_a_resumed_run(tmp_path, monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(run_log.time, "perf_counter", lambda: now[0])
    with closing(make(tmp_path)) as log:
        log.add(np.zeros(2), 5)
        now[0] += 20
        judged = {"extractor": "efficientnet", "num_samples": 50}
        log.evaluation({"frechet_distance": 3.0}, 12, judged)
        now[0] += 2
        log.write()
    assert records(tmp_path)[0]["seconds"] == 10  # 20 - 12 + 2
    (evaluation,) = run_log.read_records(tmp_path / "evaluations.jsonl")
    assert "step 5 evaluated: frechet distance (FD-EfficientNet-Lite0) 3" in capsys.readouterr().out
    assert evaluation == {"step": 5, "images": 20, "seconds": 8, **judged, "frechet_distance": 3.0}
    with closing(make(tmp_path, start_step=5)) as log:
        log.add(np.zeros(2), 5)
        now[0] += 7
        log.write()
    assert records(tmp_path)[1]["seconds"] == 17


def test_scalars_and_pictures_reach_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with closing(make(tmp_path)) as log:
        log.add(np.array([1.0, 4.0]), 2)
        log.picture(np.zeros((4, 4, 1), np.uint8))
        log.write()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"d_loss", "g_loss", "images_per_s", "samples"} <= set(tags["tensors"])
    assert [event.step for event in events.Tensors("d_loss")] == [2]


def test_a_resumed_run_drops_the_lines_that_it_does_again(tmp_path):
    lines = [json.dumps({"step": step}) for step in (10, 20, 30)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 4')
    with closing(make(tmp_path, start_step=20)):
        pass
    assert records(tmp_path) == [{"step": 10}, {"step": 20}]


def test_log_lines_tell_progress(tmp_path, capsys):
    with closing(make(tmp_path, start_step=20)) as log:
        log.add(np.array([1.0, 4.0]), 5)
        log.write()
    line = capsys.readouterr().out
    assert line.startswith("step 25/100  [D loss: 1.0000] [G loss: 4.0000]  ")
    assert line.rstrip().endswith("left")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61, "1:01"), (59.2, "1:00"), (3723, "1:02:03")])
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text


def test_lines_that_cannot_be_understood_are_named_and_left_out(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    good = [json.dumps({"step": step, "seconds": step / 2}).encode() for step in (10, 20)]
    bad = [b"\xff\xfe", b"{", b"[1]", b'"step"', b'{"step": "3"}', b'{"step": true}', b"\0", b"[" * 100_000]
    path.write_bytes(b"\n".join([good[0], *bad, good[1], b'{"step": 3']))
    with closing(make(tmp_path, start_step=20)) as log:
        warning = capsys.readouterr().err
        log.add(np.zeros(2), 5)
        log.write()
    assert f"warning: {path} has 8 lines that can't be understood, the first is line 2" in warning
    assert [record["step"] for record in records(tmp_path)] == [10, 20, 25]
    assert records(tmp_path)[-1]["seconds"] >= 10
    assert capsys.readouterr().err == ""


def test_seconds_go_on_from_an_evaluation_after_the_last_log_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "seconds": 4}\n')
    (tmp_path / "evaluations.jsonl").write_text('{"step": 15, "seconds": 700}\n{"step": 20, "seconds": 9000}\n')
    with closing(make(tmp_path, start_step=15)) as log:
        log.add(np.zeros(2), 1)
        log.write()
    assert 700 <= records(tmp_path)[-1]["seconds"] < 800


@pytest.mark.parametrize("seconds", ['"ten"', "null", "[]", "true", "NaN", "1e999", pytest.param("9" * 400, id="9...")])
def test_seconds_that_are_no_number_count_from_zero(tmp_path, seconds):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 10, "seconds": {seconds}}}\n')
    with closing(make(tmp_path, start_step=10)) as log:
        log.add(np.zeros(2), 5)
        log.write()
    assert records(tmp_path)[-1]["seconds"] < 5


def test_figures_that_are_asked_for_must_be_numbers(tmp_path, capsys):
    path = tmp_path / "evaluations.jsonl"
    path.write_text('{"step": 1, "frechet_distance": 2}\n{"step": 2}\n{"step": 3, "frechet_distance": "4"}\n')
    assert run_log.read_records(path, ["frechet_distance"]) == [{"step": 1, "frechet_distance": 2}]
    assert "has 2 lines" in capsys.readouterr().err


def test_a_log_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "evaluations.jsonl").mkdir()
    with pytest.raises(MirageError, match=r"evaluations.jsonl can't be read \(Is a directory\)"):
        run_log.read_records(tmp_path / "evaluations.jsonl")


def test_nothing_is_logged_twice(tmp_path):
    with closing(make(tmp_path)) as log:
        log.write()
        log.add(np.zeros(2), 5)
        log.write()
        log.write()
    assert [record["step"] for record in records(tmp_path)] == [5]
