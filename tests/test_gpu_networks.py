"""How the presets of large networks are timed, with a training that only writes its lines."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu_networks
from benchmarks.gpu_networks import Training

WRITES = """
import json, pathlib, sys, time
run = pathlib.Path(sys.argv[1])
(run / "config.json").write_text(json.dumps({"config": {"batch_size": 7}}))
with (run / "metrics.jsonl").open("w", buffering=1) as file:
    for step in range(1, int(sys.argv[2])):
        time.sleep(0.02)
        print(json.dumps({"step": step, "images": 70 * step, "seconds": 0.02 * step}), file=file)
"""


class Told:
    """In place of a `Child`, which knows what a process has said."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.log.write_text("XLA: on (2 steps/s with it, 1 without)\n\xe9")

    def said(self) -> str:
        return "it had enough"


@pytest.fixture
def begin(tmp_path):
    begun = []

    def begin(name, lines):
        folder = tmp_path / name
        folder.mkdir()
        process = subprocess.Popen([sys.executable, "-c", WRITES, folder, str(lines)])
        begun.append(process)
        return Training(Told(folder), process, folder)

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def state(process):
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux whether a process is stopped")
def test_one_is_timed_while_the_others_are_stopped(begin, monkeypatch):
    monkeypatch.setattr(gpu_networks, "process_mib", lambda pid: 5.0)
    first, second = begin("first", 100_000), begin("second", 100_000)
    for each in (first, second):
        each.get_ready(time.monotonic() + 60)
    waiting = len(second.lines())
    row = first.time(0.3, time.monotonic() + 60)
    assert (state(second.process), len(second.lines())) == ("T", waiting)
    assert row["images_per_s"] == pytest.approx(3500)
    assert (row["batch_size"], row["mib"], row["xla"]) == (7, 5.0, "XLA: on (2 steps/s with it, 1 without)")
    assert second.time(0.1, time.monotonic() + 60)["images_per_s"] == pytest.approx(3500)


def test_one_that_ends_too_early_says_why(begin):
    training = begin("short", 2)
    training.get_ready(time.monotonic() + 60)
    assert (training.error, training.goes_on()) == ("it had enough", False)


def test_one_that_takes_too_long_says_so(begin):
    training = begin("long", 100_000)
    training.get_ready(time.monotonic() - 1)
    assert training.error == "it took too long to begin (--timeout_s)"


@pytest.mark.parametrize("preset", gpu_networks.PRESETS, ids=lambda preset: preset.name)
@pytest.mark.parametrize("tiny", [False, True])
def test_what_is_called_is_a_preset_with_data_of_its_size(preset, tiny, tmp_path):
    arguments = gpu_networks.command(preset, tmp_path, tiny=tiny)
    assert f"--flagfile=configs/{preset.file}.flags" in arguments
    assert f"--image_size={32 if tiny else preset.size}" in arguments
    assert ("--batch_size=4" in arguments) == tiny
    assert json.dumps(arguments).count("--model_args") == tiny
