"""What `/metrics` says, in Prometheus' format."""

import os
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from serving.server.settings import METRICS_FOLDER_VARIABLE

disable_created_metrics()
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Telemetry:
    """Counters of one server; also told by the batcher what it does."""

    def __init__(self) -> None:
        """Makes the counters, in a registry of their own."""
        self.registry = registry = CollectorRegistry()
        self._requests = Counter("mirage_requests", "Answered requests.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "mirage_request_seconds",
            "From a request's head to its answer's end.",
            ["route"],
            registry=registry,
            buckets=_SECONDS,
        )
        stage = Histogram(
            "mirage_stage_seconds",
            "Stages of image requests: waiting in the queue, inference (of a batch), encoding the answer.",
            ["stage"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._queue, self._inference, self._encode = (stage.labels(name) for name in ("queue", "inference", "encode"))
        self._batch = Histogram(
            "mirage_batch_images", "Images that were run at once.", registry=registry, buckets=_IMAGES
        )
        self._images = Counter("mirage_images", "Images made.", registry=registry)
        self._rejected = Counter("mirage_rejected", "Requests turned away.", ["reason"], registry=registry)
        for reason in ("overloaded", "expired", "starting"):
            self._rejected.labels(reason)
        self._waiting = Gauge(
            "mirage_queue_images", "Images that wait.", registry=registry, multiprocess_mode="livesum"
        )
        self._ready = Gauge("mirage_ready", "Processes that are ready.", registry=registry, multiprocess_mode="livesum")
        self._known: dict[tuple[str, int], Counter] = {}

    def batch(self, images: int, seconds: float) -> None:
        """A batch of `images` was run in `seconds`."""
        self._batch.observe(images)
        self._images.inc(images)
        self._inference.observe(seconds)

    def request(self, waited_s: float, encode_s: float) -> None:
        """A request had waited for `waited_s`; its answer took `encode_s` to write."""
        self._queue.observe(waited_s)
        self._encode.observe(encode_s)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request to `route` was answered with `status` after `seconds`."""
        counter = self._known.get((route, status))
        if counter is None:
            counter = self._known[route, status] = self._requests.labels(route, str(status))
        counter.inc()
        self._seconds.labels(route).observe(seconds)

    def rejected(self, reason: str) -> None:
        """A request was turned away."""
        self._rejected.labels(reason).inc()

    def watch(self, waiting: Callable[[], int]) -> None:
        """Tells where the length of the queue is to be read."""
        self._read_waiting = waiting

    def ready(self, value: bool) -> None:
        """The process became ready, or is so no longer."""
        self._ready.set(value)

    def text(self) -> bytes:
        """Returns all of it, of all processes."""
        self._waiting.set(self._read_waiting())
        if METRICS_FOLDER_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
