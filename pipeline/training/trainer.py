"""The host loop: step, log, preview, save, stop. It knows neither loss nor network."""

import contextlib
import dataclasses
import functools
import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError, WorkerLostError
from pipeline.base.interrupt import Interrupt
from pipeline.base.needs import Needs
from pipeline.cluster.agreement import data_facts, program_facts
from pipeline.cluster.find import Cluster, find_cluster
from pipeline.cluster.meet import Peers, meet
from pipeline.cluster.strategy import agreed, devices_here, from_chief, make_strategy, share_state
from pipeline.cluster.watch import Watchdog
from pipeline.config import Config
from pipeline.data.dataset import Dataset, numbering, open_data
from pipeline.data.spec import DataSpec
from pipeline.devices import compilation, numerics
from pipeline.devices.out_of_memory import out_of_memory
from pipeline.evaluation.scoring import Evaluation
from pipeline.objectives import Update
from pipeline.objectives.composition import Composition, check_divisible, compose
from pipeline.runs.checkpoint import Checkpoints
from pipeline.runs.networks_file import write_networks
from pipeline.runs.preview import Preview
from pipeline.runs.recorder import Recorder, check_place, lock_run, writing
from pipeline.runs.run_file import ema_counts_batches, write_run
from pipeline.runs.run_log import TENSORBOARD_DIR, RunLog
from pipeline.runs.same_run import check_same_data, check_same_run, classes_of_run
from pipeline.training.configured import trainee_of
from pipeline.training.feed import Layout, check_data, make_feed
from pipeline.training.first_step import FirstStep
from pipeline.training.jit import choose_step, measure_jit
from pipeline.training.profile import Profile
from pipeline.training.step import TrainStep
from pipeline.training.trainee import Trainee

Around = Callable[[TrainStep], TrainStep]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
      step: steps that the run has done in all.
      stopped_by: the signal that ended it early, or None. Where the signal came to another worker, it
        is taken for SIGTERM.
      chief: whether this process wrote the run directory.
    """

    step: int
    stopped_by: signal.Signals | None
    chief: bool = True


def train(config: Config, *, dataset: Dataset | None = None, around: Around = lambda step: step) -> Outcome:
    """Trains a run to `config.steps`, from its last undamaged checkpoint if it has one.

    SIGINT and SIGTERM end the training after a checkpoint, on all workers at the same step. The chief
    alone reads and writes `config.run_dir`, as BUILD.md describes.

    Args:
      config: the configuration.
      dataset: the images, where they are at hand; by default those that the configuration names are loaded.
      around: gives what the loop calls in place of its step, to watch or to measure it.

    Returns:
      How it ended.

    Raises:
      MirageError: if the configuration can't work or differs from the run's, if data or checkpoints
        can't be read or written, if another process uses the run directory, if a loss or weight is no
        longer finite, or if another worker is lost.
      Stopped: if a request to stop comes while there is nothing to save.
    """
    config.validate()
    kept = compilation.prepare(config)  # before TensorFlow looks for devices
    numerics.prepare(config)
    cluster = find_cluster(os.environ) if config.strategy in ("auto", "multi_worker") else None
    chief = cluster is None or cluster.is_chief
    first_step = FirstStep(kept, speaks=chief)
    with contextlib.ExitStack() as stack:
        peers = None
        if cluster is not None:
            facts = program_facts(config, devices_here(config.virtual_devices))
            peers = stack.enter_context(meet(cluster, facts, config.timeout_s))
        watchdog = stack.enter_context(Watchdog(config.timeout_s if peers else math.inf, peers))
        stack.enter_context(_lost_workers(cluster, watchdog, peers))
        stack.enter_context(out_of_memory("preparing the training"))  # or whatever says no more
        if chief:
            with writing(Path(config.run_dir)):
                check_place(Path(config.run_dir))
                check_same_run(config)
        _together("the chief to look at its run directory", peers, watchdog)
        with watchdog.waiting("the other workers to connect"):
            strategy = make_strategy(config.strategy, config.virtual_devices, cluster)
        interrupt = stack.enter_context(Interrupt())  # in a cluster, TensorFlow has just taken SIGTERM for itself
        dataset = dataset or open_data(None, config, functools.partial(check_data, config))
        _together("the other workers to load their data", peers, watchdog, data_facts(dataset.spec))
        numbers = numbering(dataset.spec, classes_of_run(config) if chief else ())
        with lock_run(Path(config.run_dir)) if chief else contextlib.nullcontext():
            if chief:
                check_same_data(config, dataset.renumbered(numbers).spec)
            _together("the chief to open its run directory", peers, watchdog)
            if cluster is not None and len(numbers):
                with watchdog.waiting("the chief's numbers of the classes"):
                    numbers = from_chief(strategy, tf.constant(numbers)).numpy()
            outcome = _train(
                config, strategy, cluster, dataset.renumbered(numbers), interrupt, watchdog, peers, first_step, around
            )
        if cluster is not None:
            # No worker leaves before the chief has saved: some batch systems end all when the first one does.
            with watchdog.waiting("the chief to save"):
                from_chief(strategy, tf.constant(0))
        return dataclasses.replace(outcome, chief=chief)


def _train(
    config: Config,
    strategy: tf.distribute.Strategy,
    cluster: Cluster | None,
    dataset: Dataset,
    interrupt: Interrupt,
    watchdog: Watchdog,
    peers: Peers | None,
    first_step: FirstStep,
    around: Around,
) -> Outcome:
    chief, run_dir = cluster is None or cluster.is_chief, Path(config.run_dir)
    objective = compose(config.to_dict())
    updates, needs = _prepared(objective, dataset, config, strategy.num_replicas_in_sync)
    with watchdog.waiting("the other workers to build their networks"), strategy.scope():
        say = print if chief else lambda line: None
        trainee = trainee_of(config, dataset.spec, say, objective=objective, needs=needs)
    with writing(run_dir):
        checkpoints = Checkpoints(run_dir, trainee.state(), config.keep_checkpoints) if chief else None
        restored = checkpoints.restore() if checkpoints else None
    _together("the chief to restore its checkpoint", peers, watchdog)
    if cluster:
        with watchdog.waiting("the chief's weights"):
            share_state(strategy, list(trainee.state().values()))
    start = int(trainee.step.numpy())
    with watchdog.waiting("the chief to read its run directory"):
        by_batches = bool(agreed(ema_counts_batches(run_dir), strategy, cluster))
    if chief:
        print(_opening(config, dataset, strategy, restored), flush=True)
    if start >= config.steps:
        return Outcome(start, None)
    layout = Layout(updates, config.batch_size, config.accumulate, strategy.num_replicas_in_sync)
    with out_of_memory("copying the data set to each device"):
        feed = make_feed(strategy, layout, dataset, config, start)
    build = functools.partial(TrainStep, config, strategy, trainee, updates, feed, ema_counts_batches=by_batches)
    evaluation = _evaluation(config, dataset, trainee) if chief and config.eval_every else None
    _together("the chief to prepare its evaluations", peers, watchdog)

    def chiefs(count: int) -> int:
        return count if cluster is None else int(from_chief(strategy, tf.constant(count)))

    with watchdog.waiting("the other workers to compile", working=True):
        sides = (trainee, config.steps - start, build, chiefs, first_step)
        measure = functools.partial(measure_jit, *sides, alone=cluster is None)
        step_function, decided = choose_step(config, strategy, cluster, build, measure, trainee.convolutional)
    with contextlib.ExitStack() as stack:
        recorder = None
        if checkpoints is not None:
            with writing(run_dir):
                write_networks(run_dir, trainee.networks, print)
                write_run(run_dir, config, dataset.spec, jit=decided, ema_counts_batches=by_batches)
                log = _open_log(config, step_function, dataset.spec, start)
            preview = Preview(config, dataset.spec, trainee.sampler)
            recorder = stack.enter_context(Recorder(config, log, preview, checkpoints, interrupt, evaluation))
            if restored is None:
                recorder.picture(0)
        profile = Profile(config.profile_range() if chief else None, run_dir / TENSORBOARD_DIR)
        stack.callback(profile.close)
        return _loop(
            config, start, around(step_function), recorder, interrupt, profile, watchdog, first_step, alone=not cluster
        )


def _prepared(
    objective: Composition, dataset: Dataset, config: Config, replicas: int
) -> tuple[tuple[Update, ...], Needs]:
    """Returns the objective's updates on these data, and the networks that it needs."""
    num_labels = len(dataset.spec.class_names)
    updates = objective.updates(images=dataset.images, labels=dataset.labels, num_labels=num_labels, seed=config.seed)
    check_divisible(config.batch_size, updates, replicas)
    return updates, objective.needs(updates, num_labels, config.latent_dim)


@out_of_memory("preparing evaluations")
def _evaluation(config: Config, dataset: Dataset, trainee: Trainee) -> Evaluation:
    # It may train its classifier first, or find that it has nothing to judge by, which is no part of the training.
    return Evaluation(config, config, config.seed, dataset, trainee.sampler)


def _loop(
    config: Config,
    step: int,
    step_function: TrainStep,
    recorder: Recorder | None,
    interrupt: Interrupt,
    profile: Profile,
    watchdog: Watchdog,
    first_step: FirstStep,
    *,
    alone: bool,
) -> Outcome:
    first = step
    note = recorder.note if recorder is not None else None
    if not alone:
        interrupt.hold()  # the others wait for this worker's step, whenever a request to stop comes
    while step < config.steps:
        profile.at(step)
        count = 1 if step == first else _steps_until_next_event(config, step)
        signalled = interrupt.signal  # read once: what comes later in this round is for the next one
        waiting = watchdog.waiting(f"the other workers after step {step:,}", working=step == first)  # it compiles first
        call = functools.partial(first_step.call, step_function, show=note) if step == first else step_function
        with waiting, out_of_memory(f"training after step {step:,}"):
            means, stopping = call(tf.constant(count, tf.int64), tf.constant(float(signalled is not None)))
            stopping.numpy()
            interrupt.hold()  # from the first steps on there is something to save
        step += count
        if not np.all(np.isfinite(means.numpy())):
            raise MirageError(_not_finite(step, step_function.metric_names, means.numpy()))
        stop = interrupt.signal is not None if alone else bool(stopping)
        last = step == config.steps
        complete = not stop
        if recorder is not None:
            recorder.add(means.numpy(), count)
            if count == step - first:
                recorder.say(first_step.sentence())
            complete = not stop and recorder.write_due(step, last=last)
        # Who is alone need not tell the others with the next step.
        if not complete if last else stop or (alone and interrupt.signal is not None):
            cause = interrupt.signal or signal.SIGTERM
            if recorder is not None:
                recorder.save()
                recorder.say(_stopped(config, step, cause))
            return Outcome(step, cause)
    return Outcome(step, None)


def _stopped(config: Config, step: int, cause: signal.Signals) -> str:
    rest = "the same command goes on from there." if step < config.steps else "only its preview and scores are missing."
    return f"{cause.name}: saved at step {step:,}; {rest}"


def _steps_until_next_event(config: Config, step: int) -> int:
    """Steps that may run in one call, so that logs, previews and checkpoints come when they should.

    It depends on nothing but these, because all workers must make the same calls.
    """
    every = (config.log_every, config.preview_every, config.checkpoint_every, config.eval_every)
    intervals = [each for each in every if each]
    ahead = [boundary - step for boundary in (config.steps, *(config.profile_range() or ())) if boundary > step]
    most = config.steps_per_call - step % config.steps_per_call
    return min(most, *ahead, *(each - step % each for each in intervals))


def _together(what: str, peers: Peers | None, watchdog: Watchdog, facts: Mapping[str, str] | None = None) -> None:
    """Goes on when all workers have come here with the same facts.

    They meet so wherever one may find a mistake: it says so to the others, which TensorFlow would leave waiting.
    """
    if peers is not None:
        with watchdog.waiting(what):
            peers.agree(facts or {})


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


def _open_log(config: Config, step_function: TrainStep, data: DataSpec, start: int) -> RunLog:
    return RunLog(
        Path(config.run_dir),
        step_function.metric_names,
        images_per_step=step_function.images_per_step,
        num_examples=data.num_examples,
        start_step=start,
        total_steps=config.steps,
    )


def _opening(config: Config, dataset: Dataset, strategy: tf.distribute.Strategy, restored: int | None) -> str:
    height, width, channels = dataset.spec.image_shape
    replicas = strategy.num_replicas_in_sync
    start = "from the start" if restored is None else f"from the checkpoint of step {restored:,}"
    accumulated = f" x {config.accumulate}" if config.accumulate > 1 else ""
    return (
        f"Training {config.model} with {config.objective} on {dataset.spec.num_examples:,} images of {config.dataset} "
        f"({height}x{width}x{channels}, {len(dataset.spec.class_names)} classes), "
        f"{replicas} replica{'s' if replicas > 1 else ''}, global batch {config.batch_size}{accumulated}, "
        f"{start} to step {config.steps:,}, in {config.run_dir}"
        f"{numerics.described(config, strategy.extended.worker_devices)}"
    )


def _not_finite(step: int, names: list[str], means: np.ndarray) -> str:
    figures = ", ".join(f"{name} = {value}" for name, value in zip(names, means, strict=True) if not np.isfinite(value))
    return (
        f"training has diverged: at step {step} {figures}; the last good checkpoint is kept: lower --learning_rate, "
        "and start in a new --run_dir."
    )
