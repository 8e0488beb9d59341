"""Trains a run's first steps for a trial, saves, restores and goes on, as a run that was stopped does."""

import dataclasses
import re
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.base.errors import MirageError
from pipeline.data.dataset import Dataset
from pipeline.data.trial import read_trial
from pipeline.diagnosis.children.telling import argument, tell
from pipeline.evaluation.options import EvaluationOptions
from pipeline.evaluation.sampling import sampler_of
from pipeline.metrics import chosen_extractor
from pipeline.metrics.extractor import Labelled, make_extractor
from pipeline.metrics.metric import Samples
from pipeline.runs.callback import Callback, Training
from pipeline.runs.checkpoint_files import list_checkpoints, read_checkpoint
from pipeline.runs.place import SAMPLES_DIR
from pipeline.runs.run_file import read_run
from pipeline.runs.run_log import METRICS_FILE, TENSORBOARD_DIR, read_records
from pipeline.training import trainer

_FIRST, _LEAST, _MOST = 4, 5, 400  # steps
_JUDGED = 256  # images
_CHECKPOINTS = "checkpoints"


class _Watch(Callback):
    """Takes times, saves once more than is due, and remembers what the generator was."""

    every = 1

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.calls: list[tuple[float, int]] = []
        self.saving_s = 0.0
        self.restored: list[NDArray[Any]] = []
        self.ended: list[NDArray[Any]] = []

    def on_start(self, training: Training) -> None:
        self.restored = training.generator.get_weights()
        tell(stage="the first step")

    def on_steps(self, training: Training, means: NDArray[np.float32], count: int) -> None:
        self.calls.append((time.perf_counter(), count))

    def on_interval(self, training: Training) -> None:
        if len(self.calls) == 1:
            tell(stage="training")
            start = time.perf_counter()
            training.save()
            self.saving_s = time.perf_counter() - start

    def on_end(self, training: Training) -> None:
        self.generator = training.generator
        self.ended = self.generator.get_weights()

    @property
    def steps_per_s(self) -> float:
        """Without the first call, which compiles, and what is done after it."""
        (start, _), (end, _) = self.calls[1], self.calls[-1]
        return sum(count for _, count in self.calls[2:]) / max(end - start, 1e-9)


class _Timed(_Watch):
    """Takes times, and does nothing else between the steps."""

    every = 0

    def on_start(self, training: Training) -> None:
        super().on_start(training)
        training.save()  # what was restored, so that it can be compared with what was written
        self.again = read_checkpoint(_newest(training.run_dir))


def main() -> None:
    """Tells stages as they begin, and what was measured; or, as `error`, a sentence that says why it can't work.

    The argument holds `folder`, where the configuration and some pictures are, `run_dir`, and for how many `seconds` to
    train.
    """
    try:
        _rehearse(Path(argument()["folder"]), Path(argument()["run_dir"]), argument()["seconds"])
    except MirageError as error:
        tell(error=str(error))


def _rehearse(folder: Path, run_dir: Path, seconds: float) -> None:
    tell(stage="starting the devices")
    given, _ = read_run(folder)
    dataset = read_trial(folder, given.device_data_mb)
    config = dataclasses.replace(
        given,
        run_dir=str(run_dir),
        data_dir=str(folder / "kept"),
        steps=_FIRST,
        checkpoint_every=_MOST * 2,
        preview_every=_MOST * 2,
        log_every=1,
        eval_every=0,
        keep_best=False,
        patience=0,
        profile_steps="",
    )
    first = _Watch()
    trainer.train(config, [first], dataset=dataset)
    tell(first_step_s=first.calls[0][0] - first.begun, saving_s=first.saving_s)
    written = read_checkpoint(_newest(run_dir))
    tell(stage="going on from the checkpoint")
    count = int(np.clip(seconds * first.steps_per_s, _LEAST, _MOST))
    per_call = max(1, min(config.steps_per_call, count // _LEAST))
    second, goes_on = _Timed(), dataclasses.replace(config, steps=_FIRST + count, steps_per_call=per_call)
    trainer.train(goes_on, [second], dataset=dataset)
    images = [record["images"] for record in read_records(run_dir / METRICS_FILE)]
    judging = _judging(given, given.data_dir, dataset, second.generator) if given.eval_every else {}
    tell(
        restored=_same(first.ended, second.restored)
        and _same([*written.values()], [second.again[name] for name in written]),
        steps_per_s=second.steps_per_s,
        images_per_step=images[-1] / (_FIRST + count),
        steps=count,
        **judging,
        **_memory(),
        **_bytes(run_dir),
    )


def _judging(options: EvaluationOptions, data_dir: str, dataset: Dataset, generator: keras.Model) -> dict[str, float]:
    """Times the making and describing of images for an evaluation; nothing where a classifier is to be trained first.

    Raises:
      MirageError: if there is nothing to describe them with.
    """
    spec, images = dataset.spec, (dataset.pixels, dataset.labels)
    name = chosen_extractor(options.extractor, spec.class_names, spec.image_shape)
    if name == "classifier" or options.download:  # what is fetched would be left behind
        return {}
    tell(stage="evaluating")
    described_by = make_extractor(
        name,
        labelled=lambda: Labelled(spec.name, spec.class_names, spec.image_shape, images, images),
        data_dir=data_dir,
        weights=options.inception_weights,
    )
    sampler = sampler_of(generator)
    z = np.random.default_rng(0).standard_normal((_JUDGED, sampler.latent_dim), np.float32)
    labels = dataset.labels[:1].repeat(_JUDGED, axis=0)
    start = 0.0
    for number in (sampler.block, _JUDGED):  # the first ones compile
        start = time.perf_counter()
        _ = Samples(sampler.generated(z.__getitem__, labels[:number]), described_by).features
    return {"judging_s": (time.perf_counter() - start) / _JUDGED}


def _newest(run_dir: Path) -> Path:
    return list_checkpoints(run_dir / _CHECKPOINTS)[-1]


def _same(one: list[NDArray[Any]], other: list[NDArray[Any]]) -> bool:
    return len(one) == len(other) and all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def _memory() -> dict[str, Any]:
    """Peaks of this process's memory, and of each GPU's, in bytes."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()) if Path("/proc").exists() else None
    names = [f"GPU:{number}" for number in range(len(tf.config.list_logical_devices("GPU")))]
    gpus = [tf.config.experimental.get_memory_info(name)["peak"] for name in names]
    return {"memory": int(peak[1]) * 1024 if peak else None, "gpu_memory": max(gpus, default=None)}


def _bytes(run_dir: Path) -> dict[str, float]:
    """What a checkpoint, a preview and a log line take."""
    previews = [path.stat().st_size for path in (run_dir / SAMPLES_DIR).iterdir()]
    lines = (run_dir / METRICS_FILE).read_bytes().count(b"\n")
    board = _size(run_dir / TENSORBOARD_DIR) - sum(previews)  # which holds these, too
    return {
        "checkpoint_bytes": _size(_newest(run_dir)),
        "preview_bytes": 2 * max(previews),
        "line_bytes": ((run_dir / METRICS_FILE).stat().st_size + max(board, 0)) / max(lines, 1),
    }


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


if __name__ == "__main__":
    main()
