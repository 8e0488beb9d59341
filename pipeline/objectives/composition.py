"""An objective with all that is added to it: penalties, heads of the discriminator, augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.base.needs import Needs
from pipeline.base.objects import offered, resolve
from pipeline.base.parameters import Parameters
from pipeline.objectives import OBJECTIVES, TERMS
from pipeline.objectives.objective import Objective
from pipeline.objectives.update import judged

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from pipeline.objectives.update import Update
    from serving.contract.attributes import Attribute


# Of a log line, what is no figure of an objective.
_TAKEN = ("step", "images", "epoch", "seconds", "images_per_s")


class Term(Protocol):
    """What is added to any objective: a `Parameters` with these methods, of which the last four may be missing."""

    def check_with(self, values: Mapping[str, Any], objective: Objective) -> None:
        """Refuses parameters that can't work; see `Parameters.check`."""

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Returns the updates with the term."""

    def needs(self, needs: Needs, num_labels: int) -> Needs:
        """Adds what it needs of the networks."""

    def told(self, attributes: Sequence[Attribute]) -> Term:
        """Returns itself, or another term, where labels are attributes."""

    def state(self) -> dict[str, float]:
        """Names scalars that the training keeps, with their first values."""

    def next_state(
        self, state: Mapping[str, tf.Tensor], means: Mapping[str, tf.Tensor], images: int
    ) -> dict[str, tf.Tensor]:
        """Moves them after a step.

        Args:
          state: float32 scalars.
          means: the step's figures over the global batch, float32 scalars.
          images: real images of the step.

        Returns:
          Those that change.
        """


@dataclasses.dataclass(frozen=True)
class Composition:
    """An objective and the terms added to it.

    Attributes:
      objective: an `Objective`, or anything with its `updates`.
      terms: in the order in which they are added.
    """

    objective: Any
    terms: tuple[Any, ...] = ()

    def updates(
        self,
        *,
        images: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        num_labels: int = 0,
        attributes: Sequence[Attribute] = (),
        seed: int = 0,
    ) -> tuple[Update, ...]:
        """Returns the updates of one training step, in order.

        Args:
          images: of the data set, uint8 [N, H, W, C], for objectives that ask for them.
          labels: int32 [N], or of attributes float32 [N, A].
          num_labels: number of classes, or attributes, that the data have.
          attributes: these, if labels are attributes.
          seed: the run's.

        Raises:
          MirageError: if the objective can't make do with the data, or returns something else.
        """
        given = f"{type(self.objective).__name__}.updates"
        offers = {
            "images": images,
            "labels": labels,
            "num_labels": num_labels,
            "attributes": attributes,
            "seed": seed,
        }
        try:
            made = offered(self.objective.updates, **offers)
        except (MirageError, MemoryError):
            raise
        except Exception as error:
            known = ", ".join(offers)
            raise MirageError(f"{given} failed: {reason(error)}; mend it; it may take {known} by name.") from error
        updates = tuple(made) if isinstance(made, tuple | list) else (made,)
        if not updates or not all(
            hasattr(each, "network") and callable(getattr(each, "loss", None)) for each in updates
        ):
            raise MirageError(f"{given} returned {made!r:.100}; expected a tuple of pipeline.objectives.Update.")
        for each in updates:
            _check_metrics(given, each)
        updates = tuple(dataclasses.replace(each, loss=judged(each.loss)) for each in updates)
        for term in self._told(attributes):
            updates = term.add_to(updates)
        return updates

    def needs(
        self, updates: tuple[Update, ...], num_labels: int, latent_dim: int, attributes: Sequence[Attribute] = ()
    ) -> Needs:
        """Says what networks are to be built.

        Args:
          updates: of this composition; of an objective that doesn't say, they tell which networks it trains.
          num_labels: number of classes, or attributes, that the data have.
          latent_dim: components of a latent.
          attributes: these, if labels are attributes.
        """
        if hasattr(self.objective, "needs"):
            needs = self.objective.needs(num_labels, latent_dim)
        else:
            trained = dict.fromkeys(update.network for update in reversed(updates))
            names = dict.fromkeys(name for together in trained for name in together.split("+"))
            # A code that generates is of a latent's size.
            needs = Needs(tuple(dict.fromkeys(["generator", *names])), tuple(trained), code=latent_dim)
        for term in self._told(attributes):
            needs = term.needs(needs, num_labels) if hasattr(term, "needs") else needs
        return needs

    def state(self) -> dict[str, float]:
        """Names the scalars that the training keeps for objective and terms, with their first values."""
        return {name: value for part in self._with_state() for name, value in part.state().items()}

    def next_state(
        self, state: Mapping[str, tf.Tensor], means: Mapping[str, tf.Tensor], images: int
    ) -> dict[str, tf.Tensor]:
        """Moves them after a step; see `Term`."""
        moved = (part.next_state(state, means, images) for part in self._with_state())
        return {name: value for each in moved for name, value in each.items()}

    def _told(self, attributes: Sequence[Attribute]) -> list[Any]:
        """The terms, those that look at labels told what these are."""
        return [each.told(attributes) if hasattr(each, "told") and attributes else each for each in self.terms]

    def _with_state(self) -> list[Any]:
        return [part for part in (self.objective, *self.terms) if hasattr(part, "next_state")]


def compose(values: Mapping[str, Any], objective: Any = None) -> Composition:
    """Makes the objective of a run.

    Args:
      values: all parameters of the run by name; `objective` may be the object itself.
      objective: the object that was passed in the place of a name, if any.

    Raises:
      MirageError: if the configuration's can't be had, or doesn't go with the other parameters.
    """
    if objective is None:
        objective = _chosen(values) if isinstance(values["objective"], str) else values["objective"]
    if isinstance(objective, type):
        objective = objective()
    if isinstance(objective, Parameters) and objective.automatic():
        objective = dataclasses.replace(objective, **{name: values[name] for name in objective.automatic()})
    if not isinstance(values["objective"], str):
        values = {**values, "objective": type(objective).__name__}
    if not callable(getattr(objective, "updates", None)):
        raise MirageError(
            f"--objective={values['objective']} is {objective!r:.100}, which has no method `updates`; expected an "
            "object such as pipeline.objectives.R3GAN()."
        )
    _check_strict(values, objective)
    if hasattr(objective, "check"):
        objective.check(values)
    terms = tuple(term for kind in TERMS if (term := kind.asked(values, objective)) is not None)
    for term in terms:
        term.check_with(values, objective)
    return Composition(objective, terms)


def _check_metrics(given: str, update: Update) -> None:
    """Refuses names of figures that a log line couldn't have."""
    if not isinstance(update.metrics, tuple | list) or not all(isinstance(name, str) for name in update.metrics):
        raise MirageError(
            f"{given} returned an Update of the {update.network} with metrics={update.metrics!r:.100}; expected a "
            "tuple of names, such as ('d_loss',)."
        )
    for name in update.metrics:
        if name in _TAKEN or not name.isidentifier():
            raise MirageError(
                f"{given} returned an Update of the {update.network} that reports {name!r}; choose another name, "
                f"in letters, which is not one of {', '.join(_TAKEN)}."
            )


def _chosen(values: Mapping[str, Any]) -> Any:
    name, arguments = values["objective"], values["objective_args"]
    kind = OBJECTIVES.get(name)
    if isinstance(kind, type) and issubclass(kind, Parameters) and {*_names(kind)} <= {*values}:
        if arguments:
            raise MirageError(
                f"--objective_args={arguments} does not go with {name}; Mirage's have flags of their own."
            )
        return kind.of(values)
    return resolve("objective", name, OBJECTIVES, arguments)


def _names(kind: type[Parameters]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _check_strict(values: Mapping[str, Any], objective: Any) -> None:
    """Refuses what another objective alone has, and what can't be ignored."""
    for name, kind in OBJECTIVES.items():
        for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
            value = values.get(field.name, field.default)
            if field.metadata.get("strict") and value != field.default and not hasattr(objective, field.name):
                raise MirageError(
                    f"--{field.name}={value} does not go with --objective={values['objective']}; use "
                    f"--{field.name}={field.default} or --objective={name}."
                )


def check_divisible(batch_size: int, updates: tuple[Update, ...], replicas: int) -> None:
    """Refuses a global batch that can't be shared by replicas; raises MirageError."""
    divisor = replicas * max(update.batch_divisor for update in updates)
    if batch_size % divisor:
        halves = " in half batches" if divisor != replicas else ""
        raise MirageError(
            f"--batch_size={batch_size} can't be shared by {replicas} replicas{halves}; choose a multiple of {divisor}."
        )
