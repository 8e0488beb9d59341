"""The benchmarks measure what they say. Times are never asserted."""

import json
import subprocess
import sys

import numpy as np
import pytest

import tests.tensorflow_devices  # noqa: F401
from benchmarks import edge, growth, train
from benchmarks.worker import Work, Worker, WorkerError
from tests.processes import ROOT


@pytest.fixture
def work(tmp_path):
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (64, 28, 28, 1), dtype=np.uint8))

    def make(networks="mlp", **options):
        return Work(networks, 4, str(images), round_steps=10, options=options)

    return make


@pytest.mark.parametrize(
    ("contestant", "options"), [("ours", {"jit": "off"}), ("bare", {"jit": False}), ("keras_fit", {})]
)
def test_a_contestant_trains_the_networks_that_all_train(work, contestant, options):
    with Worker(contestant, work(**options)) as worker:
        assert worker.parameters() == {"generator": 1_489_936, "discriminator": 533_505}
        figures = train.race({"a": worker, "b": worker}, {"a": 10, "b": 20}, rounds=2)
        assert {name: len(each) for name, each in figures.items()} == {"a": 2, "b": 2}
        assert all(value > 0 for each in figures.values() for value in each)
        if contestant == "ours":
            # Every round bears a log line, previews and a checkpoint.
            assert "step 60/" in worker.said()


def test_a_contestant_that_fails_is_reported_with_what_it_printed(work):
    with Worker("nobody", work()) as worker, pytest.raises(WorkerError, match="No module named"):
        worker.parameters()


def test_shares_of_a_step_add_up(monkeypatch):
    monkeypatch.setattr(growth, "_NUM_EXAMPLES", 16)
    ms = growth.measure(growth.Point("test", 4, 16, 2), rounds=1, round_s=0.01)
    assert ms["total"] == pytest.approx(sum(value for name, value in ms.items() if name != "total"))
    assert all(value >= 0 for name, value in ms.items() if name != "compute")


def test_the_study_covers_what_it_promises():
    points = list(growth.points())
    assert {point.batch_size for point in points if point.study == "batch"} == {16, 64, 256, 512}
    assert {point.image_size for point in points if point.study == "image size"} == {16, 32, 64, 128}
    assert {point.replicas for point in points if point.study.startswith("replicas")} == {1, 2, 4}


def test_the_report_shows_every_figure():
    peers = {
        "networks": "mlp",
        "batch_size": 32,
        "mirage_says": "XLA: on",
        "median": dict.fromkeys(train._SIDES, 123.4),
        "mirage_over": dict.fromkeys(train._SIDES, 1.23),
        "mirage_over_best_bare": 0.987,
    }
    row = {"study": "batch", "batch_size": 50, "image_size": 28, "replicas": 2, "total": 100.0}
    row |= {"compute": 70.0, "all_reduce": 15.0, "input": 10.0, "launch": 5.0}
    checkpoints = {"networks": "mlp", "seconds_per_round": 30.1, "ratio": 0.9912}
    text = train.report({"machine": {"cpu": "x"}, "peers": [peers], "growth": [row], "checkpoints": [checkpoints]})
    for figure in ("123.4", "1.23", "0.987", "| 500 |", "70.00", "30.1", "0.9912"):
        assert figure in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--parts=peers,nothing"], "--parts=peers,nothing"), (["--peers_python=/nowhere/python"], "make peers")],
)
def test_mistakes_are_told_in_one_sentence(arguments, named):
    import subprocess

    command = [sys.executable, "-m", "benchmarks.train", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert named in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_machine_is_described():
    facts = train.machine()
    assert facts["cores"] >= 1
    assert json.dumps(facts)


# Keras's ONNX export calls tf2onnx in a way that makes NumPy warn.
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
def test_all_sides_of_the_edge_benchmark_make_the_same_pictures():
    from benchmarks.edge_sides import sides, untrained

    built = sides(untrained("mlp"), 1)
    pictures = {name: make(5)() for name, make in built.makers.items()}
    assert set(pictures) == {"Mirage", "Mirage int8", "tf2onnx", "Keras export", "TensorFlow"}
    for name, each in pictures.items():
        assert each.shape == (5, 28, 28, 1)
        assert np.abs(each.astype(int) - pictures["TensorFlow"]).mean() < (8 if "int8" in name else 0.01)
    assert built.bytes["int8"] < 0.35 * built.bytes["tf2onnx"]


def test_sides_are_timed_in_turn():
    order = []

    def side(name, *values):
        iterator = iter(values)
        return lambda: (order.append(name), next(iterator))[1]

    medians = edge.in_turn({"a": side("a", 9, 9, 1, 5, 2), "b": side("b", 9, 9, 3, 4, 8)}, rounds=3)
    assert medians == {"a": 2, "b": 4}
    assert order == ["a", "b"] * 5


def test_the_edge_report_shows_every_figure():
    row = {"network": "dcgan", "threads": 1, "batch": 16, "ms": {"Mirage": 2.0, "TensorFlow": 7.0}}
    row["bytes"] = {"float32": 400, "int8": 100, "tf2onnx": 410, "keras": 420}
    start = {"Generator": {"seconds": 0.345, "MiB": 70.0}, "TensorFlow": {"seconds": 7.0, "MiB": 700.0}}
    call = [{"batch": 1, "Generator.sample": 512.5, "run": 500.5}]
    text = edge.report({"machine": {"cpu": "x"}, "speed": [row], "start": start, "call": call})
    for figure in ("2.000", "7.000", "3.50", "| 400 | 100 | 410 | 420 |", "0.345", "700.0", "512.5", "500.5"):
        assert figure in text


def test_the_first_step_is_timed_cold_and_warm(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.first_step", "--model=mlp", "--image_size=8", "--batch_size=12"]
    result = subprocess.run([*command, f"--json={figures}"], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    told = json.loads(figures.read_text())
    assert told["model"] == "mlp"
    for name in ("cold", "warm"):
        assert 0 < told[name]["compiling_s"] < told[name]["first_step_s"] < told[name]["process_s"]
        assert f"{name}: first step {told[name]['process_s']:.1f} s after the start" in result.stdout
