"""From a flag's text to an object, and back."""

import contextlib
import dataclasses
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.errors import MirageError
from pipeline.base.objects import described, load_object, offered, parsed_arguments, resolve

MODULE = """
import dataclasses

@dataclasses.dataclass
class Networks:
    width: int = 32
    kinds: tuple = ("a",)

class Inner:
    class Deep:
        pass

class Picky:
    def __init__(self, width):
        if width < 1:
            raise ValueError("width must be positive")

ready = Networks(7)
"""


@dataclasses.dataclass
class Known:
    width: int = 8


REGISTRY = {"known": Known, "by_path": "my_things:Networks"}


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A user's module in the working directory."""
    (tmp_path / "my_things.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import json\nwidth = undefined\n")
    (tmp_path / "unread.py").write_text("width = 3\ndef (\n")
    (tmp_path / "deeper.py").write_text("import json\n\njson.loads('{')\n")
    (tmp_path / "needy.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield
    for name in ("my_things", "broken", "needy", "unread", "deeper"):
        sys.modules.pop(name, None)


def test_a_name_leads_to_what_is_registered():
    assert resolve("model", "known", REGISTRY) == Known()
    assert resolve("model", "known", REGISTRY, "width=3") == Known(3)
    assert resolve("model", "by_path", REGISTRY, "width=3").width == 3


def test_an_import_path_leads_to_a_class_or_to_an_object():
    made = resolve("model", "my_things:Networks", REGISTRY, "width=64, kinds=(b, 'c')")
    assert (made.width, made.kinds) == (64, ("b", "c"))
    assert resolve("model", "my_things:ready", REGISTRY).width == 7
    assert load_object("my_things:Inner.Deep", "model").__name__ == "Deep"


@pytest.mark.parametrize(
    ("text", "arguments", "sentence"),
    [
        ("knwon", "", r"^--model=knwon is not known; did you mean known\? Or give package\.module:Name\.$"),
        ("zzz", "", r"^--model=zzz is not known; choose from by_path, known, or give package\.module:Name\.$"),
        ("", "", r"^--model= is not known"),
        ("my_things:", "", "^--model=my_things: is no import path"),
        ("__main__:Gone", "", "^--model=__main__:Gone was passed in Python, by a script, notebook or function; pass"),
        ("my_things:make.<locals>.It", "", "^--model=my_things:make.<locals>.It was passed in Python, by a script"),
        ("../x:y", "", "^--model=../x:y is no import path"),
        ("my_thing:Networks", "", "^--model=my_thing:Networks: there is no module my_thing;"),
        ("my_things.inner:X", "", "^--model=my_things.inner:X: there is no module my_things.inner;"),
        ("my_things:Network", "", r"^--model=my_things:Network: my_things has no Network; did you mean Networks\?$"),
        (
            "broken:X",
            "",
            r"^--model=broken:X can't be imported: NameError: .*undefined.*broken.py, line 2\); mend",
        ),
        ("unread:X", "", r"^--model=unread:X can't be imported: SyntaxError: .* \(unread.py, line 2\); mend it\.$"),
        # The line of the user's file, not that of the library which it calls.
        ("deeper:X", "", r"can't be imported: JSONDecodeError: .*\(/\S*deeper.py, line 3\); mend it\.$"),
        ("needy:X", "", "^--model=needy:X: needy needs no_such_library, which is not installed"),
        ("my_things:Networks", "with=3", "^--model_args=with=3 can't be understood"),
        ("my_things:Networks", "depth=3", "^--model_args=depth=3: .*Networks takes width: int = 32, kinds"),
        ("my_things:Picky", "", "^--model=my_things:Picky: missing a required argument: 'width'; Picky takes width."),
        ("my_things:Picky", "width=0", "^--model_args=width=0: Picky can't be made with that .width must be positive"),
        ("my_things:ready", "width=1", "^--model_args=width=1 does not go with --model=my_things:ready"),
    ],
)
def test_what_is_wrong_is_said(text, arguments, sentence):
    with pytest.raises(MirageError, match=sentence):
        resolve("model", text, REGISTRY, arguments)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["width", "a_b", "x1"]), VALUES))
def test_arguments_come_back_as_they_were_written(values):
    assert parsed_arguments(",".join(f"{name}={value!r}" for name, value in values.items()), "model_args") == values


@given(st.text())
def test_any_text_is_arguments_or_refused(text):
    with contextlib.suppress(MirageError):
        assert isinstance(parsed_arguments(text, "model_args"), dict)


@pytest.mark.parametrize("text", ["1", "a", "**a", "a=b()", "a=1,a=2", "a=1)(b=2", "a=" + "(" * 200])
def test_what_is_no_list_of_arguments_is_refused(text):
    with pytest.raises(MirageError, match="expected name=value,name=value"):
        parsed_arguments(text, "model_args")


def test_objects_are_described_so_that_they_can_be_made_again():
    assert described(Known(3), REGISTRY) == ("known", "width=3")
    made = resolve("model", "my_things:Networks", {}, "width=64,kinds=('b', 2.5)")
    path, arguments = described(made, {})
    assert path == "my_things:Networks"
    assert resolve("model", path, {}, arguments) == made
    assert described(load_object("my_things:Networks", "model"), {}) == ("my_things:Networks", "")
    assert described(sys, {}) == ("sys", "")
    # As they are called in any process: where they lie in memory differs.
    assert described(Known(object()), REGISTRY) == ("known", "width=<object object>")
    assert described(Known(described), REGISTRY) == ("known", "width=<function described>")


def test_a_function_is_offered_what_it_asks_for():
    assert offered(lambda: 1, heads=2) == 1
    assert offered(lambda a, heads: (a, heads), 1, heads=2, more=3) == (1, 2)
    assert offered(lambda a, *, heads=0: (a, heads), 1, heads=2) == (1, 2)
    assert offered(lambda a, **rest: (a, rest), 1, heads=2) == (1, {"heads": 2})
    assert offered(lambda heads: heads, 1, heads=2) == 1  # what is given counts first
