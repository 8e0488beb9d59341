"""What the command lines of training and export share."""

import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags, logging

from pipeline.base.errors import MISTAKE
from pipeline.base.interrupt import Interrupt, Stopped, Watch, leave
from pipeline.base.output import lost_output, outlive_readers
from pipeline.base.parameters import AUTO, Parameters
from pipeline.base.quiet_tensorflow import quiet_tensorflow

_Part = TypeVar("_Part", bound=Parameters)


def run(
    doc: str | None,
    define_flags: Callable[[flags.FlagValues], None],
    main: Callable[[flags.FlagValues, Sequence[str]], int],
    *,
    prints_result: bool = False,
) -> None:
    """Runs a command and exits with its status.

    A request to stop (Ctrl-C, SIGTERM, SIGHUP) ends it with one line, unless `main` hears signals itself.

    Args:
      doc: text of `--help` above the flags.
      define_flags: adds the command's flags to those of absl.
      main: takes the parsed flags and what they leave over; returns the exit status.
      prints_result: whether the command has failed where its output can't be written.
    """
    outlive_readers()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # while Python itself ends, Ctrl-C shall print no traceback
    quiet_tensorflow()
    # absl's --help shows the main module's text and flags; a console script is a main module of its own.
    sys.modules["__main__"].__doc__ = doc
    if os.path.expanduser("~") == "~":  # no home directory: Keras would write its settings into a folder named ~
        os.environ.setdefault("KERAS_HOME", os.path.join(tempfile.gettempdir(), ".keras"))
    own = flags.FlagValues()
    define_flags(own)
    for name in own:
        flags.FLAGS[name] = own[name]
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], own[name])

    def quiet_main(argv: Sequence[str]) -> int:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # tensorflow-datasets and checkpoints tell much that helps nobody
        status = main(flags.FLAGS, argv)
        if prints_result and status == 0 and (failure := lost_output()):
            print(f"error: standard output can't be written ({failure.strerror}).", file=sys.stderr)
            return MISTAKE
        return status

    watch, interrupt = Watch(), Interrupt()
    try:
        with watch, interrupt:
            app.run(quiet_main)
    except Stopped as stopped:
        leave(stopped)
    except Exception:
        heard = interrupt.signal or watch.heard
        if heard is None or Watch.patient:
            raise
        leave(Stopped(heard))  # libraries make other exceptions of what is raised amid their import


class _AutoParser(flags.ArgumentParser):
    """Takes `auto` besides what another parser takes."""

    def __init__(self, parser: flags.ArgumentParser) -> None:
        self._parser = parser
        self.syntactic_help = f"{AUTO} or {parser.syntactic_help}" if parser.syntactic_help else ""

    def parse(self, argument: Any) -> Any:
        """See `flags.ArgumentParser`."""
        if argument == AUTO:
            return argument
        try:
            return self._parser.parse(argument)
        except (TypeError, ValueError):
            raise ValueError(f"expected {self.syntactic_help}") from None

    def flag_type(self) -> str:
        """See `flags.ArgumentParser`."""
        return self._parser.flag_type()


_PARSERS = {str: flags.ArgumentParser, int: flags.IntegerParser, float: flags.FloatParser}


def define_automatic(values: flags.FlagValues, field: dataclasses.Field) -> None:
    """Adds the flag of a parameter that is `auto` unless it is set to `values`."""
    parser = _AutoParser(_PARSERS[type(field.default)]())
    flags.DEFINE(parser, field.name, AUTO, field.metadata["help"], values, flags.ArgumentSerializer())


class _SwitchParser(flags.BooleanParser):
    """Takes some words besides true and false."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self._words = words
        self.syntactic_help = ""

    def parse(self, argument: Any) -> Any:
        """See `flags.ArgumentParser`."""
        if argument in self._words:
            return argument
        try:
            return super().parse(argument)
        except (TypeError, ValueError):
            raise ValueError(f"expected true, false or {' or '.join(self._words)}") from None


def define_switch(values: flags.FlagValues, name: str, help_text: str, words: Sequence[str]) -> None:
    """Adds a switch that is off, and may be set to one of some words, too: --name, --noname, --name=word."""
    parser = _SwitchParser(words)
    flags.DEFINE_flag(flags.Flag(parser, None, name, False, help_text, boolean=True), values)


def define_parameters(values: flags.FlagValues, part: type[Parameters]) -> None:
    """Adds a flag for each parameter of a part to `values`."""
    for field in dataclasses.fields(part):
        help_text, choices, minimum, below = (field.metadata[key] for key in ("help", "choices", "minimum", "below"))
        if choices:
            flags.DEFINE_enum(field.name, field.default, choices, help_text, flag_values=values)
        elif isinstance(field.default, str) or field.metadata["reads"]:
            flags.DEFINE_string(field.name, str(field.default), help_text, flag_values=values)
        elif isinstance(field.default, bool):
            flags.DEFINE_bool(field.name, field.default, help_text, flag_values=values)
        elif isinstance(field.default, float):  # its range is checked by `given_parameters`
            flags.DEFINE_float(field.name, field.default, help_text, flag_values=values)
        else:
            flags.DEFINE_integer(
                field.name,
                field.default,
                help_text,
                lower_bound=minimum,
                upper_bound=None if below is None else below - 1,
                flag_values=values,
            )


def given_parameters(values: flags.FlagValues, part: type[_Part]) -> _Part:
    """Makes a part of the parameters from its flags.

    Raises:
      MirageError: if they can't be so.
    """
    made = part(**{field.name: values[field.name].value for field in dataclasses.fields(part)})
    made.check_ranges()
    made.check(made.to_dict())
    return made
