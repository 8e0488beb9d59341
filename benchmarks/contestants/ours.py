"""Mirage as a user runs it: the whole trainer, with log lines, previews and checkpoints."""

import tempfile
import time
from collections.abc import Iterator

import tensorflow as tf

from benchmarks.worker import Rounds, Work
from pipeline.base.needs import Needs
from pipeline.config import Config
from pipeline.data.dataset import Dataset, describe
from pipeline.networks import build as networks
from pipeline.training import trainer
from pipeline.training.step import TrainStep

_ENOUGH = 10**9


class Gate:
    """Stands before the training step, and lets as many steps pass as were asked for.

    Attributes:
      first_call_s: seconds of the first call, tracing and compilation included; None before it.
    """

    def __init__(self, step_function: TrainStep, rounds: Iterator[int], first: int) -> None:
        """Takes the step, the rounds to come, and the steps of the first one."""
        self.metric_names = step_function.metric_names
        self.jit = step_function.jit
        self.first_call_s: float | None = None
        self._step_function = step_function
        self._rounds = rounds
        self._left = first
        self._tracing_s = 0.0

    def parameters(self) -> dict[str, int]:
        """Returns the number of trainable weights of each network."""
        models = self._step_function.networks
        return {name: sum(v.shape.num_elements() for v in _trainable(model)) for name, model in models.items()}

    def trace(self, count: tf.Tensor, stop: tf.Tensor) -> tf.Graph:
        """See `TrainStep`."""
        start = time.perf_counter()
        graph = self._step_function.trace(count, stop)
        self._tracing_s += time.perf_counter() - start
        return graph

    def __call__(self, count: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See `TrainStep`."""
        if self._left == 0:
            # The loop is back after logs, pictures and checkpoints, so they belong to the round before.
            self._left = next(self._rounds, 0)
            if not self._left:
                raise SystemExit
        self._left -= int(count)
        assert self._left >= 0, "a round must end where the trainer comes back to Python"
        start = time.perf_counter()
        answer = self._step_function(count, stop)
        if self.first_call_s is None:
            answer[0].numpy()
            self.first_call_s = self._tracing_s + time.perf_counter() - start
        return answer


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


def train_gated(config: Config, asked: Iterator[int], gates: list[Gate], dataset: Dataset | None = None) -> None:
    """Trains as many steps as are asked for, again and again; ends with SystemExit when nothing more is.

    Args:
      config: the run.
      asked: numbers of steps.
      gates: receives the gate, for its figures.
      dataset: the images; None for those that the run names.
    """
    first = next(asked)  # nothing computes before that, so that no other side is disturbed

    def gate(step_function: TrainStep) -> Gate:
        gates.append(Gate(step_function, asked, first))
        return gates[-1]

    trainer.train(config, dataset=dataset, around=gate)


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`."""
    with tempfile.TemporaryDirectory() as run_dir:
        config = config_of(work, run_dir)
        data = describe(config)
        built = networks.build_networks(config, data, Needs())
        sizes = {
            name: sum(int(variable.shape.num_elements()) for variable in _trainable(model))
            for name, model in built.items()
        }
        rounds.ready(**sizes)
        train_gated(config, iter(rounds), [])


def _trainable(model: object) -> list[tf.Variable]:
    return [variable.value for variable in model.trainable_variables]  # type: ignore[attr-defined]
