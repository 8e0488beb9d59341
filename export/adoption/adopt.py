"""From somebody's saved generator, or one in memory, to a bundle."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.adoption.meaning import Asked
from export.adoption.source import AdoptedSource, table
from export.adoption.understanding import raw
from export.bundle import export_bundle
from export.conditions import conditions, decoded
from export.formats import DEFAULT, Format, chosen
from export.rewrites.layouts import session_of
from export.timing import in_turn, timed
from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.files import sha256_of
from pipeline.base.names import printable
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Foreign, Opening
from pipeline.run import Run
from serving.contract.latents import latents
from serving.contract.manifest import GENERATOR_FILE
from serving.contract.pixels import to_pixels
from serving.generator import Generator

_BATCHES = (1, 64)
_ROUNDS, _SECONDS = 15, 10.0


def adopt(
    generator: Any,
    out: Path | str,
    formats: Sequence[str | Format] = (),
    *,
    asked: Asked | None = None,
    opening: Opening | None = None,
    licence: str = "",
    layout: str = "measured",
    num_samples: int = 10_000,
    say: Callable[[str], None] = print,
) -> None:
    """Makes a bundle of a generator that Mirage has not trained.

    Args:
      generator: path of what was saved; what `pipeline.foreign.memory.of_object` takes; or a `pipeline.Run`, of
        which the newest checkpoint is exported as `python -m export --run_dir` does.
      out: folder of the bundle.
      formats: see `export_bundle`; empty takes the default ones that the generator can be exported as.
      asked: what is known of its inputs and outputs; what isn't is found out.
      opening: how a file is opened.
      licence: under which it may be used.
      layout: one of `export.rewrites.layouts.LAYOUTS`.
      num_samples: number of pictures by which int8 is judged.
      say: is told what was understood, before anything is written, and how fast the bundle is.

    Raises:
      MirageError: if it can't be opened or understood, or as `export_bundle`.
    """
    if isinstance(generator, Run):
        if asked or opening or licence:
            raise MirageError("a Run knows its inputs and its origin; leave out asked, opening and licence.")
        export_bundle(generator.run_dir, out, formats or DEFAULT, layout=layout, num_samples=num_samples)
        return
    source = _source(generator, asked or Asked(), opening or Opening(), licence)
    say(table(source))
    able = [each.name for each in chosen(DEFAULT) if source.model is not None or not each.traced]
    export_bundle(source, out, formats or able, layout=layout, num_samples=num_samples)
    if (Path(out) / GENERATOR_FILE).exists():
        say(times(source, Path(out)))


def _source(generator: Any, asked: Asked, opening: Opening, licence: str) -> AdoptedSource:
    try:
        if isinstance(generator, str | Path):
            path = Path(generator)
            name = printable(path.resolve().name)
            return AdoptedSource(open_network(path, opening), name, sha256_of(path), asked, licence)
        from pipeline.foreign.memory import of_object

        network = of_object(generator, opening.signature)
        return AdoptedSource(network, str(getattr(generator, "name", network.kind)), "", asked, licence)
    except MirageError as error:  # may hold names of inputs, which may be anything
        raise MirageError(in_a_line(error, 1000)) from error


def times(source: AdoptedSource, bundle: Path) -> str:
    """Measures how long batches take, in turn, with all of this machine's cores.

    Args:
      source: the generator.
      bundle: its bundle, with the ONNX files.

    Returns:
      A table: milliseconds in the source's own framework, of the graph before it was rewritten, and of the bundle.
    """
    plain, ours = session_of(source.plain, threads=0), Generator.load(bundle / GENERATOR_FILE)
    rows: dict[str, list[float]] = {}
    for size in _BATCHES:
        calls = {name: timed(call) for name, call in _sides(source, plain, ours, size).items()}
        for name, seconds in in_turn(calls, _ROUNDS, seconds=_SECONDS).items():
            rows.setdefault(name, []).append(seconds * 1e3)
    head = " ".join(f"{f'batch of {size}':>12}" for size in _BATCHES)
    lines = [f"  {name:24} " + " ".join(f"{value:12.3f}" for value in values) for name, values in rows.items()]
    return "\n".join([f"  {'milliseconds':24} {head}", *lines])


def _sides(source: AdoptedSource, plain: Any, ours: Generator, size: int) -> dict[str, Callable[[], object]]:
    """What makes uint8 pictures of a batch, by name; where the source takes no such batch, it makes several."""
    meaning = source.meaning
    z = latents(np.arange(size), source.info.latent_dim, source.info.latent_distribution)
    condition = conditions(np.arange(size), source.info)

    def making(network: Foreign) -> Callable[[], object]:
        if meaning.batch is not None:
            return lambda: to_pixels(meaning.image(raw(network, meaning, z, condition)), meaning.alpha)
        name = meaning.output.name
        return lambda: to_pixels(meaning.image(network.run(meaning.feeds(z, condition))[name]), meaning.alpha)

    by_graph = dataclasses.replace(source.network, run=lambda feeds: _run(plain, feeds))

    sides: dict[str, Callable[[], object]] = {}
    if not source.network.framework.startswith("onnxruntime"):  # which computes the same graph
        sides[source.network.framework] = making(source.network)
    sides["the graph as it came"] = making(by_graph)
    sides["this bundle"] = lambda: decoded(ours, z, condition)
    return sides


def _run(session: Any, feeds: Mapping[str, NDArray]) -> dict[str, NDArray]:
    wanted = {each.name for each in session.get_inputs()}
    results = session.run(None, {name: value for name, value in feeds.items() if name in wanted})
    return {each.name: value for each, value in zip(session.get_outputs(), results, strict=True)}
