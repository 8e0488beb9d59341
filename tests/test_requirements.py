"""What setup.cfg says of versions, and the files that repeat it."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
EDGE = [*SETUP["options"]["install_requires"].splitlines(), *SETUP["options.extras_require"]["serve"].splitlines()]


def lines(texts):
    return [text for text in texts if text and not text.startswith("#")]


def test_the_oldest_versions_that_are_tested_are_those_that_are_allowed():
    minimums = [re.sub(r">=([\d.]+).*", r"==\1", text) for text in lines(EDGE)]
    assert len(minimums) == 7
    assert lines((ROOT / "tests" / "serving" / "oldest.txt").read_text().splitlines()) == minimums


def test_uvicorn_is_capped_behind_what_was_tested():
    """Connections build on its own, whose parts it may change in any version."""
    (cap,) = re.findall(r"^uvicorn>=[\d.]+,<0\.(\d+)$", "\n".join(EDGE), re.MULTILINE)
    (tested,) = re.findall(r"^uvicorn==0\.(\d+)\.", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert int(cap) == int(tested) + 1
