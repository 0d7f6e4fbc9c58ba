"""Settings of a class as commented YAML, with defaults and comments from its signature and docstring."""

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from docstring_parser import DocstringStyle, parse

_COLUMN, _WIDTH = 36, 118


class Line(NamedTuple):
    """A line of YAML.

    Attributes:
        depth: number of indentations.
        text: setting, such as ``lr: 0.001``.
        comment: what it means.
        hidden: depth at which a line that keeps the default is commented out; None for a line that is read.
    """

    depth: int
    text: str
    comment: str = ""
    hidden: int | None = None


def setting_lines(
    settings: Callable[..., Any], depth: int, *, common: Collection[str] = (), skipped: Collection[str] = (),
    hidden: int | None = None, more: Callable[[str], str] = lambda _: "",
) -> Iterator[Line]:  # fmt: skip
    """Yield a line for each setting of a class, with its default.

    Args:
        settings: class or function whose parameters are the settings.
        depth: number of indentations.
        common: settings that users often change; the others are commented out.
        skipped: settings to leave out.
        hidden: depth at which all lines are commented out.
        more: function that returns what to add to the comment on a setting.
    """
    comments = _comments(settings)
    for name, parameter in inspect.signature(settings).parameters.items():
        if name in skipped or parameter.default is inspect.Parameter.empty:
            continue
        comment = "; ".join(filter(None, [comments.get(name, ""), more(name)]))
        at = hidden if hidden is not None else None if name in common else depth
        yield Line(depth, f"{name}: {yaml_value(parameter.default)}", comment, at)


def render(lines: Sequence[Line]) -> str:
    """Return the text of lines, with comments in a column, or above a line where they are long."""
    return "\n".join(row for line in lines for row in _rows(line)) + "\n"


def yaml_value(value: Any) -> str:
    """Return a default as YAML on one line; a class as its name."""
    if inspect.isclass(value):
        return value.__name__
    plain = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")


def summary(settings: Callable[..., Any]) -> str:
    """Return the first sentence of a docstring."""
    return _first_sentence(inspect.getdoc(settings) or "")


def _comments(settings: Callable[..., Any]) -> dict[str, str]:
    found = parse(inspect.getdoc(settings) or "", DocstringStyle.GOOGLE).params
    return {entry.arg_name: _first_sentence(entry.description or "") for entry in found}


def _first_sentence(text: str) -> str:
    return re.split(r"(?<! al)\.\s", " ".join(text.replace("``", "`").split()) + " ")[0].rstrip(" .")


def _rows(line: Line) -> Iterator[str]:
    if not line.text and not line.comment:
        yield ""
        return
    outer = line.depth if line.hidden is None else line.hidden
    indent = "  " * outer
    # Without a space, by which a setting behind `#` differs from a comment.
    text = indent + ("#" if line.hidden is not None else "") + "  " * (line.depth - outer) + line.text
    beside = f"{text:<{_COLUMN}}  # {line.comment}" if line.comment else text
    if line.text and len(beside) <= _WIDTH:
        yield beside
        return
    mark = f"{indent}#{'  ' * (line.depth - outer)}# " if line.depth > outer else f"{indent}# "
    yield from textwrap.wrap(line.comment, _WIDTH, initial_indent=mark, subsequent_indent=mark, break_on_hyphens=False)
    if line.text:
        yield text
