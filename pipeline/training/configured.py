"""The networks, and all that is trained with them, that a configuration asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import NETWORKS_FILE
from pipeline.networks.build import build_networks
from pipeline.runs.interim_needs import needs_of
from pipeline.runs.networks_file import StoredNetworks
from pipeline.training.trainee import Trainee, build_trainee


def trainee_of(
    config: Config, data: DataSpec, say: Callable[[str], None] = lambda line: None, architecture: Any = None
) -> Trainee:
    """Builds networks and optimisers; call it in the strategy's scope.

    Args:
      config: the run's configuration.
      data: what the networks are built for.
      say: told what was changed in somebody's models, a line each.
      architecture: what builds the networks; by default what the configuration names.

    Returns:
      The untrained state.

    Raises:
      MirageError: if the networks can't be built, or aren't what the objective needs.
    """
    num_labels = len(data.class_names)
    return build_trainee(
        _architecture(config, say) if architecture is None else architecture,
        needs_of(config, config, num_labels),
        config,
        config,
        data.image_shape,
        num_labels,
        optimized=("generator+encoder",) if config.one_loss else (),
        augment_p=0.0 if config.augment_adaptive else 1.0,
        say=say,
    )


def _architecture(config: Config, say: Callable[[str], None]) -> Any:
    try:
        return config.architecture()
    except MirageError as error:
        if not config.lost(config.run_dir):
            raise
        say(f"note: the run's networks are built from its {NETWORKS_FILE}, because {error}")
        return StoredNetworks(Path(config.run_dir))


def networks_of(config: Config, data: DataSpec) -> dict[str, keras.Model]:
    """Builds the networks alone, untrained; raises MirageError."""
    num_labels = len(data.class_names)
    needs = needs_of(config, config, num_labels)
    return build_networks(config.architecture(), needs, config, data.image_shape, num_labels)
