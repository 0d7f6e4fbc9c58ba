"""Files with patients or keys are private to their owner, and keys that others may read are refused."""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from forked_commands import preload
from polyclinic.cli import main
from polyclinic.cohort import default_modalities, write_phantom_cohort
from polyclinic.deploy.service.audit import AuditLog, entries_of
from polyclinic.deploy.service.middleware import chosen_token
from polyclinic.privacy.identity import read_key
from polyclinic.tracking.store import find_run
from polyclinic.tracking.uri import resolve_uri
from polyclinic.training.checkpoint_file import load_checkpoint

NAME = "a%20b?c#d ü's [x]"


@pytest.fixture
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def _modes(folder: Path) -> dict[str, str]:
    """Return the modes of all paths below that are open to others than the owner."""
    modes = {path: path.lstat().st_mode for path in [folder, *folder.rglob("*")] if not path.is_symlink()}
    return {str(path.relative_to(folder)): oct(mode) for path, mode in modes.items() if mode & 0o077}


@pytest.mark.public_report(27)
@pytest.mark.usefixtures("_open_umask")
def test_a_run_is_private_to_its_owner_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulse_cohort: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pulses = {name: {"class_path": "pulse_plugin.Pulse"} for name in ("first", "second")}
    logger = {"class_path": "polyclinic.tracking.RunLogger", "init_args": {"out": f"{NAME}/runs"}}
    config = {
        "model": {"class_path": "ContrastivePretraining", "init_args": {"objective": "Symile", "embedding": 8}},
        "data": {"cohort": str(pulse_cohort), "batch_size": 32, "modalities": pulses, "prepared": f"{NAME}/prepared"},
        "trainer": {"accelerator": "cpu", "max_steps": 1, "enable_progress_bar": False, "logger": logger},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", "config.yaml", "--json", f"{NAME}/results/fit.json"]) == 0
    assert os.umask(0) == 0
    assert _modes(tmp_path / NAME) == {}
    kinds = {path.name for path in (tmp_path / NAME).rglob("*")} | {p.suffix for p in (tmp_path / NAME).rglob("*")}
    assert {"mlflow.db", "mlartifacts", "last.ckpt", ".training.lock", ".arrow", "identity.json", "fit.json"} <= kinds
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", NAME}
    # Printed commands can be pasted.
    lines = dict(line.split(": ", 1) for line in capfd.readouterr().out.splitlines() if ": " in line)
    run = json.loads(Path(NAME, "results", "fit.json").read_text())
    *command, checkpoint, prompts = shlex.split(lines["next"])
    assert (command, checkpoint, prompts) == (
        ["polyclinic", "evaluate", "zeroshot"], run["checkpoint"], "PROMPTS.yaml",
    )  # fmt: skip
    assert load_checkpoint(Path(checkpoint))["state_dict"]
    assert shlex.split(lines["run"]) == [
        "polyclinic", "runs", "--run", run["mlflow_run_id"], "--out", f"{NAME}/runs"
    ]  # fmt: skip
    assert find_run(resolve_uri(given=None, out=Path(NAME, "runs")), None).info.run_id == run["mlflow_run_id"]
    assert MlflowClient(run["tracking_uri"]).get_run(run["mlflow_run_id"]).info.status == "FINISHED"


@pytest.mark.public_report(27)
@pytest.mark.usefixtures("_open_umask")
def test_a_cohort_and_its_copy_are_private_to_their_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    preload()  # the process that forks workers is older than the command, and has the open mask
    assert main(["cohort", "phantom", NAME, "--studies", "20", "--modalities", "[tabular, report]"]) == 0
    (tmp_path / "key").write_text("0123456789abcdef" * 2)
    assert main(["deidentify", f"{NAME}/cohort.yaml", "out [of]", "--key", "key", "--workers", "0"]) == 1
    assert "got a key in a file of mode 666, expected 600" in capfd.readouterr().err
    (tmp_path / "key").chmod(0o600)
    assert main(["deidentify", f"{NAME}/cohort.yaml", "out [of]", "--key", "key", "--workers", "0"]) == 0
    assert _modes(tmp_path / NAME) == _modes(tmp_path / "out [of]") == {}
    words = shlex.split(capfd.readouterr().out.splitlines()[-1].removeprefix("next: "))
    assert words == ["polyclinic", "cohort", "check", "out [of]/cohort.yaml"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o666, 0o601])
def test_keys_and_tokens_that_others_may_use_are_refused(mode: int, tmp_path: Path) -> None:
    secret, log, sent = tmp_path / "secret", tmp_path / "audit.jsonl", tmp_path / "sent"
    secret.write_text("0123456789abcdef" * 2)
    secret.chmod(0o600)
    sent.write_text("a file")
    audit = AuditLog(log)
    audit.add({"event": "start"})
    audit.close()
    key = tmp_path / "audit.jsonl.key"
    assert oct(key.stat().st_mode & 0o777) == oct(log.stat().st_mode & 0o777) == "0o600"

    def ask_all() -> Iterator[str]:
        for ask in (
            lambda: read_key(secret),
            lambda: chosen_token(secret, no_token=False, host="127.0.0.1"),
            lambda: AuditLog(log).close(),
            lambda: list(entries_of(log, sent)),
        ):
            try:
                ask()
            except ValueError as error:
                yield str(error)

    assert list(ask_all()) == []
    secret.chmod(mode)
    key.chmod(mode)
    message = list(ask_all())
    assert len(message) == 4
    assert all(f"in a file of mode {mode:o}, expected 600" in line and "chmod 600" in line for line in message)
    key.chmod(0o400)
    secret.chmod(0o400)
    assert list(ask_all()) == []


@pytest.mark.usefixtures("_open_umask")
def test_files_that_programs_write_without_the_command_are_private_too(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    audit.add({"event": "start"})
    audit.close()
    assert _modes(tmp_path) in ({}, {".": oct(tmp_path.stat().st_mode)})


@pytest.mark.parametrize("left", [b"", None])
def test_an_audit_key_truncated_at_the_first_start_is_made_again(left: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").touch(mode=0o600)
    if left is not None:
        (tmp_path / "audit.jsonl.key").write_bytes(left)
        (tmp_path / "audit.jsonl.key").chmod(0o600)
    (tmp_path / ".audit.jsonl.key.partial").write_bytes(b"0123")
    AuditLog(tmp_path / "audit.jsonl").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.jsonl", "audit.jsonl.key"]
    assert len((tmp_path / "audit.jsonl.key").read_text()) == 64


def test_a_phantom_cohort_is_made_after_a_killed_start(tmp_path: Path) -> None:
    plugins = default_modalities(["tabular"])
    (tmp_path / ".cohort.partial" / "tabular").mkdir(parents=True)
    (tmp_path / ".cohort.partial" / "cohort.csv").write_text("study_id,")
    write_phantom_cohort(tmp_path / "cohort", studies=20, seed=1, modalities=plugins, workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
