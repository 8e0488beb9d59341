"""The configuration of a training run: the sum of every room's parameters, one field per flag.

Whoever needs parameters takes the part that they are in, which a `Config` is as well. This module imports nothing
but the standard library, so that flags can be checked before TensorFlow is loaded.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.base.parameters import UNDECIDED, Parameters
from pipeline.data.options import DataOptions
from pipeline.devices.options import DeviceOptions
from pipeline.evaluation.options import EvaluationOptions
from pipeline.networks.options import NetworkOptions
from pipeline.objectives.options import ObjectiveOptions
from pipeline.runs.options import RunOptions
from pipeline.training.options import TrainingOptions

PARTS: tuple[type[Parameters], ...] = (
    DataOptions,
    NetworkOptions,
    ObjectiveOptions,
    TrainingOptions,
    DeviceOptions,
    RunOptions,
    EvaluationOptions,
)


@dataclasses.dataclass(frozen=True)
class Config(
    EvaluationOptions, RunOptions, DeviceOptions, TrainingOptions, ObjectiveOptions, NetworkOptions, DataOptions
):
    """Everything that decides a training run. Field names are flag names."""

    def validate(self, objects: Mapping[str, Any] | None = None) -> None:
        """Refuses what can't work; as long as something is `auto`, its default is looked at with the rest.

        Args:
          objects: what was passed in place of names, by flag.

        Raises:
          MirageError: naming the flag, the value, what was expected.
        """
        self.check_ranges()
        plain = self.plain()
        values = {**plain.to_dict(), **(objects or {}), UNDECIDED: self.automatic()}
        for part in PARTS:
            part.check(plain, values)
