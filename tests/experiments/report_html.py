"""Read a report's page back: its tables by caption, its scripts, and everything it could load."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass
class Page(HTMLParser):
    """What a browser's parser sees, as far as the tests ask."""

    tables: dict[str, list[list[tuple[str, str | None]]]] = field(default_factory=dict)
    scripts: list[tuple[dict[str, str | None], str]] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    _inside: list[str] = field(default_factory=list)
    _caption: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self.tables[self._caption].append([])
        if tag in ("td", "th"):
            self.tables[self._caption][-1].append(("", dict(attrs).get("data-value")))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass
        if tag == "caption":
            self.tables[self._caption] = []

    def handle_data(self, data: str) -> None:
        if "script" in self._inside:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif "caption" in self._inside:
            self._caption += data
        elif "style" not in self._inside:
            self.text += data
            if "td" in self._inside or "th" in self._inside:
                shown, value = self.tables[self._caption][-1][-1]
                self.tables[self._caption][-1][-1] = (shown + data, value)

    def rows(self, caption: str) -> list[dict[str, str]]:
        """Return a table's rows: heading -> exact value where there is one, else the text."""
        head, *body = self.tables[caption]
        names = [shown.replace("\xa0", " ") for shown, _ in head]
        return [
            dict(zip(names, (shown if value is None else value for shown, value in row), strict=True)) for row in body
        ]

    def figures(self) -> dict[str, Any]:
        """Return the plots' data."""
        (encoded,) = (content for attributes, content in self.scripts if attributes.get("id") == "figures")
        return json.loads(encoded)


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    return page
