"""A training from its configuration to its end: everything that stands around the loop."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipeline.base.interrupt import Interrupt
from pipeline.base.needs import Needs
from pipeline.cluster.agreement import data_facts, program_facts
from pipeline.cluster.find import find_cluster
from pipeline.cluster.strategy import (
    agreed,
    devices_here,
    from_chief,
    make_strategy,
    on_gpus,
    share_state,
    text_from_chief,
)
from pipeline.cluster.worker import Worker, joined
from pipeline.config import Config
from pipeline.data.dataset import Dataset, numbering, open_data
from pipeline.data.spec import DataSpec
from pipeline.devices import compilation, numerics
from pipeline.devices.host_memory import keep_freed_memory
from pipeline.devices.keras_state import own_keras_state
from pipeline.devices.out_of_memory import out_of_memory
from pipeline.objectives import Update
from pipeline.objectives.composition import Composition, check_divisible, compose
from pipeline.runs.callback import Callback, Training, check_callbacks
from pipeline.runs.calling import Callbacks, interval_facts
from pipeline.runs.checkpoint import Checkpoints
from pipeline.runs.networks_file import write_networks
from pipeline.runs.patience import OUT_OF_PATIENCE, ran_out
from pipeline.runs.place import check_place, lock_run, writing
from pipeline.runs.recording import recording
from pipeline.runs.run_file import ema_counts_batches, read_automatic, read_init, write_run
from pipeline.runs.run_log import RunLog
from pipeline.runs.same_run import check_same_data, check_same_flags, check_same_judge, classes_of_run
from pipeline.training import loop
from pipeline.training.chosen import choose, described, of_run
from pipeline.training.configured import trainee_of
from pipeline.training.feed import Layout, check_data, make_feed
from pipeline.training.first_step import FirstStep, Step
from pipeline.training.jit import choose_step, measure_jit
from pipeline.training.profile import Profile
from pipeline.training.step import TrainStep
from pipeline.training.trainee import Trainee
from pipeline.training.transfer import take_over

Around = Callable[[TrainStep], Step]

_MORE_PATIENCE = "to go on, raise --patience."


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
      step: steps that the run has done in all.
      stopped_by: the signal that ended it early, or what a callback or another thread gave as the reason; or None.
        Where the request came to another worker, it is taken for SIGTERM.
      chief: whether this process wrote the run directory.
    """

    step: int
    stopped_by: signal.Signals | str | None
    chief: bool = True


@dataclasses.dataclass(frozen=True)
class _Setting:
    """What a training happens in."""

    config: Config
    worker: Worker
    strategy: tf.distribute.Strategy
    interrupt: Interrupt
    first_step: FirstStep
    objects: Mapping[str, Any]
    automatic: tuple[str, ...] = ()  # what of the configuration was chosen when the run began
    chosen: str = ""  # what is said of it


def train(
    config: Config,
    callbacks: Sequence[Callback] = (),
    *,
    objects: Mapping[str, Any] | None = None,
    dataset: Dataset | None = None,
    interrupt: Interrupt | None = None,
    around: Around = lambda step: step,
) -> Outcome:
    """Trains a run to `config.steps`, from its last undamaged checkpoint if it has one.

    SIGINT and SIGTERM end the training after a checkpoint, on all workers at the same step. The chief
    alone reads and writes `config.run_dir`, as BUILD.md describes.

    Args:
      config: the configuration.
      callbacks: what is done at intervals, after checkpoint, log line and picture.
      objects: what was passed in place of a name, by flag; what the configuration names is made from that.
      dataset: the images, where they are at hand; by default those that the configuration names are loaded.
      interrupt: hears requests to stop.
      around: gives what the loop calls in place of its step, to watch or to measure it.

    Returns:
      How it ended.

    Raises:
      MirageError: if the configuration can't work or differs from the run's, if data or checkpoints
        can't be read or written, if another process uses the run directory, if a loss or weight is no
        longer finite, if a callback fails, or if another worker is lost.
      Stopped: if a request to stop comes while there is nothing to save.
    """
    config.validate(objects)
    callbacks = [*recording(config), *callbacks, Profile(config)]
    check_callbacks(callbacks)
    kept = compilation.prepare(config, config.data_dir)  # before TensorFlow looks for devices
    cluster = find_cluster(os.environ) if config.strategy in ("auto", "multi_worker") else None
    facts = functools.partial(_facts, config, callbacks)
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_keras_state())
        stack.enter_context(numerics.prepared(config))
        first_step = FirstStep(kept, speaks=cluster is None or cluster.is_chief)
        worker = stack.enter_context(joined(cluster, facts, config.timeout_s))
        stack.enter_context(out_of_memory("preparing the training"))  # or whatever says no more
        if worker.chief:
            with writing(Path(config.run_dir)):
                check_place(Path(config.run_dir))
                check_same_flags(Path(config.run_dir), config)
                check_same_judge(Path(config.run_dir), config.eval_samples)
        worker.together("the chief to look at its run directory")
        with worker.watchdog.waiting("the other workers to connect"):
            strategy = make_strategy(config.strategy, config.virtual_devices, cluster)
        if not on_gpus(strategy):
            keep_freed_memory()
        # In a cluster, TensorFlow has just taken SIGTERM for itself.
        heard = stack.enter_context(interrupt or Interrupt())
        setting = _Setting(config, worker, strategy, heard, first_step, objects or {})
        outcome = _train_on(setting, dataset or _open(setting), callbacks, around)
        if cluster is not None:
            outcome = _after_the_chief(outcome, setting)
        return dataclasses.replace(outcome, chief=worker.chief)


def _after_the_chief(outcome: Outcome, setting: _Setting) -> Outcome:
    """Waits until the chief has saved; returns how this worker's training ended, if for want of patience, too."""
    # No worker leaves before: some batch systems end all when the first one does.
    with setting.worker.watchdog.waiting("the chief to save"):
        impatient = int(from_chief(setting.strategy, tf.constant(int(ran_out(outcome.stopped_by)))))
    if not impatient or setting.worker.chief:
        return outcome
    return dataclasses.replace(outcome, stopped_by=OUT_OF_PATIENCE)


def _open(setting: _Setting) -> Dataset:
    config = setting.config
    known = config if "batch_size" not in config.automatic() else dataclasses.replace(config, batch_size=1)
    check = functools.partial(check_data, known, known, config.split)
    return open_data(setting.objects.get("dataset"), config, check)


def _facts(config: Config, callbacks: Sequence[Callback]) -> dict[str, str]:
    """What must be the same on all workers before they connect."""
    return {**program_facts(config, devices_here(config.virtual_devices)), **interval_facts(callbacks)}


def _train_on(setting: _Setting, dataset: Dataset, callbacks: Sequence[Callback], around: Around) -> Outcome:
    """Opens the run directory with the data, whose classes are numbered as the run has them."""
    config, worker = setting.config, setting.worker
    worker.together("the other workers to load their data", data_facts(dataset.spec))
    numbers = numbering(dataset.spec, classes_of_run(Path(config.run_dir)) if worker.chief else ())
    with lock_run(Path(config.run_dir)) if worker.chief else contextlib.nullcontext():
        if worker.chief:
            check_same_data(Path(config.run_dir), config.dataset, dataset.renumbered(numbers).spec)
        worker.together("the chief to open its run directory")
        if not worker.alone and len(numbers):
            with worker.watchdog.waiting("the chief's numbers of the classes"):
                numbers = from_chief(setting.strategy, tf.constant(numbers)).numpy()
        dataset = dataset.renumbered(numbers)
        return _train(_settled(setting, dataset.spec), dataset, callbacks, around)


def _settled(setting: _Setting, data: DataSpec) -> _Setting:
    """Puts values in the place of what is `auto`: the chief's, who alone can look at the run."""
    config, worker, strategy, run_dir = setting.config, setting.worker, setting.strategy, Path(setting.config.run_dir)
    own = of_run(run_dir, config) if worker.chief else None
    automatic = config.automatic() if own is None else read_automatic(run_dir)
    if not config.automatic():
        return dataclasses.replace(setting, automatic=automatic)
    kind = "GPU" if on_gpus(strategy) else "CPU"
    values = choose(config, data, kind, strategy.num_replicas_in_sync) if own is None else own
    if not worker.alone:
        with worker.watchdog.waiting("the chief to choose parameters"):
            values = json.loads(text_from_chief(strategy, json.dumps(values)))
    config = dataclasses.replace(config, **values)
    config.validate(setting.objects)
    check_data(config, config, config.split, data)
    line = described([*values], config, continued=own is not None)
    return dataclasses.replace(setting, config=config, automatic=automatic, chosen=line)


def _train(setting: _Setting, dataset: Dataset, callbacks: Sequence[Callback], around: Around) -> Outcome:
    config, worker, strategy = setting.config, setting.worker, setting.strategy
    run_dir = Path(config.run_dir)
    objective = compose(config.to_dict(), setting.objects.get("objective"))
    updates, needs = _prepared(objective, dataset, config, strategy.num_replicas_in_sync)
    with worker.watchdog.waiting("the other workers to build their networks"), strategy.scope():
        say = print if worker.chief else lambda line: None
        given = dataset.spec, say
        trainee = trainee_of(config, *given, objects=setting.objects, objective=objective, needs=needs)
    checkpoints, restored, init = _restored(setting, trainee, dataset.spec)
    start = int(trainee.step.numpy())
    with worker.watchdog.waiting("the chief to read its run directory"):
        by_batches = bool(agreed(ema_counts_batches(run_dir), strategy, worker.cluster))
    if worker.chief:
        _print(_opening(config, dataset, strategy, restored))
        _print(setting.chosen)
    if start >= config.steps:
        return Outcome(start, None)
    training = Training(
        config,
        run_dir,
        dataset,
        trainee.sampler,
        checkpoints,
        setting.interrupt,
        step=start,
        steps=config.steps,
        resumed=restored is not None,
    )
    calls = Callbacks(callbacks, training)
    build = _prepare(setting, training, calls, trainee, updates, by_batches)
    if config.patience and _agreed_on_end(setting):
        training.say(f"{setting.interrupt.reason}: nothing is trained; {_MORE_PATIENCE}")
        return Outcome(start, setting.interrupt.reason)
    step, decided = _choose(setting, training, build, trainee)
    training.metric_names = step.metric_names
    if worker.chief:
        _print(_end_of_decay(config, step.images_per_step))
        with writing(run_dir):
            write_networks(run_dir, trainee.networks, print)
            known, automatic = (run_dir, config, dataset.spec), setting.automatic
            write_run(*known, jit=decided, ema_counts_batches=by_batches, automatic=automatic, init=init)
            training.log = _open_log(training, step)
    with calls.started():
        surroundings = loop.Around(setting.interrupt, worker.watchdog, setting.first_step, worker.alone)
        cause = loop.run(around(step), training, calls, surroundings, steps_per_call=config.steps_per_call)
        if cause is not None:
            calls.stopped()
            training.say(_stopped(training, cause))
    return Outcome(training.step, cause)


def _restored(
    setting: _Setting, trainee: Trainee, data: DataSpec
) -> tuple[Checkpoints | None, int | None, Mapping[str, Any] | None]:
    """Restores the run, or gives a new one the weights of `--init_from`; the same on all workers.

    Returns:
      (the chief's checkpoints, the step of that which was restored, what the run directory says of `--init_from`).
    """
    config, worker, run_dir = setting.config, setting.worker, Path(setting.config.run_dir)
    checkpoints, restored, init = None, None, None
    if worker.chief:
        with writing(run_dir):
            checkpoints = Checkpoints(run_dir, trainee.state(), config.keep_checkpoints, trainee.scalars)
            restored, init = checkpoints.restore(), read_init(run_dir)
        if restored is None and config.init_from:
            lines, init = take_over(trainee, config, config, data)
            _print("\n".join(lines))
    worker.together("the chief to restore its checkpoint")
    if not worker.alone:
        with worker.watchdog.waiting("the chief's weights"):
            share_state(setting.strategy, list(trainee.state().values()))
    return checkpoints, restored, init


def _print(line: str) -> None:
    if line:
        print(line, flush=True)


def _prepared(
    objective: Composition, dataset: Dataset, config: Config, replicas: int
) -> tuple[tuple[Update, ...], Needs]:
    """Returns the objective's updates on these data, and the networks that it needs."""
    num_labels, attributes = dataset.spec.num_labels, dataset.spec.attributes
    updates = objective.updates(
        images=dataset.images, labels=dataset.labels, num_labels=num_labels, attributes=attributes, seed=config.seed
    )
    check_divisible(config.batch_size, updates, replicas)
    return updates, objective.needs(updates, num_labels, config.latent_dim, attributes)


def _prepare(
    setting: _Setting,
    training: Training,
    calls: Callbacks,
    trainee: Trainee,
    updates: tuple[Update, ...],
    by_batches: bool,
) -> Callable[..., TrainStep]:
    """Makes all ready for the first step; returns what builds the step."""
    config, worker, strategy = setting.config, setting.worker, setting.strategy
    layout = Layout(updates, config.batch_size, config.accumulate, strategy.num_replicas_in_sync)
    with out_of_memory("copying the data set to each device"):
        feed = make_feed(strategy, layout, training.dataset, config, training.step)
    calls.prepare()
    worker.together("the chief to prepare its evaluations")
    given, margin = (config, strategy, trainee, updates, feed), training.dataset.margin
    return functools.partial(TrainStep, *given, ema_counts_batches=by_batches, margin=margin)


def _agreed_on_end(setting: _Setting) -> bool:
    """Whether the run has run out of patience already, which the chief knows."""
    over = ran_out(setting.interrupt.reason)
    if setting.worker.alone:
        return over
    with setting.worker.watchdog.waiting("the chief's evaluations"):
        return bool(from_chief(setting.strategy, tf.constant(int(over))))


def _choose(
    setting: _Setting, training: Training, build: Callable[..., TrainStep], trainee: Trainee
) -> tuple[TrainStep, bool | None]:
    """Returns the step, and what `choose_step` says of XLA."""
    config, worker, strategy = setting.config, setting.worker, setting.strategy

    def chiefs(count: int) -> int:
        return count if worker.alone else int(from_chief(strategy, tf.constant(count)))

    with worker.watchdog.waiting("the other workers to compile", working=True):
        sides = (trainee, config.steps - training.step, build, chiefs, setting.first_step)
        measure = functools.partial(measure_jit, *sides, alone=worker.alone)
        where = strategy, worker.cluster
        return choose_step(config, config.steps, training.run_dir, *where, build, measure, trainee.convolutional)


def _open_log(training: Training, step: TrainStep) -> RunLog:
    return RunLog(
        training.run_dir,
        step.metric_names,
        images_per_step=step.images_per_step,
        num_examples=training.dataset.spec.num_examples,
        start_step=training.step,
        total_steps=training.steps,
    )


def _end_of_decay(config: Config, images_per_step: int) -> str:
    """Says that the last steps will change nothing, if they won't."""
    if config.learning_rate_end:
        if config.lr_decay_images:
            return ""
        return (
            f"note: --learning_rate_end={config.learning_rate_end} changes nothing without --lr_decay_images, after "
            "which the rate would be that."
        )
    if not 0 < config.lr_decay_images < config.steps * images_per_step:
        return ""
    last = config.lr_decay_images // images_per_step
    return (
        f"note: the learning rate falls to 0 at step {last:,} of {config.steps:,}, and what comes after changes "
        "nothing; a longer training takes a larger --lr_decay_images, in a new --run_dir."
    )


def _stopped(training: Training, cause: signal.Signals | str) -> str:
    if ran_out(cause):
        return f"{cause}: saved at step {training.step:,}, where the training ends; {_MORE_PATIENCE}"
    name = cause.name if isinstance(cause, signal.Signals) else cause
    rest = "only its preview and scores are missing."
    if training.step < training.steps:
        rest = "the same command goes on from there."
    return f"{name}: saved at step {training.step:,}; {rest}"


def _opening(config: Config, dataset: Dataset, strategy: tf.distribute.Strategy, restored: int | None) -> str:
    height, width, channels = dataset.spec.image_shape
    replicas = strategy.num_replicas_in_sync
    start = "from the start" if restored is None else f"from the checkpoint of step {restored:,}"
    accumulated = f" x {config.accumulate}" if config.accumulate > 1 else ""
    return (
        f"Training {config.pair} with {config.objective} on {dataset.spec.num_examples:,} images of {config.dataset} "
        f"({height}x{width}x{channels}{dataset.spec.told_labels or ', 0 classes'}), "
        f"{replicas} replica{'s' if replicas > 1 else ''}, global batch {config.batch_size}{accumulated}, "
        f"{start} to step {config.steps:,}, in {config.run_dir}"
        f"{numerics.described(config, strategy.extended.worker_devices)}"
    )
