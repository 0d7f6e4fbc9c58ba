"""Help in a narrow terminal: complete, and without cut words."""

import pytest

from polyclinic.cli import COMMANDS, main
from polyclinic.cli.commands import GROUPS, help_text, usage
from polyclinic.cli.narrow import fitted

TEXTS = {name: help_text(name) for name in COMMANDS} | {name: usage(name) for name in ("", *GROUPS)}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("width", [20, 40, 79])
def test_every_word_of_a_help_is_whole(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    narrow = fitted(TEXTS[name])
    assert narrow.split() == TEXTS[name].split()
    longest = max(map(len, narrow.split())) + 4
    assert all(len(line) <= max(width, longest) for line in narrow.splitlines())
    assert narrow.endswith("\n")
    assert not narrow.endswith("\n\n")


@pytest.mark.parametrize("width", [80, 200])
def test_a_wide_terminal_shows_the_help_as_it_is(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert fitted(TEXTS["fit"]) == TEXTS["fit"]


def test_a_name_stands_above_its_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["cohort", "check", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("  --seconds X") + 1] == "    time limit per source, after which"
