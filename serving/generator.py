"""The edge runtime: an exported generator in onnxruntime."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.latents import latents
from serving.manifest import (
    CHUNK_KEY,
    GENERATOR_FILE,
    INT8_FILE,
    METADATA_KEY,
    BundleError,
    ModelInfo,
    parse_chunk,
    parse_model_info,
    read_manifest,
    verify_file,
)
from serving.onnx_file import check_onnx_file
from serving.runtime import ort

Labels = int | str | Sequence[int] | Sequence[str] | NDArray[np.integer] | None

# Larger batches are cut: convolutions gain nothing from them, and fresh large buffers cost more than the arithmetic.
# A file may say otherwise, as fully connected ones do, which would read all their weights again for each part.
_CHUNK = 16
GENERATOR_FILES = {"float32": GENERATOR_FILE, "int8": INT8_FILE}


class Generator:
    """Makes images from seeds or latents, on the CPU.

    The same seed and label give the same picture, whatever else is in the batch: to the last bit on
    the x86-64 CPUs that were tested, with 1 to 8 threads; onnxruntime itself promises no more than
    float rounding, which can move a pixel by one level on another kind of CPU. An instance may be
    used from several threads at once.

    Attributes:
      info: latent size, image shape and classes.
    """

    def __init__(self, session: ort.InferenceSession, info: ModelInfo, chunk: int = _CHUNK) -> None:
        """Wraps a session; use `Generator.load`."""
        self.info = info
        self._session = session
        self._chunk = chunk

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int | None = None, precision: str = "float32") -> Self:
        """Loads a generator.

        Args:
          path: a bundle's folder, whose checksum is verified, or a single `.onnx` file of Mirage's.
          threads: CPU threads per call; by default all CPUs that this process may use.
          precision: of a bundle, which of its generators: "float32", or "int8" where the export found it good.

        Returns:
          The generator.

        Raises:
          BundleError: if there is no usable generator at `path`.
          ValueError: if `threads` is less than 1, or the precision is another.
        """
        if precision not in GENERATOR_FILES:
            raise ValueError(f"precision is {precision!r}; expected one of {', '.join(GENERATOR_FILES)}.")
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; expected at least 1, or None for all CPUs.")
        path = Path(path)
        expected = None
        if path.suffix != ".onnx":
            manifest = read_manifest(path)
            expected = manifest.model
            path = verify_file(path, manifest, GENERATOR_FILES[precision])
        session = open_session(path, threads or available_cpus())
        metadata = session.get_modelmeta().custom_metadata_map
        text = metadata.get(METADATA_KEY)
        if text is None:
            raise BundleError(f"{path} has no metadata {METADATA_KEY!r}; it was not written by `python -m export`.")
        try:
            info = parse_model_info(text)
            chunk = parse_chunk(metadata.get(CHUNK_KEY, str(_CHUNK)))
            _check_signature(session, info)
        except BundleError as error:
            raise BundleError(f"{path} can't be used: {error}") from None
        if expected is not None and info != expected:
            raise BundleError(f"{path} and its manifest describe different models; export the bundle again.")
        return cls(session, info, chunk)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images."""
        return self.info.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in label order; empty if the generator is unconditional."""
        return self.info.class_names

    @property
    def latent_dim(self) -> int:
        """Number of components of a latent."""
        return self.info.latent_dim

    @property
    def chunk(self) -> int:
        """Largest batch that is worth running at once; `sample` and `decode` cut what exceeds it."""
        return self._chunk

    def sample(self, n: int, seed: int = 0, labels: Labels = None, *, truncation: float = 1.0) -> NDArray[np.uint8]:
        """Makes `n` images; image i has the seed `seed + i`.

        Args:
          n: number of images, 0 or more.
          seed: seed of the first image, an int64.
          labels: for a conditional generator: one label or class name for all images, or one for each;
            None takes the classes in turn, image i being of class i modulo the number of classes.
          truncation: factor of the latents; less than 1 makes pictures more usual and more alike.

        Returns:
          uint8 [n, H, W, C].

        Raises:
          ValueError: for n, seed, labels or a truncation that don't fit.
        """
        if n < 0:
            raise ValueError(f"n is {n}; expected 0 or more.")
        if not -(2**63) <= seed <= 2**63 - max(n, 1):
            raise ValueError(f"seed {seed} with n = {n} leaves the range of int64; choose a smaller one.")
        seeds = np.int64(seed) + np.arange(n, dtype=np.int64)
        if not np.isfinite(truncation):
            raise ValueError(f"truncation is {truncation}; expected a finite number.")
        z = latents(seeds, self.latent_dim)
        if truncation != 1:
            z *= np.float32(truncation)
        return self._run(z, self.check_labels(labels, n))

    def decode(self, z: ArrayLike, labels: Labels = None) -> NDArray[np.uint8]:
        """Makes an image of each latent.

        Args:
          z: [n, latent_dim], converted to float32.
          labels: as for `sample`.

        Returns:
          uint8 [n, H, W, C].

        Raises:
          ValueError: for latents of another shape or not finite, or labels that don't fit.
        """
        array = np.asarray(z, np.float32)
        if array.ndim != 2 or array.shape[1] != self.latent_dim:
            raise ValueError(f"z has the shape {list(array.shape)}; expected [n, {self.latent_dim}].")
        if not np.isfinite(array).all():
            raise ValueError("z has values that are NaN or infinite; expected finite numbers.")
        return self._run(array, self.check_labels(labels, len(array)))

    def interpolate(self, first: int, last: int, n: int, labels: Labels = None) -> NDArray[np.uint8]:
        """Walks from one seed's image to another's.

        The latents lie on the great arc between the two (White 2016, arXiv 1609.04468), because the
        straight line passes through latents shorter than almost all that the generator was trained on.

        Args:
          first: seed of the first image.
          last: seed of the last image.
          n: number of images, both ends included; at least 2.
          labels: as for `sample`, but None means class 0 throughout.

        Returns:
          uint8 [n, H, W, C].

        Raises:
          ValueError: for n below 2, or labels that don't fit.
        """
        if n < 2:
            raise ValueError(f"n is {n}; expected at least 2, the two ends.")
        ends = latents([first, last], self.latent_dim)
        labels = 0 if labels is None and self.info.conditional else labels
        return self._run(slerp(ends[0], ends[1], np.linspace(0, 1, n)), self.check_labels(labels, n))

    def images(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Runs the network once, on a batch as it is: for programs that form batches themselves.

        Args:
          z: float32 [n, latent_dim], finite.
          labels: int64 [n], each that of a class, as `check_labels` returns them; None if unconditional.

        Returns:
          float32 [n, H, W, C] in [-1, 1]; `to_pixels` makes uint8 of them.
        """
        feeds = {"z": z} if labels is None else {"z": z, "label": labels}
        (images,) = self._session.run(["image"], feeds)
        return images

    def check_labels(self, labels: Labels, n: int) -> NDArray[np.int64] | None:
        """Makes an array of labels from what `sample` takes.

        Args:
          labels: as for `sample`.
          n: number of images.

        Returns:
          int64 [n], or None if the generator is unconditional.

        Raises:
          ValueError: for labels that don't fit.
        """
        names = self.class_names
        if not self.info.conditional:
            if labels is not None:
                raise ValueError("labels were passed, but this generator is unconditional; leave them out.")
            return None
        if labels is None:
            return np.arange(n, dtype=np.int64) % len(names)
        if isinstance(labels, (int, np.integer, str)):
            return np.full(n, self._label(labels), np.int64)
        if len(labels) != n:
            raise ValueError(f"{len(labels)} labels were passed for {n} images; expected one, or one for each.")
        if n and isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.ndim == 1:
            for wrong in labels[(labels < 0) | (labels >= len(names))]:
                self._label(wrong)
            return labels.astype(np.int64, copy=False)
        return np.array([self._label(label) for label in labels], np.int64)

    def _label(self, label: object) -> int:
        names = self.class_names
        if isinstance(label, str) and label in names:
            return names.index(label)
        if isinstance(label, (int, np.integer)) and not isinstance(label, bool) and 0 <= label < len(names):
            return int(label)
        raise ValueError(f"label {label!r} is unknown; expected 0 to {len(names) - 1}, or a name such as {names[0]!r}.")

    def _run(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        pixels = np.empty((len(z), *self.image_shape), np.uint8)
        for start in range(0, len(z), self._chunk):
            part = slice(start, start + self._chunk)
            pixels[part] = to_pixels(self.images(z[part], None if labels is None else labels[part]))
        return pixels


def to_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Converts images in [-1, 1] to uint8 0..255, rounding half to even and clipping."""
    scaled = images + np.float32(1)
    scaled *= np.float32(127.5)
    np.maximum(scaled, 0, out=scaled)
    np.minimum(scaled, 255, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def slerp(a: NDArray[np.float32], b: NDArray[np.float32], t: NDArray[np.float64]) -> NDArray[np.float32]:
    """Spherical linear interpolation (Shoemake 1985).

    Args:
      a: [d], the vector at t = 0.
      b: [d], the vector at t = 1.
      t: [n], in [0, 1].

    Returns:
      float32 [n, d]; where the two vectors are parallel, the straight line.
    """
    start, end = a.astype(np.float64), b.astype(np.float64)
    cosine = start @ end / max(float(np.linalg.norm(start) * np.linalg.norm(end)), np.finfo(np.float64).tiny)
    angle = np.arccos(np.clip(cosine, -1, 1))
    t = t[:, None]
    if np.sin(angle) < 1e-6:
        return ((1 - t) * start + t * end).astype(np.float32)
    return ((np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / np.sin(angle)).astype(np.float32)


def available_cpus() -> int:
    """Returns the number of CPUs that this process may use."""
    # Not os.cpu_count(): containers and batch systems give a process fewer.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """Loads a sealed model into onnxruntime, on the CPU.

    Args:
      path: the file.
      threads: CPU threads per call.

    Raises:
      BundleError: if it can't be read, is refused by `check_onnx_file`, or is no model that onnxruntime can run.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, there is no need to print them too
    # Otherwise threads burn CPU for about a second after each call.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not path.is_file():
        raise BundleError(f"there is no file {path}; pass a bundle's folder or its {GENERATOR_FILE}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} can't be read ({error.strerror}); export the bundle again.") from None
    try:
        check_onnx_file(data)
    except BundleError as error:
        raise BundleError(f"{path} can't be used: {error}") from None
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no better base class
        line = str(error).strip().splitlines()[0][:200]
        raise BundleError(f"{path} is no model that onnxruntime can run ({line}); export the bundle again.") from None


def _check_signature(session: ort.InferenceSession, info: ModelInfo) -> None:
    expected: dict[str, tuple[str, tuple[int, ...]]] = {"z": ("tensor(float)", (info.latent_dim,))}
    if info.conditional:
        expected["label"] = ("tensor(int64)", ())
    actual = {node.name: (node.type, tuple(node.shape[1:])) for node in session.get_inputs()}
    if actual != expected:
        raise BundleError(f"its inputs are {actual}; expected {expected}, each with a batch axis in front.")
    outputs = {node.name: (node.type, tuple(node.shape[1:])) for node in session.get_outputs()}
    if outputs != {"image": ("tensor(float)", info.image_shape)}:
        raise BundleError(f"its outputs are {outputs}; expected only image, float32 [N, *{info.image_shape}].")
    if any(isinstance(node.shape[0], int) for node in [*session.get_inputs(), *session.get_outputs()]):
        raise BundleError("its batch axis is fixed; expected a symbolic one.")
