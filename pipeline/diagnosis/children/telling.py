"""What the children share: how they tell what they found. Needs only the standard library."""

import json
import os
import sys
from typing import Any


def tell(**facts: Any) -> None:
    """Tells the parent some facts at once, so that they are known whatever happens next."""
    os.write(int(sys.argv[1]), json.dumps(facts).encode() + b"\n")


def argument() -> Any:
    """What the parent passed."""
    return json.loads(sys.argv[2])
