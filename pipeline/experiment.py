"""A training as an object: what `python -m pipeline` trains, with names or objects for what it consists of."""

import dataclasses
import difflib
import inspect
import numbers
import os
import textwrap
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.base.errors import MirageError
from pipeline.base.interrupt import Interrupt
from pipeline.base.objects import described, load_object
from pipeline.base.parameters import AUTO, Parameters, flag_default, is_auto
from pipeline.config import Config
from pipeline.devices import compilation
from pipeline.runs.callback import Callback, check_callbacks

if TYPE_CHECKING:
    from pipeline.run import Run

_FIELDS = {field.name: field for field in dataclasses.fields(Config)}
# In Python, what an object may be passed for has the name of the thing; the flag is that of a name.
_FLAGS = {"data": "dataset", "networks": "model"}
# What has a name among the objects that a flag may be passed: import paths of the registries. Where a flag can be
# written with arguments, as --model_args, an object may be passed for it.
_REGISTRIES = {
    "model": "pipeline.networks:ARCHITECTURES",
    "discriminator": "pipeline.networks:ARCHITECTURES",
    "objective": "pipeline.objectives:OBJECTIVES",
}
_ARGUMENTS = "_args"

# What TensorFlow, Keras and Python keep for a process, seeds above all, can't be had twice.
_one_at_a_time = threading.Lock()


class Experiment:
    """A training: data, networks, objective, and every flag of `python -m pipeline` by its name.

      run = Experiment(data="folder:/pictures", batch_size=256, steps=20_000).train("runs/mine")

    Attributes:
      config: the configuration: the value of every flag.
      objects: the objects that were passed instead of names, by flag.
      callbacks: what is done besides while it trains.
    """

    def __init__(self, *, callbacks: Sequence[Callback] = (), **flags: Any) -> None:
        """Checks everything that can be checked without the data; TensorFlow is not imported.

        Args:
          callbacks: what is done at intervals, after what Mirage itself does then: `pipeline.Callback`s.
          **flags: those of `python -m pipeline`, by name; `data` may stand for `dataset`, and `networks` for `model`.

        Raises:
          MirageError: for a name or a value that isn't known, or for values that don't go together.
        """
        values: dict[str, Any] = {name: AUTO for name, field in _FIELDS.items() if field.metadata["automatic"]}
        self.objects: dict[str, Any] = {}
        for flag, (name, value) in _by_flag(flags).items():
            if flag == "metrics" and not isinstance(value, str):
                self.objects[flag], values[flag] = _metrics(value)
            elif _is_object(flag, value):
                self.objects[flag] = value
                values |= _recorded(flag, value)
            else:
                values[flag] = _checked(flag, name, value)
        self.config = Config(**values)
        self.config.validate(self.objects)
        check_callbacks(callbacks)
        self.callbacks = tuple(callbacks)
        self._interrupt: Interrupt | None = None

    @classmethod
    def of(cls, config: Config, callbacks: Sequence[Callback] = ()) -> "Experiment":
        """Returns the experiment that a configuration describes."""
        return cls(callbacks=callbacks, **{name: getattr(config, name) for name in _FIELDS})

    def train(self, run_dir: str | os.PathLike[str] | None = None) -> "Run":
        """Trains, and goes on where an earlier training in the same folder ended.

        Ctrl-C, SIGTERM, or interrupting a notebook's cell, saves and returns the run, with `stopped_by` set. In a
        thread, which signals don't reach, `stop` does so. One training may be under way in a process.

        Args:
          run_dir: the run directory; by default the flag `run_dir`.

        Returns:
          The run.

        Raises:
          MirageError: if the run directory holds another run, if data or checkpoints can't be read or written, if the
            training diverges, or if a callback fails.
          KeyboardInterrupt: if it is interrupted while there is nothing to save.
        """
        config = self.config
        if run_dir is not None:
            config = dataclasses.replace(config, run_dir=_checked("run_dir", "run_dir", run_dir))
            config.validate(self.objects)
        if not _one_at_a_time.acquire(blocking=False):
            raise MirageError("another training is under way in this process; wait for it, or stop it.")
        try:
            self._interrupt = Interrupt()
            with compilation.prepared(config, config.data_dir):  # before TensorFlow is imported
                from pipeline.evaluation.callback import Evaluations
                from pipeline.evaluation.report.callback import Reports
                from pipeline.run import Run
                from pipeline.training import trainer

                measured = Evaluations(config, self.objects.get("metrics", ()))
                callbacks = [measured, Reports(config), *self.callbacks]
                outcome = trainer.train(config, callbacks, objects=self.objects, interrupt=self._interrupt)
            data = self.objects.get("dataset")
            return Run.ended(config.run_dir, outcome.stopped_by, chief=outcome.chief, data=data)
        finally:
            self._interrupt = None
            _one_at_a_time.release()

    def stop(self, reason: str = "stop()") -> bool:
        """Asks a training that is under way in another thread to save and end.

        Args:
          reason: what `stopped_by` of the run will be.

        Returns:
          Whether one was under way.
        """
        interrupt = self._interrupt
        if interrupt is None:
            return False
        interrupt.ask(reason)
        return True

    def __repr__(self) -> str:
        changed = {name: getattr(self.config, name) for name, field in _FIELDS.items()}
        shown = [f"{name}={value!r}" for name, value in changed.items() if value != flag_default(_FIELDS[name])]
        return f"Experiment({', '.join(shown)})"


def _metrics(value: Any) -> tuple[Sequence[Any], str]:
    """Looks at metrics that are objects; returns them, and how the flag writes them."""
    given = value if isinstance(value, Sequence) else [value]
    choose = load_object("pipeline.metrics.choice:choose", "metrics")
    for each in given:
        if not isinstance(each, str):  # names are looked at with all flags
            choose([each])
    return given, load_object("pipeline.metrics.choice:as_text", "metrics")(given)


def _by_flag(given: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Returns (name by which it was passed, value) by flag; arguments of an object that was passed are its own."""
    found: dict[str, tuple[str, Any]] = {}
    for name, value in given.items():
        flag = _FLAGS.get(name, name)
        if flag in found:
            raise MirageError(f"{found[flag][0]} and {name} are the same; pass one of them.")
        found[flag] = name, value
    for flag, (name, value) in [each for each in found.items() if _is_object(each[0], each[1][1])]:
        _, arguments = found.pop(flag + _ARGUMENTS, ("", ""))
        if arguments not in ("", AUTO):
            raise MirageError(
                f"{flag}{_ARGUMENTS}={arguments!r:.100} does not go with {name}, a {type(value).__name__}, which has "
                f"its arguments already; leave {flag}{_ARGUMENTS} out."
            )
    return found


def _is_object(flag: str, value: Any) -> bool:
    """Whether an object was passed where a flag could name one."""
    return flag + _ARGUMENTS in _FIELDS and not isinstance(value, str | os.PathLike | None)


def _recorded(flag: str, thing: Any) -> dict[str, Any]:
    """The flags by which a run directory names an object."""
    if flag == "dataset":
        name, arguments = load_object("pipeline.data.objects:recorded", flag)(thing)
        return {flag: name, flag + _ARGUMENTS: arguments}
    registry = load_object(_REGISTRIES[flag], flag)
    name, arguments = described(thing, registry)
    if isinstance(thing, Parameters) and {*thing.to_dict()} <= {*_FIELDS}:  # one of ours, which has flags of its own
        return {**thing.to_dict(), flag: name}
    return {flag: name, flag + _ARGUMENTS: arguments}


def _checked(flag: str, name: str, value: Any) -> Any:
    """Makes the flag's type of a value, or refuses it."""
    if flag not in _FIELDS:
        known = [*_FIELDS, *_FLAGS]
        near = [each for each in known if each.startswith(name)] or difflib.get_close_matches(name, known, 1)
        meant = f"did you mean {near[0]}?" if near else "help(Experiment) lists all."
        raise MirageError(f"{name}={value!r:.100}: Experiment knows no {name}; {meant}")
    if is_auto(_FIELDS[flag], value):
        return value
    if reads := _FIELDS[flag].metadata["reads"]:
        return reads(value)
    expected = type(_FIELDS[flag].default)
    if expected is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif expected is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = int(value)
    elif expected is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = float(value)
    elif expected is bool and type(value).__name__ in ("bool", "bool_"):
        value = bool(value)
    if type(value) is not expected:
        wanted = f"{_NAMES[expected]}{' or an object' if flag + _ARGUMENTS in _FIELDS else ''}"
        wanted = f"{wanted} or {AUTO!r}" if _FIELDS[flag].metadata["automatic"] else wanted
        raise MirageError(f"{name}={value!r:.100} is a {type(value).__name__}; expected {wanted}.")
    return value


_NAMES = {str: "a text", int: "an integer", float: "a number", bool: "True or False"}


def _signature() -> inspect.Signature:
    """What `help` and notebooks show: every flag with its default."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    objects = [inspect.Parameter(name, keyword, default=_FIELDS[flag].default) for name, flag in _FLAGS.items()]
    flags = [
        inspect.Parameter(name, keyword, default=flag_default(field), annotation=field.type)
        for name, field in _FIELDS.items()
    ]
    return inspect.Signature([*objects, inspect.Parameter("callbacks", keyword, default=()), *flags])


def _documentation() -> str:
    lines = []
    for name, field in _FIELDS.items():
        text = f"{name} (default {flag_default(field)!r}): {field.metadata['help']}"
        lines += textwrap.wrap(text, 110, initial_indent="  ", subsequent_indent="    ")
    return "\n".join([inspect.cleandoc(Experiment.__doc__ or ""), "", "Flags:", *lines, ""])


Experiment.__signature__ = _signature()  # type: ignore[attr-defined]
Experiment.__doc__ = _documentation()
