"""Checks a bundle on this machine: checksums, files, golden vectors, speed. Needs no TensorFlow.

  python -m export.verify bundles/digits

Ends with 0 if all is well and with 1 if anything is not.
"""

import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app

from export.closeness import closeness
from export.timing import in_turn, timed
from serving.generator import Generator, open_session
from serving.latents import latents
from serving.manifest import (
    GENERATOR_FILE,
    GOLDEN_FILE,
    INT8_FILE,
    SAMPLER_FILE,
    BundleError,
    Manifest,
    read_manifest,
    verify_file,
)
from serving.runtime import ort

_BATCH_SIZES = (1, 16, 64)
_ROUNDS = 15


def verify(bundle: Path) -> Iterator[tuple[str, str]]:
    """Checks a bundle.

    Args:
      bundle: its folder.

    Yields:
      (what was checked, what came out), for each check that passes.

    Raises:
      BundleError: at the first one that does not.
    """
    manifest = read_manifest(bundle)
    yield "manifest", f"{manifest.producer}, {len(manifest.files)} files"
    for name in manifest.files:
        verify_file(bundle, manifest, name)
    yield "checksums", "all as in the manifest"
    if GENERATOR_FILE not in manifest.files:
        return
    generator = Generator.load(bundle)
    yield GENERATOR_FILE, _signature(generator)
    golden = _read_golden(verify_file(bundle, manifest, GOLDEN_FILE))
    if not np.array_equal(latents(golden["seed"], generator.latent_dim), golden["z"]):
        raise BundleError("the latents of the golden seeds are others on this machine; report this with its CPU.")
    yield "latents of golden seeds", "identical"
    labels = golden["label"] if generator.info.conditional else None
    yield "pictures of golden latents", _compare(generator.decode(golden["z"], labels), golden["pixels"])
    sampler = open_session(verify_file(bundle, manifest, SAMPLER_FILE), 1)
    feeds = {"seed": golden["seed"], **({} if labels is None else {"label": labels})}
    yield f"pictures of {SAMPLER_FILE}", _compare(sampler.run(["pixels"], feeds)[0], golden["pixels"])
    yield from _times(bundle, manifest, generator)


def _read_golden(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _signature(generator: Generator) -> str:
    height, width, channels = generator.image_shape
    classes = f"{len(generator.class_names)} classes" if generator.info.conditional else "no classes"
    return f"latent of {generator.latent_dim}, {classes}, {height}x{width}x{channels} pixels"


def _compare(actual: np.ndarray, expected: np.ndarray) -> str:
    apart = closeness(actual, expected)
    if not apart.same:
        raise BundleError(f"pictures differ from the trained network's {apart}.")
    return "identical" if apart.share == 0 else f"one level apart in {apart.share:.4%} of pixels"


def _times(bundle: Path, manifest: Manifest, generator: Generator) -> Iterator[tuple[str, str]]:
    """Milliseconds per picture, of the float32 and, if there is one, the int8 file, on all CPUs."""
    sides = {"float32": generator}
    if INT8_FILE in manifest.files:
        sides["int8"] = Generator.load(bundle, precision="int8")
    for batch_size in _BATCH_SIZES:
        calls = {name: timed(functools.partial(each.sample, batch_size)) for name, each in sides.items()}
        medians = in_turn(calls, _ROUNDS)
        text = ", ".join(f"{name} {seconds / batch_size * 1e3:.3f} ms" for name, seconds in medians.items())
        yield f"per picture, batch {batch_size}", text


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit status."""
    if len(argv) != 2:
        print("error: expected one bundle, as in `python -m export.verify bundles/digits`.", file=sys.stderr)
        return 1
    print(f"{argv[1]} on onnxruntime {ort.__version__}")
    try:
        for what, outcome in verify(Path(argv[1])):
            print(f"  {what:32}{outcome}", flush=True)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("All is well.")
    return 0


def run() -> None:
    """Entry point of `python -m export.verify` and of `mirage-verify`."""
    sys.modules["__main__"].__doc__ = __doc__
    app.run(main)


if __name__ == "__main__":
    run()
