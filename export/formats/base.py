"""What an export format is. Imports no library but NumPy, so that the command line can name all formats at once."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.source import Generate, Source
from serving.contract.manifest import ModelInfo

# Of seeds, labels or attributes, and truncation; pixels uint8.
Sample = Callable[[NDArray[np.int64], NDArray, float], NDArray[np.uint8]]


@dataclasses.dataclass(frozen=True)
class Reader:
    """A format's files, loaded again from the disk.

    Attributes:
      name: what reads them, with its version.
      generate: computes images of latents, and labels or attributes.
      sample: computes pixels of seeds, labels or attributes, and truncation; None where the format has no sampler, or
        not for this reader.
      max_batch: largest batch that it is worth giving to it; None if any.
    """

    name: str
    generate: Generate
    sample: Sample | None = None
    max_batch: int | None = None


@dataclasses.dataclass
class Work:
    """An export under way: what its formats share.

    Attributes:
      source: what is exported, above all its `model` and `info`.
      layout: which form ONNX graphs take, see `export.rewrites.layouts.choose`.
      num_samples: number of images by which a format is judged that is not exact.
      sections: what the manifest will say, by name: `scores`, `parity`, and what the formats written so far returned.
      kept: what a format keeps in memory for those that need it, by its name.
    """

    source: Source
    layout: str
    num_samples: int
    sections: dict[str, Any]
    kept: dict[str, Any] = dataclasses.field(default_factory=dict)


class Format:
    """What a generator can be exported as.

    To add one, write one file with a class like this, and one line: `export.formats.FORMATS["mine"] =
    "my_package.my_formats:Mine"`; or pass the object to `export_bundle`, or its import path to `--formats`. Modules of
    formats are imported for `--help` too, so import large libraries where they are used.

    Attributes:
      name: an identifier, for `--formats` and for keys of the manifest.
      help: a clause for the help of `--formats`.
      needs: names of formats that must be exported too; they are written, and through the parity gate, before.
      title: what progress lines and the model card call it; the name, if it is left out.
      traced: whether it is made of the generator in TensorFlow, `source.model`, which some sources lack.
      served: whether it is what the edge runs: of it manifest and model card speak first, and say if it is missing.
    """

    name: str
    help: str
    needs: Sequence[str] = ()
    title: str = ""
    traced: bool = False
    served: bool = False

    def write(self, folder: Path, work: Work) -> Mapping[str, Any] | None:
        """Writes the format's files.

        Args:
          folder: the bundle, with the files of the formats that it needs.
          work: what is exported, and what is known of it by now.

        Returns:
          What the manifest shall say of it, in JSON's types; `models` in it are the signatures of files, which the
          model card shows. None if there is nothing to say.

        Raises:
          MirageError: if it can't be written; then there is no bundle.
        """
        raise NotImplementedError

    def readers(self, folder: Path, info: ModelInfo) -> Iterable[Reader]:
        """Loads what was written, as its users will, for the parity gate.

        Args:
          folder: the bundle.
          info: the generator's description.

        Returns:
          What the gate compares with the trained network; nothing, for what is a copy of another format or has a gate
          of its own.
        """
        return ()

    def notes(self, info: ModelInfo) -> Sequence[str]:
        """Returns what the model card says of the format, in sentences."""
        return ()

    def chapter(self, section: Mapping[str, Any]) -> str:
        """Returns a chapter of the model card, in Markdown, of what `write` returned."""
        return ""


def label_feed(label: NDArray, info: ModelInfo) -> dict[str, NDArray]:
    """The input `label` or `attributes`, if the generator takes it."""
    return {info.condition: label} if info.condition else {}


def truncation_feed(truncation: float) -> dict[str, NDArray]:
    """The input `truncation`, which may be left out where it is 1."""
    return {} if truncation == 1 else {"truncation": np.array(truncation, np.float32)}
