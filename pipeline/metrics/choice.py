"""Which metrics are computed, and whether what they return are figures."""

import dataclasses
import math
import numbers
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.objects import described, resolve
from pipeline.metrics import METRICS
from pipeline.metrics.metric import NEEDS, OF_EXTRACTOR, Better, TooFewError, better
from pipeline.metrics.names import AUTO, split_metrics

# Of what stands beside figures in a line of `evaluations.jsonl` or in what an evaluation returns.
_TAKEN = {
    "source",
    "step",
    "images",
    "seconds",
    "extractor",
    "extractor_id",
    "num_samples",
    "reference",
    "num_reference",
}


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A metric that shall be computed.

    Attributes:
      name: how it was named, or could be.
      metric: of the form of `pipeline.metrics.metric.Metric`.
      asked: whether it was named, rather than being one of all.
    """

    name: str
    metric: Any
    asked: bool

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of its figures."""
        return tuple(self.metric.figures)

    @property
    def floors(self) -> tuple[str, ...]:
        """Names of its floors."""
        return tuple(getattr(self.metric, "floors", ()))

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs, see `NEEDS`."""
        return tuple(getattr(self.metric, "needs", ()))

    @property
    def needs_extractor(self) -> bool:
        """Whether it needs something of an extractor."""
        return bool({*self.needs} & {*OF_EXTRACTOR})

    @property
    def quick(self) -> bool:
        """Whether training's evaluations compute it."""
        return bool(getattr(self.metric, "quick", True))

    @property
    def compared(self) -> bool:
        """Whether its figures stand in tables that compare runs."""
        return bool(getattr(self.metric, "compared", True))

    def better(self, figure: str) -> Better | None:
        """Which figure is the better one, see `pipeline.metrics.metric.Metric.better`."""
        return better(self.metric, figure)

    @property
    def directions(self) -> dict[str, bool]:
        """Of those of its figures that can be better or worse, whether a larger one is better."""
        return {name: way == "higher" for name in self.figures if (way := self.better(name))}


def choose(metrics: str | Iterable[Any] = "") -> list[Chosen]:
    """Finds and makes metrics.

    Args:
      metrics: the value of `--metrics`, or names, import paths and objects; nothing means `auto`: all of `METRICS`.

    Returns:
      The metrics in that order.

    Raises:
      MirageError: if one can't be had, is none, or two have figures of one name.
    """
    entries = split_metrics(metrics) if isinstance(metrics, str) else list(metrics) or [AUTO]
    chosen: list[Chosen] = []
    for entry in entries:
        if entry == AUTO:
            chosen += [Chosen(each, _made(each), asked=False) for each in METRICS if each not in entries]
        elif isinstance(entry, str):
            chosen.append(Chosen(entry, _made(entry), asked=True))
        else:
            chosen.append(Chosen(as_text(entry), entry() if isinstance(entry, type) else entry, asked=True))
    seen: dict[str, str] = {}
    for each in chosen:
        _check(each)
        for figure in (*each.figures, *each.floors):
            if figure in _TAKEN or figure in seen:
                other = seen.get(figure, "an evaluation itself")
                raise MirageError(f"--metrics={each.name} has a figure {figure}, as has {other}; rename one.")
            seen[figure] = each.name
    return chosen


def as_text(metrics: Any) -> str:
    """How metrics are written as a flag, such as `auto,my_package.my_metrics:Contrast(radius=2)`.

    Args:
      metrics: a name or object, or several.
    """
    if isinstance(metrics, str):
        return metrics
    if isinstance(metrics, Sequence):
        return ",".join(as_text(each) for each in metrics)
    name, arguments = described(metrics, METRICS)
    return f"{name}({arguments})" if arguments else name


def _made(entry: str) -> Any:
    name, bracket, rest = entry.partition("(")
    arguments = rest.removesuffix(")") if bracket else ""
    try:
        return resolve("metrics", name, METRICS, arguments)
    except MirageError as error:
        raise MirageError(str(error).replace(f"--metrics_args={arguments}", f"--metrics={entry}")) from error.__cause__


def _check(chosen: Chosen) -> None:
    metric, given = chosen.metric, f"--metrics={chosen.name}"
    figures = getattr(metric, "figures", None)
    if not callable(metric) or not figures or isinstance(figures, str):
        raise MirageError(
            f"{given} is no metric; expected an object of the form of pipeline.metrics.metric.Metric, with `figures`, "
            "the names of what it returns, that can be called."
        )
    for figure in (*chosen.figures, *chosen.floors):
        if not (isinstance(figure, str) and figure.isidentifier()):
            raise MirageError(f"{given} has a figure {figure!r}; expected names such as 'edge_contrast'.")
    for need in chosen.needs:
        if need not in NEEDS:
            raise MirageError(f"{given} needs {need!r}, which is not known; choose from {', '.join(NEEDS)}.")
    for way in ("higher_is_better", "neutral"):
        named = getattr(metric, way, ())
        if not isinstance(named, tuple | list) or not {*named} <= {*chosen.figures, *chosen.floors}:
            raise MirageError(
                f"{given} has {way} = {named!r:.100}; expected a tuple of names of its figures, as in "
                f"({chosen.figures[0]!r},)."
            )


def measured(chosen: Chosen, names: Sequence[str], measure: Callable[..., Any], *given: Any) -> dict[str, Any]:
    """Measures, and looks at what comes back.

    Args:
      chosen: the metric.
      names: of the figures.
      measure: the metric itself, or its `floor`.
      *given: what it is called with.

    Returns:
      Figures by name, as JSON types; none, with a note on standard error, if there are too few samples to measure.

    Raises:
      MirageError: in one sentence, if it raises, returns something else than numbers, or too many or few of them.
    """
    try:
        returned = measure(*given)
    except TooFewError as error:
        print(f"note: --metrics={chosen.name} is left out: {error}.", file=sys.stderr, flush=True)
        return {}
    except Exception as error:
        raise failure(f"--metrics={chosen.name}", error) from error
    try:
        values = [returned] if len(names) == 1 else list(returned)
    except TypeError:
        values = [returned]
    if len(values) != len(names):
        raise MirageError(
            f"--metrics={chosen.name} returned {len(values)} value{'s' * (len(values) != 1)}; expected {len(names)}: "
            f"{', '.join(names)}."
        )
    return {name: _figure(chosen, name, value) for name, value in zip(names, values, strict=True)}


def failure(given: str, error: Exception) -> MirageError:
    """One sentence of what somebody's object raised; `given` is how it was named."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = (str(error).strip().splitlines() or [""])[0][:200]
    where = f"{last.filename}, line {last.lineno}"
    return MirageError(f"{given} failed ({type(error).__name__}: {what}; {where}); mend it or leave it out.")


def _figure(chosen: Chosen, name: str, value: Any) -> Any:
    shown = " ".join(repr(value).split())[:100]
    plain = value.numpy() if callable(getattr(value, "numpy", None)) else value  # a tensor
    plain = plain.tolist() if isinstance(plain, np.ndarray | np.generic) else plain
    each = list(plain) if isinstance(plain, list | tuple) else [plain]
    if not each or not all(isinstance(one, numbers.Real) and not isinstance(one, bool) for one in each):
        raise MirageError(f"--metrics={chosen.name} returned {shown} for {name}; expected a number.")
    if not all(math.isfinite(one) for one in each):
        raise MirageError(f"--metrics={chosen.name} returned {shown} for {name}; expected a finite number.")
    figures = [int(one) if isinstance(one, numbers.Integral) else float(one) for one in each]
    return figures if isinstance(plain, list | tuple) else figures[0]
