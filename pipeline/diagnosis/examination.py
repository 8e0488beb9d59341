"""The whole examination: reads all facts, judges them, trains for a few seconds, and reports."""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pipeline.diagnosis.checks.cluster import check_cluster
from pipeline.diagnosis.checks.driver import check_driver, check_sight
from pipeline.diagnosis.checks.gpu import check_gpus
from pipeline.diagnosis.checks.libraries import check_libraries
from pipeline.diagnosis.checks.machine import check_machine
from pipeline.diagnosis.checks.software import check_software
from pipeline.diagnosis.checks.steps import check_step, step_name, trials
from pipeline.diagnosis.driver import read_driver
from pipeline.diagnosis.environment import read_environment
from pipeline.diagnosis.facts import Facts, Step
from pipeline.diagnosis.finding import Finding
from pipeline.diagnosis.machine import read_machine
from pipeline.diagnosis.network import read_network
from pipeline.diagnosis.software import read_software
from pipeline.diagnosis.tensorflow_facts import read_libraries, read_tensorflow, try_step

_FORMAT = 1


def collect(data_dir: str) -> Facts:
    """Reads all facts but the training steps.

    Args:
      data_dir: see `python -m pipeline`.
    """
    environment = os.environ
    software, seen = read_software(), read_tensorflow(environment)
    return Facts(
        environment=read_environment(environment),
        software=software,
        tensorflow=seen,
        driver=read_driver(environment),
        libraries=read_libraries(software, seen, environment),
        machine=read_machine(data_dir),
        network=read_network(environment),
    )


def diagnose(facts: Facts) -> list[Finding]:
    """Judges all facts but the training steps."""
    checks: tuple[Callable[[Facts], list[Finding]], ...] = (
        check_software,
        check_driver,
        check_gpus,
        check_libraries,
        check_sight,
        check_machine,
        check_cluster,
    )
    return [finding for check in checks for finding in check(facts)]


def document(facts: Facts, findings: Iterable[Finding]) -> dict[str, Any]:
    """What `--json` writes."""
    checks = [dataclasses.asdict(finding) for finding in findings]
    verdict = "bad" if any(each["verdict"] == "bad" for each in checks) else "good"
    return {"format": _FORMAT, "verdict": verdict, "checks": checks, "facts": facts.to_dict()}


class _Screen:
    """Prints findings as they come, and what is going on where somebody watches."""

    def __init__(self, shows: bool) -> None:
        """Takes whether findings are printed."""
        self._shows = shows
        self._watched = sys.stderr.isatty()
        self.findings: list[Finding] = []

    def show(self, findings: Iterable[Finding]) -> None:
        self.working("")
        for finding in findings:
            self.findings.append(finding)
            if self._shows:
                print(finding, flush=True)

    def working(self, what: str) -> None:
        if self._watched:
            print(f"\r\33[K{what}", end="", file=sys.stderr, flush=True)


def examine(data_dir: str, seconds: float, *, shows: bool = True) -> dict[str, Any]:
    """Looks at everything, and prints what it finds.

    Args:
      data_dir: see `python -m pipeline`.
      seconds: how long to train on each device; 0 leaves it out.
      shows: whether findings are printed.

    Returns:
      What `--json` writes.
    """
    screen = _Screen(shows)
    screen.working("looking at TensorFlow, the driver, the disk ...")
    facts = collect(data_dir)
    screen.show(diagnose(facts))
    steps: list[Step] = []
    for devices in trials(facts) if seconds else ():
        step = _try(screen, devices, seconds)
        screen.show([check_step(step, steps)])
        steps.append(step)
    return document(dataclasses.replace(facts, steps=tuple(steps)), screen.findings)


def _try(screen: _Screen, devices: Sequence[str], seconds: float) -> Step:
    def say(stage: str) -> None:
        screen.working(f"{step_name(devices)}: {stage} ...")

    say("importing TensorFlow")
    return try_step(devices, seconds, os.environ, say)


def summary(report: dict[str, Any]) -> str:
    """Says in a sentence what a report comes to."""
    bad = sum(each["verdict"] == "bad" for each in report["checks"])
    if bad:
        return f"\nBad: {bad} of {len(report['checks'])}; what to do stands below each."
    return "\nNothing is bad: this machine is ready."
