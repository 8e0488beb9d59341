"""All measures of one generator together, with what is needed to understand them."""

import dataclasses
from typing import Any

import numpy as np

from pipeline.metrics import classes
from pipeline.metrics.extractor import Extractor, Features
from pipeline.metrics.frechet import frechet_distance
from pipeline.metrics.kernel import kernel_distance
from pipeline.metrics.modes import coverage
from pipeline.metrics.neighbours import nearest
from pipeline.metrics.precision_recall import precision_recall
from pipeline.metrics.sharpness import sharpness

_NEIGHBOUR_QUERIES = 1000


@dataclasses.dataclass(frozen=True)
class Images:
    """Images and their labels.

    Attributes:
      name: what they are, such as "test".
      pixels: uint8 [n, H, W, C].
      labels: int32 [n].
    """

    name: str
    pixels: np.ndarray
    labels: np.ndarray

    def part(self, start: int, stop: int) -> "Images":
        """Cuts a range of them out; data sets hold their classes in mixed order."""
        return Images(f"{self.name}, {start:,} to {stop:,}", self.pixels[start:stop], self.labels[start:stop])

    def some(self, count: int, seed: int = 0) -> "Images":
        """Chooses up to `count` at random, always the same."""
        if count >= len(self.pixels):
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self.pixels), count, replace=False))
        return Images(self.name, self.pixels[chosen], self.labels[chosen])


class Judge:
    """Scores generated images against a reference.

    Attributes:
      num_samples: number of generated images to score.
      reference: the real images to compare with.
      floor: the Fréchet distance of real images from real ones.
      labels: int32 [num_samples], the classes to generate: as frequent as in the reference.
    """

    def __init__(
        self, extractor: Extractor, train: Images, reference: Images, num_samples: int, halves: tuple[Images, Images]
    ) -> None:
        """Describes the reference once.

        Args:
          extractor: what describes images.
          train: what the generator was trained on: to find memorised images.
          reference: real images to compare with.
          num_samples: number of generated images.
          halves: two sets of real images without a common one, to say what real against real gives.
        """
        self.num_samples = num_samples
        self._extractor = extractor
        self._train = train
        self.reference = reference
        self._described = extractor(reference.pixels)
        self._halves = halves
        a, b = (extractor(half.some(num_samples).pixels).features for half in halves)
        self.floor = frechet_distance(a, b)
        self.labels = np.resize(np.random.default_rng(0).permutation(reference.labels), num_samples).astype(np.int32)

    def facts(self) -> dict[str, Any]:
        """What must be known of every figure."""
        return {
            "extractor": self._extractor.name,
            **{f"extractor_{name}": round(value, 5) for name, value in self._extractor.facts.items()},
            "num_samples": self.num_samples,
            "reference": self.reference.name,
            "num_reference": len(self.reference.pixels),
            "frechet_floor": round(self.floor, 4),
        }

    def quick(self, pixels: np.ndarray, *, conditional: bool) -> dict[str, float]:
        """The measures that are worth their time during training; see `full` for the arguments."""
        return self._of_features(self._extractor(pixels), conditional)

    def full(self, pixels: np.ndarray, *, conditional: bool) -> dict[str, Any]:
        """All measures.

        Args:
          pixels: generated images, uint8 [num_samples, H, W, C].
          conditional: whether they were generated for `labels`.

        Returns:
          The measures by name, as JSON types.
        """
        described = self._extractor(pixels)
        real, generated = self._described.features, described.features
        distance, error = kernel_distance(generated, real)
        scores: dict[str, Any] = self._of_features(described, conditional)
        scores |= {"kernel_distance": distance, "kernel_distance_error": error}
        if described.probabilities is not None:
            scores["class_histogram"] = [
                round(share, 4) for share in classes.histogram(described.probabilities).tolist()
            ]
        scores |= {"sharpness": sharpness(pixels), "sharpness_of_reference": sharpness(self.reference.pixels)}
        _, copies = nearest(pixels[:_NEIGHBOUR_QUERIES], self._train.pixels)
        _, usual = nearest(self._halves[1].some(_NEIGHBOUR_QUERIES).pixels, self._halves[0].pixels)
        scores |= {
            "nearest_training_image": float(np.median(copies)),
            "nearest_training_image_of_real": float(np.median(usual)),
        }
        return scores

    def _of_features(self, described: Features, conditional: bool) -> dict[str, float]:
        real, generated = self._described.features, described.features
        precision, recall = precision_recall(real, generated)
        scores = {
            "frechet_distance": frechet_distance(generated, real),
            "precision": precision,
            "recall": recall,
        }
        if described.probabilities is not None:
            scores["inception_score"] = classes.inception_score(described.probabilities)
            scores["class_entropy"] = classes.entropy(classes.histogram(described.probabilities))
            if conditional:
                scores["label_accuracy"] = classes.label_accuracy(described.probabilities, self.labels)
        if described.modes is not None:
            scores["modes"], scores["kl_to_uniform"] = coverage(described.modes, described.num_modes)
        return scores
