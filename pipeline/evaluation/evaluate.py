"""Scores a run's generator, or that of a bundle."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.devices import numerics
from pipeline.evaluation.judge import Judge
from pipeline.evaluation.options import ScoringOptions
from pipeline.evaluation.provenance import sample_bundle
from pipeline.evaluation.sampling import networks_of_run, sample_run
from pipeline.evaluation.scoring import load_known, make_judge
from pipeline.runs.run_file import read_run
from serving.contract.latents import latents


def evaluate(
    run_dir: str | Path,
    *,
    bundle: str | Path = "",
    checkpoint: str = "newest",
    num_samples: int = 10000,
    seed: int = 0,
    metrics: Any = (),
    extractor: str = "auto",
    inception_weights: str = "",
    dataset: Any = "",
    data_dir: str = "",
    manual_dir: str = "",
) -> dict[str, Any]:
    """Measures the quality of a trained generator, as `python -m pipeline.evaluate` does.

    Args:
      run_dir: the training run.
      bundle: score this bundle's ONNX generator instead of the checkpoint.
      checkpoint: which to score: "newest", or "best", which `--keep_best` kept.
      num_samples: number of generated images.
      seed: seed of the first image; image i has the seed + i.
      metrics: the value of `--metrics`, or one or several objects of the form of `pipeline.metrics.metric.Metric`,
        names and import paths; nothing means the run's own.
      extractor: what describes images; "auto": as in training.
      inception_weights: file with InceptionV3's weights; empty for the run's own.
      dataset: where the folder that the run was trained on is now, or the data themselves where they were passed as an
        object; empty for the run's own.
      data_dir: as for training; empty for the run's own.
      manual_dir: as for training; empty for the run's own.

    Returns:
      All measures by name, as JSON types, with what must be known to read them.

    Raises:
      MirageError: if the run, the bundle, the data or a metric can't be used.
    """
    options = ScoringOptions(
        checkpoint=checkpoint,
        num_samples=num_samples,
        seed=seed,
        metrics=metrics if isinstance(metrics, str) else "",
        extractor=extractor,
        inception_weights=inception_weights,
        dataset=dataset if isinstance(dataset, str) else "",
        data_dir=data_dir,
        manual_dir=manual_dir,
    )
    objects = metrics if isinstance(metrics, Iterable) else (metrics,)
    passed = None if isinstance(dataset, str) else dataset
    scores, _ = score(options, Path(run_dir), str(bundle), () if isinstance(metrics, str) else objects, passed)
    return scores


def score(
    options: ScoringOptions, run_dir: Path, bundle: str = "", metrics: Iterable[Any] = (), data: Any = None
) -> tuple[dict[str, Any], Judge]:
    """Scores a generator.

    Args:
      options: how.
      run_dir: the training run.
      bundle: score this bundle's generator instead; empty for the run's own.
      metrics: objects or names, instead of those of `options`.
      data: what it was trained on, where that has no name.

    Returns:
      (all measures, with what must be known to read them; the judge).

    Raises:
      MirageError: as `evaluate`.
    """
    options.check_ranges()
    options.check(options.to_dict())
    config, spec = read_run(run_dir)
    config = dataclasses.replace(config, **options.given())
    numerics.prepare(config)
    if bundle and options.checkpoint != "newest":
        raise MirageError(
            f"--checkpoint={options.checkpoint} does not go with --bundle, which holds one; leave it out."
        )
    sampler = sample_bundle(Path(bundle), config, spec) if bundle else sample_run(run_dir, options.checkpoint)
    dataset = load_known(config, spec, data)
    judge = make_judge(
        config,
        dataset,
        options.num_samples,
        config.extractor,
        config.inception_weights,
        list(metrics) or config.metrics,
    )
    generated = sampler.generated(
        lambda numbers: latents(options.seed + numbers, sampler.latent_dim), judge.labels, shown=True
    )
    scores = judge.full(
        generated,
        conditional=sampler.conditional,
        generate=sampler.make,
        latent_dim=sampler.latent_dim,
        networks={} if bundle else networks_of_run(run_dir, options.checkpoint),
    )
    return {"source": printable(bundle or run_dir), "step": sampler.step, **judge.facts(), **scores}, judge


def table(scores: Mapping[str, Any]) -> str:
    """Lays figures out for people, a line each."""
    lines = []
    for name, value in scores.items():
        if isinstance(value, float):
            text = f"{value:.4g}"
        elif isinstance(value, list):
            text = " ".join(f"{each:.3f}" for each in value)
        else:
            text = "unknown" if value is None else str(value)
        lines.append(f"{name.replace('_', ' '):36}{text}")
    return "\n".join(lines)
