"""TensorFlow without the lines that its libraries print whatever they are told."""

import contextlib
import importlib.abc
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# Information and warnings in the formats of absl and of TensorFlow's own log, and errors that only say that two of its
# libraries register the same thing. Whatever else comes is passed on: Python's warnings, tracebacks, fatal errors.
_NOISE = (
    r"^(WARNING: All log messages before absl::InitializeLog"
    r"|[IW]\d{4} \d\d:\d\d:\d\d"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "
    r"|E.*Unable to register cu"
    r"|To enable the following instructions: "
    r"|INFO: Created TensorFlow Lite )"
)

# A process of its own, since TensorFlow aborts where the CPU lacks its instructions, and must be heard until the end.
_FILTER = """
import re, sys
for line in sys.stdin.buffer:
    if not re.match(sys.argv[1].encode(), line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def quiet_tensorflow() -> None:
    """Makes the first `import tensorflow` of this process a quiet one, wherever it stands.

    Where the environment variable `TF_CPP_MIN_LOG_LEVEL` is less than 3, all lines are wanted, and come.
    """
    # gast, for AutoGraph; where warnings are errors, functions would silently stay unconverted on Python 3.13.
    message = r".*got an unexpected keyword argument '___pyct_anno'"
    warnings.filterwarnings("ignore", message, DeprecationWarning)
    # Keras imports it, and on the first day of a user it warns that it looks for fonts.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    if os.environ.setdefault(_LEVEL, "3") == "3" and "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


def is_noise(line: str) -> bool:
    """Whether a line of standard error is one of those that are held back."""
    return re.match(_NOISE, line) is not None


class _Finder(importlib.abc.MetaPathFinder):
    """Finds tensorflow on `sys.path`, and wraps its loader; some libraries look for it without importing it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.abc.Loader):
            execute = spec.loader.exec_module

            def quiet(module: ModuleType) -> None:
                sys.meta_path.remove(self)
                with without_noise():
                    execute(module)

            spec.loader.exec_module = quiet  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def without_noise(also: str = r"(?!)") -> Iterator[None]:
    """While it is entered, lines of libraries that `is_noise` knows don't reach standard error.

    Args:
      also: a regular expression for other lines that shall not, such as those of errors that are raised as well.
    """
    process = _start_filter(f"{_NOISE}|{also}")
    if process is None:
        yield
        return
    assert process.stdin is not None
    original = os.dup(2)
    os.dup2(process.stdin.fileno(), 2)
    try:
        yield
    finally:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(original, 2)
        os.close(original)
        process.stdin.close()
        # Whatever was printed shall stand before what comes; a child of TensorFlow's could keep the pipe open.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)


def _start_filter(noise: str) -> subprocess.Popen[bytes] | None:
    """Returns None where there is nothing to keep clean, or nothing that could: then all lines come."""
    command = [sys.executable or "", "-I", "-S", "-c", _FILTER, noise]
    try:
        os.fstat(2)
        # Signals of the terminal are not for it: it ends when there is nothing more to read.
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    except OSError:  # no standard error; no Python, where another program embeds it; no process more
        return None
