"""What takes minutes: a training that XLA compiles, killed again and again."""

import random
import time

import pytest

from tests.gpu.fleet import difference
from tests.processes import saved

pytestmark = pytest.mark.gpu_slow

_CASE = "float32-xla"


def last_step(folder):
    return max((int(name.removeprefix("step_")) for name in saved(folder)), default=0)


def test_killed_at_twenty_random_moments(fleet, tmp_path, repeats):
    moments, steps = random.Random(0), repeats(20) * fleet.scale.steps
    killed, straight = ((tmp_path / name, fleet.arguments(_CASE, tmp_path / name, steps=steps)) for name in "ks")
    # Beside the kills, so that the two compile at other moments and with other neighbours.
    process = fleet.start(tmp_path / "s.log", "pipeline", *straight[1])
    for kill in range(repeats(20)):
        if kill % 3 == 1:  # amid imports, restoring, compiling
            early = fleet.start(tmp_path / "k.log", "pipeline", *killed[1])
            time.sleep(moments.uniform(1, fleet.scale.early_s))
            early.kill()
            early.wait()
        else:
            fleet.kill(killed[0], killed[1], last_step(killed[0]) + 1, moments.uniform(0, 0.5))
    assert last_step(killed[0]) < steps, "it ended before all kills; it must have more steps"
    run = fleet.run(killed[0], "pipeline", *killed[1])
    assert run.status == 0, run.said[-3000:]
    assert process.wait(fleet.scale.timeout_s) == 0, (tmp_path / "s.log").read_text()[-3000:]
    assert difference(killed[0], straight[0]) == ""
