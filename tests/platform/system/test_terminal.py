"""Text of files on a terminal: shown without anything that the terminal would interpret."""

import io
from pathlib import Path

import pytest
from rich.table import Table

from polyclinic.cli import main
from polyclinic.system.terminal import Console, printable

HOSTILE = "\x1b]0;owned\x07\x1b[2Jname\u202egpj.\x9b31m\r\x08\u2066\u200b[red]x[/nothing] :smile:"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ü ß 漢字 العربية ▼", "plain, ü ß 漢字 العربية ▼"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\rb\x00\x7f", "a\\rb\\x00\\x7f"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_prints_hostile_text_as_text(terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, color_system=None, width=300, highlight=False)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    for renderable in (HOSTILE, table):
        console.print(renderable)
    console.print(HOSTILE, style="bold", soft_wrap=True)
    written = stream.getvalue()
    assert not {"\x1b]", "\x1b[2J", "\u202e", "\x9b", "\r", "\x07", "\x08"} & {*written, *_pairs(written)}
    assert written.count("[red]x[/nothing] :smile:") == 5
    assert written.count("\\x1b[2Jname\\u202egpj.") == 5


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_table_cuts_no_word(width: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=True)
    words = ["pneumomediastinum", "0.8852 (0.81 to 0.93)", "[red]hypertrophic_cardiomyopathy[/red]", "atelectasis"]
    table = Table("finding", "auroc", "mostly from", "most often with", title="Findings")
    table.add_row(*words)
    console.print(table)
    written = stream.getvalue()
    assert all(
        word in written for word in ("pneumomediastinum", "hypertrophic_cardiomyopathy", "atelectasis", "finding")
    )
    assert "\u2026" not in written
    assert all(len(line) <= width for line in written.splitlines())
    assert ("finding: pneumomediastinum" in written) == (width == 40)


def _pairs(text: str) -> set[str]:
    return {text[at : at + size] for at in range(len(text)) for size in (2, 4)}


@pytest.mark.parametrize(
    "words",
    [
        ["cohort", "check", HOSTILE],
        ["score", HOSTILE],
        ["bundle", "verify", HOSTILE],
        ["audit", HOSTILE],
        [HOSTILE],
        ["evaluate", "zeroshot", HOSTILE, "prompts.yaml"],
    ],
)
def test_no_command_prints_an_escape_of_its_input(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    written = "".join(capsys.readouterr())
    assert written.startswith("error: ")
    assert not {"\x1b", "\u202e", "\x9b", "\r"} & {*written}
