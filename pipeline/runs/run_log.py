"""What a run tells: `metrics.jsonl`, TensorBoard, log lines and a live progress bar."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from pipeline.base.errors import MirageError
from pipeline.base.files import append_line, write_file
from pipeline.base.output import in_notebook
from pipeline.metrics.figures import format_scores
from pipeline.objectives.figures import format_metrics

METRICS_FILE = "metrics.jsonl"
EVALUATIONS_FILE = "evaluations.jsonl"
TENSORBOARD_DIR = "tensorboard"


class RunLog:
    """Collects figures between two log lines, and writes their means.

    Attributes:
      step: steps done.
      latest: the means of the last log line.
    """

    def __init__(
        self,
        run_dir: Path,
        metric_names: Sequence[str],
        *,
        images_per_step: int,
        num_examples: int,
        start_step: int,
        total_steps: int,
    ) -> None:
        """Opens the run's logs.

        Args:
          run_dir: the run directory.
          metric_names: names of the figures that `add` receives.
          images_per_step: training images that one step consumes.
          num_examples: size of the data set.
          start_step: step from which the run goes on; later lines of an interrupted run are dropped,
            because those steps are done again.
          total_steps: step at which the run ends.
        """
        self._path = run_dir / METRICS_FILE
        self._evaluations_path = run_dir / EVALUATIONS_FILE
        records = [*_truncate(self._path, start_step), *_truncate(self._evaluations_path, start_step)]
        known: list[Any] = [record.get("seconds") for record in records]  # runs of long ago did not note them
        usable = [float(each) for each in known if type(each) in (int, float) and 0 <= each <= sys.float_info.max]
        self._seconds = max(usable, default=0.0)
        self._writer = tf.summary.create_file_writer(os.fsencode(run_dir / TENSORBOARD_DIR))
        self._names = list(metric_names)
        self._images_per_step = images_per_step
        self._num_examples = num_examples
        self._total_steps = total_steps
        self.step = start_step
        self.latest: dict[str, float] = {}
        notebook = in_notebook()
        self._bar = tqdm.tqdm(
            total=total_steps,
            initial=start_step,
            unit="step",
            dynamic_ncols=True,
            # Where standard error is no terminal, log lines alone tell the progress; but a notebook, which is none,
            # shows a line that is written over, in red if it comes from there.
            disable=False if notebook else None,
            file=sys.stdout if notebook else None,
            mininterval=1.0 if notebook else 0.1,  # all that is shown goes into its file
        )
        self._restart_interval()

    def close(self) -> None:
        """Closes the logs."""
        self._writer.close()
        self.close_bar()

    def close_bar(self) -> None:
        """Ends the line of the progress bar."""
        self._bar.close()

    def _restart_interval(self) -> None:
        self._sums = np.zeros(len(self._names))
        self._count = 0
        self._since = time.perf_counter()

    def add(self, means: np.ndarray, num_steps: int) -> None:
        """Takes the figures of a few steps.

        Args:
          means: float32 [len(metric_names)], means over these steps.
          num_steps: their number.
        """
        self._sums += means * num_steps
        self._count += num_steps
        self.step += num_steps
        self._bar.update(num_steps)

    def write(self) -> None:
        """Writes the means since the last call to all logs, if there were steps."""
        if not self._count:
            return
        seconds = time.perf_counter() - self._since
        self._seconds += seconds
        images_per_s = self._count * self._images_per_step / seconds
        images = self.step * self._images_per_step
        means = dict(zip(self._names, (self._sums / self._count).tolist(), strict=True))
        record = {
            "step": self.step,
            "images": images,
            "epoch": round(images / self._num_examples, 4),
            **means,
            "images_per_s": round(images_per_s, 1),
            "seconds": round(self._seconds, 2),
        }
        self.latest = means
        self._record(self._path, record)
        seconds_left = (self._total_steps - self.step) * self._images_per_step / images_per_s
        self.say(
            f"step {self.step:,}/{self._total_steps:,}  {format_metrics(means)}  "
            f"{images_per_s:,.0f} images/s  {format_duration(seconds_left)} left"
        )
        self._restart_interval()

    def evaluation(
        self,
        scores: Mapping[str, Any],
        seconds: float,
        judged: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes the scores of the generator at the present step.

        Args:
          scores: by name: numbers, or intervals, which are lists.
          seconds: how long measuring them took.
          judged: what must be known of them, such as `extractor`, which described the images, if anything did.
        """
        record = {
            "step": self.step,
            "images": self.step * self._images_per_step,
            "seconds": round(self._seconds + time.perf_counter() - self._since - seconds, 2),
            **(judged or {}),
        }
        self._record(self._evaluations_path, {**record, **scores}, "eval/")
        self.say(f"step {self.step:,} evaluated: {format_scores(scores, record.get('extractor'))}")
        self.leave_out(seconds)

    def leave_out(self, seconds: float) -> None:
        """Doesn't count time that was not spent on training."""
        self._since += seconds

    def _record(self, path: Path, record: Mapping[str, Any], prefix: str = "") -> None:
        append_line(path, json.dumps(record))
        with self._writer.as_default(step=self.step):
            for name, value in record.items():
                if name not in ("step", "num_samples") and not isinstance(value, str | list):
                    tf.summary.scalar(prefix + name, value)
            self._writer.flush()

    def picture(self, picture: np.ndarray) -> None:
        """Adds a preview, uint8 [H, W, C], to TensorBoard."""
        with self._writer.as_default(step=self.step):
            tf.summary.image("samples", picture[None])

    def note(self, text: str) -> None:
        """Shows a text behind the progress bar, in place of the one before."""
        self._bar.set_postfix_str(text)

    def say(self, line: str) -> None:
        """Prints a line above the progress bar."""
        self._bar.write(line, file=sys.stdout)
        sys.stdout.flush()


def format_duration(seconds: float) -> str:
    """Formats a duration as `1:02:03` or `2:03`."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def read_records(path: Path, numbers: Sequence[str] = (), *, warn: bool = True) -> list[dict[str, Any]]:
    """Reads what `RunLog` wrote, and warns of lines that can't be understood.

    Args:
      path: the file; one that isn't there is empty.
      numbers: what must be a number in each record, besides its step.
      warn: False for who reads it again and again.

    Returns:
      The records, without a last line that was cut off.

    Raises:
      MirageError: if it can't be read.
    """
    records, bad = [], []
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MirageError(f"{path} can't be read ({error.strerror}); mend its permissions or move it away.") from None
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line.decode())
            if type(record["step"]) is not int or any(type(record[name]) not in (int, float) for name in numbers):
                raise ValueError
            record.update({name: float(record[name]) for name in numbers})
            records.append(record)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            if number < len(lines):  # the last one was cut off by a sudden end, or is what follows the last line break
                bad.append(number)
    if bad and warn:
        print(
            f"warning: {path} has {len(bad)} lines that can't be understood, the first is line {bad[0]}; they are left "
            "out.",
            file=sys.stderr,
            flush=True,
        )
    return records


def _truncate(path: Path, step: int) -> list[dict[str, Any]]:
    """Drops the records after `step`, and what can't be understood; returns those that stay."""
    records = [record for record in read_records(path) if record["step"] <= step]
    if path.exists():
        write_file(path, "".join(json.dumps(record) + "\n" for record in records).encode())
    return records
