"""Calls what somebody else has written; what goes wrong there is told in one sentence."""

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.base.objects import offered

_EXPECTED = {
    "build_generator": "latent_dim, image_shape, num_classes",
    "build_features": "image_shape, num_classes",
    "build_discriminator": "image_shape, num_classes",
    "build_encoder": "image_shape, num_classes",
}


def called(architecture: Any, function: str, *given: Any, offers: Mapping[str, Any]) -> Any:
    """Calls an architecture's function.

    Args:
      architecture: see `pipeline.networks`.
      function: its name, such as `build_generator`.
      *given: its arguments.
      offers: what it may ask for besides, by name.

    Returns:
      What it returns.

    Raises:
      MirageError: if there is no such function, it takes something else, or it fails.
    """
    who = name_of(architecture)
    build = getattr(architecture, function, None)
    form = f"{function}({_EXPECTED[function]})"
    if not callable(build):
        other = " or build_features" if function in ("build_discriminator", "build_encoder") else ""
        hint = " or build_discriminator" if function == "build_features" else other
        raise MirageError(f"the networks {who} have no {function}{hint}; write {form}.")
    asked = inspect.signature(build)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    own = {each.name for each in [each for each in asked.parameters.values() if each.kind in kinds][: len(given)]}
    try:
        asked.bind(*given, **{name: value for name, value in offers.items() if name in {*asked.parameters} - own})
    except TypeError:
        raise MirageError(
            f"{function} of the networks {who} takes {asked}; expected {form}, and "
            f"by name, if it likes, any of {', '.join(offers)}."
        ) from None
    try:
        return offered(build, *given, **offers)
    except MirageError:
        raise
    except Exception as error:
        raise MirageError(f"{form} of the networks {who} failed: {reason(error)}; mend it.") from error


def name_of(architecture: Any) -> str:
    """What an architecture is called in messages."""
    if isinstance(architecture, ModuleType):
        return architecture.__name__
    return getattr(architecture, "__qualname__", type(architecture).__qualname__)
