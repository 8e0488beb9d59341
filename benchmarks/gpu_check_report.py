"""What `benchmarks/gpu_check.py` tells of its parts."""

import contextlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "onnxruntime")
_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_LAST_LINES = 40  # of a part that has printed no table, or that failed without saying which of its tests did


def machine(root: Path, without_gpu: bool) -> dict[str, Any]:
    """Describes what the figures come from, without starting TensorFlow.

    Args:
      root: the checkout.
      without_gpu: whether the GPU stays unused.

    Returns:
      Facts by name.
    """
    versions = {"Python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _first_line("git", "-C", str(root), "rev-parse", "--short=12", "HEAD") or "unknown",
        "gpu": "" if without_gpu else _first_line(*_QUERY) or "a GPU that nvidia-smi does not name",
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions,
    }


def _first_line(*command: str) -> str:
    """Returns what a command says first, or nothing where it can't."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.splitlines()[0].strip()
    return ""


def read_tests(path: Path) -> dict[str, dict[str, Any]]:
    """Reads what tests/gpu/conftest.py has written of each test.

    Args:
      path: a file of JSON lines, of which the last may be cut off.

    Returns:
      By test, its `outcome` ("started" if it never ended), `seconds` and `message`.
    """
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                found[record.pop("test")] = record
    return found


def report(results: Mapping[str, Any]) -> str:
    """Writes all results as Markdown: a table of the parts, and what each has to say.

    Args:
      results: see `benchmarks.gpu_check.check`.

    Returns:
      The text, in the form of RESULTS.md.
    """
    facts = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    seconds = f"; {results['seconds']:.0f} s in all" if "seconds" in results else ""
    lines = [f"## {facts['gpu'] or 'CPU, without a GPU'}", ""]
    lines += [f"{facts['date']}, commit {facts['commit']}, {facts['cores']} CPU cores; {versions}{seconds}.", ""]
    lines += ["| part | verdict | seconds | |", "| --- | --- | --- | --- |"]
    for name, result in results["parts"].items():
        seconds = f"{result['seconds']:.0f}" if "seconds" in result else ""
        lines.append(f"| {name} | {result['verdict']} | {seconds} | {_in_short(result)} |")
    for name, result in results["parts"].items():
        lines += _details(name, result)
    return "\n".join(lines) + "\n"


def _in_short(result: Mapping[str, Any]) -> str:
    if result.get("tests"):
        outcomes = [test["outcome"] for test in result["tests"].values()]
        rest = ", 1 not ended" if "started" in outcomes else ""
        return f"{outcomes.count('passed')} of {len(outcomes)} tests passed{rest}"
    if result["verdict"] == "failed":
        status = f"status {result['status']}: " if result["status"] else ""
        return status + _cell(result["said"][-1] if result["said"] else "it said nothing")
    return ""


def _details(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    tests = result.get("tests") or {}
    if tests:
        yield from ("", f"### {name}", "", "| test | outcome | seconds |", "| --- | --- | --- |")
    for test, told in tests.items():
        message = f": {_cell(told['message'])}" if told.get("message") else ""
        took = f"{told['seconds']:.1f}" if "seconds" in told else ""
        yield f"| {_cell(test)} | {told['outcome']}{message} | {took} |"
    said = result.get("said", ())
    tables = list(_tables(said)) if not tests else []
    if said and not tests:
        yield from ("", f"### {name}")
    if tables:
        yield from ("", *tables)
    told_enough = any(test["outcome"] != "passed" for test in tests.values())
    if result["verdict"] in ("failed", "timed out") and not told_enough:
        yield from ("", f"The end of {name}.log:", "", "```", *said[-_LAST_LINES:], "```")
    elif said and not tests and not tables:
        yield from ("", "```", *said[-_LAST_LINES:], "```")


def _tables(said: Sequence[str]) -> Iterator[str]:
    """Yields the Markdown tables among lines, each with the line of text that stands before it."""
    before = ""
    inside = False
    for line in said:
        if line.startswith("|"):
            if not inside and before:
                yield from (before.lstrip("# "), "")
            yield line
        elif inside:
            yield ""
        inside = line.startswith("|")
        before = "" if inside else line.strip() or before


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())[:300]
