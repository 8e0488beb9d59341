"""When evaluations that get no better end a training. Standard library only."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_REASON = "patience: "
# What is said of it by workers that don't evaluate.
OUT_OF_PATIENCE = f"{_REASON}evaluations got no better"


def by_one_extractor(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether extractors of one name may have been the same one; older records don't say which it was."""
    return len({one.get("extractor_id"), other.get("extractor_id")} - {None, ""}) < 2


class Goal(NamedTuple):
    """By what checkpoints are compared.

    Attributes:
      figure: name of a figure of evaluations.
      higher: whether a larger one is better.
      extractor: name of what describes images; figures of another one can't be compared with these.
      extractor_id: which one of that name, such as which weights it has; empty if that isn't known.
    """

    figure: str = "frechet_distance"
    higher: bool = False
    extractor: str | None = None
    extractor_id: str = ""

    def told(self) -> str:
        """What it is called in messages."""
        known = f" ({self.extractor_id})" if self.extractor_id else ""
        return self.figure.replace("_", " ") + (
            f" with the extractor {self.extractor}{known}" if self.extractor else ""
        )

    def describes(self, judged: Mapping[str, Any]) -> bool:
        """Whether figures are by the same extractor, of which their record may not say which one of its name."""
        return judged.get("extractor") == self.extractor and by_one_extractor(self._asdict(), judged)

    def comparable(self, other: "Goal") -> bool:
        """Whether a value by another goal says something beside one by this."""
        return (self.figure, self.higher) == (other.figure, other.higher) and self.describes(other._asdict())

    def better(self, value: float, other: float | None) -> bool:
        """Whether a value is better than another one, of which there may be none yet."""
        return other is None or (value > other if self.higher else value < other)


USUAL_GOAL = Goal()


class Waiting(NamedTuple):
    """How long evaluations have got no better.

    Attributes:
      step: that of the best one; 0 if there is none.
      evaluations: how many came after it.
    """

    step: int
    evaluations: int

    def reason(self, goal: Goal) -> str:
        """What is said of it where it ends a training."""
        since = f"since step {self.step:,}"
        return f"{_REASON}{self.evaluations} evaluations without a better {goal.figure.replace('_', ' ')} {since}"


def waiting(records: Iterable[Mapping[str, Any]], goal: Goal, num_samples: int) -> Waiting:
    """Counts the evaluations since the best one.

    Args:
      records: those of `evaluations.jsonl`, in their order. Where the extractor or the number of samples changes, all
        begins anew; those without the figure don't count.
      goal: what counts.
      num_samples: number of samples now; it was the same where a record doesn't say it.
    """
    best: float | None = None
    found = Waiting(0, 0)
    for record in records:
        if not goal.describes(record) or record.get("num_samples", num_samples) != num_samples:
            best, found = None, Waiting(0, 0)
            continue
        value: Any = record.get(goal.figure)
        if type(value) not in (int, float) or not math.isfinite(value):
            continue
        if goal.better(value, best):
            best, found = value, Waiting(record["step"], 0)
        else:
            found = Waiting(found.step, found.evaluations + 1)
    return found


def ran_out(stopped_by: object) -> bool:
    """Whether a training ended for want of patience, which is a normal end; see `stopped_by` of `pipeline.Run`."""
    return type(stopped_by) is str and stopped_by.startswith(_REASON)
