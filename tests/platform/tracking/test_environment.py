"""The command that ran, as the source of a run and in its environment."""

import pytest

from polyclinic.system.running_command import running
from polyclinic.tracking.environment import short_command


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit", "-c", "/wards/symile.yaml", "--data.cohort=a/b.yaml"], "fit -c symile.yaml --data.cohort=b.yaml"),
        (["fit", "--trainer.logger.init_args.out", "x", "--seed_everything", "1"], "fit --seed_everything 1"),
        (["fit", "--trainer.logger.tracking_uri=http://jane:secret@h/a", "--new_run"], "fit --new_run"),
        (["sweep", "--tracking-uri", "http://jane:secret@host"], "sweep --tracking-uri host"),
        (["evaluate", "retrieval", "runs/1/best.ckpt", "report", "--query", "[xray, ecg]"],
         "evaluate retrieval best.ckpt report --query '[xray, ecg]'"),
    ],
)  # fmt: skip
def test_the_short_command_has_neither_folders_nor_passwords(words: list[str], expected: str) -> None:
    with running(words):
        assert short_command() == f"polyclinic {expected}"


def test_outside_a_command_the_script_is_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/home/jane/train.py", "--fast"])
    assert short_command() == "train.py --fast"
    assert short_command(["polyclinic", "score", "a/bundle"]) == "polyclinic score bundle"
