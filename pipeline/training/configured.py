"""The networks, and all that is trained with them, that a configuration asks for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from pipeline.base.errors import MirageError
from pipeline.base.needs import Needs
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import NETWORKS_FILE
from pipeline.networks.build import build_networks
from pipeline.objectives.composition import Composition, compose
from pipeline.runs.networks_file import StoredNetworks
from pipeline.training.trainee import Trainee, build_trainee


def trainee_of(
    config: Config,
    data: DataSpec,
    say: Callable[[str], None] = lambda line: None,
    *,
    objects: Mapping[str, Any] | None = None,
    objective: Composition | None = None,
    needs: Needs | None = None,
) -> Trainee:
    """Builds networks and optimisers; call it in the strategy's scope.

    Args:
      config: the run's configuration.
      data: what the networks are built for.
      say: told what was changed in somebody's models, a line each.
      objects: what was passed in place of a name, by flag; the others' names say what builds the networks.
      objective: what is optimised; by default what the configuration names.
      needs: the networks that it needs; by default those that it says without data.

    Returns:
      The untrained state.

    Raises:
      MirageError: if the networks can't be built, or aren't what the objective needs.
    """
    num_labels = data.num_labels
    objective = objective or compose(config.to_dict())
    return build_trainee(
        _architecture(config, objects, say),
        needs or objective.needs((), num_labels, config.latent_dim, data.attributes),
        config,
        config,
        data.image_shape,
        num_labels,
        objective,
        say=say,
        attributes=data.attributes,
    )


def _architecture(config: Config, objects: Mapping[str, Any] | None, say: Callable[[str], None]) -> Any:
    try:
        return config.architecture(objects)
    except MirageError as error:
        if not config.lost(config.run_dir):
            raise
        say(f"note: the run's networks are built from its {NETWORKS_FILE}, because {error}")
        return StoredNetworks(Path(config.run_dir))


def networks_of(config: Config, data: DataSpec) -> dict[str, keras.Model]:
    """Builds the networks alone, untrained; raises MirageError."""
    needs = compose(config.to_dict()).needs((), data.num_labels, config.latent_dim, data.attributes)
    shape = data.image_shape
    return build_networks(config.architecture(), needs, config, shape, data.num_labels, attributes=data.attributes)
