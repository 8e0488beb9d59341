"""What networks, checkpoints and bundles need to know of a data set. Needs only the standard library."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from serving.contract.attributes import Attribute, attributes_of

_STACKED, _PLACES = "stacked:", ("array:", "folder:", "prepared:")


def is_place(dataset: str) -> bool:
    """Whether a value of `--dataset` names a folder or a file, wherever that is; stacked ones, too."""
    return dataset.removeprefix(_STACKED).startswith(_PLACES)


def without_path(dataset: str) -> str:
    """A value of `--dataset` with the name alone where it names a folder or a file."""
    if not is_place(dataset):
        return dataset
    kind, _, path = dataset.removeprefix(_STACKED).partition(":")
    return f"{_STACKED if dataset.startswith(_STACKED) else ''}{kind}:{PurePath(path).name}"


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """What networks, checkpoints and bundles need to know of a data set.

    Attributes:
      name: the data set's name, as in `--dataset`.
      version: its version, or empty where there is none.
      image_shape: (height, width, channels), channels 1, 3, or 4 with alpha.
      class_names: one name per label, in label order; empty if the data has no labels, or several of each picture.
      num_examples: number of training images.
      fingerprint: what the images are by their content, see `pipeline.data.fingerprint`; empty where it isn't
        known. It is no part of the description, which it doesn't distinguish: `difference_from` looks at it.
      attributes: where each picture has several labels, or numbers, what they are, in order; labels are then float32
        [N, len(attributes)], in the unit in which they were given.
    """

    name: str
    version: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    num_examples: int
    fingerprint: str = dataclasses.field(default="", compare=False)
    attributes: tuple[Attribute, ...] = ()

    @property
    def num_labels(self) -> int:
        """How many numbers tell a network what a picture is of: classes, or attributes; 0 without labels."""
        return len(self.class_names or self.attributes)

    @property
    def told_labels(self) -> str:
        """What labels are, as the end of a sentence: such as ", 10 classes"; empty without."""
        if self.attributes:
            return f", {len(self.attributes)} attribute{'s' * (len(self.attributes) > 1)}"
        return f", {len(self.class_names):,} classes" if self.class_names else ""

    @property
    def num_bytes(self) -> int:
        """Size of all images as uint8."""
        return self.num_examples * math.prod(self.image_shape)

    def difference_from(self, earlier: "DataSpec") -> str:
        """Says in what these data are others than `earlier`.

        Where both are known by their content, their names don't count.

        Returns:
          Such as "11 images instead of 12"; empty if they are the same.
        """
        if self.version != earlier.version:
            return f"version {self.version!r} instead of {earlier.version!r}"
        if self.image_shape != earlier.image_shape:
            now, then = ("x".join(map(str, shape)) for shape in (self.image_shape, earlier.image_shape))
            return f"images of {now} instead of {then}"
        if self.num_examples != earlier.num_examples:
            return f"{self.num_examples:,} images instead of {earlier.num_examples:,}"
        if self.class_names != earlier.class_names:
            if sorted(self.class_names) == sorted(earlier.class_names):
                return "the classes in another order"
            now, then = (
                f"{len(names):,} classes" if names else "no classes"
                for names in (self.class_names, earlier.class_names)
            )
            return f"{now} instead of {then}" if now != then else "other names of classes"
        if [each.name for each in self.attributes] != [each.name for each in earlier.attributes]:
            now, then = (", ".join(each.name for each in data.attributes) or "none" for data in (self, earlier))
            return f"the attributes {now} instead of {then}"
        if self.attributes != earlier.attributes:
            return "other values of the attributes"
        if self.fingerprint and earlier.fingerprint:
            return (
                "" if self.fingerprint == earlier.fingerprint else "other content of the pictures, or other file names"
            )
        return "" if self.name == earlier.name else f"the name {self.name} instead of {earlier.name}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types."""
        fields = {
            **dataclasses.asdict(self),
            "image_shape": list(self.image_shape),
            "class_names": list(self.class_names),
            "attributes": [each.to_dict() for each in self.attributes],
        }
        # What most data haven't is left out, as it was before there was such a thing.
        left_out = {name for name in ("fingerprint", "attributes") if not fields[name]}
        return {name: value for name, value in fields.items() if name not in left_out}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DataSpec":
        """Inverse of `to_dict`.

        Raises:
          KeyError, TypeError, ValueError: if the values are no description of data, as after a hand edit.
        """
        data = cls(
            **{
                **values,
                "image_shape": tuple(values["image_shape"]),
                "class_names": tuple(values["class_names"]),
                "attributes": attributes_of(values.get("attributes", [])),
            }
        )
        sizes = (*data.image_shape, data.num_examples)
        if len(data.image_shape) != 3 or not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError(f"images of shape {list(data.image_shape)}, {data.num_examples} in number")
        if not isinstance(values["class_names"], list) or not all(isinstance(name, str) for name in data.class_names):
            raise ValueError("its class names are no list of names")
        if not all(isinstance(text, str) for text in (data.name, data.version, data.fingerprint)):
            raise ValueError("its name, version or fingerprint is no text")
        return data
