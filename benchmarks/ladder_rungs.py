"""The rungs of the ladder: its presets, each of which says what is trained, and by its name for how long and where."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file

ROOT = Path(__file__).parent.parent
PRESETS = ROOT / "configs" / "ladder"
_NAME = re.compile(r"(?P<data>[a-z0-9]+)-(?P<size>\d+)-(?P<minutes>\d+)(?P<gpu>-gpu)?(?:-(?P<networks>[a-z0-9]+))?")
# After a cosine of this many times the training, the rate is a tenth of what it began with: with less of it, pictures
# come closer to the training images, but no closer to others.
_DECAY = 1.25


@dataclasses.dataclass(frozen=True, order=True)
class Rung:
    """A preset with a budget.

    Attributes:
      data: such as "cifar10".
      size: side of the pictures in pixels.
      gpu: whether it is for one GPU; otherwise for two CPU cores.
      minutes: the budget.
      networks: what its name says of them where several kinds stand beside one another, else empty.
      preset: the file with its flags.
    """

    data: str
    size: int
    gpu: bool
    minutes: int
    networks: str
    preset: Path

    @property
    def name(self) -> str:
        """Its preset's name."""
        return self.preset.stem

    @property
    def place(self) -> str:
        """What is trained: data and size, such as "cifar10-32"."""
        return f"{self.data}-{self.size}"

    def flags(self) -> list[str]:
        """Returns the preset's flags, without its comments."""
        lines = self.preset.read_text(encoding="utf-8").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def version(self, dataset: str) -> str:
        """Returns a short name for what is trained: another one once a flag or the data have changed.

        Args:
          dataset: what takes the place of the preset's own; empty for that.
        """
        return hashlib.sha256(json.dumps([*self.flags(), dataset]).encode()).hexdigest()[:8]

    def write_steps(self, steps: int, images_per_step: int) -> None:
        """Changes the length of the preset, and the decay of its rate along with it.

        Args:
          steps: the length.
          images_per_step: of real images.
        """
        text = self.preset.read_text(encoding="utf-8")
        images = steps * images_per_step
        # A rate with other schedules ends as they do, and a constant one stays that.
        scheduled, constant = "\n--schedule_images=" in text, "\n--lr_decay_images=0\n" in text
        decay = images if scheduled else 0 if constant else round(_DECAY * images)
        lines = {"steps": steps, "lr_decay_images": decay} | ({"schedule_images": images} if scheduled else {})
        for flag, value in lines.items():
            text, count = re.subn(rf"^--{flag}=.*$", f"--{flag}={value}", text, flags=re.MULTILINE)
            if count != 1:
                raise MirageError(f"{self.preset} has {count} lines with --{flag}=; expected one.")
        write_file(self.preset, text.encode())


def read_rungs(presets: Path = PRESETS) -> list[Rung]:
    """Finds all rungs.

    Args:
      presets: folder of the presets, DATA-SIZE-MINUTES.flags, or DATA-SIZE-MINUTES-gpu.flags, or with -NETWORKS
        behind that.

    Raises:
      MirageError: for a preset with another name.
    """
    found = []
    for path in presets.glob("*.flags"):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise MirageError(f"{path} is no rung; expected a name like cifar10-32-15.flags or cifar10-32-5-gpu.flags.")
        data, size, gpu, minutes, networks = match.group("data", "size", "gpu", "minutes", "networks")
        found.append(Rung(data, int(size), bool(gpu), int(minutes), networks or "", path))
    return sorted(found)


def choose(rungs: Sequence[Rung], only: Sequence[str]) -> list[Rung]:
    """Chooses rungs.

    Args:
      rungs: those that there are.
      only: DATA-SIZE, DATA-SIZE:MINUTES, or a preset's name; none chooses all.

    Raises:
      MirageError: if one of them chooses nothing.
    """
    chosen: set[Rung] = set()
    for each in only:
        matching = {rung for rung in rungs if each in (rung.place, f"{rung.place}:{rung.minutes}", rung.name)}
        if not matching:
            known = ", ".join(f"{rung.place}:{rung.minutes}" for rung in rungs)
            raise MirageError(f"--only={each} is no rung of this device; choose from {known}.")
        chosen |= matching
    return [rung for rung in rungs if not only or rung in chosen]
