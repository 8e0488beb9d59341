"""File names as text: on disk they are bytes, which need not be text at all. Needs only the standard library."""

import os


def printable(name: str | os.PathLike[str], keep: str = "") -> str:
    r"""Makes text of a path: bytes that are no UTF-8 and control characters become escapes, such as \xff.

    Args:
      name: the path.
      keep: control characters that may stay.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)
