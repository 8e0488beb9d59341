"""The host loop: step, log, preview, save, stop. It knows neither loss nor network."""

import dataclasses
import signal
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline import objectives
from pipeline.checkpoint import Checkpoints
from pipeline.config import CONFIG_FILE, Config, DataSpec, MirageError, read_run, write_run
from pipeline.data import Dataset, load
from pipeline.interrupt import Interrupt
from pipeline.preview import Preview, write_png
from pipeline.run_log import RunLog
from pipeline.step import TrainStep, build_trainee
from pipeline.strategy import make_strategy

SAMPLES_DIR = "samples"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
      step: steps that the run has done in all.
      stopped_by: the signal that ended it early, or None.
    """

    step: int
    stopped_by: signal.Signals | None


def train(config: Config) -> Outcome:
    """Trains a run to `config.steps`, from its last checkpoint if it has one.

    SIGINT and SIGTERM end the training after a checkpoint. Everything is written below
    `config.run_dir`, as BUILD.md describes.

    Args:
      config: the configuration.

    Returns:
      How it ended.

    Raises:
      MirageError: if the configuration can't work or differs from the run's, if data or a checkpoint
        can't be read, or if a loss or weight is no longer finite.
    """
    config.validate()
    run_dir = Path(config.run_dir)
    _check_same_run(config, run_dir)
    strategy = make_strategy(config.strategy, config.virtual_devices)
    updates = objectives.updates(config.objective, d_batches=config.d_batches, gamma=config.gamma)
    _check_divisible(config, updates, strategy.num_replicas_in_sync)
    dataset = load(config)
    _check_same_data(dataset.spec, run_dir)
    with strategy.scope():
        trainee = build_trainee(config, dataset.spec)
    _make_folders(run_dir)
    checkpoints = Checkpoints(run_dir, trainee, config.keep_checkpoints)
    restored = checkpoints.restore()
    write_run(run_dir, config, dataset.spec)
    print(_opening(config, dataset, strategy, restored), flush=True)
    if restored is not None and restored >= config.steps:
        return Outcome(restored, None)
    train_step = TrainStep(config, strategy, trainee, updates, tf.constant(dataset.images), tf.constant(dataset.labels))
    preview = Preview(config, dataset.spec, trainee.sampler)
    log = RunLog(
        run_dir,
        train_step.metric_names,
        images_per_step=train_step.images_per_step,
        num_examples=dataset.spec.num_examples,
        start_step=restored or 0,
        total_steps=config.steps,
    )
    with log, Interrupt() as interrupt:
        if restored is None:
            _preview(run_dir, 0, preview, log)
        return _loop(config, run_dir, restored or 0, train_step, checkpoints, preview, log, interrupt)


def _loop(
    config: Config,
    run_dir: Path,
    step: int,
    train_step: TrainStep,
    checkpoints: Checkpoints,
    preview: Preview,
    log: RunLog,
    interrupt: Interrupt,
) -> Outcome:
    while step < config.steps:
        count = _steps_until_next_event(config, step)
        means = train_step(tf.constant(count, tf.int64)).numpy()
        step += count
        if not np.all(np.isfinite(means)):
            raise MirageError(_not_finite(step, train_step.metric_names, means))
        log.add(means, count)
        stop = interrupt.signal  # read once: what comes later in this round is for the next one
        last = step == config.steps or stop is not None
        if last or step % config.log_every == 0:
            log.write()
        if last or step % config.preview_every == 0:
            _preview(run_dir, step, preview, log)
        if last or step % config.checkpoint_every == 0:
            checkpoints.save()
        if stop is not None and step < config.steps:
            log.say(f"{stop.name}: saved at step {step:,}; the same command goes on from there.")
            return Outcome(step, stop)
    return Outcome(step, None)


def _steps_until_next_event(config: Config, step: int) -> int:
    """Steps that may run in one call, so that logs, previews and checkpoints come when they should."""
    intervals = (config.log_every, config.preview_every, config.checkpoint_every)
    return min(config.steps_per_call, config.steps - step, *(each - step % each for each in intervals))


def _preview(run_dir: Path, step: int, preview: Preview, log: RunLog) -> None:
    picture = preview.draw()
    write_png(run_dir / SAMPLES_DIR / f"step_{step:07}.png", picture)
    log.picture(picture)


def _check_same_run(config: Config, run_dir: Path) -> None:
    if not (run_dir / CONFIG_FILE).exists():
        return
    earlier, _ = read_run(run_dir)
    changes = config.changes_from(earlier)
    if changes:
        listing = ", ".join(f"--{name}={now} (the run has {was})" for name, was, now in changes)
        raise MirageError(
            f"--run_dir={run_dir} holds a run with other flags, so it can't be continued with {listing}; choose "
            "another --run_dir, or pass the run's own flags."
        )


def _check_same_data(data: DataSpec, run_dir: Path) -> None:
    if not (run_dir / CONFIG_FILE).exists():
        return
    _, earlier = read_run(run_dir)
    if earlier != data:
        raise MirageError(
            f"--run_dir={run_dir} was trained on other data: then {earlier}, now {data}; choose another --run_dir."
        )


def _check_divisible(config: Config, updates: tuple[objectives.Update, ...], replicas: int) -> None:
    divisor = replicas * max(update.batch_divisor for update in updates)
    if config.batch_size % divisor:
        halves = " in half batches" if divisor != replicas else ""
        raise MirageError(
            f"--batch_size={config.batch_size} can't be shared by {replicas} replicas{halves}; choose a multiple of "
            f"{divisor}."
        )


def _make_folders(run_dir: Path) -> None:
    try:
        (run_dir / SAMPLES_DIR).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MirageError(
            f"--run_dir={run_dir} can't be written ({error.strerror}); choose a folder that you may write."
        ) from None


def _opening(config: Config, dataset: Dataset, strategy: tf.distribute.Strategy, restored: int | None) -> str:
    height, width, channels = dataset.spec.image_shape
    replicas = strategy.num_replicas_in_sync
    start = "from the start" if restored is None else f"from the checkpoint of step {restored:,}"
    return (
        f"Training {config.model} with {config.objective} on {dataset.spec.num_examples:,} images of {config.dataset} "
        f"({height}x{width}x{channels}, {len(dataset.spec.class_names)} classes), "
        f"{replicas} replica{'s' if replicas > 1 else ''}, global batch {config.batch_size}, "
        f"{start} to step {config.steps:,}, in {config.run_dir}"
    )


def _not_finite(step: int, names: list[str], means: np.ndarray) -> str:
    figures = ", ".join(f"{name} = {value}" for name, value in zip(names, means, strict=True) if not np.isfinite(value))
    return (
        f"training has diverged: at step {step} {figures}; the last good checkpoint is kept: lower --learning_rate, "
        "and start in a new --run_dir."
    )
