"""Serves bundles over HTTP: a page, pictures by URL, and the Open Inference Protocol.

  python -m serving --bundle=bundles/digits
  curl -o seven.png 'http://127.0.0.1:8000/v1/images?label=7&seed=1'

Two bundles, on all addresses, for those who know a token:

  python -m serving --bundle=digits=bundles/mnist --bundle=flags=bundles/flags --host=0.0.0.0 --token_file=token

SIGHUP loads the bundles anew; SIGTERM finishes what was accepted and ends.
"""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from serving import command_line
from serving.generator import GENERATOR_FILES, available_cpus
from serving.server.listening import listen
from serving.server.output import open_streams, say
from serving.server.settings import METRICS_FOLDER_VARIABLE, Settings, StartError


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    default = Settings()

    def integer(name: str, value: int, text: str, least: int, most: int | None = None) -> None:
        flags.DEFINE_integer(name, value, text, lower_bound=least, upper_bound=most, flag_values=values)

    def number(name: str, value: float, text: str) -> None:
        flags.DEFINE_float(name, value, text, lower_bound=0.0, flag_values=values)

    flags.DEFINE_multi_string(
        "bundle",
        [],
        "folder that `python -m export` wrote, or a single .onnx file, as PATH or NAME=PATH; may be repeated. The "
        "first one's models are called generator and sampler, and each one's NAME-generator and NAME-sampler.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "repository", None, "folder of bundles as NAME/VERSION, versions being numbers.", flag_values=values
    )
    flags.DEFINE_enum(
        "precision", default.precision, list(GENERATOR_FILES), "which of a bundle's generators.", flag_values=values
    )
    flags.DEFINE_string(
        "host", default.host, "address to listen at; 0.0.0.0 for all of this machine.", flag_values=values
    )
    integer("port", default.port, "TCP port; 0 takes a free one.", 0, 65535)
    integer("threads", 0, "inference threads of each process; 0 shares all CPUs among the processes.", 0)
    integer("workers", default.workers, "processes.", 1)
    integer("max_images", default.max_images, "images that one request may ask for.", 1, 4096)
    integer("max_batch", default.max_batch, "images that are run at once; 0 takes what suits the model.", 0, 4096)
    number("max_delay_ms", default.max_delay_ms, "milliseconds that an image may wait for others to fill its batch.")
    integer("max_queue", default.max_queue, "images that may wait; requests beyond are answered with 429.", 1)
    number("timeout_s", default.timeout_s, "seconds within which an accepted request is answered.")
    number(
        "read_timeout_s",
        default.read_timeout_s,
        "seconds that a client may take to send a request, or to take more of its answer.",
    )
    number("drain_s", default.drain_s, "seconds that accepted requests have to finish after SIGTERM.")
    flags.DEFINE_string(
        "token_file",
        None,
        "file with a token that clients must send as 'Authorization: Bearer TOKEN'.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "access_log", default.access_log, "write each request to standard output, as JSON.", flag_values=values
    )


def settings_of(values: flags.FlagValues) -> Settings:
    """Makes settings of parsed flags.

    Raises:
      ValueError: naming a flag that can't be used.
    """
    if not values.bundle and not values.repository:
        raise ValueError("there is nothing to serve; pass --bundle=FOLDER, which `python -m export` writes.")
    if values.max_queue < values.max_images:
        raise ValueError(f"--max_queue={values.max_queue} is less than --max_images={values.max_images}.")
    if min(values.timeout_s, values.read_timeout_s) <= 0:
        raise ValueError("--timeout_s and --read_timeout_s must be more than 0.")
    if values.workers > 1 and not hasattr(os, "fork"):
        raise ValueError(f"--workers={values.workers} is not available on this system; start one process.")
    return Settings(
        bundles=tuple(values.bundle),
        repository=Path(values.repository) if values.repository else None,
        precision=values.precision,
        host=values.host,
        port=values.port,
        threads=values.threads or max(1, available_cpus() // values.workers),
        workers=values.workers,
        max_images=values.max_images,
        max_batch=values.max_batch,
        max_delay_ms=values.max_delay_ms,
        max_queue=values.max_queue,
        timeout_s=values.timeout_s,
        read_timeout_s=values.read_timeout_s,
        drain_s=values.drain_s,
        token=_token(values.token_file),
        access_log=values.access_log,
    )


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line with parsed flags; returns its exit status."""
    open_streams()
    try:
        if len(argv) > 1:
            raise ValueError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        settings = settings_of(values)
        listener = listen(settings.host, settings.port)
    except ValueError as error:
        say(f"error: {error}")
        return 1
    host, port = listener.getsockname()[:2]
    say(f"serving at http://{f'[{host}]' if ':' in host else host}:{port}")

    def work(ready: Callable[[], None]) -> None:
        # Here, since workers must not share what libraries do when they are imported.
        try:
            from serving.server.lifecycle import serve
        except ModuleNotFoundError as error:
            raise StartError(f"{error.name} is missing; pip install 'mirage-gan[serve]'.") from None
        serve(settings, [listener], ready)

    if settings.workers > 1:
        from serving.server.workers import supervise  # which Windows has no system calls for

        return supervise(settings, listener, work)
    for name in (METRICS_FOLDER_VARIABLE, METRICS_FOLDER_VARIABLE.lower()):
        os.environ.pop(name, None)  # a folder that other programs share
    try:
        work(lambda: None)
    except StartError as error:
        say(f"error: {error}")
        return 1
    return 0


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--token_file={path} can't be read ({error}).") from None
    if not token.isprintable() or not token or " " in token:
        raise ValueError(f"--token_file={path} must hold one word.")
    return token


def run() -> None:
    """Entry point of `python -m serving` and of `mirage-serve`."""
    # Until there is something to finish, Ctrl-C ends it as SIGTERM does, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command_line.run(__doc__, define_flags, main)


if __name__ == "__main__":
    run()
