"""Shared options of commands are options like their other parameters."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentError

from polyclinic.cli.options import ReportOptions, SplitOptions, run_command, run_subcommand

calls: list[tuple[object, ...]] = []


def measure(checkpoint: Path, options: ReportOptions, k: tuple[int, ...] = (1, 5)) -> None:
    """Measure a checkpoint.

    Args:
        checkpoint: checkpoint to measure.
        options: shared options.
        k: cut-offs.
    """
    calls.append((checkpoint, options, k))


def plain(name: str, times: int = 1) -> None:
    """Print a name."""
    calls.append((name, times))


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def test_shared_options_reach_the_command_as_one_object() -> None:
    run_command(measure, ["last.ckpt", "--split", "val", "--k", "[2]", "--json", "a.json"], prog="measure")
    assert calls == [(Path("last.ckpt"), ReportOptions(split="val", json=Path("a.json")), (2,))]


def test_a_command_may_have_other_defaults_and_options_only() -> None:
    words = ["--checkpoint", "last.ckpt", "--seed=3"]
    run_command(measure, words, prog="measure", as_positional=False, resamples=7)
    assert calls == [(Path("last.ckpt"), ReportOptions(seed=3, resamples=7), (1, 5))]
    assert SplitOptions().resamples == 1000


def test_a_configuration_file_sets_own_and_shared_options(tmp_path: Path) -> None:
    config = tmp_path / "measure.yaml"
    config.write_text("k: [9]\nallow_overlap: true\n")
    run_command(measure, ["--config", str(config), "last.ckpt"], prog="measure")
    assert calls == [(Path("last.ckpt"), ReportOptions(allow_overlap=True), (9,))]


def test_the_first_word_chooses_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    commands = {"measure": measure, "plain": plain}
    run_subcommand(commands, ["plain", "ecg", "--times", "2"], prog="polyclinic")
    run_subcommand(commands, ["measure", "last.ckpt"], prog="polyclinic")
    assert calls == [("ecg", 2), (Path("last.ckpt"), ReportOptions(), (1, 5))]
    with pytest.raises(SystemExit):
        run_subcommand(commands, ["measure", "--help"], prog="polyclinic")
    output = capsys.readouterr().out
    assert "file for the report" in output
    assert "bootstrap resamples" in output
    assert "--options" not in output


@pytest.mark.parametrize("words", [[], ["other"], ["plain"], ["plain", "ecg", "--split", "val"]])
def test_unknown_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ArgumentError):
        run_subcommand({"measure": measure, "plain": plain}, words, prog="polyclinic")
    assert calls == []
