"""Opens saved networks, computes a picture of each and converts it: `pipeline.foreign.trial` starts this."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.foreign import apart
from pipeline.foreign.files import open_here, size_of
from pipeline.foreign.network import Foreign, Opening, Port
from pipeline.foreign.safety import check_size
from pipeline.foreign.trial import from_order


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
    name, phase = printable(str(path)), "opened"
    apart.limit_memory(size_of(path))
    try:
        network = open_here(path, opening, legacy=_is_legacy)
        check_size([_sizes(port) for port in (*network.inputs, *network.outputs)], name, 2**24)
        phase = "computed"
        apart.enter(phase, apart.COMPUTING_S)
        _compute(network)
        phase = "converted"
        apart.enter(phase, apart.OPENING_S)
        network.graph()
    except _LegacyError:
        pass  # it is opened in a process of its own anyway
    except Exception as error:
        if apart.is_memory(error):
            raise MirageError(apart.no_memory(name, phase)) from error
        raise
    return {}


def _is_legacy(path: Path, opening: Opening, kind: str) -> Foreign:
    raise _LegacyError


def _compute(network: Foreign) -> None:
    try:
        network.run({port.name: np.zeros(_sizes(port), port.dtype) for port in network.inputs})
    except Exception as error:
        if apart.is_memory(error):
            raise
        # Zeros may be no values for it: what it can't compute is said when its inputs are understood.


def _sizes(port: Port) -> tuple[int, ...]:
    return tuple(1 if size is None else size for size in port.shape)


if __name__ == "__main__":
    sys.exit(main())
