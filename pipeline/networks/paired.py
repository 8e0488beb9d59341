"""A generator of one architecture against a discriminator of another. Needs only the standard library."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Paired:
    """Stands where an architecture does.

    Attributes:
      model: builds all networks but the discriminator.
      discriminator: builds that.
    """

    model: Any
    discriminator: Any
