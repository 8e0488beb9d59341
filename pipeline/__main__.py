"""Trains a generative adversarial network.

A first run, on digits that come with the installation:

  python -m pipeline --conditional --steps=2000 --run_dir=runs/digits

On all GPUs of this machine, with a global batch of 256 images:

  python -m pipeline --dataset=cifar10 --conditional --batch_size=256 --run_dir=runs/cifar

On your own images, one sub-folder per class:

  python -m pipeline --dataset=folder:photos --image_size=64 --conditional --run_dir=runs/photos

What is auto is chosen for the data, the device and the length, and printed. The same command
continues an interrupted run from its last checkpoint. Presets are in configs/
(--flagfile=configs/mnist.flags); a flag after the preset overrides it. --dry_run shows what
would be trained, --dry_run=deep tries it.
"""

import contextlib
import dataclasses
import functools
import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from pipeline.base import command_line
from pipeline.base.errors import INTERRUPTED, MISTAKE, PREEMPTED, WORKER_LOST, MirageError, WorkerLostError
from pipeline.config import Config
from pipeline.data.spec import DataSpec, is_place
from pipeline.experiment import Experiment
from pipeline.runs.patience import ran_out


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`: one for each field of `Config`, and `--dry_run`."""
    for field in dataclasses.fields(Config):
        help_text, choices = field.metadata["help"], field.metadata["choices"]
        if field.metadata["automatic"]:
            command_line.define_automatic(values, field)
        elif choices:
            flags.DEFINE_enum(field.name, field.default, choices, help_text, flag_values=values)
        elif field.metadata["reads"]:
            flags.DEFINE_string(field.name, str(field.default), help_text, flag_values=values)
        else:
            define = {
                str: flags.DEFINE_string,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                bool: flags.DEFINE_bool,
            }[type(field.default)]
            define(field.name, field.default, help_text, flag_values=values)
    help_text = (
        "print the configuration, both networks with their parameters, the memory they need and what a look at the "
        "data finds, and stop; deep looks at all of the data, trains for some seconds, saves, restores and exports, "
        "all in a temporary folder, and ends with a verdict."
    )
    command_line.define_switch(values, "dry_run", help_text, ("deep",))


def config_from_flags(values: flags.FlagValues) -> Config:
    """Returns the configuration that parsed flags describe."""
    return Config(**{field.name: values[field.name].value for field in dataclasses.fields(Config)})


def _plan(config: Config, data_dir: str) -> tuple[Config, DataSpec, int]:
    """Prints what would be trained.

    Args:
      config: as it was given.
      data_dir: where it is remembered what files are.

    Returns:
      The configuration without `auto`, the description of the data, and how many steps a run has done that is there.
    """
    import tensorflow as tf

    from pipeline.cluster.find import find_cluster
    from pipeline.data.dataset import describe
    from pipeline.runs.checkpoint import newest_step
    from pipeline.runs.same_run import check_same_flags
    from pipeline.training import chosen, memory
    from pipeline.training.transfer import take_over

    cluster = find_cluster(os.environ) if config.strategy in ("auto", "multi_worker") else None
    devices = memory.Devices.find(config, cluster)
    tf.config.set_visible_devices([], "GPU")  # of which TensorFlow would take all memory
    data = describe(dataclasses.replace(config, data_dir=data_dir))
    done = 0
    try:
        check_same_flags(Path(config.run_dir), config)
        own = chosen.of_run(Path(config.run_dir), config)
        done = newest_step(Path(config.run_dir))
    except MirageError:  # another run lies there
        own = None
    values = chosen.choose(config, data, devices.kind, devices.replicas) if own is None else own
    config = dataclasses.replace(config, **values)
    config.validate()
    print(json.dumps({"config": config.to_dict(), "data": data.to_dict()}, indent=2))
    rows, trainee = memory.estimate(config, data, devices.replicas)
    for name, model in reversed(trainee.networks.items()):
        model.summary(print_fn=print, line_length=100)
        trainable = sum(int(variable.value.shape.num_elements()) for variable in model.trainable_variables)
        total = model.count_params()
        print(f"{name}: {total:,} parameters: {trainable:,} trainable, {total - trainable:,} not\n")
    print(memory.table(rows, config, devices))
    if config.init_from and not done:
        lines, _ = take_over(trainee, config, config, data)
        print("\n".join(lines))
    return config, data, done


def _dry_run(config: Config) -> None:
    from pipeline.data.survey.report import glance

    try:
        _, data, _ = _plan(config, config.data_dir)
    except MirageError:
        with contextlib.suppress(MirageError):  # where there is nothing to look at
            glance(config)
        raise
    if data.num_examples:
        glance(config)
    else:
        print("Data: not prepared yet; python -m pipeline.prepare --report=FOLDER prepares them and looks at them.")


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """Makes a folder, in which whatever this process writes for a moment lies as well, such as TensorFlow's code."""
    with tempfile.TemporaryDirectory(prefix="mirage-rehearsal-") as place:
        before, tempfile.tempdir = tempfile.tempdir, place
        try:
            yield place
        finally:
            tempfile.tempdir = before


def _dry_run_deep(config: Config) -> int:
    from pipeline.cluster.find import find_cluster
    from pipeline.data.survey.report import look
    from pipeline.data.trial import write_trial
    from pipeline.diagnosis.rehearsal import Rehearsal, rehearse
    from pipeline.runs.run_file import write_run
    from pipeline.training.feed import check_data

    if config.strategy in ("auto", "multi_worker") and find_cluster(os.environ) is not None:
        raise MirageError("--dry_run=deep tries one machine; unset TF_CONFIG, or start it outside of Slurm's srun.")
    with _temporary_folder() as place:
        folder = Path(place)
        # What is remembered of folders is left to the training, too. What must be prepared before it can be seen stays.
        data_dir = str(folder / "kept") if is_place(config.dataset) else config.data_dir
        quiet = dataclasses.replace(config, data_dir=data_dir)
        stops = look(quiet)
        try:
            settled, data, done = _plan(config, data_dir)
            data, unprepared = write_trial(quiet, settled.batch_size * settled.accumulate, folder, config.data_dir)
            check_data(settled, settled, settled.split, data)
            write_run(folder, settled, data)
            say = functools.partial(print, file=sys.stderr, flush=True)
            found = rehearse(settled.to_dict(), unprepared, done, folder, say)
        except MirageError as error:
            found = Rehearsal(obstacles=[str(error)])
        except OSError as error:
            found = Rehearsal(obstacles=[f"{place} can't be written ({error.strerror}); set TMPDIR to where it can."])
    found.obstacles = list(dict.fromkeys([*stops, *found.obstacles]))
    print(
        "\n".join(["Rehearsal:", *(f"  {line}" for line in found.lines)]) if found.lines else "Rehearsal: nothing ran"
    )
    for obstacle in found.obstacles:
        print(f"  in the way: {obstacle}")
    print(found.verdict(), flush=True)
    return MISTAKE if found.obstacles else 0


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line.

    Args:
      values: parsed flags.
      argv: what the flags leave over: the program's name.

    Returns:
      The exit status: 0 if the run is complete or has run out of `--patience`, `MISTAKE`, `INTERRUPTED` after Ctrl-C,
      `PREEMPTED` after SIGTERM or SIGHUP, or `WORKER_LOST`.

    Raises:
      Stopped: if a request to stop comes while there is nothing to save.
    """
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        config = config_from_flags(values)
        config.validate()
        if values.dry_run == "deep":
            return _dry_run_deep(config)
        if values.dry_run:
            _dry_run(config)
            return 0
        run = Experiment.of(config).train()
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return WORKER_LOST if isinstance(error, WorkerLostError) else MISTAKE
    if run.stopped_by is not None and not ran_out(run.stopped_by):
        return INTERRUPTED if run.stopped_by == signal.SIGINT else PREEMPTED
    if not run.chief:
        return 0
    run_dir = shlex.quote(config.run_dir)
    bundle = shlex.quote(os.path.join("bundles", Path(config.run_dir).resolve().name or "default"))
    print(f"Done: {run.step:,} steps in {config.run_dir}")
    print(f"  pictures   {os.path.join(config.run_dir, 'samples')}")
    print(f"  curves     tensorboard --logdir={shlex.quote(os.path.join(config.run_dir, 'tensorboard'))}")
    print(f"  next       python -m export --run_dir={run_dir} --out={bundle}")
    return 0


def run() -> None:
    """Entry point of `python -m pipeline` and of `mirage-train`."""
    command_line.run(__doc__, define_flags, main)


if __name__ == "__main__":
    run()
