"""A real ``polyclinic serve`` in its own process, and clients for it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from servers import free_port

TOKEN = "planted-token-of-the-tests"
_SECONDS = 90


@dataclass(kw_only=True)
class Served:
    """A running service.

    Attributes:
        address: of it.
        folder: where it was started; its audit log and what it printed are there.
        process: the front.
    """

    address: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def audit(self) -> Path:
        return self.folder / "audit.jsonl"

    def said(self) -> str:
        return (self.folder / "out.txt").read_text() + (self.folder / "err.txt").read_text()

    def get(self, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {TOKEN}", **more.pop("headers", {})}
        return requests.get(self.address + path, headers=headers, timeout=60, **more)

    def score(self, files: Mapping[str, Path | Sequence[Path]], **query: str) -> requests.Response:
        """Post files by the name of their part."""
        several = {name: [one] if isinstance(one, Path) else one for name, one in files.items()}
        parts = [(name, (path.name, path.read_bytes())) for name, paths in several.items() for path in paths]
        return self.post(parts, **query)

    def post(self, parts: Sequence[tuple[str, Any]], **query: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return requests.post(f"{self.address}/v1/score", files=parts, params=query, headers=headers, timeout=90)

    def measure(self, name: str) -> float:
        """The sum of a counter."""
        text = self.get("/metrics").text
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))

    def family(self) -> list[psutil.Process]:
        """Every process but the front."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """Forked processes: the nursery's children."""
        return [one for one in self.family() if one.ppid() != self.process.pid]

    def scratch(self) -> Path:
        """The folder for what is read."""
        return Path(self.workers()[0].environ()["TMPDIR"])


@contextmanager
def serving(bundle: Path, folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Start it, wait until it is ready, and leave no process of it behind."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "polyclinic.cli", "serve", str(bundle.absolute()), "--port", str(port), *words]
    variables = {**os.environ, "POLYCLINIC_TOKEN": TOKEN, **(environment or {})}
    with (folder / "out.txt").open("ab") as out, (folder / "err.txt").open("ab") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err, env=variables, start_new_session=True)
    served = Served(address=address, folder=folder, process=process)
    try:
        _wait(served)
        yield served
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
        _, alive = psutil.wait_procs(family, timeout=10)
        for one in alive:
            one.kill()
        assert not alive, "a process outlived the service"


def _wait(served: Served) -> None:
    for _ in range(_SECONDS * 20):
        if served.process.poll() is not None:
            break
        try:
            requests.get(f"{served.address}/readyz", timeout=2).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.05)
    raise RuntimeError(f"the service is not ready: {served.said()[-2000:]}")
