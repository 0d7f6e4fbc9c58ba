"""``--quiet``, ``--log-level``, closed pipes and unwritable places, for every command."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from polyclinic.cli import main
from polyclinic.cli.commands import COMMANDS, Command, usage
from polyclinic.cli.output import OutputOptions, take_output_options
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console, is_quiet, remark

pytestmark = pytest.mark.filterwarnings("ignore")
library = logging.getLogger("some_library")


def work(out: Path | None = None) -> None:
    """Print a result, remarks and log lines."""
    Console().print("result 7")
    remark("note: a remark")
    print_next("polyclinic", "doctor")
    for logger in (library, logging.getLogger("polyclinic.work")):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(level, "%s at %s", logger.name, logging.getLevelName(level).lower())
    warnings.warn("labels are few", UserWarning, stacklevel=1)
    warnings.warn("does not have many workers", UserWarning, stacklevel=1)
    if out is not None:
        out.write_text("x")


@pytest.fixture(autouse=True)
def _command(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(COMMANDS, "work", Command(__name__, "work", "work"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[work.__module__])
    handler = logging.StreamHandler(_Errors())
    library.addHandler(handler)
    library.propagate = False
    library.setLevel(logging.DEBUG)
    yield
    library.removeHandler(handler)


class _Errors(io.TextIOBase):
    def write(self, text: str) -> int:
        return sys.stderr.write(text)


def _run(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    assert main(list(words)) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_by_default_remarks_and_warnings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    out, errors = _run(["work"], capsys)
    assert out.splitlines() == ["result 7", "note: a remark", "next: polyclinic doctor"]
    assert "some_library at warning" in errors
    assert "some_library at info" not in errors
    assert "polyclinic.work at info\nwarning: polyclinic.work at warning" in errors
    assert "polyclinic.work at debug" not in errors


@pytest.mark.parametrize("words", [["--quiet", "work"], ["work", "--quiet"]])
def test_quiet_prints_results_and_errors_alone(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out, errors = _run(words, capsys)
    assert out == "result 7\n"
    assert errors.splitlines() == ["some_library at error", "error: polyclinic.work at error"]
    assert not is_quiet()
    assert main(["work", "--quiet", "--nosuch", "1"]) == 1
    assert "error: got option --nosuch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("level", "first"), [("debug", "debug"), ("info", "info"), ("Warning", "warning"), ("error", "error")]
)
@pytest.mark.parametrize("spelling", ["--log-level {}", "--log_level={}"])
def test_a_level_holds_for_polyclinic_and_for_libraries(
    level: str, first: str, spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, errors = _run(["work", *spelling.format(level).split()], capsys)
    levels = ["debug", "info", "warning", "error"]
    for name in ("some_library", "polyclinic.work"):
        found = [each for each in levels if f"{name} at {each}" in errors]
        assert found == levels[levels.index(first) :], name


def test_a_line_that_reaches_the_root_is_printed_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "propagate", True)
    _, errors = _run(["work"], capsys)
    assert errors.count("some_library at warning") == 1


def test_levels_and_handlers_are_as_before_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in ("", "polyclinic", "some_library")]
    before = [(logger.level, [*logger.handlers], [*logger.filters]) for logger in loggers]
    shown = warnings.formatwarning
    _run(["work", "--quiet"], capsys)
    assert [(logger.level, [*logger.handlers], [*logger.filters]) for logger in loggers] == before
    assert warnings.formatwarning is shown
    assert not library.handlers[0].filters


def test_the_options_are_taken_from_anywhere() -> None:
    assert take_output_options(["fit", "-c", "a"]) == (["fit", "-c", "a"], OutputOptions())
    words = ["fit", "--quiet", "-c", "a", "--log-level", "debug"]
    assert take_output_options(words) == (["fit", "-c", "a"], OutputOptions(quiet=True, level=logging.DEBUG))
    assert "--quiet" in usage()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quiet", "--quiet"], "got option --quiet twice, expected it once"),
        (["--log-level", "info", "--log_level=info"], "got option --log-level twice"),
        (["--log-level"], "got log level '', expected one of ['debug', 'info', 'warning', 'error']"),
        (["--log-level", "wraning"], "got log level 'wraning', expected perhaps warning"),
    ],
)
def test_wrong_options_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", *words]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("words", [["--help"], ["work"], ["completion", "bash"], ["modalities"], ["fit", "--help"]])
def test_a_closed_pipe_ends_a_command_in_silence(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stdout = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main([*words]) == 1
    stdout.close()  # what is left in its buffer is discarded
    assert "Traceback" not in (errors := capfd.readouterr().err)
    assert "Broken" not in errors


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("file/x", "Not a directory"),
        ("folder", "Is a directory"),
        ("no/x", "No such file or directory"),
        ("no/.x.partial", "No such file or directory"),
    ],
)
def test_a_path_that_cannot_be_written_is_an_error_of_the_user(
    out: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()
    assert main(["work", "--out", out]) == 1
    name = Path(out).name.removeprefix(".").removesuffix(".partial")
    assert f"error: got path '{name}', which cannot be used ({reason})" in capsys.readouterr().err


def test_an_error_that_is_not_of_a_path_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        raise ConnectionResetError("the server")

    monkeypatch.setattr(f"{__name__}.work", work)
    with pytest.raises(ConnectionResetError):
        main(["work"])
