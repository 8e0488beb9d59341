"""HTML of which every text is escaped, by construction. Standard library only."""

import html
from collections.abc import Iterable
from typing import TypeAlias

# What needs no closing tag.
_VOID = {"img", "meta"}


class Html(str):
    """Text that is HTML already; any other text is escaped where it is put into some."""

    __slots__ = ()


Content: TypeAlias = "str | int | Iterable[Content] | None"


def printed(text: str) -> str:
    r"""Makes control characters, which may change what stands beside them, and halves of characters visible: \x1b."""
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


def escaped(content: Content) -> Html:
    """Joins content: HTML as it is, texts and numbers escaped, of others each of their parts."""
    if isinstance(content, Html):
        return content
    if content is None:
        return Html("")
    if isinstance(content, str | int):
        return Html(html.escape(printed(str(content))))
    return Html("".join(escaped(each) for each in content))


def tag(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Html:
    """Makes an element.

    Args:
      name: such as "td".
      *content: what stands in it, see `escaped`.
      **attributes: by name, of which a last underscore is dropped and others become hyphens; True stands without a
        value, and None or False leaves it out.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(printed(text))}"')
    opening = f"<{' '.join(parts)}>"
    return Html(opening if name in _VOID and not content else f"{opening}{escaped(content)}</{name}>")


def table(
    head: Iterable[Content], rows: Iterable[Iterable[Content]], class_: str = "", caption: Content = None
) -> Html:
    """Makes a table whose first column names its rows, within what scrolls on narrow screens."""
    cells = [tag("th", each, scope="col") for each in head]
    body = []
    for row in rows:
        first, *rest = row
        body.append(tag("tr", tag("th", first, scope="row"), [tag("td", each) for each in rest]))
    title = tag("caption", caption) if caption else None
    inner = tag("table", title, tag("thead", tag("tr", cells)), tag("tbody", body), class_=class_ or None)
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label="table")
