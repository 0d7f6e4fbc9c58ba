"""Help: every command answers at once, fits two screens, and says what its parser takes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from polyclinic import __version__
from polyclinic.cli import COMMANDS, main
from polyclinic.cli.commands import GROUPS, help_file, help_text
from polyclinic.cli.fit_help import OPTIONS
from write_help import parser_help

SCREENS, WIDTH = 48, 80


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_that_of_the_parser_and_fits_two_screens(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed == parser_help(name), "run tests/support/write_help.py"
    lines = printed.splitlines()
    assert lines[0].startswith(f"usage: polyclinic {name}")
    assert len(lines) <= SCREENS
    assert all(len(line) <= WIDTH for line in lines if not line.startswith(("example:", "usage:")))
    assert re.search(rf"^example: polyclinic {name}( |$)", printed, re.MULTILINE)


def test_there_is_no_help_of_a_command_that_does_not_exist() -> None:
    folder = help_file("fit").parent
    assert {path.name for path in folder.iterdir()} == {help_file(name).name for name in COMMANDS}
    assert help_text("no such command") == ""


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_program_lists_its_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    printed = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^  {name.partition(' ')[0]} ", printed, re.MULTILINE)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_lists_its_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 0
    alone = capsys.readouterr().out
    assert main([group, "--help"]) == 0
    assert capsys.readouterr().out == alone
    listed = re.findall(r"^  (\w+) ", alone, re.MULTILINE)
    assert [f"{group} {name}" for name in listed] == [name for name in COMMANDS if name.startswith(f"{group} ")]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"polyclinic {__version__}\n"


def test_help_imports_neither_torch_nor_the_parser(tmp_path: Path) -> None:
    program = (
        "import sys; from polyclinic.cli import main; main(sys.argv[1:]); "
        "print(*{'torch', 'lightning', 'mlflow', 'jsonargparse', 'numpy'} & {*sys.modules})"
    )
    for words in (["--help"], ["fit", "--help"], ["bundle", "export", "--help"]):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.stdout.endswith("\n\n"), done.stdout[-200:] + done.stderr


def test_every_setting_in_the_help_of_fit_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help-all"])
    every = capsys.readouterr().out
    for options in OPTIONS.values():
        for name in options:
            option = name.split()[-2 if " " in name and not name.startswith("-c") else 0].rstrip(",")
            # Settings below a class or a modality are in the help of that class.
            known = re.sub(r"\.(NAME|init_args\.NAME|blank)$", "", option)
            assert re.search(rf"{re.escape(known)}[ ,\n]", every) or known in ("--help-all", "-c"), option
