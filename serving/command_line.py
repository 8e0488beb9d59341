"""What the command lines of the edge share."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from absl import app, flags


def run(
    doc: str | None,
    define_flags: Callable[[flags.FlagValues], None],
    main: Callable[[flags.FlagValues, Sequence[str]], int],
) -> None:
    """Runs a command and exits with its status.

    Args:
      doc: text of `--help` above the flags.
      define_flags: adds the command's flags to those of absl.
      main: takes the parsed flags and what they leave over; returns the exit status.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # of which paths may need more than its encoding has
        sys.stdout.reconfigure(errors="backslashreplace")
    # absl's --help shows the main module's text and flags; a console script is a main module of its own.
    sys.modules["__main__"].__doc__ = doc
    own = flags.FlagValues()
    define_flags(own)
    for name in own:
        flags.FLAGS[name] = own[name]
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], own[name])
    app.run(lambda argv: main(flags.FLAGS, argv))


def tell(message: str) -> None:
    """Writes a line to standard output; if nobody takes it, what it tells of has been done nevertheless."""
    try:
        print(message, flush=True)
    except OSError:
        # What is left of it would fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def told_to_stop() -> Iterator[None]:
    """Ends the process with one line and status 130 after Ctrl-C, 143 after SIGTERM or SIGHUP, while it is entered.

    What was being written is cleaned up first, as after any exception.
    """
    heard: list[signal.Signals] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if not heard:
            heard.append(signal.Signals(number))
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup has the last one ignored
            signal.signal(number, hear)
    try:
        yield
    except KeyboardInterrupt:
        stopped = heard[0] if heard else signal.SIGINT
        with contextlib.suppress(OSError):  # nobody listens
            os.write(2, f"{stopped.name}: stopped.\n".encode())
        os._exit(130 if stopped == signal.SIGINT else 143)


def say(message: str) -> None:
    """Writes a line to standard error, in one piece, which other processes' lines can't divide."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
