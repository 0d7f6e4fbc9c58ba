"""Shared options of commands are options like their other parameters."""

from pathlib import Path

import pytest

from polyclinic.cli.options import ReportOptions, SplitOptions, run_command

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
    run_command(measure, words, prog="measure", resamples=7)
    assert calls == [(Path("last.ckpt"), ReportOptions(seed=3, resamples=7), (1, 5))]
    assert SplitOptions().resamples == 1000


def test_a_configuration_file_sets_own_and_shared_options(tmp_path: Path) -> None:
    config = tmp_path / "measure.yaml"
    config.write_text("k: [9]\nallow_overlap: true\n")
    run_command(measure, ["--config", str(config), "last.ckpt"], prog="measure")
    assert calls == [(Path("last.ckpt"), ReportOptions(allow_overlap=True), (9,))]


def test_shared_options_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(measure, ["--help"], prog="measure")
    output = capsys.readouterr().out
    assert "file for the report" in output
    assert "bootstrap resamples" in output
    assert "--options" not in output


@pytest.mark.parametrize("words", [[], ["ecg", "x"], ["ecg", "--split", "val"]])
def test_unknown_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected|got option"):
        run_command(plain, words, prog="polyclinic")
    assert calls == []
