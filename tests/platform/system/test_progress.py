"""A bar on a terminal, and silence elsewhere."""

import io
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from polyclinic.system.progress import track
from polyclinic.system.terminal import quiet

ROOTS = [Path(__file__).parents[3] / name for name in ("platform", "cohorts", "modalities")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Replace the error output; not in a fixture, after which pytest sets its capture again."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return stream


def _entries(count: int) -> Iterable[int]:
    for number in range(count):
        time.sleep(0.03)  # a bar is drawn ten times a second
        yield number


def test_a_terminal_shows_a_bar_with_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = _terminal(monkeypatch)
    assert list(track(_entries(8), "reading files", total=8)) == list(range(8))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", errors.getvalue())
    assert "reading files" in shown
    assert re.search(r"\d+/8", shown)


@pytest.mark.parametrize("way", ["no terminal", "quiet", "short work"])
def test_otherwise_nothing_is_shown(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = _terminal(monkeypatch)
    if way == "no terminal":
        monkeypatch.setattr(sys, "stderr", errors := io.StringIO())
    with quiet(way == "quiet"):
        assert list(track(_entries(8), "reading files", total=8, silent=way == "short work")) == list(range(8))
    assert errors.getvalue() == ""


def test_colours_are_left_out_where_the_environment_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = _terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    list(track(_entries(8), "reading files", total=8))
    assert "reading files" in errors.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*[39][0-9]m", errors.getvalue())


def test_every_bar_and_console_is_one_of_these() -> None:
    own = {"terminal.py", "progress.py"}
    for path in (path for root in ROOTS for path in root.rglob("*.py") if path.name not in own):
        text = path.read_text(encoding="utf-8")
        assert "rich.progress" not in text, path
        if re.search(r"\bConsole\(", text):
            assert "from rich.console import Console" not in text, path
