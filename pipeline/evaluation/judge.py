"""All metrics of one generator together, with what is needed to understand them."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.devices.out_of_memory import ran_out
from pipeline.metrics.choice import Chosen, choose, failure, measured
from pipeline.metrics.extractor import Extractor
from pipeline.metrics.metric import NEEDS, Evidence, Images, Samples

__all__ = ["Images", "Judge"]


class Judge:
    """Scores generated images against a reference.

    Attributes:
      num_samples: number of generated images to score.
      reference: the real images to compare with.
      floors: what real images get against other real ones, by name, such as the Fréchet distance `frechet_floor`.
      labels: int32 [num_samples], the classes to generate: as frequent as in the reference.
    """

    def __init__(
        self,
        extractor: Extractor | None,
        train: Images,
        reference: Images,
        num_samples: int,
        halves: tuple[Images, Images],
        metrics: Sequence[Chosen] | None = None,
    ) -> None:
        """Describes the reference once.

        Args:
          extractor: what describes images; None where no metric needs that.
          train: what the generator was trained on: to find memorised images.
          reference: real images to compare with.
          num_samples: number of generated images.
          halves: two sets of real images without a common one, to say what real against real gives.
          metrics: what is measured, see `pipeline.metrics.choice`; None for all that apply.

        Raises:
          MirageError: if a metric can't say what real images get.
        """
        self.num_samples = num_samples
        self._metrics = choose() if metrics is None else list(metrics)
        self._extractor = extractor
        self._train = train
        self.reference = reference
        self._real = Samples(reference, extractor)
        if extractor is not None:
            self._describe(self._real)  # once, before anything is generated
        self._halves = halves
        a, b = (self._describe(Samples(half.some(num_samples), extractor)) for half in halves)
        self.floors: dict[str, Any] = {}
        for each in self._metrics:
            if each.floors:
                self.floors |= measured(each, each.floors, each.metric.floor, a, b)
        self.labels = np.resize(np.random.default_rng(0).permutation(reference.labels), num_samples).astype(np.int32)
        self._told: set[str] = set()

    def facts(self) -> dict[str, Any]:
        """What must be known of every figure."""
        facts: dict[str, Any] = {}
        if self._extractor is not None:
            more = getattr(self._extractor, "facts", {})
            facts = {
                "extractor": self._extractor.name,
                **{f"extractor_{k}": round(v, 5) if isinstance(v, float) else v for k, v in more.items()},
            }
        return {
            **facts,
            "num_samples": self.num_samples,
            "reference": self.reference.name,
            "num_reference": len(self.reference.pixels),
            **{name: round(value, 4) if isinstance(value, float) else value for name, value in self.floors.items()},
        }

    def compared(self) -> list[str]:
        """Names of the figures that stand in tables that compare runs."""
        return [name for each in self._metrics if each.compared for name in (*each.figures, *each.floors)]

    def quick(
        self,
        pixels: np.ndarray,
        *,
        conditional: bool,
        failed: Callable[[MirageError], None] | None = None,
        **generator: Any,
    ) -> dict[str, float]:
        """The measures that are worth their time during training; see `full` for the arguments."""
        scores: dict[str, float] = {}
        evidence = self._evidence(pixels, conditional, generator)
        for chosen, figures in self._measured([each for each in self._metrics if each.quick], evidence, failed):
            several = [name for name, value in figures.items() if isinstance(value, list)]
            if several:
                error = MirageError(
                    f"--metrics={chosen.name} returned a list for {several[0]}; during training expected a number: "
                    "set `quick` to False, or name a figure for each."
                )
                if failed is None:
                    raise error
                failed(error)
            else:
                scores |= figures
        return scores

    def full(self, pixels: np.ndarray, *, conditional: bool, **generator: Any) -> dict[str, Any]:
        """All measures.

        Args:
          pixels: generated images, uint8 [num_samples, H, W, C].
          conditional: whether they were generated for `labels`.
          **generator: `generate`, `latent_dim` and `networks`, as far as they can be had, see
            `pipeline.metrics.metric.Evidence`. With `quick`, `failed` takes the sentence of a metric that fails,
            whose figures are then missing.

        Returns:
          The measures by name, as JSON types.

        Raises:
          MirageError: if a metric fails, or none applies.
        """
        scores: dict[str, Any] = {}
        for _, figures in self._measured(self._metrics, self._evidence(pixels, conditional, generator), None):
            scores |= figures
        if not scores:
            raise MirageError("none of --metrics applies to this generator; name others, or auto.")
        return scores

    def _evidence(self, pixels: np.ndarray, conditional: bool, generator: Mapping[str, Any]) -> Evidence:
        generated = self._describe(Samples(Images("generated", pixels, self.labels), self._extractor))
        return Evidence(generated, self._real, self._train, self._halves, conditional=conditional, **generator)

    def _describe(self, samples: Samples) -> Samples:
        """Asks the extractor now, so that what it raises is not taken for a metric's."""
        if self._extractor is not None:
            try:
                _ = samples.described
            except MirageError:
                raise
            except Exception as error:
                if ran_out(error):
                    raise
                raise failure(f"--extractor={self._extractor.name}", error) from error
        return samples

    def _measured(
        self, metrics: Sequence[Chosen], evidence: Evidence, failed: Callable[[MirageError], None] | None
    ) -> Iterator[tuple[Chosen, dict[str, Any]]]:
        for each in metrics:
            missing = next((need for need in each.needs if not self._has(need, evidence)), None)
            if missing is None:
                try:
                    figures = measured(each, each.figures, each.metric, evidence)
                except MirageError as error:
                    if failed is not None:
                        failed(error)
                    elif error.__cause__ is not None and ran_out(error.__cause__):
                        raise error.__cause__ from None
                    else:
                        raise
                else:
                    yield each, figures
            elif each.asked and each.name not in self._told:
                self._told.add(each.name)
                line = f"note: --metrics={each.name} is left out: it needs {NEEDS[missing]}, and there is none."
                print(line, file=sys.stderr, flush=True)

    def _has(self, need: str, evidence: Evidence) -> bool:
        if need in ("features", "probabilities", "modes"):
            return self._extractor is not None and getattr(self._real.described, need) is not None
        if need == "labels":
            return evidence.conditional
        if need == "generator":
            return evidence.generate is not None
        return need in evidence.networks
