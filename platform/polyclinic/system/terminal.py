"""Terminal output: text from files without control characters, tables that cut no word, and remarks."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

import rich.console
from rich.console import ConsoleOptions, ConsoleRenderable, RenderHook
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffc"
    "\U000e0000-\U000e007f]"
)
"""Control characters except tab and newline, and characters that are invisible or change the text direction."""

_ANY_WIDTH = 10_000
_quiet = False


def printable(text: str) -> str:
    r"""Replace characters that a terminal would interpret, or not show, with escapes such as ``\x1b``."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


@contextmanager
def quiet(on: bool) -> Iterator[None]:
    """Print neither remarks nor progress within the block, if ``on``."""
    global _quiet
    before, _quiet = _quiet, on or _quiet
    try:
        yield
    finally:
        _quiet = before


def is_quiet() -> bool:
    """Return whether results and errors alone are printed."""
    return _quiet


def remark(text: str) -> None:
    """Print a line that is not a result, such as a note, a step or the next command; nothing with ``--quiet``."""
    if not _quiet:
        Console(highlight=False).print(text, soft_wrap=True)


class Console(rich.console.Console):
    """rich's console for text that may come from a file: no markup, no emoji codes, no control characters.

    Pass styles as ``style=`` or as a ``Text``. A table that is too wide for the terminal to show its words whole is
    printed as a list of rows, with a line for each cell.

    Args:
        settings: keyword arguments of rich's console.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **settings})
        self.push_render_hook(_Printable(self))

    def on_broken_pipe(self) -> None:
        """Leave a pipe that its reader has closed to the entry point, where rich would exit."""
        self.quiet = True
        raise BrokenPipeError


class _Printable(RenderHook):
    def __init__(self, console: rich.console.Console) -> None:
        self._console = console

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Clean(_fitting(self._console, renderable)) for renderable in renderables]


def _fitting(console: rich.console.Console, renderable: ConsoleRenderable) -> ConsoleRenderable:
    """Return a table with columns as wide as their longest words, or as a list of rows where they do not fit.

    rich makes the widest columns narrower first, and cuts their words while others have room.
    """
    if not isinstance(renderable, Table):
        return renderable
    options = console.options.update(max_width=_ANY_WIDTH)
    whole = renderable.__rich_measure__(console, options)
    if whole.maximum <= console.width:
        return renderable
    if whole.minimum > console.width:
        return _rows(renderable, console)
    table = copy(renderable)
    sizes = [_size(column, console, options) for column in renderable.columns]
    room, spare = console.width - whole.minimum, sum(size.maximum - size.minimum for size in sizes)
    table.columns = [
        replace(column, width=size.minimum + room * (size.maximum - size.minimum) // max(1, spare))
        for column, size in zip(renderable.columns, sizes, strict=True)
    ]
    return table


def _size(column: Column, console: rich.console.Console, options: ConsoleOptions) -> Measurement:
    """Return the widths of the longest word and of the longest cell of a column."""
    sizes = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
    return Measurement(max(size.minimum for size in sizes), max(size.maximum for size in sizes))


def _rows(table: Table, console: rich.console.Console) -> Text:
    """Return a line for each cell of a table: its header and the cell, with an empty line between rows."""

    def text(cell: object) -> Text:
        return cell if isinstance(cell, Text) else console.render_str(str(cell))

    headers = [text(column.header) for column in table.columns]
    lines = [
        [Text.assemble(header, ": " if header else "", text(cell)) for header, cell in zip(headers, row, strict=True)]
        for row in zip(*(column.cells for column in table.columns), strict=True)
    ]
    title = [text(table.title)] if table.title else []
    return Text("\n\n").join([*title, *(Text("\n").join(row) for row in lines)])


class _Clean:
    def __init__(self, inside: ConsoleRenderable) -> None:
        self._inside = inside

    def __rich_console__(self, console: rich.console.Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._inside, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
