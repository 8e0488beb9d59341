"""The ONNX files: for any plain CPU, a browser, a phone; without TensorFlow."""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import Format, Reader, Work, label_feed, truncation_feed
from export.source import version
from serving.contract.latents import latents
from serving.contract.manifest import GENERATOR_FILE, PART_FILES, SAMPLER_FILE, ModelInfo
from serving.contract.pixels import to_pixels
from serving.runtime import ort

_SLOW_BATCH = 2  # of the reference implementation, which takes up to a second for a picture
_LARGE = 5 * 10**8  # multiplications, of which it takes some seconds, so that it gets but one picture


class OnnxFiles(Format):
    """`generator.onnx`, of latents, and `sampler.onnx`, of seeds. Keeps all forms of the generator."""

    name = "onnx"
    help = "two ONNX files for any plain CPU"
    title = "ONNX file"
    served = True

    def write(self, folder: Path, work: Work) -> Mapping[str, Any]:
        """See `export.onnx_export.write_onnx_files`."""
        from export.onnx_export import write_onnx_files

        section, work.kept[self.name] = write_onnx_files(folder, work.source, work.layout)
        return section

    def readers(self, folder: Path, info: ModelInfo) -> Iterator[Reader]:
        """See `onnx_readers`."""
        return onnx_readers(folder, info)

    def notes(self, info: ModelInfo) -> Sequence[str]:
        """Where a seed means what."""
        return (
            "In `sampler.onnx` the same seed, and label or attributes, give the same picture in every runtime "
            "that computes integers of 64 bits, as onnxruntime does on CPUs, in Node.js and in browsers. OpenVINO cuts "
            "them to 32: there all pictures of `sampler.onnx` are black; use `generator.onnx`, with latents from "
            "`serving.contract.latents`.",
        )


def onnx_readers(folder: Path, info: ModelInfo) -> Iterator[Reader]:
    """The ONNX files in onnxruntime, in ONNX's reference implementation and, if it is installed, in OpenVINO."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    from export.rewrites.layouts import session_of
    from export.rewrites.work import multiplications

    generator, sampler = (onnx.load(folder / name) for name in (GENERATOR_FILE, SAMPLER_FILE))
    name = f"onnxruntime {ort.__version__}"
    yield _onnx_reader(name, info, session_of(generator).run, session_of(sampler).run, None)
    if info.styles:
        yield _parts_reader(name, info, *(session_of(onnx.load(folder / part)).run for part in PART_FILES))
    name = f"onnx.reference {onnx.__version__}"
    slow = _onnx_reader(name, info, ReferenceEvaluator(generator).run, ReferenceEvaluator(sampler).run, _SLOW_BATCH)
    yield dataclasses.replace(slow, sample=None, max_batch=1) if multiplications(generator) > _LARGE else slow
    # Not by looking for a module: any folder of that name would be one.
    if number := version("openvino"):
        run = openvino_function(folder / GENERATOR_FILE)
        # Not the sampler, see there.
        yield Reader(f"openvino {number}", lambda z, label: run({"z": z, **label_feed(label, info)}))


def _onnx_reader(name: str, info: ModelInfo, generator: Any, sampler: Any, max_batch: int | None) -> Reader:
    def generate(z: NDArray, label: NDArray) -> NDArray:
        return generator(["image"], {"z": z, **label_feed(label, info)})[0]

    def sample(seed: NDArray, label: NDArray, truncation: float) -> NDArray:
        return sampler(["pixels"], {"seed": seed, **label_feed(label, info), **truncation_feed(truncation)})[0]

    return Reader(name, generate, sample, max_batch)


def _parts_reader(name: str, info: ModelInfo, mapping: Any, synthesis: Any) -> Reader:
    """The parts of a generator with styles, one after the other."""

    def generate(z: NDArray, label: NDArray, truncation: float = 1) -> NDArray:
        psi = {} if truncation == 1 else {"truncation": np.full(len(z), truncation, np.float32)}
        (w,) = mapping(["w"], {"z": z, **label_feed(label, info), **psi})
        return synthesis(["image"], {"w": w})[0]

    def sample(seed: NDArray, label: NDArray, truncation: float) -> NDArray:
        z = latents(seed, info.latent_dim, info.latent_distribution)
        return to_pixels(generate(z, label, truncation), info.alpha)

    return Reader(f"{name} ({' and '.join(PART_FILES)})", generate, sample)


def openvino_function(path: Path) -> Callable[[dict[str, NDArray]], NDArray]:
    """An ONNX file in OpenVINO, on the CPU, as a function of its inputs by name."""
    # Its import reports itself to its makers, unless their package for that is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # Otherwise it computes in bfloat16 where the CPU can.
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda values: compiled(values)[0]
