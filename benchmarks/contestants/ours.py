"""Mirage as a user runs it: the whole trainer, with log lines, previews and checkpoints."""

import tempfile
from collections.abc import Iterator

import tensorflow as tf

from benchmarks.worker import Rounds, Work
from pipeline import networks, trainer
from pipeline.config import Config
from pipeline.data import describe
from pipeline.step import TrainStep

_ENOUGH = 10**9


class _Gate:
    """Stands before the training step, and lets as many steps pass as were asked for."""

    def __init__(self, step_function: TrainStep, rounds: Iterator[int], first: int) -> None:
        self.metric_names = step_function.metric_names
        self._step_function = step_function
        self._rounds = rounds
        self._left = first

    def __call__(self, count: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if self._left == 0:
            # The loop is back after logs, pictures and checkpoints, so they belong to the round before.
            self._left = next(self._rounds, 0)
            if not self._left:
                raise SystemExit
        self._left -= int(count)
        assert self._left >= 0, "a round must end where the trainer comes back to Python"
        return self._step_function(count, stop)


def config_of(work: Work, run_dir: str) -> Config:
    """Returns the flags that train what `work` says."""
    split = work.networks == "mlp"
    recording = {
        "log_every": work.round_steps,
        "preview_every": work.round_steps // 5 if split else work.round_steps,
        "checkpoint_every": work.round_steps,
        "steps_per_call": 100 if split else 20,
    }
    return Config(
        model=work.networks,
        objective="nsgan",
        d_batches="split" if split else "joint",
        batch_size=work.batch_size,
        beta_1=0.5,
        beta_2=0.999,
        ema_images=0,
        steps=_ENOUGH,
        run_dir=run_dir,
        **{**recording, **work.options},
    )


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`."""
    loop = trainer._loop

    asked = iter(rounds)

    def gated(config: Config, step: int, step_function: TrainStep, *rest: object, **options: object) -> trainer.Outcome:
        return loop(config, step, _Gate(step_function, asked, first), *rest, **options)

    with tempfile.TemporaryDirectory() as run_dir:
        config = config_of(work, run_dir)
        data = describe(config)
        sizes = {}
        for name, build in (("generator", networks.build_generator), ("discriminator", networks.build_discriminator)):
            sizes[name] = sum(int(variable.shape.num_elements()) for variable in _trainable(build(config, data)))
        rounds.ready(**sizes)
        trainer._loop = gated
        first = next(asked)  # nothing computes before that, so that no other side is disturbed
        trainer.train(config)


def _trainable(model: object) -> list[tf.Variable]:
    return [variable.value for variable in model.trainable_variables]  # type: ignore[attr-defined]
