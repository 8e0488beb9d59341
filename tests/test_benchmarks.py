"""The benchmarks measure what they say. Times are never asserted."""

import json
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

import tests.tensorflow_devices  # noqa: F401
from benchmarks import edge, edge_sizes, gpu, gpu_card, gpu_race, gpu_report, growth, step_plan, train
from benchmarks.contestants.gpu_operations import operations
from benchmarks.worker import Work, Worker, WorkerError, command_of
from pipeline.config import Config
from pipeline.data.spec import DataSpec
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


def test_a_contestant_that_hangs_is_reported(work):
    silence = pytest.raises(WorkerError, match=r"nobody gave no answer within 0.2 s")
    with Worker("nobody", work(), "sh -c 'exec sleep 60'", timeout_s=0.2) as worker, silence:
        worker.parameters()


def test_an_interpreter_may_be_a_command(tmp_path):
    python = tmp_path / "a folder" / "python"
    python.parent.mkdir()
    python.touch()
    assert command_of(str(python)) == [str(python)]
    assert command_of("env -u PYTHONPATH python3") == ["env", "-u", "PYTHONPATH", "python3"]


def test_shares_of_a_step_add_up(monkeypatch):
    monkeypatch.setattr(growth, "_NUM_EXAMPLES", 16)
    ms = growth.measure(growth.Point("test", 4, 16, 2), rounds=1, round_s=0.01)
    assert ms["total"] == pytest.approx(sum(value for name, value in ms.items() if name != "total"))
    assert all(value >= 0 for name, value in ms.items() if name != "compute")


def test_without_reduction_a_step_has_no_collective(monkeypatch):
    config, data = Config(objective="nsgan", latent_dim=4, batch_size=4), DataSpec("small", "", (16, 16, 1), (), 21)
    assert len(step_plan.plan_step(config, data).messages(gradients=True)) == 2
    with growth.unreduced():
        plan = step_plan.plan_step(config, data)
    assert plan.messages(gradients=True) == plan.messages(gradients=False) == []


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
    [
        (["train", "--parts=peers,nothing"], "--parts=peers,nothing"),
        (["train", "--peers_python=/nowhere/python"], "make peers"),
        (["gpu", "--device=cpu", "--networks=vit"], "choose from dcgan28, dcgan64, resnet64"),
        (["gpu", "--device=cpu", "--parts=batch,none"], "--parts=batch,none"),
        (["gpu", "--device=cpu", "--peers_python=/nowhere/python"], "make peers"),
        (["gpu", "--device=cpu", "--peers_python=", "--parts=same"], "--peers_python is empty"),
        (["gpu", "--device=cpu", "--peers_python=", "--parts=peers", "--json=/nowhere/x"], "--json=/nowhere/x"),
    ],
)
def test_mistakes_are_told_in_one_sentence(arguments, named):
    import subprocess

    command = [sys.executable, "-m", f"benchmarks.{arguments[0]}", *arguments[1:]]
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


def test_what_a_picture_of_a_size_costs_is_measured_and_shown():
    small = "channel_base=64,channel_max=8,w_dim=8,mapping_layers=1"
    row = edge_sizes.measure("stylegan2", 16, 1, 3, small)
    assert (row["network"], row["pixels"]) == ("stylegan2", 16)
    assert row["bytes"] > 4 * row["parameters"] > 0
    assert all(milliseconds > 0 for milliseconds in row["ms"].values())
    assert all(row["MiB_before"] < mib < row["MiB_before"] + 100 for mib in row["MiB"].values())
    row |= {"ms": {"Mirage": 2.0, "plain": 7.0}, "MiB": {"Mirage": 75.0, "plain": 80.0}}
    text = edge.report({"machine": {"cpu": "x"}, "sizes": [row]})
    assert "| stylegan2 | 16 | 0.0" in text
    assert "| 1 | 2.0 | 7.0 | 3.50 | 75 | 80 |" in text


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


def flags_of(*arguments):
    values = flags.FlagValues()
    gpu.define_flags(values)
    values(["gpu", *arguments])
    return values


def test_the_gpu_benchmark_races_what_it_promises():
    values = flags_of()
    races = list(gpu.groups("peers", values))
    assert {(e.case.networks, e.case.image_size, e.case.batch_size) for race in races for e in race} == {
        ("dcgan", 28, 64),
        ("dcgan", 64, 256),
        ("resnet", 64, 256),
    }
    assert len(races) == 9  # all sides of one precision in turn
    for race in races:
        assert len({entry.precision for entry in race}) == 1
        assert [entry.side for entry in race] == list(gpu_race.SIDES)
    assert [race[0].case.batch_size for race in gpu.groups("batch", values)] == [64, 128, 256, 512, 1024]
    assert {race[0].case.devices for race in gpu.groups("devices", values)} == {1, 2, 4}
    assert all(len(race) == 1 for race in gpu.groups("devices", values))  # they share the card's memory
    quick = flags_of("--quick", "--networks=dcgan28", "--precisions=tf32,mixed_bfloat16")
    assert [len(race) for race in gpu.groups("peers", quick)] == [6]
    alone = flags_of("--device=cpu", "--peers_python=")
    assert {e.side.name for part in gpu._TRAINED for race in gpu.groups(part, alone) for e in race} == {
        "Mirage, XLA",
        "Mirage",
    }


def test_a_machine_without_a_gpu_is_told_at_the_door(monkeypatch):
    monkeypatch.setattr(gpu, "visible_gpus", lambda: 0)
    assert gpu._mistake(["peers"], flags_of("--peers_python=")).startswith("--device=gpu finds no GPU")
    monkeypatch.setattr(gpu, "visible_gpus", lambda: 1)
    assert gpu._mistake(["peers"], flags_of("--peers_python=")) == ""


@pytest.fixture
def settings(tmp_path):
    images = tmp_path / "16.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8))
    return gpu_race.Settings("cpu", "", 2, 0.01, 2, 120, {(16, 16, 3): str(images)})


def test_a_side_that_fails_drops_out_of_the_race_with_its_reason(settings, capfd):
    case = gpu_race.Case("dcgan", 16, 3, 4)
    good = gpu_race.Side("good", "Mirage", {"flags": {"jit": "off"}})
    bad = gpu_race.Side("bad", "Mirage", {"flags": {"nothing": 1}})
    entries = [gpu_race.Entry(case, "mixed_bfloat16", side) for side in (bad, good)]
    failed, done = gpu_report.with_shares(gpu_race.race(entries, settings), {("dcgan", (16, 16, 3)): 1000})
    assert "nothing" in failed["error"]
    assert "images_per_s" not in failed
    assert done["error"] == ""
    assert done["images_per_s"] > 0
    assert len(done["rounds"]) == 2
    assert done["parameters"] == {"generator": 373_795, "discriminator": 35_425}
    assert 0 < done["compile_s"] < done["start_s"]
    assert done["operations_per_s"] == pytest.approx(1000 * done["images_per_s"])
    assert done["share_of_peak"] is None  # a CPU is no known card
    assert gpu.failures({"peers": [failed, done], "uncounted": ""}) == [f"bad: {failed['error']}"]
    assert "bad failed" in capfd.readouterr().err


def test_operations_are_counted_as_pytorch_counts_them():
    # Of PyTorch's own counter at these sizes, batch 4, by python -m benchmarks.gpu --parts=same.
    theirs = {("dcgan", (28, 28, 1)): 778_203_136, ("dcgan", (64, 64, 3)): 7_611_777_024}
    for (networks, shape), count in theirs.items():
        assert _operations(networks, 4, shape) == pytest.approx(count, rel=1e-3)
    assert _operations("dcgan", 2, (16, 16, 3)) * 3 == _operations("dcgan", 6, (16, 16, 3))


def _operations(networks, batch_size, shape):
    return operations({"model": networks, "objective": "r3gan", "batch_size": batch_size}, shape)


def test_unknown_cards_have_no_peak():
    assert gpu_card.peak("NVIDIA H200", "tf32") == 494.7e12
    assert gpu_card.peak("Tesla T4", "tf32") is None
    for unknown in ("NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", ""):
        assert gpu_card.peak(unknown, "float32") is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("gpu_ours gave no answer within 120 s:\nValueError: x", "gpu_ours gave no answer within 120 s:"),
        ("gpu_ours failed:\nTensorFlow sees no GPU.\n", "TensorFlow sees no GPU."),
        (
            "a failed:\nTraceback:\n  x()\nKeyError: 'a'\nDuring it:\nRuntimeError: no C compiler\n\nSet X=1\n",
            "RuntimeError: no C compiler",
        ),
        (
            "a failed:\ntf.errors.InternalError: Graph execution error:\n\n  OOM at 7\nat b.py",
            "tf.errors.InternalError: Graph execution error: OOM at 7",
        ),
        ("a failed:", "a failed:"),
    ],
)
def test_why_a_side_failed_is_one_line(said, reason):
    assert WorkerError(said).reason == reason


def test_the_steps_of_a_round_are_found_when_nobody_compiles_any_more(monkeypatch):
    calls = []

    class Alone:
        """Says when it is asked to train."""

        def __init__(self, contestant, work, python, timeout_s):
            self.name, self.pid = contestant, 1

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def parameters(self):
            return {}

        def facts(self):
            return {"compile_s": 1.0}

        def seconds(self, steps):
            calls.append((self.name, steps))
            return 4.0 if len(calls) <= 2 else 0.1

    monkeypatch.setattr(gpu_race, "Worker", Alone)
    monkeypatch.setattr(gpu_race, "process_mib", lambda pid: None)
    case = gpu_race.Case("dcgan", 16, 3, 4)
    sides = [side for side in gpu_race.SIDES if side.name in ("Mirage", "PyTorch eager")]
    settings = gpu_race.Settings("cpu", "", 1, 1.0, 1, 120, {case.image_shape: ""})
    rows = gpu_race.race([gpu_race.Entry(case, "tf32", side) for side in sides], settings)
    assert [name for name, _ in calls[:2]] == ["gpu_ours", "gpu_pytorch"]
    assert [steps for _, steps in calls] == [20] * 6 + [200] * 2
    assert [row["images_per_s"] for row in rows] == [8000.0] * 2


def test_the_gpu_report_shows_every_figure():
    row = {"networks": "dcgan", "image_size": 64, "channels": 3, "batch_size": 256, "devices": 0, "precision": "tf32"}
    row |= {"card": "NVIDIA H200", "compile_s": 12.3, "start_s": 23.4, "memory_mib": 3456.0, "process_mib": 4567.0}
    row |= {"error": "", "parameters": {"generator": 1}}
    rows = [
        row | {"side": "Mirage, XLA", "family": "Mirage", "images_per_s": 26_000.0},
        row | {"side": "Mirage", "family": "Mirage", "images_per_s": 16_000.0},
        row | {"side": "PyTorch eager", "family": "eager", "images_per_s": 13_000.0},
        row | {"side": "torch.compile", "family": "torch.compile", "error": "out of memory"},
    ]
    shared = gpu_report.with_shares(rows, {("dcgan", (64, 64, 3)): 1_900_000_000})
    assert gpu_report.ratios(shared)[0]["mirage_over"] == {"eager": 2.0}
    same = [{"name": "dcgan64", "error": "", "differences": {"logits": 2e-7}, "operations": [7, 8, 9]}]
    machine = {"cpu": "x", "driver": "580.1"}
    results = {"machine": machine, "versions": {"PyTorch": {"torch": "2.11"}}, "same": same, "peers": shared}
    text = gpu_report.report({**results, "ratios": gpu_report.ratios(shared)})
    for figure in (
        "580.1",
        "torch 2.11",
        "26,000",
        "49.40",
        "10.0%",
        "3,456",
        "4,567",
        "12.3",
        "23.4",
        "2.00",
        "2.0e-07",
    ):
        assert figure in text
    assert "torch.compile: out of memory" in text


def test_networks_that_differ_are_a_failure():
    row = {"networks": "dcgan", "image_size": 64, "channels": 3, "side": "x", "error": ""}
    rows = [row | {"parameters": {"generator": size}} for size in (1, 2)]
    assert "the networks differ" in gpu.failures({"peers": rows, "uncounted": ""})[0]
    same = [{"name": "dcgan64", "error": "", "differences": {"images": 1e-6, "logits": float("nan")}}]
    assert gpu.failures({"same": same, "uncounted": ""}) == ["dcgan64: logits differ by nan"]


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
