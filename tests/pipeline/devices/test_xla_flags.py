import os

import pytest

from pipeline.devices.xla_flags import add_xla_flags


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "--a=1 --b"), ("--a=2", "--a=2 --b"), ("--c  --b=no", "--c --b=no --a=1"), ("--aa=3", "--aa=3 --a=1 --b")],
)
def test_what_the_user_has_set_stays(monkeypatch, before, after):
    monkeypatch.setenv("XLA_FLAGS", before)
    add_xla_flags("--a=1", "--b")
    add_xla_flags("--a=1", "--b")
    assert os.environ["XLA_FLAGS"] == after
