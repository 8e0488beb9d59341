import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.base.sizes import read_size, size_of


@pytest.mark.parametrize(
    ("given", "read", "size"),
    [
        (0, 0, None),
        ("0", 0, None),
        (64, 64, (64, 64)),
        ("64", 64, (64, 64)),
        ("064", 64, (64, 64)),
        (np.int32(64), 64, (64, 64)),
        ("64x64", 64, (64, 64)),
        ((64, 64), 64, (64, 64)),
        ("96x64", "96x64", (96, 64)),
        ("96X64", "96x64", (96, 64)),
        ((96, 64), "96x64", (96, 64)),
        ([np.int64(96), 64], "96x64", (96, 64)),
        ("16383", 16383, (16383, 16383)),
    ],
)
def test_a_size_has_one_form(given, read, size):
    assert read_size(given) == read
    assert type(read_size(given)) is type(read)
    assert read_size(read) == read
    assert size_of(read) == size


NONE = [
    "",
    "x",
    "64x",
    "x64",
    "0x0",
    "0x64",
    "64x0",
    "-1",
    -1,
    "6.4",
    64.0,
    True,
    None,
    "64x64x3",
    (1, 2, 3),
    (),
    " 64",
]


@pytest.mark.parametrize("given", [*NONE, "²", "sixty", "64\n", b"64", (6.4, 1)])
def test_what_is_no_size_is_refused(given):
    with pytest.raises(MirageError, match=r"^--image_size=.* is no size; expected a side such as 64, HEIGHTxWIDTH"):
        read_size(given)


@pytest.mark.parametrize("given", [2**14, "16384", "8x16384", 10**8])
def test_a_size_has_an_end(given):
    with pytest.raises(MirageError, match=f"^--image_size={given} is too large; expected less than 16384 pixels"):
        read_size(given)
