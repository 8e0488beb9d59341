"""`scripts/gpu-check` is complete, and says what failed, before it meets a GPU."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from benchmarks import gpu_check
from benchmarks.gpu_check_report import read_tests, report
from tests.gpu import fleet
from tests.processes import ROOT, wait_for

ON_GPU, ON_CPU = (gpu_check.Options(without_gpu, "env python3") for without_gpu in (False, True))
FACTS = {"date": "2026-11-26", "commit": "abc", "gpu": "NVIDIA X, 80 GiB, 1.2", "cores": 16, "versions": {"keras": "3"}}


@pytest.mark.parametrize("name", gpu_check.PARTS)
def test_each_part_is_there_and_knows_the_flags_that_it_is_given(name, tmp_path):
    part = gpu_check.PARTS[name]
    module = importlib.import_module(part.module)
    if part.module != "pytest":  # whose arguments are used below
        for options in (ON_GPU, ON_CPU):
            values = flags.FlagValues()
            module.define_flags(values)
            assert values([part.module, *part.arguments(tmp_path, options)]) == [part.module]
    assert bool(part.figures) == any("--json=" in each for each in part.arguments(tmp_path, ON_GPU))


def test_a_first_step_that_takes_too_long_is_a_failure():
    def told(cold, warm):
        return gpu_check._waits({"cold": {"process_s": cold}, "warm": {"process_s": warm}})

    assert told(45, 15) == ""
    assert told(46.25, 15) == "cold 46.2 s (at most 45)"
    assert told(46, 16) == "cold 46.0 s (at most 45); warm 16.0 s (at most 15)"


def test_the_shares_fill_the_time():
    shares = [gpu_check.PARTS[name].share_s for name in gpu_check.DEFAULT_PARTS]
    assert sum(shares) <= 8 * 60 - 10
    assert gpu_check.limits(["tests"], 480) == {"tests": 480}
    ends = gpu_check.limits(gpu_check.DEFAULT_PARTS, 480)
    assert list(ends) == list(gpu_check.DEFAULT_PARTS)
    assert ends["speed"] == 480
    assert ends["doctor"] == 480 - sum(shares[1:])
    short = gpu_check.limits(gpu_check.DEFAULT_PARTS, 60)
    assert 0 < short["doctor"] < short["tests"] < short["first_step"] < short["speed"] == 60


def test_pytest_collects_the_tests_and_without_a_gpu_they_fail(tmp_path):
    tests, kills = (
        subprocess.Popen(
            [sys.executable, "-m", "pytest", *gpu_check.PARTS[name].arguments(tmp_path, ON_GPU), *more],
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, more in (("tests", ("--collect-only", "-qq")), ("kills", ()))
    )
    collected, refusal = (process.communicate(timeout=240)[0] for process in (tests, kills))
    assert tests.returncode == 0, collected
    for topic in ("bundle_is_the_one", "killed_run", "replicas", "overflow", "memory", "same_bits", "tf32", "labels"):
        assert topic in collected
    for case in ("float32", "mixed_bfloat16", "mixed_float16"):
        for how in ("xla", "plain"):
            assert f"killed_run_ends_with_the_bits_of_one_that_was_not[{case}-{how}]" in collected
    assert "twenty" not in collected
    assert kills.returncode == 1
    assert "error: TensorFlow sees no GPU: python -m pipeline.doctor says why" in refusal
    assert "skipped" not in refusal
    (name,) = read_tests(tmp_path / "tests.jsonl")
    assert "twenty" in name


def test_another_package_of_this_name_hides_no_tests(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-P", "-c", "import tests.gpu.fleet, tests; print(*tests.__path__)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"{ROOT / 'tests'}\n", done.stderr


def test_no_more_processes_are_started_than_control_groups_grant(monkeypatch):
    monkeypatch.setattr(fleet.os, "sched_getaffinity", lambda _: range(64))
    monkeypatch.setattr(fleet.os, "sysconf", lambda _: 2**20)  # 2^40 bytes
    for quota, limit, number in ((None, None, 64), (2.5, None, 2), (0.5, None, 1), (None, 17 * 2**30, 3)):
        monkeypatch.setattr(fleet, "cpu_quota", lambda quota=quota: quota)
        monkeypatch.setattr(fleet, "memory_limit", lambda limit=limit: limit)
        assert fleet.at_once(gpu=False) == number


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Parts that fare as parts can, instead of the real ones."""
    stuck = "import signal, subprocess, time; signal.signal(15, signal.SIG_IGN)\n"
    stuck += "child = subprocess.Popen(['sleep', '600'])\nprint(child.pid, flush=True); time.sleep(600)"
    programs = {
        "good": "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('{\"images_per_s\": 7}')\n"
        "print('On this card:\\n\\n| a | b |\\n| --- | --- |\\n| 1 | 2 |')",
        "failing": "import sys; print('so far', flush=True); sys.exit('error: no such thing')",
        "stuck": stuck,
        "slow": 'import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(\'{"images_per_s": 7, "slow": 1}\')',
        "silent": "",
    }
    for name, program in programs.items():
        (tmp_path / f"part_{name}.py").write_text(program)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(gpu_check, "_GRACE_S", 0.2)
    made = {
        name: gpu_check.Part(
            f"part_{name}",
            lambda folder, options: [f"{folder}/figures.json"],
            1,
            "figures.json" if name in ("good", "slow", "silent") else "",
            lambda figures: "too slow" if figures["images_per_s"] < 9 and "slow" in figures else "",
        )
        for name in programs
    }
    monkeypatch.setattr(gpu_check, "PARTS", made)
    return made


def alive(pid):
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "zombie" not in status.read_text()


def test_what_fails_or_hangs_is_told_and_the_others_run(parts, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    results, status = gpu_check.check(["failing", "stuck", "silent", "slow", "good"], out, 8, ON_CPU)
    assert status == 1
    told = results["parts"]
    verdicts = {name: result["verdict"] for name, result in told.items()}
    assert verdicts == {
        "failing": "failed",
        "stuck": "timed out",
        "silent": "failed",
        "slow": "failed",
        "good": "passed",
    }
    assert told["good"]["figures"] == {"images_per_s": 7}
    assert told["failing"]["said"] == ["so far", "error: no such thing"]
    assert not alive(told["stuck"]["said"][0])
    assert json.loads((out / "report.json").read_text()) == results
    text = (out / "report.md").read_text()
    assert text == report(results)
    for line in (
        "| failing | failed |",
        "status 1: error: no such thing",
        "| too slow |",
        "| stuck | timed out |",
        "On this card:\n\n| a | b |\n| --- | --- |\n| 1 | 2 |",
        "it has written no figures into figures.json",
    ):
        assert line in text


def test_the_status_is_zero_if_all_is_well(parts, tmp_path):
    assert gpu_check.check(["good"], tmp_path, 30, ON_CPU)[1] == 0


def test_a_request_to_stop_ends_the_part_and_keeps_the_report(parts, tmp_path):
    out = tmp_path / "out"
    program = """
import sys
from absl import app
from benchmarks import gpu_check
gpu_check.PARTS = {name: gpu_check.Part(f"part_{name}", lambda *_: ["x"], 9) for name in ("failing", "stuck", "silent")}
gpu_check._GRACE_S = 0.2
gpu_check.define_flags(gpu_check.flags.FLAGS)
app.run(gpu_check.main)
"""
    command = [sys.executable, "-c", program, f"--out={out}", "--parts=failing,stuck,silent", "--without_gpu"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: (out / "stuck.log").exists() and (out / "stuck.log").read_text().endswith("\n"), process=process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 143
    assert not alive((out / "stuck.log").read_text().strip())
    verdicts = {name: each["verdict"] for name, each in json.loads((out / "report.json").read_text())["parts"].items()}
    assert verdicts == {"failing": "failed", "stuck": "stopped", "silent": "not run"}
    assert "| silent | not run |" in said


def test_the_report_tells_of_each_test():
    tests = {
        "test_a.py::test_x[a-b]": {"outcome": "passed", "seconds": 1.25, "message": ""},
        "test_a.py::test_y": {"outcome": "failed", "seconds": 2, "message": "12 of 81 arrays differ\nby | 0.1"},
        "test_a.py::test_z": {"outcome": "started"},
    }
    part = {"verdict": "timed out", "seconds": 200.3, "status": -9, "said": ["| no | table |"], "tests": tests}
    text = report({"machine": FACTS, "parts": {"tests": part, "speed": {"verdict": "not run"}}, "seconds": 210.0})
    for line in (
        "## NVIDIA X, 80 GiB, 1.2",
        "2026-11-26, commit abc, 16 CPU cores; keras 3; 210 s in all.",
        "| tests | timed out | 200 | 1 of 3 tests passed, 1 not ended |",
        "| speed | not run |  |  |",
        "| test_a.py::test_x[a-b] | passed | 1.2 |",
        "| test_a.py::test_y | failed: 12 of 81 arrays differ by \\| 0.1 | 2.0 |",
        "| test_a.py::test_z | started |  |",
    ):
        assert line in text
    assert "| no | table |" not in text
    said = {"verdict": "passed", "seconds": 30.0, "status": 0, "said": ["cold: 41 s", "warm: 12 s"]}
    text = report({"machine": FACTS, "parts": {"first_step": said}})
    assert text.endswith("| first_step | passed | 30 |  |\n\n### first_step\n\n```\ncold: 41 s\nwarm: 12 s\n```\n")


def test_a_record_that_was_cut_off_is_left_out(tmp_path):
    file = tmp_path / "tests.jsonl"
    assert read_tests(file) == {}
    file.write_text('{"test": "a", "outcome": "started"}\n{"test": "a", "outcome": "passed"}\n{"test": "b", "outc')
    assert read_tests(file) == {"a": {"outcome": "passed"}}


def script(*arguments, **environment):
    command = [ROOT / "scripts" / "gpu-check", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_the_script_starts_the_check_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = script("--help", PYTHON=sys.executable, PYTHONPATH="")
    assert done.returncode == 1  # absl's status of --help
    assert "--[no]without_gpu" in done.stdout
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").touch()
    for argument, named in (
        ("--parts=doctor,nothing", "--parts=doctor,nothing is not known; choose from doctor"),
        ("--parts=doctor,doctor", "each once"),
        ("--minutes=0", "--minutes=0"),
        ("--out=used", "--out=used holds files"),
        ("--out=used/file", "--out=used/file can't be written"),
        ("more", "'more' is not a flag"),
    ):
        done = script(argument, PYTHON=sys.executable)
        assert done.returncode == 1
        assert re.fullmatch(r"error: .+\n", done.stderr)
        assert named in done.stderr
    refused = script(PYTHON="/nowhere/python")
    assert refused.returncode == 1
    assert re.fullmatch(r"error: /nowhere/python can't be run, .+\n", refused.stderr)
