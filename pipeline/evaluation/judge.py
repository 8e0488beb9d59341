"""All metrics of one generator together, with what is needed to understand them."""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.devices.out_of_memory import ran_out
from pipeline.metrics.choice import Chosen, as_text, choose, failure, measured
from pipeline.metrics.extractor import Extractor, Features
from pipeline.metrics.metric import (
    NEEDS,
    OF_ATTRIBUTES,
    OF_EXTRACTOR,
    Evidence,
    Images,
    Naming,
    Samples,
    Source,
    labels_of,
)
from pipeline.metrics.moments import Moments
from pipeline.metrics.resampling import floor_intervals, intervals
from pipeline.metrics.rows import divided

__all__ = ["Images", "Judge"]

_MOST_TRAINED_ON = 50_000  # images whose features are looked at

Keep = Callable[[Samples], Features]


class Judge:
    """Scores generated images against a reference.

    Attributes:
      num_samples: number of generated images to score.
      extractor: what describes images; None where no metric needs that.
      train: what the generator was trained on.
      reference: the real images to compare with.
      reference_name: what is compared with.
      num_reference: of how many images that is; None if it isn't known.
      real: the reference, with what the extractor says of it.
      floors: what real images get against other real ones, by name, such as the Fréchet distance `frechet_floor`.
      labels: int32 [num_samples], the classes to generate, or float32 [num_samples, A], the attributes: as frequent as
        in the reference.
    """

    def __init__(
        self,
        extractor: Extractor | None,
        train: Images,
        reference: Images,
        num_samples: int,
        halves: tuple[Images, Images] | None = None,
        metrics: Sequence[Chosen] | None = None,
        *,
        thorough: bool = False,
        keep: Keep | None = None,
        moments: tuple[str, Moments] | None = None,
        naming: Callable[[], Naming] | None = None,
    ) -> None:
        """Describes the reference once.

        Args:
          extractor: what describes images; None where no metric needs that.
          train: what the generator was trained on: to find memorised images.
          reference: real images to compare with.
          num_samples: number of generated images.
          halves: two sets of real images without a common one, to say what real against real gives; None for the halves
            of the reference.
          metrics: what is measured, see `pipeline.metrics.choice`; None for all that apply.
          thorough: whether floors have intervals at any price.
          keep: returns what the extractor says of real images, which may be known from before; None asks it anew.
          moments: name of a file, and the moments of the reference's features that it holds, which are all that is
            known of them then.
          naming: makes what says which attributes images have, if labels are attributes; called once, when a generator
            is judged that is asked for them.

        Raises:
          MirageError: if a metric can't say what real images get.
        """
        self.num_samples = num_samples
        self.extractor = extractor
        self.reference = reference
        self.reference_name, self.num_reference = reference.name, len(reference.labels) or None
        self._metrics = choose() if metrics is None else list(metrics)
        self.train = train
        self.real = Samples(reference, extractor)
        if moments is not None:
            self.real = Samples(reference, None, moments=moments[1])
            self.reference_name, self.num_reference = moments[0], None  # of how many images it doesn't say
        elif extractor is not None:
            self._describe(self.real, keep)  # once, before anything is generated
        self._halves, sets = self._parts(halves)
        self._has_unseen = halves is not None
        self._describe_train = functools.cache(lambda: self._describe(self._trained_on(), keep))
        self.floors: dict[str, Any] = {}
        self._described: tuple[Samples, Samples] | None = None
        if any(each.floors for each in self._metrics):
            self._described = known, unseen = (
                self._describe(sets[0].some(num_samples), keep),
                self._describe(sets[1].some(num_samples), keep),
            )
            self._measure_floors(sets, (known, unseen), thorough)
        self.labels = labels_of(num_samples, reference.labels)
        self._told: set[str] = set()
        self._naming = naming and functools.cache(naming)

    def get_ready(self, *, conditional: bool) -> Naming | None:
        """Makes what says which attributes images have, if it is needed of generators that are conditional or not."""
        wanted = any({*each.needs} & {*OF_ATTRIBUTES} for each in self._metrics)
        return self._naming() if self._naming and conditional and wanted else None

    def _trained_on(self) -> Samples:
        if self.train is self.reference and self.real.is_described:
            return self.real
        return Samples(self.train, self.extractor).some(_MOST_TRAINED_ON)

    def _parts(self, halves: tuple[Images, Images] | None) -> tuple[tuple[Images, Images], tuple[Samples, Samples]]:
        """Returns the halves as images, and as samples, of which is known what is known of the reference."""
        if halves is None:
            total = len(self.reference.labels)
            one, other = divided(total, total // 2)
            halves = self.reference.take(one), self.reference.take(other)
            if self.real.is_described:
                return halves, (self.real.take(one), self.real.take(other))
        known = [
            self.real if each is self.reference and self.real.is_described else Samples(each, self.extractor)
            for each in halves
        ]
        return halves, (known[0], known[1])

    def _measure_floors(self, halves: tuple[Samples, Samples], some: tuple[Samples, Samples], thorough: bool) -> None:
        """Measures real images by real ones: up to as many as are generated, by as many of the reference as there are.

        Args:
          halves: two sets of real images.
          some: up to as many of both as are generated.
          thorough: as for `__init__`.
        """
        pairs = [(self.real, some[1])]
        if not self.real.has_features:
            pairs.append((self.real, some[0]))  # it doesn't say which images it is of, which would find themselves
        elif halves[1] is self.real:
            pairs = [(some[0], self.real)]
        elif halves[0] is not self.real:
            pairs = [(halves[0] if halves[0].is_described else some[0], some[1])]
        for each in self._metrics:
            if each.floors and (self.real.has_features or "features" not in each.needs):
                found = [(measured(each, each.floors, each.metric.floor, *pair), pair) for pair in pairs]
                floors, pair = max(found, key=lambda one: [*one[0].values()])
                resample = thorough and self.real.has_features
                self.floors |= floors | floor_intervals(each, floors, *pair, resample=resample)

    def facts(self) -> dict[str, Any]:
        """What must be known of every figure."""
        facts: dict[str, Any] = {}
        if self.extractor is not None:
            more = getattr(self.extractor, "facts", {})
            facts = {
                "extractor": self.extractor.name,
                **{f"extractor_{k}": round(v, 5) if isinstance(v, float) else v for k, v in more.items()},
            }
        naming = self._naming() if self._naming and self._naming.cache_info().currsize else None
        if naming is not None:
            facts["attributes"] = [each.name for each in naming.attributes]
        return {
            **facts,
            "num_samples": self.num_samples,
            "reference": self.reference_name,
            "num_reference": self.num_reference,
            **{name: _rounded(value) for name, value in self.floors.items()},
        }

    @property
    def measures(self) -> str:
        """What is measured, with its parameters, as a value of `--metrics`."""
        return as_text([each.metric for each in self._metrics])

    def compared(self) -> list[str]:
        """Names of the figures that stand in tables that compare runs."""
        return [name for each in self._metrics if each.compared for name in (*each.figures, *each.floors)]

    def limits(self) -> dict[str, tuple[float, float]]:
        """The least and the largest that figures can be, by name."""
        return {name: pair for each in self._metrics for name, pair in getattr(each.metric, "limits", {}).items()}

    def quick(
        self,
        generated: np.ndarray | Source,
        *,
        conditional: bool,
        failed: Callable[[MirageError], None] | None = None,
        **generator: Any,
    ) -> dict[str, float]:
        """The measures that are worth their time during training; see `full` for the arguments."""
        scores: dict[str, float] = {}
        evidence = self._evidence(generated, conditional, generator)
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
                scores |= figures | self._quick_intervals(chosen, figures, evidence, failed)
        return scores

    def _quick_intervals(
        self,
        chosen: Chosen,
        figures: Mapping[str, Any],
        evidence: Evidence,
        failed: Callable[[MirageError], None] | None,
    ) -> dict[str, Any]:
        try:
            return intervals(chosen, figures, evidence, resample=False)
        except MirageError as error:
            if failed is None:
                raise
            failed(error)
            return {}

    def full(
        self, generated: np.ndarray | Source, *, conditional: bool, sure: bool = False, **generator: Any
    ) -> dict[str, Any]:
        """All measures.

        Args:
          generated: generated images, uint8 [num_samples, H, W, C], or what makes them.
          conditional: whether they were generated for `labels`.
          sure: whether figures have intervals, for which most are measured again and again.
          **generator: `generate`, `latent_dim` and `networks`, as far as they can be had, see
            `pipeline.metrics.metric.Evidence`. With `quick`, `failed` takes the sentence of a metric that fails,
            whose figures are then missing.

        Returns:
          The measures by name, as JSON types.

        Raises:
          MirageError: if a metric fails, or none applies.
        """
        scores: dict[str, Any] = {}
        evidence = self._evidence(generated, conditional, generator)
        for chosen, figures in self._measured(self._metrics, evidence, None):
            scores |= figures
            if sure:
                resample = self.real.has_features or not chosen.needs_extractor
                scores |= intervals(chosen, figures, evidence, resample=resample)
        if not scores:
            raise MirageError("none of --metrics applies to this generator; name others, or auto.")
        return scores

    def _evidence(self, generated: np.ndarray | Source, conditional: bool, generator: Mapping[str, Any]) -> Evidence:
        if isinstance(generated, np.ndarray):
            generated = Images("generated", generated, self.labels)
        samples = Samples(generated, self.extractor)
        self._describe(samples, None)
        return Evidence(
            samples,
            self.real,
            self.train,
            self._halves,
            conditional=conditional,
            described_halves=self._described,
            describe_train=self._describe_train if self._has_unseen else None,
            naming=self.get_ready(conditional=conditional),
            **generator,
        )

    def _describe(self, samples: Samples, keep: Keep | None) -> Samples:
        """Asks the extractor now, so that what it raises is not taken for a metric's."""
        if self.extractor is not None and not samples.is_described:
            try:
                samples.described = samples.described if keep is None else keep(samples)
            except MirageError:
                raise
            except Exception as error:
                if ran_out(error):
                    raise
                raise failure(f"--extractor={self.extractor.name}", error) from error
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
                for samples in (evidence.generated, evidence.real):
                    samples.let_go()
            else:
                self._tell(each, missing)

    def _tell(self, metric: Chosen, missing: str) -> None:
        """Says once that a metric is left out, if it was named, or would be there but for `--reference`."""
        of_file = missing == "features" and not self.real.has_features
        if metric.name in self._told or not (metric.asked or of_file):
            return
        self._told.add(metric.name)
        found = f"{self.reference_name} holds their mean and covariance only" if of_file else "there is none"
        line = f"note: --metrics={metric.name} is left out: it needs {NEEDS[missing]}, and {found}."
        print(line, file=sys.stderr, flush=True)

    def _has(self, need: str, evidence: Evidence) -> bool:
        if need == "features" and not evidence.real.has_features:
            return False
        if need == "moments":
            need = "features"
        if need in OF_EXTRACTOR:
            return self.extractor is not None and getattr(evidence.generated.described, need) is not None
        if need == "labels":
            return evidence.conditional and evidence.generated.labels.ndim == 1
        if need in OF_ATTRIBUTES:
            kinds = {each.kind for each in evidence.naming.attributes} if evidence.naming else set()
            return bool(kinds & {*OF_ATTRIBUTES[need]})
        if need == "generator":
            return evidence.generate is not None
        return need in evidence.networks


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value
