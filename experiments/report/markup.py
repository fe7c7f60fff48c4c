"""HTML from plain text: every value is escaped here, once, so that no section has to remember it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from experiments.report.figures import COLOURS, DASHES


@dataclass(frozen=True)
class Cell:
    """A table's cell: the text to read, the exact value to sort by, and a group's line style before it."""

    text: str
    value: float | str | None = None
    group: int | None = None
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A column's heading; ``about`` is its explanation, shown when pointed at."""

    heading: str
    about: str = ""
    number: bool = True


def text(value: object) -> str:
    """Return a value as text of HTML, safe between tags and within quotes."""
    return escape(str(value), quote=True)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, name: str) -> str:
    """Return a sortable table; ``name`` is its caption for those who cannot see where it stands."""
    head = "".join(_heading(column) for column in columns)
    body = "".join(
        "<tr>" + "".join(_cell(column, cell) for column, cell in zip(columns, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(name)}"><table class="sortable">'
        f"<caption>{text(name)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def _heading(column: Column) -> str:
    shown = text(column.heading).replace(", %", ",&nbsp;%")
    button = f'<button type="button" title="{text(column.about or "sort by this column")}">{shown}</button>'
    return f'<th scope="col" class="{"number" if column.number else "words"}">{button}</th>'


def _cell(column: Column, cell: Cell) -> str:
    value = "" if cell.value is None else cell.value if isinstance(cell.value, str) else repr(cell.value)
    sort = f' data-value="{text(value)}"' if column.number else ""
    inner = text(cell.text) if cell.group is None else key(cell.group, cell.text)
    inner = f"<strong>{inner}</strong>" if cell.strong else inner
    return f'<td class="{"number" if column.number else "words"}"{sort}>{inner}</td>'


def key(group: int, words: str) -> str:
    """Return a group's line and name; lines break between words before they break within."""
    split = " ".join(f'<span class="word">{text(word)}</span>' for word in words.split())
    return f'<span class="label">{swatch(group)}<span>{split}</span></span>'


def swatch(group: int) -> str:
    """Return the picture of a group's line: its colour and dashes."""
    strokes = {"solid": "", "dash": "6 4", "dot": "2 3", "dashdot": "7 3 2 3"}
    dashes = strokes[DASHES[group // COLOURS % len(DASHES)]]
    return (
        f'<svg class="swatch" width="22" height="10" aria-hidden="true"><line x1="1" y1="5" x2="21" y2="5"'
        f' stroke="var(--line-{group % COLOURS})" stroke-width="3" stroke-dasharray="{dashes}"/></svg>'
    )


def paragraph(words: str, *, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    return f'<p class="{text(kind)}">{text(words)}</p>\n' if kind else f"<p>{text(words)}</p>\n"


def section(identifier: str, heading: str, *parts: str) -> str:
    """Return a section with a heading that the page's list of contents can point to."""
    return f'<section id="{text(identifier)}">\n<h2>{text(heading)}</h2>\n{"".join(parts)}</section>\n'


def folded(summary: str, *parts: str) -> str:
    """Return parts that open when asked."""
    return f"<details><summary>{text(summary)}</summary>\n{''.join(parts)}</details>\n"


def plot(identifier: str, about: str) -> str:
    """Return the place of a plot; ``about`` is read to those who cannot see it."""
    return f'<div class="plot" data-figure="{text(identifier)}" role="img" aria-label="{text(about)}"></div>\n'


def data(identifier: str, values: Any) -> str:
    """Return JSON for a script to read, which cannot end its element or open another."""
    encoded = json.dumps(values, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        encoded = encoded.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{text(identifier)}">{encoded}</script>\n'
