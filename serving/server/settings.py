"""What the server is told by its flags."""

import dataclasses
from importlib import metadata
from pathlib import Path

# prometheus_client reads it when it is imported: processes that share the folder it names give one sum. It stands here
# because it is set before that.
METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LEAVE_S = 0.3


def version() -> str:
    """Returns the version of this package; "unknown" where it was copied, not installed."""
    try:
        return metadata.version("mirage-gan")
    except metadata.PackageNotFoundError:
        return "unknown"


class StartError(Exception):
    """The server can't start; the message says why, in one sentence."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The server's settings.

    Attributes:
      bundles: folders of bundles (or single `.onnx` files), each `PATH` or `NAME=PATH`.
      repository: folder with a folder for each name, in which bundles stand under their version's number; or None.
      precision: "float32" or "int8".
      host: address to listen at.
      port: TCP port; 0 takes a free one.
      threads: inference threads of each process; each runs one batch at a time.
      workers: processes.
      max_images: images that one request may ask for.
      max_batch: images that are run at once; 0 leaves it to each model's file.
      max_delay_ms: milliseconds that an image may wait for others to fill its batch.
      max_queue: images that may wait; requests beyond are turned away.
      timeout_s: seconds within which a request is answered.
      read_timeout_s: seconds within which a client must have sent a request, and taken its answer.
      drain_s: seconds that accepted requests have to finish after SIGTERM.
      token: what clients must send as `Authorization: Bearer`; None asks for none.
      access_log: whether each request is logged.
    """

    bundles: tuple[str, ...] = ()
    repository: Path | None = None
    precision: str = "float32"
    host: str = "127.0.0.1"
    port: int = 8000
    threads: int = 1
    workers: int = 1
    max_images: int = 64
    max_batch: int = 0
    max_delay_ms: float = 0.0
    max_queue: int = 1024
    timeout_s: float = 5.0
    read_timeout_s: float = 10.0
    drain_s: float = 10.0
    token: str | None = None
    access_log: bool = True

    @property
    def leave_s(self) -> float:
        """Seconds for which requests are still taken after SIGTERM, so that clients and load balancers go elsewhere."""
        return min(LEAVE_S, self.drain_s)
