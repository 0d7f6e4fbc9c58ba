"""Printed commands, read back by a shell."""

import os
import subprocess
from pathlib import Path

import pytest

from polyclinic.system.shell import command_line, print_next

WORDS = [
    "plain", "My Project/a.ckpt", "it's", 'a"b', "$HOME`id`;&|", "[out]", "{a,b}*?", "~", "!1", "#a", "", "ü ø",
    "a\\'\x1b]0;b", "two\nlines", "\udce9t\udce9", "[bold]x[/bold]", "100%",
]  # fmt: skip


@pytest.mark.public_report(27)
@pytest.mark.parametrize("word", WORDS)
def test_a_shell_reads_the_intended_words(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_next("printf", r"%s\0", word, Path(word))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    process = subprocess.run(["bash", "-c", line.removeprefix("next: ")], capture_output=True, check=True)
    assert process.stdout == b"".join(os.fsencode(argument) + b"\0" for argument in (word, str(Path(word))))


def test_a_path_does_not_look_like_an_option() -> None:
    assert command_line("polyclinic", "--out", Path("-runs")) == "polyclinic --out ./-runs"
