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
from requests.adapters import HTTPAdapter

TOKEN = "planted-token-of-the-tests"
_SECONDS = 240
_ANNOUNCED = re.compile(r"^serving .* at (http://\S+)$", re.MULTILINE)


class _From(HTTPAdapter):
    """Sends from another address of this machine, like another client."""

    def __init__(self, client: str) -> None:
        self._client = client
        super().__init__()

    def init_poolmanager(self, *words: Any, **settings: Any) -> None:
        super().init_poolmanager(*words, source_address=(self._client, 0), **settings)


@dataclass(kw_only=True)
class Served:
    """A running service.

    Attributes:
        address: URL.
        folder: working folder, with the audit log and the output.
        process: the front.
    """

    address: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def audit(self) -> Path:
        return self.folder / "audit.jsonl"

    def message(self) -> str:
        return (self.folder / "out.txt").read_text() + (self.folder / "err.txt").read_text()

    def get(self, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {TOKEN}", **more.pop("headers", {})}
        return requests.get(self.address + path, headers=headers, timeout=60, **more)

    def score(self, files: Mapping[str, Path | Sequence[Path]], **query: str) -> requests.Response:
        """Post files by the name of their part."""
        several = {name: [one] if isinstance(one, Path) else one for name, one in files.items()}
        parts = [(name, (path.name, path.read_bytes())) for name, paths in several.items() for path in paths]
        return self.post(parts, **query)

    def post(self, parts: Sequence[tuple[str, Any]], *, client: str = "127.0.0.1", **query: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with requests.Session() as session:
            session.mount("http://", _From(client))
            return session.post(f"{self.address}/v1/score", files=parts, params=query, headers=headers, timeout=120)

    def measure(self, name: str, **labels: str) -> float:
        """Sum a counter, or its part with given labels."""
        text = self.get("/metrics").text
        pairs = "".join(f'{key}="{value}"' for key, value in labels.items())
        values = re.findall(rf"^{name}(?:{{[^}}]*{pairs}[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, values))

    def family(self) -> list[psutil.Process]:
        """List every process but the front."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """List the forked processes: children of the nursery."""
        return [process for process in self.family() if process.ppid() != self.process.pid]

    def scratch(self) -> Path:
        """Return the folder for uploaded files."""
        return Path(self.workers()[0].environ()["TMPDIR"])


@contextmanager
def serving(bundle: Path, folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Start the service, wait until it is ready, and end all its processes afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "polyclinic.cli", "serve", str(bundle.absolute()), "--port", "0", *words]
    variables = {**os.environ, "POLYCLINIC_TOKEN": TOKEN, **(environment or {})}
    with (folder / "out.txt").open("ab") as out, (folder / "err.txt").open("ab") as err:
        before = out.tell()
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err, env=variables, start_new_session=True)
    served = Served(address="", folder=folder, process=process)
    try:
        _wait(served, before)
        yield served
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
        _, alive = psutil.wait_procs(family, timeout=60)
        for survivor in alive:
            survivor.kill()
        assert not alive, "a process outlived the service"


def _wait(served: Served, before: int) -> None:
    """Wait until the service is ready. It chooses its port: one chosen here could be taken by then."""
    deadline = time.monotonic() + _SECONDS
    while served.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        if (announced := _ANNOUNCED.search((served.folder / "out.txt").read_text()[before:])) is not None:
            served.address = announced[1]
            if requests.get(f"{served.address}/readyz", timeout=60).ok:
                return
    raise RuntimeError(f"the service is not ready: {served.message()[-2000:]}")
