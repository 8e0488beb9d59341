"""Has another process do first what a damaged file could crash, or could keep busy for ever.

What reads files of networks is written in C++, and trusts them. The other process reads orders from its standard input
and answers to its standard output, in JSON, a line each, with limits on memory and time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.base.children import environment_without_gpus
from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line

# Seconds for importing what opens a file and for opening it, and for looking it through and for computing one picture.
OPENING_S, COMPUTING_S = 300, 60
_ROOM = 7 * 2**29  # of which TensorFlow's code takes more than a third
_ROOM_PER_BYTE = 20  # of the file: weights are read, and converted, a few times
_ROOM_PER_CORE = 2**25  # stacks of threads
_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "OOM",
    "MemoryError",
    "llocat",
    "out of memory",
    "exceeds the supported maximum",
)


class Exchange(NamedTuple):
    """What came of an order.

    Attributes:
      lines: what the process has printed.
      status: its exit status as `subprocess` has it: negative for a signal that ended it.
      complaint: its standard error.
    """

    lines: list[str]
    status: int
    complaint: str


def ask(worker: str, order: dict[str, Any], name: str) -> dict[str, Any]:
    """Gives an order to a process of its own.

    Args:
      worker: the module of this room that takes it with `serve`.
      order: anything that JSON can hold.
      name: what the file is called in errors.

    Returns:
      The answer.

    Raises:
      MirageError: if the process says so, or doesn't live to answer.
    """
    limits = {"opening_s": OPENING_S, "computing_s": COMPUTING_S}
    lines, status, complaint = exchange(worker, json.dumps({**order, **limits}))
    said = [json.loads(line) for line in lines]
    phase = next((each["phase"] for each in reversed(said) if "phase" in each), "opened")
    if said and "error" in said[-1]:
        raise MirageError(said[-1]["error"])
    if said and "phase" not in said[-1]:
        return said[-1]
    if status == -getattr(signal, "SIGALRM", 0):
        limit = OPENING_S if phase in ("opened", "converted") else COMPUTING_S
        raise MirageError(f"{name} is not adopted: being {phase} takes it longer than {limit} s.")
    if any(each in complaint for each in _MEMORY):
        raise MirageError(no_memory(name, phase))
    ended = signal.Signals(-status).name if status < 0 else f"status {status}"
    said_last = in_a_line((complaint.strip().splitlines() or ["it said nothing"])[-1], 200)
    raise MirageError(
        f"{name} is not adopted: what reads it is ended by {ended} when it is {phase} ({said_last}); it is damaged, or "
        "made for that."
    )


def no_memory(name: str, phase: str) -> str:
    """Says that a file wants too much memory."""
    return f"{name} is not adopted: being {phase} takes it far more memory than a file of its size should."


def exchange(worker: str, order: str) -> Exchange:
    """Starts a process for one order."""
    child = subprocess.run(
        [sys.executable, "-m", f"pipeline.foreign.{worker}"],
        env=environment_without_gpus(),
        input=order + "\n",
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return Exchange(child.stdout.splitlines(), child.returncode, child.stderr)


def serve(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answers orders until there are no more.

    Args:
      handle: makes the answer of an order; a MirageError is one, too.
    """
    global _channel
    # Libraries print to standard output what they like.
    _channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        limit_time(order["opening_s"])
        try:
            answer = handle(order)
        except MirageError as error:
            answer = {"error": str(error)}
        limit_time(0)
        _print(answer)


_channel: Any = None


def _print(what: dict[str, Any]) -> None:
    print(json.dumps(what), file=_channel, flush=True)


def enter(phase: str, seconds: int) -> None:
    """Says what a process that serves does next, which may take some seconds."""
    _print({"phase": phase})
    limit_time(seconds)


def limit_time(seconds: int) -> None:
    """Ends this process after some seconds, whatever it does then; 0 takes that back."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def limit_memory(file_size: int) -> None:
    """Limits what this process may take from now on, where the system can.

    Args:
      file_size: bytes of the file that it is to read.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        used = _data_size()
        if used:
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            room = _ROOM + _ROOM_PER_BYTE * file_size + _ROOM_PER_CORE * (os.cpu_count() or 1)
            resource.setrlimit(resource.RLIMIT_DATA, (used + room, hard))


def _data_size() -> int:
    """Bytes that this process may write to; 0 where the system doesn't say."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def is_memory(error: BaseException) -> bool:
    """Whether an error of a library says that there is no memory left."""
    return isinstance(error, MemoryError) or any(each in str(error) for each in _MEMORY)
