"""This process among those that train together."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf

from pipeline.base.errors import WorkerLostError
from pipeline.cluster.find import Cluster
from pipeline.cluster.meet import Peers, meet
from pipeline.cluster.watch import Watchdog


class Worker:
    """A worker of a cluster, or the only process of a training.

    Attributes:
      cluster: the cluster; None without one.
      watchdog: ends the process when it waits too long for the others.
    """

    def __init__(self, cluster: Cluster | None, peers: Peers | None, watchdog: Watchdog) -> None:
        """Takes what it knows of the others; use `joined`."""
        self.cluster = cluster
        self.watchdog = watchdog
        self._peers = peers

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.cluster is None

    @property
    def chief(self) -> bool:
        """Whether this process reads and writes the run directory."""
        return self.cluster is None or self.cluster.is_chief

    def together(self, what: str, facts: Mapping[str, str] | None = None) -> None:
        """Goes on when all workers have come here with the same facts.

        They meet so wherever one may find a mistake: it says so to the others, which TensorFlow would leave waiting.

        Args:
          what: what is waited for.
          facts: what must be the same on all workers, by name.

        Raises:
          MirageError: if facts differ, or another worker has given up.
        """
        if self._peers is not None:
            with self.watchdog.waiting(what):
                self._peers.agree(facts or {})


@contextlib.contextmanager
def joined(cluster: Cluster | None, facts: Callable[[], Mapping[str, str]], timeout_s: float) -> Iterator[Worker]:
    """Meets the other workers, and makes one sentence of it when they go away.

    Args:
      cluster: the cluster that this process is part of, if any.
      facts: gives what must be the same on all workers; called only in a cluster.
      timeout_s: longest time to wait for the others.

    Yields:
      This worker.

    Raises:
      MirageError: if facts differ, or another worker has given up.
      WorkerLostError: if another worker is lost.
    """
    with contextlib.ExitStack() as stack:
        peers = stack.enter_context(meet(cluster, facts(), timeout_s)) if cluster is not None else None
        watchdog = stack.enter_context(Watchdog(timeout_s if peers else math.inf, peers))
        stack.enter_context(_lost_workers(cluster, watchdog, peers))
        yield Worker(cluster, peers, watchdog)


@contextlib.contextmanager
def _lost_workers(cluster: Cluster | None, watchdog: Watchdog, peers: Peers | None) -> Iterator[None]:
    """Makes one sentence of the errors that TensorFlow raises when a peer goes away while it is waited for."""
    try:
        yield
    except tf.errors.OpError as error:
        lost = (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
        )
        if cluster is None or not watchdog.broken or not isinstance(error, (*lost, tf.errors.InternalError)):
            raise
        if peers is not None and peers.failure is not None:
            raise peers.failure from None
        raise WorkerLostError(
            f"another worker of {len(cluster.workers)} was lost ({_cause(error)}); the last "
            "checkpoint is kept: start all workers again."
        ) from None


def _cause(error: tf.errors.OpError) -> str:
    lines = [line for line in error.message.splitlines() if line and not line.startswith("Graph execution error")]
    return lines[0][:200] if lines else type(error).__name__
