"""Help in a terminal that is narrower than the 80 columns for which it is written."""

import re
import shutil
import textwrap
from collections.abc import Iterator

_WIDTH = 80
_NARROWEST = 20
_ENTRY = re.compile(r"  (\S.*?)(?: {2,}(\S.*))?$")
_CONTINUED = " " * 4


def fitted(text: str) -> str:
    """Return a help text in the width of the terminal: wrapped between words, with the text of a name below it."""
    width = max(shutil.get_terminal_size().columns, _NARROWEST)
    if width >= _WIDTH:
        return text
    return "\n".join(line for block in _blocks(text) for line in _wrapped(block, width)) + "\n"


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield each name with its text, and each paragraph under an empty name; an empty line is an empty paragraph."""
    name, words = "", list[str]()
    for line in text.splitlines():
        entry = _ENTRY.match(line)
        if line.startswith(_CONTINUED) or (line and not entry and not name and not line.endswith(":")):
            words.append(line.strip())
            continue
        if name or words:
            yield name, " ".join(words)
        name, words = (entry[1], [entry[2]] if entry[2] else []) if entry else ("", [line] if line else [])
        if not line:
            yield "", ""
    yield name, " ".join(words)


def _wrapped(block: tuple[str, str], width: int) -> list[str]:
    name, text = block
    if not name:
        return _lines(text, width, "") or [""]
    return _lines(name, width, "  ") + _lines(text, width, _CONTINUED)


def _lines(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
