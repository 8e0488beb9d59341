"""Times the HTTP server beside what a user would pick instead, and beside what the machine can do without one.

  python -m benchmarks.serving --bundle=bundles/demo
  python -m benchmarks.serving --bundle=bundles/demo --parts=overload --rounds=1 --minutes=10

Parts (--parts):

  peers     requests for one image, by 1, 8 and 64 clients, beside LitServe and MLServer that run the same generator
            with the same code and number of inference threads, each set up in the way that a short try finds best
  limit     images per second of 64 clients that ask for 16 images each, or one, against threads that do nothing but run
            onnxruntime
  overload  twice the rate that 64 waiting clients get, in an open loop: what is still accepted, and memory
  start     process start to the first answer that the server is ready, and memory after some load

All servers listen on this machine, and wrk sends the requests from it (apt-get install wrk), so that it takes its
share of the CPU from each. Sides take turns, and medians are compared: single figures of a busy machine mean little.
The peers live in environments of their own (make bench-serving). Linux only.
"""

import contextlib
import dataclasses
import itertools
import statistics
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks.results import publish
from benchmarks.serving_load import Plan, open_loop
from benchmarks.serving_report import CLIENTS, report
from benchmarks.serving_requests import (
    FORMS,
    LABEL,
    SEED,
    BenchmarkError,
    Call,
    Load,
    binary_call,
    calls,
    check,
    encoded,
    find_wrk,
    wrk,
)
from benchmarks.serving_servers import Memory, Server, litserve, litserve_settings, mirage, mlserver, mlserver_settings
from benchmarks.train import machine
from serving.contract.manifest import BundleError
from serving.generator import Generator, available_cpus
from serving.server.settings import Settings

PARTS = ("peers", "limit", "overload", "start")
_MANY = 64
_IMAGES = 16
_OVERLOAD = 2.0
_TRY_S = 1.0
_FORM_OF_TRY = {"LitServe": "png", "MLServer": "json"}


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    flags.DEFINE_list("parts", list(PARTS), f"what to measure: {', '.join(PARTS)}.", flag_values=values)
    flags.DEFINE_string("bundle", "bundles/demo", "bundle to serve.", flag_values=values)
    flags.DEFINE_integer("threads", 0, "inference threads; 0 takes one for each CPU.", 0, flag_values=values)
    flags.DEFINE_integer("rounds", 5, "measurements of each side.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("seconds", 5, "length of a measurement.", lower_bound=1, flag_values=values)
    flags.DEFINE_float("minutes", 0.5, "length of a round of overload.", lower_bound=0.01, flag_values=values)
    flags.DEFINE_string(
        "litserve_python", ".venv-litserve/bin/python", "interpreter with LitServe.", flag_values=values
    )
    flags.DEFINE_string(
        "mlserver_python", ".venv-mlserver/bin/python", "interpreter with MLServer.", flag_values=values
    )
    flags.DEFINE_string("json", "", "also write all figures into this file.", flag_values=values)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all parts share.

    Attributes:
      bundle: its folder, absolute.
      generator: made of it.
      threads: inference threads of each server.
      rounds: measurements of each side.
      seconds: length of each.
      minutes: length of a round of overload.
      pythons: interpreters of the peers, by name.
    """

    bundle: str
    generator: Generator
    threads: int
    rounds: int
    seconds: float
    minutes: float
    pythons: Mapping[str, str]

    def ours(self, workers: int | None = None) -> Server:
        """Starts Mirage's server, by default as the manual advises for many clients: a process for each thread."""
        return mirage(self.bundle, self.threads, workers or self.threads)

    def peer(self, name: str, settings: Mapping[str, Any]) -> Server:
        """Starts a peer."""
        start = {"LitServe": litserve, "MLServer": mlserver}[name]
        return start(self.bundle, self.pythons[name], settings)

    def check(self, server: Server, call: Call, count: int = 1) -> None:
        """Compares a server's pixels with the generator's."""
        label = LABEL if self.generator.info.conditional else None
        check(server.port, call, self.generator.sample(count, SEED, label), server.name)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def best_settings(setup: Setup) -> dict[str, dict[str, Any]]:
    """Tries each peer's settings; returns those of the largest geometric mean of rates over all numbers of clients."""
    chosen = {}
    requests = calls(setup.generator)
    every = {"LitServe": litserve_settings(setup.threads), "MLServer": mlserver_settings(setup.threads)}
    for name, choices in every.items():
        rates: dict[str, list[float]] = {}
        call = requests[name, _FORM_OF_TRY[name]]
        for title, settings in choices.items():
            with setup.peer(name, settings) as server:
                server.ready()
                setup.check(server, call)
                wrk(server.port, call, _MANY, 1)
                rates[title] = [wrk(server.port, call, clients, _TRY_S).rate for clients in CLIENTS]
        title = max(rates, key=lambda each: statistics.geometric_mean(rates[each]))
        _say(f"  {name}: {title}")
        chosen[name] = {"title": title, "settings": choices[title], "tried": rates}
    return chosen


def peers(setup: Setup, chosen: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Starts all servers and loads them in turn; returns a row for each form and number of clients."""
    requests = calls(setup.generator)
    figures: dict[tuple[str, int], dict[str, list[Load]]] = {}
    with contextlib.ExitStack() as stack:
        servers = {"Mirage": stack.enter_context(setup.ours())}
        for name, choice in chosen.items():
            servers[name] = stack.enter_context(setup.peer(name, choice["settings"]))
        for server in servers.values():
            server.ready()
        for (name, _), call in requests.items():
            setup.check(servers[name], call)
            wrk(servers[name].port, call, 8, 1)
        for server in servers.values():
            server.pause()
        for number in range(setup.rounds):
            _say(f"  round {number + 1} of {setup.rounds}")
            for form, clients in itertools.product(FORMS, CLIENTS):
                loads = figures.setdefault((form, clients), {})
                for name, server in servers.items():
                    if (name, form) in requests:
                        server.resume()
                        load = wrk(server.port, requests[name, form], clients, setup.seconds)
                        loads.setdefault(name, []).append(load)
                        server.pause()
    return [{"form": form, "clients": clients, "sides": _medians(each)} for (form, clients), each in figures.items()]


def _medians(loads: Mapping[str, Sequence[Load]]) -> dict[str, dict[str, float]]:
    """Returns each side's medians, and the median of the rounds' ratios of Mirage's rate to its own."""
    result = {}
    for name, each in loads.items():
        row = {field: statistics.median(getattr(load, field) for load in each) for field in ("rate", "p50", "p99")}
        pairs = zip(loads["Mirage"], each, strict=True)
        row["mirage_over"] = statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)
        result[name] = row
    return result


def limit(setup: Setup) -> list[dict[str, Any]]:
    """Loads the server and runs the bare loop in turn, with batches of 16 images and of one."""
    figures: dict[int, list[tuple[float, Load]]] = {_IMAGES: [], 1: []}
    with setup.ours() as server:
        server.ready()
        for count in figures:
            setup.check(server, binary_call(setup.generator, count), count)
            wrk(server.port, binary_call(setup.generator, count), _MANY, 1)
        for _ in range(setup.rounds):
            for count, pairs in figures.items():
                bare = _bare_loop(setup, count)
                pairs.append((bare, wrk(server.port, binary_call(setup.generator, count), _MANY, setup.seconds)))
    return [
        {
            "images": count,
            "bare": statistics.median(bare for bare, _ in pairs),
            "server": statistics.median(load.rate * count for _, load in pairs),
            "p50": statistics.median(load.p50 for _, load in pairs),
            "p99": statistics.median(load.p99 for _, load in pairs),
            "ratio": statistics.median(load.rate * count / bare for bare, load in pairs),
        }
        for count, pairs in figures.items()
    ]


def _bare_loop(setup: Setup, batch: int) -> float:
    arguments = [setup.bundle, str(setup.threads), str(batch), str(setup.seconds)]
    command = [sys.executable, "-m", "benchmarks.serving_loop", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"the bare loop failed:\n{done.stderr[-2000:]}")
    return float(done.stdout)


def overload(setup: Setup) -> dict[str, Any]:
    """Measures the rate of waiting clients and then sends twice as much, in each round."""
    call = binary_call(setup.generator, _IMAGES)
    rounds: list[dict[str, Any]] = []
    statuses: Counter[str] = Counter()
    with setup.ours() as server:
        server.ready()
        setup.check(server, call, _IMAGES)
        before = server.memory().resident
        wrk(server.port, call, _MANY, 1)
        with _watched(server, 60 * setup.minutes * setup.rounds / 10) as memory:
            for _ in range(setup.rounds):
                sustainable = wrk(server.port, call, _MANY, setup.seconds).rate
                rate = _OVERLOAD * sustainable
                row = open_loop(Plan(server.port, encoded(call), rate, 60 * setup.minutes))
                statuses.update(row["statuses"])
                rounds.append({**row, "sustainable": sustainable, "ratio": row["goodput"] / sustainable})
        after = server.memory().resident
    middle = {
        key: statistics.median(row[key] for row in rounds) for key in ("sustainable", "rate", "goodput", "ratio", "cpu")
    }
    for key in ("accepted_ms", "health_ms", "late_ms"):
        summaries = [row[key] for row in rounds if row[key]]
        middle[key] = {field: statistics.median(each[field] for each in summaries) for field in summaries[0]}
    return {
        **middle,
        "images": _IMAGES,
        "timeout_s": Settings().timeout_s,
        "statuses": dict(statuses),
        "unhealthy": sum(row["unhealthy"] for row in rounds),
        "seconds": 60 * setup.minutes * setup.rounds,
        "memory": {"ready": before, "end": after, "course": memory},
        "rounds": rounds,
    }


@contextlib.contextmanager
def _watched(server: Server, every_s: float) -> Iterator[list[float]]:
    """Reads a server's memory now and then while the block runs, into the list that it gives."""
    course: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every_s):
            course.append(server.memory().resident)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield course
    finally:
        ended.set()
        thread.join()


def start(setup: Setup, chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Starts each server again and again, in turn, and puts some load on it."""
    requests = calls(setup.generator)
    names = ["Mirage", *chosen]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    memory: dict[str, list[Memory]] = {name: [] for name in names}
    for _ in range(setup.rounds):
        for name in names:
            with setup.ours(1) if name == "Mirage" else setup.peer(name, chosen[name]["settings"]) as server:
                seconds[name].append(server.ready())
                call = requests[name, _FORM_OF_TRY.get(name, "png")]
                setup.check(server, call)
                wrk(server.port, call, 8, setup.seconds)
                memory[name].append(server.memory())
    return {
        name: {
            "seconds": statistics.median(seconds[name]),
            "resident": statistics.median(each.resident for each in memory[name]),
            "shared_once": statistics.median(each.shared_once for each in memory[name]),
        }
        for name in names
    }


def run(setup: Setup, parts: Sequence[str]) -> dict[str, Any]:
    """Measures the parts; returns all figures."""
    results: dict[str, Any] = {"machine": {**machine(), "threads": setup.threads}}
    if {"peers", "start"} & set(parts):
        _say("peers' settings ...")
        results["chosen"] = best_settings(setup)
    for part in parts:
        _say(f"{part} ...")
        if part in ("peers", "start"):
            results[part] = {"peers": peers, "start": start}[part](setup, results["chosen"])
        else:
            results[part] = {"limit": limit, "overload": overload}[part](setup)
    return results


def _setup_of(values: flags.FlagValues, argv: Sequence[str]) -> Setup:
    if len(argv) > 1 or not set(values.parts) <= set(PARTS):
        raise BenchmarkError(f"--parts={','.join(values.parts)} is not known; choose from {', '.join(PARTS)}.")
    pythons = {"LitServe": values.litserve_python, "MLServer": values.mlserver_python}
    if {"peers", "start"} & set(values.parts):
        for name, python in pythons.items():
            if not Path(python).exists():
                flag = f"--{name.lower()}_python={python}"
                raise BenchmarkError(f"{flag} is missing; make bench-serving installs {name} there.")
    find_wrk()
    return Setup(
        str(Path(values.bundle).absolute()),
        Generator.load(values.bundle),
        values.threads or available_cpus(),
        values.rounds,
        values.seconds,
        values.minutes,
        pythons,
    )


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark."""
    values = flags.FLAGS
    try:
        setup = _setup_of(values, argv)
        results = run(setup, values.parts)
    except (BenchmarkError, BundleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    publish(results, report(results), values.json)
    return 0


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    app.run(main)
