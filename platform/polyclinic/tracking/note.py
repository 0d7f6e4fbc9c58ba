"""Description of a run in Markdown: sections that a fit and every evaluation of it bring up to date."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

QUESTION, RESULT, NEXT, REPEAT = "", "Result", "Next", "Repeat"
"""Titles of the sections that a fit writes; the first has no heading."""

_MAX_CHARACTERS = 8000
"""MLflow's limit for the value of a tag."""

_MAX_ROWS = 12
_HEADING = re.compile(r"^### (.+)$", re.MULTILINE)


def with_section(note: str, title: str, text: str) -> str:
    """Return a note with a section replaced or added, and those on the next command and the repetition at its end.

    Sections of other titles stay as they are, also those that a person wrote. In a note that is too long for MLflow,
    the oldest evaluations are left out.

    Args:
        note: note so far; may be empty.
        title: heading of the section; empty for the text before all headings.
        text: content in Markdown.
    """
    before, *parts = _HEADING.split(note)
    sections = {QUESTION: before.strip("\n")}
    for heading, content in zip(parts[::2], parts[1::2], strict=True):
        sections[heading] = paragraphs(sections.get(heading, ""), content.strip("\n"))
    sections[title] = text
    first, last = (QUESTION, RESULT), (NEXT, REPEAT)
    between = [name for name in sections if name not in (*first, *last)]
    while len(result := _joined(sections, (*first, *between, *last))) > _MAX_CHARACTERS and between:
        between.pop(0)
    return result[:_MAX_CHARACTERS]


def metric_list(rows: Mapping[str, tuple[float, tuple[float, float]]]) -> str:
    """Return a list of the first twelve metrics, with their 95 % intervals where there are any.

    Args:
        rows: value, and lower and upper end of the interval or NaN, by name; none give an empty text.
    """
    lines = []
    for name, (value, (low, high)) in list(rows.items())[:_MAX_ROWS]:
        interval = f", 95 % interval {low:.4g} to {high:.4g}" if low == low else ""
        lines.append(f"- {code(name)}: **{value:.4g}**{interval}")
    return "\n".join(lines)


def picture_list(names: Iterable[str]) -> str:
    """Return a sentence on the pictures among the artifacts, those of a nested folder counted; empty without any."""
    by_folder: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        by_folder.setdefault(PurePosixPath(name).parent.as_posix(), []).append(name)
    shown = [
        f"{code(f'{folder}/')} ({len(found)})" if folder.count("/") else ", ".join(map(code, found))
        for folder, found in by_folder.items()
    ]
    return f"Pictures among the artifacts: {', '.join(shown)}." if shown else ""


def code(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return f"`{text.replace('`', chr(39))}`"


def paragraphs(*blocks: str) -> str:
    """Join the blocks that are not empty."""
    return "\n\n".join(filter(None, blocks))


def code_block(command: str) -> str:
    """Return a command as a block."""
    return f"```\n{command}\n```"


def _joined(sections: Mapping[str, str], order: Iterable[str]) -> str:
    return paragraphs(
        *(f"### {name}\n\n{sections[name]}" if name else sections[name] for name in order if sections.get(name))
    )
