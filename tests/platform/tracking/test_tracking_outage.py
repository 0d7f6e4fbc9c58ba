"""MLflow becomes unavailable while runs log, and returns."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import mlflow
import pytest
from tracking_runs import runs, server

from forked_commands import Forked
from mlflow_servers import free_port
from mlflow_tables import read_template
from polyclinic.cli import main
from polyclinic.tracking import RunLogger, log_section, log_text
from polyclinic.tracking.entries import Artifact, Ended, Metrics, Section, Tags, from_line, joined, to_line
from polyclinic.tracking.spool import Spool, left_spools
from readonly_folders import read_only

pytestmark = pytest.mark.processes

STEPS = 40


def steps_of(uri: str, logger: RunLogger) -> list[int]:
    return [point.step for point in mlflow.MlflowClient(uri).get_metric_history(logger.run_id, "loss")]


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_entries_logged_during_an_outage_arrive_once(
    empty_store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    out = tmp_path / "runs"
    with server(tmp_path, port) as uri:
        continuing, ending = (RunLogger(out=out, tracking_uri=uri, patience=1) for _ in range(2))
        for logger in (continuing, ending):
            logger.log_metrics({"loss": 0.0}, step=0)
            assert logger.flush(240)
    for logger in (continuing, ending):
        for step in range(1, STEPS):
            logger.log_metrics({"loss": 1 / step}, step=step)
        log_text(logger, "während", "note.txt")
    assert not continuing.flush(3)
    ending.finalize("success")
    assert len(left_spools(out)) == 2
    with server(tmp_path, port) as uri:
        assert continuing.flush(240)
        assert steps_of(uri, continuing) == list(range(STEPS))
        continuing.finalize("success")
        client = mlflow.MlflowClient(uri)
        assert client.get_run(ending.run_id).info.status == "RUNNING"
        assert main(["tracking", "send", "runs", "--tracking_uri", uri]) == 0
        assert "1 files sent, 0 wait" in capfd.readouterr().out
        assert main(["tracking", "send", "runs", "--tracking_uri", uri]) == 0
        for logger in (continuing, ending):
            assert steps_of(uri, logger) == list(range(STEPS))
            assert client.get_run(logger.run_id).info.status == "FINISHED"
            assert [file.path for file in client.list_artifacts(logger.run_id)] == ["note.txt"]
    assert left_spools(out) == []
    assert [path for path in out.rglob("*") if path.is_file()] == []
    assert main(["tracking", "send", "runs", "--tracking_uri", uri]) == 1


def test_a_section_written_during_an_outage_leaves_later_ones_in_the_description(
    empty_store: Path, tmp_path: Path
) -> None:
    logger = RunLogger(out=tmp_path, patience=0.1)
    log_section(logger, "Result", "0.5")
    assert logger.flush()
    blocker = sqlite3.connect(empty_store, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    log_section(logger, "Next", "score")
    logger.finalize("success")
    blocker.execute("ROLLBACK")
    blocker.close()
    guest = RunLogger(out=tmp_path, run_id=logger.run_id, guest=True)
    log_section(guest, "Evaluation: zeroshot", "0.75")
    guest.finalize("success")
    assert main(["tracking", "send", str(tmp_path)]) == 0
    (run,) = runs(logger.tracking_uri)
    note = "### Result\n\n0.5\n\n### Evaluation: zeroshot\n\n0.75\n\n### Next\n\nscore"
    assert run.data.tags["mlflow.note.content"] == note


def test_a_locked_database_delays_no_step_and_loses_no_entry(empty_store: Path, tmp_path: Path) -> None:
    logger = RunLogger(out=tmp_path)
    logger.log_metrics({"loss": 0.0}, step=0)
    assert logger.flush()
    blocker = sqlite3.connect(empty_store, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    for step in range(1, STEPS):
        logger.log_metrics({"loss": 1 / step}, step=step)
    assert not logger.flush(0.5)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert logger.flush(240)
    assert steps_of(logger.tracking_uri, logger) == list(range(STEPS))
    logger.finalize("success")
    assert left_spools(tmp_path) == []


def test_only_the_tracking_thread_calls_mlflow(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = RunLogger(out=tmp_path)
    _ = logger.experiment
    threads: set[str] = set()
    for name in ("log_batch", "log_artifact", "log_inputs", "set_terminated", "get_run"):
        method = getattr(mlflow.MlflowClient, name)
        monkeypatch.setattr(
            mlflow.MlflowClient,
            name,
            lambda *args, method=method, **rest: threads.add(threading.current_thread().name) or method(*args, **rest),
        )
    logger.log_hyperparams({"lr": 1})
    logger.log_metrics({"loss": 1.0}, step=0)
    log_text(logger, "a", "a.txt")
    logger.finalize("success")
    assert threads == {"polyclinic-tracking"}
    assert runs(logger.tracking_uri)[0].info.status == "FINISHED"


def test_a_resume_repeats_no_step_and_hides_no_difference(empty_store: Path, tmp_path: Path) -> None:
    first = RunLogger(out=tmp_path)
    for step in range(4):
        first.log_metrics({"loss": float(step), "gap": float("nan")}, step=step)
    first.finalize("failed")
    resumed = RunLogger(out=tmp_path, run_id=first.run_id)
    for step in range(2, 6):
        resumed.log_metrics({"loss": float(step) + (step == 3) / 2, "gap": float("nan")}, step=step)
    resumed.finalize("success")
    history = mlflow.MlflowClient(resumed.tracking_uri).get_metric_history(resumed.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [
        (0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (3, 3.5), (4, 4.0), (5, 5.0)
    ]  # fmt: skip
    gaps = mlflow.MlflowClient(resumed.tracking_uri).get_metric_history(resumed.run_id, "gap")
    assert sorted(point.step for point in gaps) == list(range(6))


def test_a_guest_leaves_the_status_and_the_process_of_the_run_unchanged(empty_store: Path, tmp_path: Path) -> None:
    failed = RunLogger(out=tmp_path)
    failed.log_metrics({"loss": 1.0})
    failed.finalize("failed")
    before = runs(failed.tracking_uri)[0]
    guest = RunLogger(out=tmp_path, run_id=failed.run_id, guest=True)
    guest.log_metrics({"test/auroc": 0.5})
    guest.finalize("success")
    [after] = runs(failed.tracking_uri)
    assert (after.info.status, after.info.end_time) == ("FAILED", before.info.end_time)
    assert after.data.metrics["test/auroc"] == 0.5
    with pytest.raises(ValueError, match="set `run_id`"):
        RunLogger(guest=True)


def test_a_run_in_training_is_not_resumed(empty_store: Path, tmp_path: Path) -> None:
    logger = RunLogger(out=tmp_path)
    logger.log_metrics({"loss": 1.0})
    assert logger.flush()
    script = "import sys; from pathlib import Path; from polyclinic.tracking import RunLogger\n"
    script += "RunLogger(out=Path(sys.argv[1]), run_id=sys.argv[2]).experiment"
    file, errors = tmp_path / "resume.py", tmp_path / "errors"
    file.write_text(script)
    words = [str(file), str(tmp_path), logger.run_id]
    process = Forked(words, folder=tmp_path, environment=os.environ, out=tmp_path / "out", errors=errors)
    assert process.wait(timeout=240) == 1
    assert f"still running in process {os.getpid()}" in errors.read_text().splitlines()[-1]


@pytest.mark.slow
def test_a_run_that_was_never_ended_loses_nothing_and_is_reaped(empty_store: Path, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from polyclinic.tracking import RunLogger\n"
    script += "RunLogger(out=Path(sys.argv[1])).log_metrics({'loss': 0.25})"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    uri = f"sqlite:///{empty_store}"
    assert [(run.info.status, run.data.metrics["loss"]) for run in runs(uri)] == [("RUNNING", 0.25)]
    logger = RunLogger(out=tmp_path)
    logger.log_metrics({"loss": 1.0})
    logger.finalize("success")
    assert [run.info.status for run in runs(uri)] == ["KILLED", "FINISHED"]


def test_a_read_only_folder_is_refused_unless_the_runs_go_elsewhere(tmp_path: Path) -> None:
    read_template()  # while this process may
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir(mode=0o777)
    elsewhere.chmod(0o777)
    os.chdir(place)
    with read_only(place):
        with pytest.raises(ValueError, match=r"Permission denied.*set MLFLOW_TRACKING_URI"):
            _ = RunLogger().experiment
        logger = RunLogger(out=elsewhere)
        log_text(logger, "a", "a.txt")
        logger.log_metrics({"loss": 1.0})
        logger.finalize("success")
    assert list(place.iterdir()) == []
    assert [run.info.status for run in runs(logger.tracking_uri)] == ["FINISHED"]


def test_entries_survive_being_spooled_to_a_file() -> None:
    entries = [
        Metrics((("val/loss", float("inf"), 12, 3), ("b", 0.1, 12, 3))),
        Tags({"ä": '"\n'}),
        Section("Result", "| a |\n"),
        Artifact.of("a/b.png", bytes(range(256))),
        Ended("KILLED", 5),
    ]
    assert [from_line(to_line(entry)) for entry in entries] == entries
    parts = [Metrics((("a", 1.0, 1, 1),)), Metrics((("a", 2.0, 2, 2),)), Tags({"t": "1"}), Metrics((("a", 3.0, 3, 3),))]
    merged = list(joined(parts))
    assert merged == [Metrics((("a", 1.0, 1, 1), ("a", 2.0, 2, 2))), Tags({"t": "1"}), Metrics((("a", 3.0, 3, 3),))]


def test_a_spool_continues_where_sending_stopped_and_skips_a_cut_line(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool-1.jsonl")
    spool.append((Tags({"n": str(number)}) for number in range(1200)), address="a", run_id="r")
    with spool.path.open("a") as file:
        file.write('{"kind": "Tags", "val')
    entries: list[str] = []

    def send(entry: Tags) -> None:
        if len(entries) == 700 and "again" not in state:
            state.add("again")
            raise ConnectionError
        entries.append(entry.values["n"])

    state: set[str] = set()
    with pytest.raises(ConnectionError):
        spool.drain(send)
    spool.drain(send)
    assert entries == [str(number) for number in [*range(700), *range(500, 1200)]]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_cuts_no_waiting_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool-1.jsonl")
    spool.append([Tags({"a": "1"})], address="a", run_id="r")
    before = spool.path.read_text()

    class Full:
        def __init__(self, file: object) -> None:
            self.file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()  # type: ignore[attr-defined]

        def write(self, content: bytes) -> int:
            self.file.write(content[:5])  # type: ignore[attr-defined]
            self.file.flush()  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")

    opened = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode="r", **rest: Full(opened(path, mode, **rest)))
        with pytest.raises(OSError, match="No space"):
            spool.append([Tags({"b": "2"})], address="a", run_id="r")
    assert spool.path.read_text() == before
    assert json.loads(before.splitlines()[0])["run_id"] == "r"
