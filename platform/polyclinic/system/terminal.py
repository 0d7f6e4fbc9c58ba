"""Terminal output of text from files, without cursor movement, colour codes or changes of text direction."""

import re
from collections.abc import Iterator
from typing import Any

import rich.console
from rich.console import ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffc"
    "\U000e0000-\U000e007f]"
)
"""Control characters except tab and newline, and characters that are invisible or change the text direction."""


def printable(text: str) -> str:
    r"""Replace characters that a terminal would interpret, or not show, with escapes such as ``\x1b``."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class Console(rich.console.Console):
    """rich's console for text that may come from a file: no markup, no emoji codes, no control characters.

    Pass styles as ``style=`` or as a ``Text``.

    Args:
        settings: keyword arguments of rich's console.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **settings})
        self.push_render_hook(_Printable())


class _Printable(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Clean(renderable) for renderable in renderables]


class _Clean:
    def __init__(self, inside: ConsoleRenderable) -> None:
        self._inside = inside

    def __rich_console__(self, console: rich.console.Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._inside, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
