"""What networks, checkpoints and bundles need to know of a data set. Needs only the standard library."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """What networks, checkpoints and bundles need to know of a data set.

    Attributes:
      name: the data set's name, as in `--dataset`.
      version: its version, or empty where there is none.
      image_shape: (height, width, channels), channels 1 or 3.
      class_names: one name per label, in label order; empty if the data has no labels.
      num_examples: number of training images.
    """

    name: str
    version: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    num_examples: int

    @property
    def num_bytes(self) -> int:
        """Size of all images as uint8."""
        return self.num_examples * math.prod(self.image_shape)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types."""
        return {
            **dataclasses.asdict(self),
            "image_shape": list(self.image_shape),
            "class_names": list(self.class_names),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DataSpec":
        """Inverse of `to_dict`."""
        return cls(
            **{**values, "image_shape": tuple(values["image_shape"]), "class_names": tuple(values["class_names"])}
        )
