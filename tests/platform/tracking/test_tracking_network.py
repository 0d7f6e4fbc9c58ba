import subprocess
import sys
from pathlib import Path

BLOCKED = """
import os, socket, sys, time
def refuse(*args, **kwargs):
    os.write(2, b"CONNECTS")
    raise OSError("blocked")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
from polyclinic.tracking import RunLogger
logger = RunLogger(out=__import__("pathlib").Path(sys.argv[1]))
logger.log_metrics({"loss": 1.0})
logger.finalize("success")
time.sleep(1)
print(os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"], os.environ["HF_HUB_DISABLE_TELEMETRY"])
"""


def test_a_run_opens_no_connection(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED, str(tmp_path)], capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["true", "true", "1"]
    assert "CONNECTS" not in done.stderr
    assert (tmp_path / "mlflow.db").is_file()
