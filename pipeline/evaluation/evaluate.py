"""Scores a run's generator, or that of a bundle."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.base.names import printable
from pipeline.data.spec import DataSpec
from pipeline.devices import numerics
from pipeline.evaluation.judge import Judge
from pipeline.evaluation.options import ScoringOptions
from pipeline.evaluation.provenance import sample_bundle
from pipeline.evaluation.references import write_moments
from pipeline.evaluation.repeats import combined
from pipeline.evaluation.sampling import Latents, Sampler, networks_of_run, sample_run
from pipeline.evaluation.scoring import load_known, make_judge, placed
from pipeline.metrics.metric import labels_of
from pipeline.metrics.neighbours import sheet
from pipeline.runs.preview import grid, write_png
from pipeline.runs.run_file import read_run
from serving.contract.latents import latents
from serving.contract.manifest import NORMAL, UNIFORM

_SHOWN = 10  # images in a row of pictures, and rows


def evaluate(
    run_dir: str | Path,
    *,
    bundle: str | Path = "",
    checkpoint: str = "newest",
    protocol: str = "default",
    num_samples: int = 0,
    repeats: int = 1,
    seed: int = 0,
    metrics: Any = (),
    extractor: str = "auto",
    inception_weights: str = "",
    download: bool = False,
    reference: str | Path = "",
    write_reference: str | Path = "",
    out: str | Path = "",
    dataset: Any = "",
    data_dir: str = "",
    manual_dir: str = "",
) -> dict[str, Any]:
    """Measures the quality of a trained generator, as `python -m pipeline.evaluate` does.

    Args:
      run_dir: the training run.
      bundle: score this bundle's ONNX generator instead of the checkpoint.
      checkpoint: which to score: "newest", or "best", which `--keep_best` kept.
      protocol: "default": 10,000 images against the test split, or all images where there is none; "paper": 50,000
        against the training images.
      num_samples: number of generated images; 0: as `protocol` says.
      repeats: independent sets of images; figures are means over them.
      seed: seed of the first image; image i has the seed + i.
      metrics: the value of `--metrics`, or one or several objects of the form of `pipeline.metrics.metric.Metric`,
        names and import paths; nothing means the run's own.
      extractor: what describes images; "auto": as in training.
      inception_weights: file with the weights of the Inception network of 2015; empty for the run's own.
      download: whether those may be fetched.
      reference: file of statistics to compare with, as pytorch-fid and clean-fid write it; empty for images.
      write_reference: file to write the reference's statistics to.
      out: folder to write `scores.json`, `samples.png` and `neighbours.png` to; empty writes none.
      dataset: where the folder that the run was trained on is now, or the data themselves where they were passed as an
        object; empty for the run's own.
      data_dir: as for training; empty for the run's own.
      manual_dir: as for training; empty for the run's own.

    Returns:
      All measures by name, as JSON types, with what must be known to read them.

    Raises:
      MirageError: if the run, the bundle, the data or a metric can't be used, or a file can't be written.
    """
    named, objects = (metrics, ()) if isinstance(metrics, str) else ("", _several(metrics))
    how = {"checkpoint": checkpoint, "protocol": protocol, "num_samples": num_samples, "repeats": repeats, "seed": seed}
    by = {"metrics": named, "extractor": extractor, "inception_weights": inception_weights, "download": download}
    places = {"reference": str(reference), "data_dir": data_dir, "manual_dir": manual_dir}
    given: dict[str, Any] = {**how, **by, **places}
    options = ScoringOptions(**given)
    files = Files(str(write_reference), str(out))
    return score(options, Path(run_dir), str(bundle), objects, dataset, files=files)[0]


def _several(metrics: Any) -> Iterable[Any]:
    return metrics if isinstance(metrics, Iterable) else (metrics,)


@dataclasses.dataclass(frozen=True)
class Files:
    """What an evaluation writes besides what it returns.

    Attributes:
      reference: file for the reference's statistics, or empty.
      out: folder for scores and pictures, or empty.
    """

    reference: str = ""
    out: str = ""

    def check(self) -> None:
        """Refuses what can't be written, before anything is computed; raises MirageError."""
        folder = Path(self.reference).parent
        if self.reference and not folder.is_dir():
            raise MirageError(f"--write_reference={printable(self.reference)}: there is no folder {printable(folder)}.")
        if self.reference and Path(self.reference).is_dir():
            raise MirageError(f"--write_reference={printable(self.reference)} is a folder; expected a file in it.")
        if self.out:
            with writing_out(self.out):
                Path(self.out).mkdir(parents=True, exist_ok=True)

    def check_with(self, judge: Judge) -> None:
        """Refuses statistics where there are none; raises MirageError."""
        if self.reference and judge.extractor is None:
            raise MirageError(
                f"--write_reference={printable(self.reference)} is of an extractor's features; add frechet_distance to "
                "--metrics."
            )

    def write(self, scores: Mapping[str, Any], sampler: Sampler, judge: Judge, data: DataSpec, seed: int) -> None:
        """Writes all; raises MirageError."""
        if self.reference:
            write_moments(Path(self.reference), judge.real.moments)
        if not self.out:
            return
        numbers = np.arange(_SHOWN * _SHOWN)
        labels = (numbers % max(1, len(data.class_names))).astype(np.int32)
        if data.attributes:
            labels = labels_of(len(numbers), judge.train.labels)
        images = np.concatenate(list(sampler.read(_latents(sampler, seed), labels, numbers, len(numbers))))
        with writing_out(self.out):
            folder = Path(self.out)
            write_file(folder / "scores.json", (json.dumps(scores, indent=2) + "\n").encode())
            write_png(folder / "samples.png", grid(images, _SHOWN))
            write_png(folder / "neighbours.png", sheet(images[:_SHOWN], judge.train.pixels, _SHOWN))


@contextlib.contextmanager
def writing_out(out: str | Path) -> Iterator[None]:
    """Makes one sentence of a failed write into the folder of `--out`; raises MirageError instead of OSError."""
    try:
        yield
    except OSError as error:
        raise MirageError(
            f"--out={printable(out)} can't be written ({error.strerror or error}); choose another folder."
        ) from None


def _latents(sampler: Sampler, seed: int) -> Latents:
    distribution = UNIFORM if sampler.uniform else NORMAL
    return lambda numbers: latents(seed + numbers, sampler.latent_dim, distribution)


def score(
    options: ScoringOptions,
    run_dir: Path,
    bundle: str = "",
    metrics: Iterable[Any] = (),
    data: Any = None,
    *,
    files: Files = Files(),
) -> tuple[dict[str, Any], Judge]:
    """Scores a generator.

    Args:
      options: how.
      run_dir: the training run.
      bundle: score this bundle's generator instead; empty for the run's own.
      metrics: objects or names, instead of those of `options`.
      data: what it was trained on: where that is now, or an object where it has no name.
      files: what to write besides.

    Returns:
      (all measures, with what must be known to read them; the judge).

    Raises:
      MirageError: as `evaluate`.
    """
    options.check_ranges()
    options.check(options.to_dict())
    if bundle and options.checkpoint != "newest":
        given = f"--checkpoint={options.checkpoint}"
        raise MirageError(f"{given} does not go with --bundle, which holds one; leave it out.")
    files.check()
    config, spec = read_run(run_dir)
    config = placed(dataclasses.replace(config, **options.given(config.extractor)), data)
    numerics.prepare(config)
    sampler = sample_bundle(Path(bundle), config, spec) if bundle else sample_run(run_dir, options.checkpoint)
    dataset = load_known(config, spec, data)
    judge = make_judge(
        config,
        dataset,
        options.count,
        config.extractor,
        config.inception_weights,
        list(metrics) or config.metrics,
        download=config.download,
        protocol=options.protocol,
        reference=options.reference,
        thorough=True,
    )
    files.check_with(judge)
    networks = {} if bundle else networks_of_run(run_dir, options.checkpoint)
    figures = _measured(options, judge, sampler, networks)
    scores = {
        "source": printable(bundle or run_dir),
        "step": sampler.step,
        "protocol": _protocol(options, judge, dataset.spec),
        **judge.facts(),
        **figures,
    }
    files.write(scores, sampler, judge, spec, options.seed)
    return scores, judge


def _measured(options: ScoringOptions, judge: Judge, sampler: Sampler, networks: Mapping[str, Any]) -> dict[str, Any]:
    """Returns figures, of as many sets of images as are asked for."""
    sets = [
        judge.full(
            sampler.generated(_latents(sampler, options.seed + index * options.count), judge.labels, shown=True),
            conditional=sampler.conditional,
            sure=options.repeats == 1,
            generate=sampler.make,
            latent_dim=sampler.latent_dim,
            uniform=sampler.uniform,
            networks=networks,
        )
        for index in range(options.repeats)
    ]
    return sets[0] if len(sets) == 1 else combined(sets, judge.limits())


def _protocol(options: ScoringOptions, judge: Judge, data: DataSpec) -> dict[str, Any]:
    """How figures came about: all that another run or tool must do alike to be compared."""
    facts = dict(getattr(judge.extractor, "facts", {}))
    return {
        "name": options.protocol,
        "data": data.fingerprint[:8] or data.name,
        "metrics": judge.measures,
        "samples": options.count,
        "repeats": options.repeats,
        "seed": options.seed,
        "labels": "as frequent as in the reference",
        "reference": judge.reference_name,
        "reference_count": judge.num_reference,
        "extractor": getattr(judge.extractor, "name", None),
        **{name: facts[name] for name in ("resize", "weights") if name in facts},
    }
