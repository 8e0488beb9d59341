"""Reads the pickles inside of PyTorch's files: containers, numbers, text and tensors, and nothing else.

This is an interpreter of those few instructions of the pickle protocol that such files consist of. It imports nothing
and calls nothing that a file names; whatever else a file asks for is refused by its name.
"""

import dataclasses
import pickletools
import struct
from collections.abc import Callable, Hashable
from typing import Any

_NAMES = {ord(each.code): each.name for each in pickletools.opcodes}
_SHORT_NAMES = 1000  # characters of what an error repeats: far more than any real name has


class UnreadableError(Exception):
    """A file that can't be read, or asks for more than it may; the message says why, as a part of a sentence."""


@dataclasses.dataclass(frozen=True)
class Global:
    """Something that a pickle names, by module and name; it is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        """As in Python."""
        return f"{self.module}.{self.name}"[:_SHORT_NAMES]


class Module:
    """What stands for an object of TorchScript; `state` is what was pickled of it."""

    def __init__(self) -> None:
        """Has no state yet."""
        self.state: Any = None


class Reader:
    """Reads one pickle after the other."""

    def __init__(
        self, content: bytes | memoryview, call: Callable[[Global, Any], Any], storage: Callable[[Any], Any]
    ) -> None:
        """Takes what is needed of the outside.

        Args:
          content: the bytes, in which pickles stand one behind the other.
          call: makes what a named function would return, or raises `UnreadableError`.
          storage: finds what a persistent identity stands for, or raises `UnreadableError`.
        """
        self.position = 0
        self._content = content
        self._call = call
        self._storage = storage

    def load(self) -> Any:
        """Reads the next pickle.

        Raises:
          UnreadableError: if it is damaged, or has what is not permitted.
        """
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        try:
            while (code := self.take(1)[0]) != ord("."):
                self._step(_NAMES.get(code, f"instruction {code}"))
            return self._stack.pop()
        except (IndexError, ValueError, KeyError, TypeError, struct.error, OverflowError):
            raise UnreadableError(f"is damaged at byte {self.position:,} of its pickle") from None

    def take(self, count: int) -> bytes:
        """Reads bytes; raises `UnreadableError` if there are fewer."""
        part = self._content[self.position : self.position + count]
        if count < 0 or len(part) < count:
            raise UnreadableError("ends too early")
        self.position += count
        return bytes(part)

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def _step(self, name: str) -> None:
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _NUMBERS:
            self._stack.append(self._number(_NUMBERS[name]))
        elif name in _TEXTS:
            form, encoding = _TEXTS[name]
            self._stack.append(self.take(self._number(form)).decode(encoding))
        elif name in _TUPLES:
            self._stack.append(self._last(_TUPLES[name]))
        elif name in _IGNORED:
            self.take(_IGNORED[name])
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            forms = {"BINPUT": "<B", "LONG_BINPUT": "<I"}
            self._memo[self._number(forms[name]) if name in forms else len(self._memo)] = self._stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[self._number("<B" if name == "BINGET" else "<I")])
        else:
            step = _STEPS.get(name)
            if step is None:
                raise UnreadableError(f"has the instruction {name}, which no file of tensors needs")
            step(self)

    def _last(self, count: int) -> tuple:
        if count > len(self._stack) - (self._marks[-1] if self._marks else 0):
            raise IndexError
        values = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        return values

    def _marked(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _tuple(self) -> None:
        self._stack.append(tuple(self._marked()))

    def _append(self) -> None:
        self._extend([*self._last(1)])

    def _appends(self) -> None:
        self._extend(self._marked())

    def _extend(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise ValueError
        self._stack[-1].extend(values)

    def _set_item(self) -> None:
        self._update([*self._last(2)])

    def _set_items(self) -> None:
        self._update(self._marked())

    def _update(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not dict or len(values) % 2:
            raise ValueError
        for key, value in zip(values[::2], values[1::2], strict=True):
            self._stack[-1][_key(key)] = value

    def _long(self) -> None:
        self._stack.append(int.from_bytes(self.take(self._number("<B")), "little", signed=True))

    def _global(self) -> None:
        self._stack.append(Global(self._line(), self._line()))

    def _line(self) -> str:
        end = bytes(self._content[self.position : self.position + _SHORT_NAMES]).find(b"\n")
        if end < 0:
            raise ValueError
        return self.take(end + 1)[:-1].decode("ascii")

    def _stack_global(self) -> None:
        module, name = self._last(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError
        self._stack.append(Global(module, name))

    def _persistent(self) -> None:
        (identity,) = self._last(1)
        self._stack.append(self._storage(identity))

    def _reduce(self) -> None:
        function, arguments = self._last(2)
        if not (isinstance(function, Global) and type(arguments) is tuple):
            raise ValueError
        self._stack.append(self._call(function, arguments))

    def _new_object(self) -> None:
        kind, arguments = self._last(2)
        if not isinstance(kind, Global):
            raise ValueError
        # Objects of TorchScript have their state only; others are made by functions.
        if not kind.module.startswith("__torch__") or arguments != ():
            raise UnreadableError(f"asks for {kind}, and nothing but tensors is read")
        self._stack.append(Module())

    def _build(self) -> None:
        (state,) = self._last(1)
        target = self._stack[-1]
        if isinstance(target, Module):
            target.state = state
        elif type(target) is not dict:  # whose attributes, such as versions of modules, say nothing of tensors
            raise ValueError


def _key(key: Any) -> Hashable:
    if not isinstance(key, str | int):
        raise UnreadableError("has a dictionary whose keys are neither text nor numbers")
    return key


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_NUMBERS = {"BININT": "<i", "BININT1": "<B", "BININT2": "<H", "BINFLOAT": ">d"}
_TEXTS = {
    "BINUNICODE": ("<I", "utf-8"),
    "SHORT_BINUNICODE": ("<B", "utf-8"),
    "BINSTRING": ("<i", "latin-1"),
    "SHORT_BINSTRING": ("<B", "latin-1"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO": 1, "FRAME": 8}
_STEPS: dict[str, Callable[[Reader], None]] = {
    "MARK": Reader._mark,
    "TUPLE": Reader._tuple,
    "APPEND": Reader._append,
    "APPENDS": Reader._appends,
    "SETITEM": Reader._set_item,
    "SETITEMS": Reader._set_items,
    "LONG1": Reader._long,
    "GLOBAL": Reader._global,
    "STACK_GLOBAL": Reader._stack_global,
    "BINPERSID": Reader._persistent,
    "REDUCE": Reader._reduce,
    "NEWOBJ": Reader._new_object,
    "BUILD": Reader._build,
}
