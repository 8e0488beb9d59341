"""What a training writes, and when. Needs only the standard library."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters, parameter


@dataclasses.dataclass(frozen=True)
class RunOptions(Parameters):
    """What a training writes, and when. Field names are flag names."""

    run_dir: str = parameter(
        "runs/default",
        "folder that the run writes; a run that is there already is continued.",
        may_change=True,
        may_differ=True,
    )
    log_every: int = parameter(100, "steps between two log lines.", minimum=1, may_change=True)
    preview_every: int = parameter(500, "steps between two preview pictures.", minimum=1, may_change=True)
    checkpoint_every: int = parameter(1000, "steps between two checkpoints.", minimum=1, may_change=True)
    keep_checkpoints: int = parameter(
        3, "number of newest checkpoints to keep.", minimum=1, may_change=True, may_differ=True
    )
    profile_steps: str = parameter(
        "",
        "A:B records steps A to B for TensorBoard's profiler; empty records none.",
        may_change=True,
    )

    def profile_range(self) -> tuple[int, int] | None:
        """Returns (A, B) of `--profile_steps=A:B`, or None.

        Raises:
          MirageError: if it is no such range.
        """
        if not self.profile_steps:
            return None
        first, colon, last = self.profile_steps.partition(":")
        if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
            raise MirageError(
                f"--profile_steps={self.profile_steps} is no range; expected two step numbers, as in 100:120."
            )
        return int(first), int(last)

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        if not self.run_dir:
            raise MirageError("--run_dir= is empty; name the folder that the run may write.")
        self.profile_range()
