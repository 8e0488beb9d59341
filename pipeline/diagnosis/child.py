"""Runs what may crash, hang or print in a process of its own, and hears what it tells."""

import collections
import dataclasses
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from pipeline.base.interrupt import end_with_parent
from pipeline.base.quiet_tensorflow import is_noise

# From this package's own place, whatever other package of this name the working directory holds.
_START = (
    "import runpy, sys; sys.path.insert(0, sys.argv[1]); del sys.argv[:2]; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
_ROOT = str(Path(__file__).resolve().parents[2])
_LINES = 1000  # of what it prints, the last ones
_LONGEST = 300
_STAMP = r"^(?:[IWEF]\d{4} [\d:.]+ +(?:\d+ )?|\d{4}-\d\d-\d\d [\d:.]+: [IWEF] )(?:[\w./]+:\d+\] ?)?"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
      facts: all that it told; of what it told twice, the last.
      said: lines that it and its libraries printed, without time stamps.
      failure: how it failed, such as "it was ended by SIGABRT: ..."; empty if it did not.
    """

    facts: dict[str, Any]
    said: tuple[str, ...]
    failure: str


def run_child(
    module: str,
    argument: Any = None,
    *,
    patience_s: float,
    environment: Mapping[str, str] | None = None,
    hear: Callable[[dict[str, Any]], None] = lambda told: None,
) -> Outcome:
    """Runs a program of `pipeline.diagnosis.children` to its end.

    Args:
      module: its name there.
      argument: what it is given; anything that JSON can hold.
      patience_s: after so many seconds in which it told nothing it is ended.
      environment: its environment variables; by default this process's.
      hear: called with each object that it tells, as it comes.

    Returns:
      What it told and printed, and how it ended.
    """
    mine, its = os.pipe()
    try:
        process = _start(module, argument, its, environment)
    except OSError as error:
        os.close(mine)
        return Outcome({}, (), f"no process could be started ({error.strerror})")
    finally:
        os.close(its)
    assert process.stdout is not None
    lines: collections.deque[str] = collections.deque(maxlen=_LINES)
    told: queue.Queue[str | None] = queue.Queue()
    listeners = [
        threading.Thread(target=_collect, args=(process.stdout, lines.append), daemon=True),
        threading.Thread(target=_collect, args=(os.fdopen(mine, encoding="utf-8"), told.put, told), daemon=True),
    ]
    for each in listeners:
        each.start()
    try:
        facts, silent = _listen(told, patience_s, hear)
        if not silent:
            process.wait(patience_s)
    except subprocess.TimeoutExpired:
        silent = True
    finally:
        process.kill()
        process.wait()
    for each in listeners:
        each.join(timeout=1)  # a process that it has started could keep its output open
    said = tuple(lines)
    failure = f"it said nothing for {patience_s:g} seconds" if silent else _failure(process.returncode, said)
    return Outcome(facts, tuple(map(unstamped, said)), failure)


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of Mirage, by the Python and from the place that this process has."""
    return [sys.executable, "-P", "-c", _START, _ROOT, module, *arguments]


def _start(module: str, argument: Any, pipe: int, environment: Mapping[str, str] | None) -> subprocess.Popen[str]:
    name = f"pipeline.diagnosis.children.{module}"
    return subprocess.Popen(
        command(name, str(pipe), json.dumps(argument)),
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(pipe,),
        preexec_fn=end_with_parent(signal.SIGKILL),
    )


def unstamped(line: str) -> str:
    """Takes the time, the process and the place in the source from a line of TensorFlow's log."""
    return re.sub(_STAMP, "", line.rstrip())


def _collect(stream: IO[str], take: Callable[[Any], object], ended: queue.Queue | None = None) -> None:
    with stream:
        for line in stream:
            take(line)
    if ended is not None:
        ended.put(None)


def _listen(
    told: "queue.Queue[str | None]", patience_s: float, hear: Callable[[dict[str, Any]], None]
) -> tuple[dict[str, Any], bool]:
    facts: dict[str, Any] = {}
    while True:
        try:
            line = told.get(timeout=patience_s)
        except queue.Empty:
            return facts, True
        if line is None:
            return facts, False
        try:
            item = json.loads(line)
        except ValueError:  # the process has ended in the midst of it
            continue
        facts |= item
        hear(item)


def _failure(status: int, said: tuple[str, ...]) -> str:
    if status == 0:
        return ""
    try:
        how = f"it was ended by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
    except ValueError:
        how = f"it was ended by signal {-status}"
    fatal = [line for line in said if re.match(r"F\d{4} |\d{4}-\d\d-\d\d [\d:.]+: F ", line)]
    plain = [line for line in said if line.strip() and not is_noise(line)]
    last = unstamped((fatal or plain or [""])[-1]).strip()
    return f"{how}: {last[:_LONGEST]}" if last else how
