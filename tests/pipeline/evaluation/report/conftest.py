"""Run directories as trainings leave them, without a training."""

import pytest

from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.runs.run_file import write_run
from tests.pipeline.evaluation.report.written import SIDE, evaluation, line, previews, write_lines


@pytest.fixture
def make_run(tmp_path):
    """Writes a run directory; returns it."""

    def make(
        name="run", distances=(9.0, 3.0, 4.0), class_names=("a", "b"), changes=(), shape=(SIDE, SIDE, 1), every=20
    ):
        run_dir = tmp_path / name
        run_dir.mkdir(parents=True)
        config = Config(run_dir=str(run_dir), dataset="bars", conditional=bool(class_names), steps=400, **dict(changes))
        write_run(run_dir, config, DataSpec("bars", "", shape, class_names, 60))
        steps = range(100, 100 * len(distances) + 1, 100)
        write_lines(run_dir / "evaluations.jsonl", map(evaluation, steps, distances))
        write_lines(run_dir / "metrics.jsonl", map(line, range(50, 401, 50)))
        previews(run_dir, range(0, 401, every), len(class_names), *shape[1:])
        return run_dir

    return make
