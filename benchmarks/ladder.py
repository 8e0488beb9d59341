"""Measures what quality a user gets for how many minutes on this machine: the ladder.

  python -m benchmarks.ladder --list
  python -m benchmarks.ladder --only=mnist-28,cifar10-32:5 --cifar10=folder:/data/cifar10/train --seeds=3
  python -m benchmarks.ladder --device=gpu
  python -m benchmarks.ladder --calibrate --write --only=cats-64

  python -m benchmarks.ladder --presets=configs/networks

Each rung is a preset, configs/ladder/DATA-SIZE-MINUTES.flags, or with -gpu behind it; in configs/networks and
configs/transfer the last word of its name says which networks, or how they learn, to set them beside one another. It is
trained by `python -m pipeline`, alone on two CPU cores or with a GPU, and judged as `python -m pipeline.evaluate` does.
Presets fix steps, not minutes, so that a result can be had again; --calibrate says how many steps fit on this machine,
start and compilation included, and with --write changes the presets so.

It can be ended at any moment, and goes on with the same command: what is done is not done again, what was interrupted
is continued by Mirage itself. --out holds ladder.jsonl, a line for each training; ladder.md, ladder.png, sheets/ and
runs/.
"""

import contextlib
import fcntl
import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from absl import app, flags

from benchmarks.gpu_card import visible_gpus
from benchmarks.gpu_check_report import machine
from benchmarks.ladder_report import DISTURBED, TITLES, current, draw, publish, table
from benchmarks.ladder_run import Child, end_last_line, foreign_load, measure, read_lines, train
from benchmarks.ladder_rungs import PRESETS, ROOT, Rung, choose, read_rungs
from benchmarks.train import machine as software
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.base.files import append_line, write_file

RESULTS, DOCUMENT = "ladder.jsonl", ROOT / "benchmarks" / "RESULTS.md"
_CORES = 2
_WATCHED_S = 3.0
_LOG_EVERY = {False: 5, True: 100}  # steps between two readings of the pace, by whether it is a GPU's


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    help_text = (
        "which rungs: DATA-SIZE, DATA-SIZE:MINUTES (cifar10-32:5), or a preset's name; empty takes all of --device."
    )
    flags.DEFINE_list("only", [], help_text, flag_values=values)
    help_text = "where: cpu, on two cores, or gpu."
    flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], help_text, flag_values=values)
    flags.DEFINE_integer("seeds", 1, "trainings of each rung.", lower_bound=1, flag_values=values)
    for name, title in TITLES.items():
        flags.DEFINE_string(name, "", f"--dataset for {title}; empty takes the preset's.", flag_values=values)
    flags.DEFINE_string("data_dir", "", "as for training.", flag_values=values)
    flags.DEFINE_string("manual_dir", "", "as for training, for MNIST only.", flag_values=values)
    flags.DEFINE_integer("num_samples", 10000, "images of an evaluation.", lower_bound=10, flag_values=values)
    flags.DEFINE_string("extractor", "auto", "as for python -m pipeline.evaluate.", flag_values=values)
    help_text = "file of statistics to compare with, as for python -m pipeline.evaluate; empty for the images learned."
    flags.DEFINE_string("reference", "", help_text, flag_values=values)
    help_text = "folder with the presets of all rungs."
    flags.DEFINE_string("presets", str(PRESETS.relative_to(ROOT)), help_text, flag_values=values)
    flags.DEFINE_string("out", "runs/ladder", "folder for all files.", flag_values=values)
    flags.DEFINE_bool("list", False, "say which rungs there are, and which are done, and stop.", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "print the commands, and stop.", flag_values=values)
    flags.DEFINE_bool("calibrate", False, "measure how many steps fit into each rung, instead.", flag_values=values)
    flags.DEFINE_float("calibrate_s", 60, "seconds to watch each preset.", lower_bound=0, flag_values=values)
    flags.DEFINE_bool("write", False, "with --calibrate: write the steps into the presets.", flag_values=values)
    help_text = "go on although others compute on this machine; the table marks what they disturbed."
    flags.DEFINE_bool("busy", False, help_text, flag_values=values)
    help_text = (
        "write the table into benchmarks/RESULTS.md and the picture to docs/ too, as the presets' folder is named."
    )
    flags.DEFINE_bool("publish", False, help_text, flag_values=values)


class Ladder:
    """The rungs on this machine, with all that is known of them."""

    def __init__(self, values: flags.FlagValues, lock: int) -> None:
        """Reads what is done.

        Args:
          values: the flags.
          lock: number of the open file that keeps others from `--out`.
        """
        self._values = values
        self._lock = lock
        self.out = Path(values.out).resolve()
        self._on_gpu = values.device == "gpu"
        self._judged = {"num_samples": values.num_samples, "extractor": values.extractor}
        self._options = dict(self._judged)
        if values.reference:
            self._judged["reference"] = Path(values.reference).name  # no paths of a machine
            self._options["reference"] = str(Path(values.reference).resolve())
        self._records = read_lines(self.out / RESULTS)

    def _dataset(self, rung: Rung) -> str:
        return _absolute(self._values[rung.data].value) if rung.data in TITLES else ""

    def run_dir(self, rung: Rung, seed: int) -> Path:
        """Returns the folder of a training; of other flags or data it is another one."""
        return self.out / "runs" / f"{rung.name}-{rung.version(self._dataset(rung))}" / f"seed{seed}"

    def is_done(self, rung: Rung, seed: int) -> bool:
        """Whether it has been trained and judged, as it is now."""
        return any(each["seed"] == seed and self._is_of(each, rung) for each in self._records)

    def _is_of(self, record: Mapping[str, Any], rung: Rung) -> bool:
        wanted = [rung.name, rung.version(self._dataset(rung)), self._judged]
        return [record[name] for name in ("rung", "version", "judged")] == wanted

    def training(self, rung: Rung, seed: int, run_dir: Path) -> list[str]:
        """Returns what `python -m` is called with to train."""
        preset = os.path.relpath(rung.preset, ROOT)
        more = [f"--dataset={self._dataset(rung)}"] if self._dataset(rung) else []
        if self._values.data_dir:
            more.append(f"--data_dir={Path(self._values.data_dir).resolve()}")
        if self._values.manual_dir and rung.data == "mnist":
            more.append(f"--manual_dir={Path(self._values.manual_dir).resolve()}")
        return ["pipeline", f"--flagfile={preset}", *more, f"--seed={seed}", f"--run_dir={run_dir}"]

    def _child(self, arguments: Sequence[str], log: Path) -> Child:
        hidden = {} if self._on_gpu else {"CUDA_VISIBLE_DEVICES": "-1"}
        return Child(arguments, log, self._lock, hidden)

    def climb(self, rung: Rung, seed: int) -> None:
        """Trains and judges, unless it is done, and keeps the result.

        Raises:
          MirageError: if the machine is busy, or a process fails.
        """
        run_dir = self.run_dir(rung, seed)
        sheet = f"sheets/{rung.name}-{rung.version(self._dataset(rung))}-seed{seed}.png"
        for folder in (run_dir.parent, (self.out / sheet).parent):
            folder.mkdir(parents=True, exist_ok=True)
        kept = run_dir.with_name(f"{run_dir.name}.training.json")
        if not kept.exists():
            self.refuse_busy()
            child = self._child(self.training(rung, seed, run_dir), run_dir.with_name(f"{run_dir.name}.log"))
            facts = {"machine": self._machine(), **train(child, run_dir)}
            write_file(kept, (json.dumps(facts) + "\n").encode())
        scores = run_dir.with_name(f"{run_dir.name}.scores.json")
        judging = ["benchmarks.ladder_judge", str(run_dir), str(scores), str(self.out / sheet)]
        judge = self._child([*judging, json.dumps(self._options)], run_dir.with_name(f"{run_dir.name}.judge.log"))
        judge.run()
        rung_facts = {"rung": rung.name, "data": rung.data, "size": rung.size, "minutes": rung.minutes, "seed": seed}
        record = {
            **rung_facts,
            "networks": rung.networks,
            "version": rung.version(self._dataset(rung)),
            "flags": rung.flags(),
            "dataset": self._shown_dataset(rung),
            **json.loads(kept.read_text()),
            "judged": self._judged,
            "sheet": sheet,
            "scores": json.loads(scores.read_text()),
        }
        end_last_line(self.out / RESULTS)
        append_line(self.out / RESULTS, json.dumps(record))
        self._records.append(record)

    def _shown_dataset(self, rung: Rung) -> str:
        own = next(flag for flag in rung.flags() if flag.startswith("--dataset="))
        return (self._dataset(rung) or own.removeprefix("--dataset=")).partition(":/")[0]  # no paths of a machine

    def refuse_busy(self) -> None:
        """Watches the machine for a moment; raises MirageError if others compute there, unless `--busy`."""
        others, cores = foreign_load(_WATCHED_S), len(os.sched_getaffinity(0))
        if others <= DISTURBED * cores:
            return
        told = f"others take {others:.1f} of the {cores} cores, so that a time means nothing"
        if not self._values.busy:
            raise MirageError(f"{told}; end what runs besides, or pass --busy, and the result will be marked.")
        print(f"warning: {told}; the result will be marked.", file=sys.stderr, flush=True)

    def _machine(self) -> dict[str, Any]:
        return {**machine(ROOT, not self._on_gpu), "cpu": software()["cpu"]}

    def calibrate(self, rung: Rung) -> None:
        """Measures how many steps of a rung fit into its minutes, and says so; raises MirageError as `climb`."""
        self.refuse_busy()
        with tempfile.TemporaryDirectory(dir=self.out) as folder:
            run_dir = Path(folder, "run")
            more = [f"--log_every={_LOG_EVERY[self._on_gpu]}", f"--steps={10**9}"]
            child = self._child([*self.training(rung, 0, run_dir), *more], Path(folder, "log"))
            pace = measure(child, run_dir, self._values.calibrate_s)
        steps = pace.steps(rung.minutes)
        told = f"{pace.images_per_s:,.0f} images/s, start {pace.overhead_s:.0f} s"
        print(f"{rung.name}: --steps={steps} of {pace.images_per_step} images ({told})", flush=True)
        if self._values.write:
            rung.write_steps(steps, pace.images_per_step)

    def report(self) -> None:
        """Writes and prints table and picture of all that is done, on whatever machine."""
        rungs = read_rungs(ROOT / self._values.presets)
        records = current(self._records, lambda record: any(self._is_of(record, rung) for rung in rungs))
        text = table(records)
        write_file(self.out / "ladder.md", text.encode())
        print(text)
        if records:
            draw(records, self.out, self.out / "ladder.png")
        if self._values.publish and records:
            name = Path(self._values.presets).name
            publish(f"![samples of each, and their distances](../docs/{name}.png)\n\n{text}", DOCUMENT, name)
            write_file(ROOT / "docs" / f"{name}.png", (self.out / "ladder.png").read_bytes())


def _absolute(dataset: str) -> str:
    """Makes a folder's path one that holds elsewhere, since trainings are started in the checkout."""
    kind, _, folder = dataset.partition(":")
    return f"folder:{Path(folder).resolve()}" if kind == "folder" else dataset


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[TextIO]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise MirageError(f"--out={out} can't be written ({error.strerror}); choose another folder.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MirageError(
                f"--out={out} is in use by another ladder, or by a training that one has left and that is just saving; "
                "wait for it, or choose another folder."
            ) from None
        yield file


def _settle(device: str) -> None:
    """Keeps to two cores, or looks for a GPU; raises MirageError if they are not there."""
    if device == "gpu":
        if not visible_gpus():
            raise MirageError("--device=gpu finds no GPU; python -m pipeline.doctor says why.")
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < _CORES:
        raise MirageError(f"this process may use {len(cores)} CPU core; the ladder is measured on {_CORES}.")
    os.sched_setaffinity(0, cores[:_CORES])


def _run(values: flags.FlagValues) -> None:
    rungs = choose(
        [rung for rung in read_rungs(ROOT / values.presets) if rung.gpu == (values.device == "gpu")], values.only
    )
    if values.write and not values.calibrate:
        raise MirageError("--write goes with --calibrate only; leave it out.")
    work = [(rung, seed) for seed in range(values.seeds) for rung in rungs]
    if values.list or values.dry_run:
        ladder = Ladder(values, -1)
        for rung, seed in work:
            command = shlex.join(["python", "-m", *ladder.training(rung, seed, ladder.run_dir(rung, seed))])
            done = "done" if ladder.is_done(rung, seed) else "to do"
            named = f"{rung.place}:{rung.minutes}{rung.networks and f', {rung.networks}'}"
            print(command if values.dry_run else f"{named}, seed {seed}: {done}")
        return
    _settle(values.device)
    with _locked(Path(values.out).resolve()) as lock:
        ladder = Ladder(values, lock.fileno())
        if values.calibrate:
            for rung in rungs:
                ladder.calibrate(rung)
            return
        for rung, seed in work:
            if not ladder.is_done(rung, seed):
                print(f"{rung.name}, seed {seed} ...", flush=True)
                ladder.climb(rung, seed)
        ladder.report()


def main(argv: Sequence[str]) -> int:
    """Climbs; returns the exit status."""
    # As an interrupt, so that the training is told and saves.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        _run(flags.FLAGS)
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("Stopped; the same command goes on.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    app.run(main)
