"""Completion of commands and options in shells."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from polyclinic.cli import COMMANDS, main
from polyclinic.cli.commands import help_text
from polyclinic.cli.completion import options_of


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "polyclinic.bash"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["coh"], ["cohort"]),
        (["cohort", "ch"], ["check"]),
        (["cohort", ""], ["phantom", "build", "scan", "ward", "add", "check", "overlap", "events"]),
        (["cohort", "check", "--st"], ["--strict"]),
        (["cohort", "check", "a.yaml", "--se"], ["--seconds"]),
        (["bundle", "export", "--base"], ["--baseline"]),
        (["fit", "--data.coh"], ["--data.cohort"]),
        (["fit", ""], []),
        (["nosuch", "--a"], []),
        (["score", "bundle", "--js"], ["--json"]),
    ],
)
def test_bash_completes_commands_and_options(script: Path, line: list[str], expected: list[str]) -> None:
    words = " ".join(f"'{word}'" for word in ["polyclinic", *line])
    program = f'source {script}; COMP_WORDS=({words}); COMP_CWORD={len(line)}; _polyclinic; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (expected, "")


def test_every_option_in_a_help_is_completed() -> None:
    for name in COMMANDS:
        named = set(re.findall(r"^  (?:-c, )?--(?:\[no-\])?([\w-]+)(?= |$)", help_text(name), re.MULTILINE))
        assert {f"--{option}" for option in named} <= set(options_of(name))


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert all(word in text for word in name.split())
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(text)
        done = subprocess.run([program, "-n", tmp_path / "script"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 1
    assert "tcsh" in capsys.readouterr().err
