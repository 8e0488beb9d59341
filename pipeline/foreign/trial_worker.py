"""Opens saved networks, computes a picture of each and converts it: `pipeline.foreign.trial` starts this."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.names import printable
from pipeline.foreign import apart
from pipeline.foreign.files import look_through, open_here, size_of
from pipeline.foreign.network import Foreign, Opening, Port
from pipeline.foreign.trial import from_order

_LARGEST = 2**28  # values of an input or output


class _LegacyError(Exception):
    """The file is one for tf-keras."""


def main() -> int:
    """Serves; returns the exit status."""
    from pipeline.base.quiet_tensorflow import quiet_tensorflow

    quiet_tensorflow()
    apart.serve(_tried)
    return 0


def _tried(order: dict[str, Any]) -> dict[str, Any]:
    path, opening = from_order(order)
    name, phase = printable(str(path)), "looked through"
    apart.limit_memory(size_of(path))
    try:
        apart.enter(phase, order["computing_s"])
        look_through(path)
        phase = "opened"
        apart.enter(phase, order["opening_s"])
        network = open_here(path, opening, legacy=_is_legacy)
        for port in (*network.inputs, *network.outputs):
            if math.prod(_sizes(port)) > _LARGEST:
                raise MirageError(f"{name} is not adopted: {port} is too large for a latent or a picture.")
        phase = "computed"
        apart.enter(phase, order["computing_s"])
        _compute(network)
        phase = "converted"
        apart.enter(phase, order["opening_s"])
        network.graph()
    except _LegacyError:
        pass  # it is opened in a process of its own anyway
    except MirageError:
        raise
    except Exception as error:  # of whatever reads it
        if apart.is_memory(error):
            raise MirageError(apart.no_memory(name, phase)) from error
        reason = in_a_line(f"{type(error).__name__}: {error}", 200)
        raise MirageError(f"{name} is damaged: it can't be {phase} ({reason}).") from error
    return {}


def _is_legacy(path: Path, opening: Opening, kind: str) -> Foreign:
    raise _LegacyError


def _compute(network: Foreign) -> None:
    rng = np.random.default_rng(0)
    values = {port.name: np.zeros(_sizes(port), port.dtype) for port in network.inputs}
    for name, value in values.items():
        if value.dtype.kind == "f":
            values[name] = rng.standard_normal(value.shape).astype(value.dtype)
    try:
        network.run(values)
    except Exception as error:
        if apart.is_memory(error):
            raise
        # These may be no values for it: what it can't compute is said when its inputs are understood.


def _sizes(port: Port) -> tuple[int, ...]:
    return tuple(1 if size is None else size for size in port.shape)


if __name__ == "__main__":
    sys.exit(main())
