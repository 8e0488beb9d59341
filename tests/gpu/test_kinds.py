"""Some steps of each kind of training, in processes of their own."""

import json
import math

import pytest

from tests.gpu.fleet import KINDS, each, ended

pytestmark = pytest.mark.gpu_kinds


@each("kind", of=KINDS)
def test_every_kind_of_training_has_kernels_there(runs):
    ended(runs)
    lines = [json.loads(line) for line in (runs[0].folder / "metrics.jsonl").read_text().splitlines()]
    assert [each["step"] for each in lines] == list(range(1, 9))
    assert all(math.isfinite(value) for each in lines for value in each.values() if isinstance(value, float))
