"""In one fresh interpreter, because it starts slowly: eight runs at once offline, then one run of two ranks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tracking_runs import runs

pytestmark = pytest.mark.processes

SCRIPT = """
import multiprocessing, os, socket, sys, time
from pathlib import Path

def refuse(*args, **kwargs):
    os.write(2, b"CONNECTS")
    raise OSError("blocked")

kept = socket.socket.connect, socket.getaddrinfo
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
import mlflow.store.tracking.sqlalchemy_store
import polyclinic.tracking
print(*(os.environ[name] for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY")))
out = Path(sys.argv.pop())

def start(together):
    logger = polyclinic.tracking.RunLogger(out=out)
    together.wait()
    logger.log_metrics({"loss": 1.0})
    logger.finalize("success")
    time.sleep(1)

context = multiprocessing.get_context("fork")
together = context.Barrier(8)
workers = [context.Process(target=start, args=(together,)) for _ in range(8)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(*(worker.exitcode for worker in workers))

socket.socket.connect, socket.getaddrinfo = kept
import lightning.pytorch as L
from tracking_runs import fit_in

class Reported(L.Callback):
    def on_train_end(self, trainer, pl_module):
        (out / f"rank-{trainer.global_rank}").write_text(f"{trainer.logger.name} {trainer.logger.version}")

import __main__
__main__.Reported = Reported
fit_in(out, "--trainer.logger.experiment=ranks", "--trainer.strategy=ddp_fork", "--trainer.devices=2",
       "--trainer.callbacks+=__main__.Reported")
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    out = tmp_path_factory.mktemp("processes")
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(out)],
        capture_output=True,
        text=True,
        cwd=out,
        env={**environment, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert process.returncode == 0, process.stderr
    return out, process.stdout.splitlines(), process.stderr


def test_no_connection_is_opened(outcome: tuple[Path, list[str], str]) -> None:
    _, report, errors = outcome
    assert report[0] == "true true 1"
    assert "CONNECTS" not in errors


def test_eight_processes_may_start_at_once_on_a_fresh_store(outcome: tuple[Path, list[str], str]) -> None:
    out, report, _ = outcome
    assert report[1] == " ".join("0" * 8)
    assert [run.info.status for run in runs(f"sqlite:///{out}/mlflow.db")] == ["FINISHED"] * 8


def test_two_ranks_share_one_run(outcome: tuple[Path, list[str], str]) -> None:
    out, *_ = outcome
    [run] = runs(f"sqlite:///{out}/mlflow.db", "ranks")
    ids = f"{run.info.experiment_id} {run.info.run_id}"
    assert [(out / f"rank-{rank}").read_text() for rank in range(2)] == [ids, ids]
    assert run.info.status == "FINISHED"
