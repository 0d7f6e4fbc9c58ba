"""PostgreSQL and the tracking server of ``docker/tracking``, from this system's packages, on free ports."""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
PASSWORD = "planted-password"
_SECONDS = 300


def free_port() -> int:
    """Find a port without a listener, below the range of outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _programs() -> Path:
    """Find the programs of the newest PostgreSQL; Debian keeps them off the path."""
    initdbs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    program = str(initdbs[-1]) if initdbs else shutil.which("initdb")
    assert program, "PostgreSQL is not installed; run tests/system_packages.sh"
    return Path(program).parent


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a new database server; gives the address of an empty database."""
    programs, port = _programs(), free_port()
    home = folder / "postgres"
    home.mkdir()
    # PostgreSQL refuses to run as root.
    words: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")
        for parent in folder.parents:
            if parent.is_relative_to(Path("/tmp")) and parent != Path("/tmp"):
                parent.chmod(0o755)
        folder.chmod(0o755)
        words = ["runuser", "-u", "postgres", "--"]
    data = home / "data"
    run = [*words, str(programs / "initdb"), "-D", str(data), "-U", "polyclinic", "-A", "trust", "-E", "UTF8"]
    subprocess.run(run, check=True, capture_output=True, cwd=home)
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*words, str(programs / "pg_ctl"), "-D", str(data)]
    subprocess.run([*control, "-o", options, "-l", str(home / "log"), "-w", "-t", "300", "start"], check=True, cwd=home)
    try:
        create = [str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "polyclinic", "runs"]
        subprocess.run(create, check=True)
        yield f"postgresql://polyclinic@127.0.0.1:{port}/runs"
    finally:
        # Unchecked: the server may have ended already.
        subprocess.run([*control, "-m", "fast", "-w", "-t", "300", "stop"], cwd=home)


@contextmanager
def tracking_server(database: str, folder: Path) -> Iterator[str]:
    """Run the server as its image starts it, with a folder for the artifacts; gives its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    inherited = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    settings = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "DATABASE_URI": database, "PORT": str(port),
        "ARTIFACTS": str(folder / "artifacts"), "ADMIN_PASSWORD": PASSWORD, "SECRET_KEY": "planted-secret",
        "TMPDIR": str(folder),
    }  # fmt: skip
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            ["sh", str(ROOT / "docker" / "tracking" / "start.sh")],
            env={**inherited, **settings}, stdout=log, stderr=log, cwd=folder, start_new_session=True,
        )  # fmt: skip
        try:
            _wait(f"{address}/health", server, folder / "server.log")
            yield address
        finally:
            os.killpg(server.pid, 15)
            server.wait(timeout=90)


def _wait(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(_SECONDS * 5):
        if server.poll() is not None:
            break
        try:
            urlopen(address, timeout=2).close()
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the tracking server does not answer: {log.read_text()[-2000:]}")
