"""Exports in a process of its own: where this one has GPUs, on which nothing that a bundle holds is computed.

The other process, `python -m export.apart`, reads from its standard input what it shall call, and with what.
"""

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import IO

from pipeline.base import command_line
from pipeline.base.children import environment_without_gpus
from pipeline.base.errors import MISTAKE, MirageError

_ERROR = "error: "


def export_apart(function: Callable[..., None], *arguments: object) -> None:
    """Calls a function where there are no GPUs; what it prints there is printed here.

    Args:
      function: a function of a module.
      *arguments: what it shall be called with; must allow to be pickled.

    Raises:
      MirageError: what it raises there, or if the arguments can't be taken there.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile("w+") as errors:
        try:
            pickle.dump((function, arguments), given)
        except Exception as error:  # what is pickled may raise anything
            raise _not_taken(error) from error
        given.seek(0)
        status = _run(given, errors)
        errors.seek(0)
        lines = errors.read().splitlines()
    last = lines.pop() if status and lines else ""
    print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr, flush=True)
    if status:
        what = f"the export, in a process of its own, ended with status {status}: {last}"
        raise MirageError(last.removeprefix(_ERROR) if last.startswith(_ERROR) else what)


def _run(given: IO[bytes], errors: IO[str]) -> int:
    """Runs the other process; returns its status."""
    with subprocess.Popen(
        [sys.executable, "-m", "export.apart"],
        env=environment_without_gpus(),
        stdin=given,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    ) as child:
        assert child.stdout is not None
        try:
            # Not its own standard output: in a notebook nobody would see that.
            for line in child.stdout:
                print(line, end="", flush=True)
        except BaseException:  # such as Ctrl-C: it removes what it has begun
            child.terminate()
            raise
    return child.returncode


def _not_taken(error: Exception) -> MirageError:
    reason = str(error).partition("\n")[0][:200]
    return MirageError(
        "where this process has GPUs, another one exports, which can't be given the generator or a format "
        f"({type(error).__name__}: {reason}); define them in a module that it can import, or set "
        "CUDA_VISIBLE_DEVICES=-1 for this process."
    )


def main() -> int:
    """Runs the other process; returns its exit status."""
    from pipeline.devices import numerics

    numerics.cpu_only()
    try:
        function, arguments = pickle.load(sys.stdin.buffer)
    except Exception as error:
        print(f"{_ERROR}{_not_taken(error)}", file=sys.stderr)
        return MISTAKE
    try:
        function(*arguments)
    except MirageError as error:
        print(f"{_ERROR}{error}", file=sys.stderr)
        return MISTAKE
    return 0


if __name__ == "__main__":
    command_line.run(__doc__, lambda values: None, lambda values, argv: main())
