"""What is exported: a generator, and what is known of it. Imports no library but NumPy."""

import abc
import importlib.metadata
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.contract.manifest import ModelInfo

if TYPE_CHECKING:
    import onnx

# Of latents, and labels int64 [N] or attributes float32 [N, number of them], to images and to pixels.
Generate = Callable[[NDArray[np.float32], NDArray], NDArray[np.float32]]
# The same at a truncation ψ, of generators with styles.
Truncated = Callable[[NDArray[np.float32], NDArray, float], NDArray[np.float32]]
Draw = Callable[[NDArray[np.float32], NDArray], NDArray[np.uint8]]


# What pictures are called, by their number of channels.
COLOURS = {1: "grey", 3: "RGB", 4: "RGBA"}


class Reference(NamedTuple):
    """A generator as its own framework computes it, by which exports are judged.

    Attributes:
      generate: computes images in [-1, 1] of latents, and labels or attributes.
      framework: what it is called in messages and on the card.
      tolerance: how far images may be from it; pixels must be the same nevertheless, see `export.closeness`.
      truncated: of a generator with styles, computes images at a truncation; None of others, whose latents are
        multiplied by it.
    """

    generate: Generate
    framework: str = "Keras"
    tolerance: float = 1e-5
    truncated: Truncated | None = None


class Verdict(NamedTuple):
    """What came of comparing a quantised generator with the float32 one.

    Attributes:
      scores: for "float32" and "int8", figures by name.
      failed: a clause for each condition that does not hold.
      thresholds: by figure, how small it may be, "least", or how large, "most".
      note: a clause that says what it could not be judged by, and why; empty if all was as it should be.
    """

    scores: dict[str, dict[str, Any]]
    failed: Sequence[str]
    thresholds: Mapping[str, Mapping[str, float]]
    note: str = ""


# Of the pictures of the float32 and of the int8 generator.
Gate = Callable[[Draw, Draw], Verdict]


class Source(abc.ABC):
    """A generator that can be exported, wherever it comes from.

    Attributes:
      model: the generator in TensorFlow: called with `z` float32 [N, latent_dim], or with a list of that and `label`
        int32 [N] or `attributes` float32 [N, number of them], and `training=False`, it returns float32 [N, H, W, C] in
        [-1, 1]; it has `variables`. None for a generator that TensorFlow can't compute.
    """

    model: Any

    @property
    @abc.abstractmethod
    def info(self) -> ModelInfo:
        """What a program needs to know of the generator."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What its pictures are of."""

    @property
    @abc.abstractmethod
    def scores(self) -> Mapping[str, Any]:
        """How good it is known to be; empty if nothing is known."""

    @abc.abstractmethod
    def reference(self) -> Reference:
        """The generator as its own framework computes it."""

    @abc.abstractmethod
    def graph(self) -> "onnx.ModelProto":
        """The generator as a plain ONNX graph, see `export.conversion.convert`."""

    def parts(self) -> "Mapping[str, onnx.ModelProto]":
        """Of a generator with styles, its mapping and its synthesis as plain ONNX graphs, by name; else nothing."""
        return {}

    @abc.abstractmethod
    def facts(self) -> dict[str, str]:
        """What an ONNX file's metadata say of its origin; `producer` and `dataset` among them."""

    @abc.abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What the manifest says of its origin."""

    @abc.abstractmethod
    def card(self) -> Mapping[str, str]:
        """What the model card says of its origin: rows of its first table, text by name."""

    @abc.abstractmethod
    def judged_by(self, dataset: Any) -> "Source":
        """The same, with another place of the data that quantised generators are judged by, as for `--dataset`."""

    @abc.abstractmethod
    def int8_gate(self, num_samples: int) -> Gate:
        """Prepares to judge a quantised generator by some number of pictures."""


def producer() -> str:
    """Name and version of this program."""
    return f"mirage-gan {version('mirage-gan') or '0.1.0'}"


def version(package: str) -> str | None:
    """Version of an installed package."""
    # TensorFlow comes under several distribution names.
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def code_revision() -> str | None:
    """The commit of the checkout of Mirage that this code runs from, if it does."""
    root = Path(__file__).parent.parent
    try:
        # Without these, an installation inside somebody else's repository would claim that one's commit.
        if not (root / ".git").exists() or "name = mirage-gan" not in (root / "setup.cfg").read_text(encoding="utf-8"):
            return None
        command = ["git", f"--git-dir={root / '.git'}", "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
