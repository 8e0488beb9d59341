"""The frame of a page: everything in one file, which asks nobody for anything."""

import datetime
from collections.abc import Sequence
from importlib import resources

from pipeline.pages.markup import Content, Html, escaped, tag

# The page itself shall keep to that: no request leaves it, whatever stands in a record.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

Section = tuple[str, str, Content, Html]  # name, heading, what is said of it, content


def framed(title: str, lead: Content, top: Html, sections: Sequence[Section]) -> str:
    """Puts sections, those that have something to show, into a whole page."""
    there = [each for each in sections if each[3]]
    links = [tag("a", heading, href=f"#{name}") for name, heading, _, _ in there]
    body = [
        tag(
            "section",
            tag("h2", heading, id=f"{name}-title"),
            tag("p", hint, class_="hint") if hint else None,
            content,
            id=name,
            aria_labelledby=f"{name}-title",
        )
        for name, heading, hint, content in there
    ]
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    web = resources.files("pipeline.pages") / "web"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", f"{title} · Mirage"),
        tag("style", Html((web / "page.css").read_text(encoding="utf-8"))),
    ]
    heading = tag(
        "header", tag("h1", title), tag("p", lead, class_="lead"), tag("nav", links, aria_label="sections"), top
    )
    foot = tag("footer", f"Written by Mirage, {now}.")
    script = tag("script", Html((web / "page.js").read_text(encoding="utf-8")))
    content = escaped([tag("head", head), tag("body", heading, tag("main", body), foot, script)])
    return f'<!doctype html>\n<html lang="en">{content}</html>\n'


def tile(title: str, value: Content, note: str = "", class_: str = "") -> Html:
    """One of the few figures that are looked at first."""
    parts = [tag("span", title, class_="title"), tag("span", value, class_="value"), tag("span", note, class_="note")]
    return tag("div", parts, class_=f"tile {class_}".strip())


def warnings(lines: Sequence[Content], heading: str = "Warnings") -> Html:
    """A box with what matters most; empty if there are no lines."""
    if not lines:
        return Html("")
    return tag(
        "div", tag("h2", heading), tag("ul", [tag("li", line) for line in lines]), class_="warnings", role="note"
    )
