"""Steps run at the same time in processes, write logs, and stop the demo with the end of the log of one that failed."""

import io
from pathlib import Path

import pytest

from polyclinic.cli.demo.steps import Step, epochs_done, run_steps
from polyclinic.system.terminal import Console


def test_steps_write_their_output_to_logs_and_show_a_bar_each(tmp_path: Path) -> None:
    shown = io.StringIO()
    steps = [Step("ask for the version", ["--version"]), Step("ask for help", ["fit", "--help"])]
    run_steps(steps, tmp_path, Console(file=shown, width=80))
    assert (tmp_path / "logs" / "ask_for_the_version.log").read_text().startswith("$ polyclinic --version\npolyclinic ")
    assert "usage: polyclinic fit" in (tmp_path / "logs" / "ask_for_help.log").read_text()
    assert [line.split(" ━")[0].rstrip() for line in shown.getvalue().splitlines()] == [step.title for step in steps]


def test_a_failed_step_stops_the_demo_with_the_end_of_its_log(tmp_path: Path) -> None:
    steps = [Step("ask for the version", ["--version"]), Step("misspell", ["fitt"])]
    with pytest.raises(ValueError, match=r"(?s)`polyclinic fitt` ended with code 1.*got command 'fitt'") as caught:
        run_steps(steps, tmp_path, Console(file=io.StringIO()))
    assert str(tmp_path / "logs" / "misspell.log") in str(caught.value)
    assert (tmp_path / "logs" / "ask_for_the_version.log").exists()


@pytest.mark.parametrize(
    ("log", "epochs"),
    [
        ("", 0),
        ("fit: batches of 16\n", 0),
        ("epoch 1 has ended\nepoch 2 has ended\n", 2),
        ("epoch 7 has ended\nepoch 8 of 8, step 64: val/loss 0.5\n", 8),
        ("the best epoch 3\n", 0),
    ],
)
def test_the_epochs_of_a_training_are_read_from_its_log(log: str, epochs: int) -> None:
    assert epochs_done(log) == epochs
