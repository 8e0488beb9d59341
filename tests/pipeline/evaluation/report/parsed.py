"""A page as a program reads it."""

import base64
import io
from html.parser import HTMLParser

from PIL import Image

VOID = {"img", "meta", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements and text of a page; fails where tags don't match.

    Attributes:
      elements: (name, attributes) in their order.
      text: all that is shown, without style and script.
      ids: of all elements.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []
        self.ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & {*self._open}:
            self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]

    def pictures(self):
        """The decoded pictures, with their alternative texts."""
        found = []
        for each in self.all("img"):
            kind, _, content = each["src"].partition(";base64,")
            image = Image.open(io.BytesIO(base64.b64decode(content)))
            assert kind == f"data:{Image.MIME[image.format]}"
            found.append((each["alt"], image))
        return found
