"""Commands whose output nobody takes."""

import subprocess
import sys

import pytest

from tests.processes import ENVIRONMENT, ROOT

PROGRAM = """
import sys
from pathlib import Path
from pipeline.base import command_line

def main(values, argv):
    for number in range(20000):
        print("line", number, flush=number % 100 == 0)
    print("\\udcff \\u2028", file=sys.stderr)
    Path(argv[1]).write_text("trained")
    return 0

command_line.run("doc", lambda values: None, main, prints_result={result})
"""


def shell(redirected, tmp_path, result=False, environment=None):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("{result}", str(result)))
    line = f'"$0" "$1" "$2" {redirected}; exit ${{PIPESTATUS[0]}}'
    command = ["bash", "-c", line, sys.executable, str(program), str(tmp_path / "result")]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT), **(environment or {})}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr, (tmp_path / "result").exists()


@pytest.mark.parametrize(
    "redirected", ["| head -1", "| true", ">/dev/full", ">&-", ">&- 2>&- <&-", ">/dev/full 2>/dev/full"]
)
def test_a_command_goes_on_without_its_output(tmp_path, redirected):
    status, errors, written = shell(redirected, tmp_path)
    assert (status, written) == (0, True)
    assert errors in ("", "\\udcff \\u2028\n", "\\udcff \u2028\n")
    assert (tmp_path / "result").read_text() == "trained"  # which no output went into


def test_a_command_whose_output_is_its_result_has_failed_on_a_full_disk(tmp_path):
    status, errors, _ = shell(">/dev/full", tmp_path, result=True)
    assert status == 1
    assert errors.endswith("error: standard output can't be written (No space left on device).\n")
    assert shell("| head -1", tmp_path, result=True)[0] == 0


def test_what_the_terminal_cannot_show_is_escaped(tmp_path):
    status, errors, _ = shell(">/dev/null", tmp_path, environment={"PYTHONIOENCODING": "ascii"})
    assert (status, errors) == (0, "\\udcff \\u2028\n")
