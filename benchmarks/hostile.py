"""Over a thousand hostile uploads and other attacks: each must be refused with 4xx and must not slow down the service.

``POLYCLINIC_HOSTILE_UPLOADS`` sets the number of uploads, for a shorter run.
"""

import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks.attacks import attacks
from benchmarks.demo_bundle import DEMO, exported
from benchmarks.measure import Figure
from benchmarks.multipart import Client, Request
from benchmarks.pressure import hogged, odd_audit_lines, slow_clients, without_audit_log
from benchmarks.server import TOKEN, serving
from benchmarks.studies_to_send import QUERY, as_request, complete_studies

COMMAND = "python -m benchmarks hostile"
UPLOADS = "POLYCLINIC_HOSTILE_UPLOADS"
MIN_UPLOADS, MAX_SLOWDOWN, PROBES = 1000, 1.5, 40


def measure() -> list[Figure]:
    """Send all attacks one after the other, between good requests that are timed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = exported(folder / "bundle")
        study = complete_studies(DEMO / "cohort", QUERY, 1)[0]
        requests = attacks(study, seed=0)
        assert len(requests) >= MIN_UPLOADS
        requests = requests[: int(os.environ.get(UPLOADS, len(requests)))]
        with serving(bundle, folder, "--per_minute", 0, "--file_seconds", 10, "--upload_seconds", 10) as server:
            client = Client(server.address, TOKEN)
            before = _probe(client, as_request(study))
            faults = [(request.name, fault) for request in requests if (fault := _unexpected(client.send(request)))]
            after = _probe(client, as_request(study))
            faults += hogged(server.address, as_request(study), requests)
            faults += slow_clients(server.address, as_request(study))
            faults += without_audit_log(server.address, as_request(study), folder / "audit.jsonl")
        faults += odd_audit_lines(folder / "audit.jsonl")
    _show(faults, before, after)
    is_slower = after > MAX_SLOWDOWN * before
    return [
        Figure(
            name="hostile.unexpected",
            value=float(len(faults) + is_slower),
            unit=f"of {len(requests)} uploads and 4 other attacks",
            goal=0,
            at_most=True,
            command=COMMAND,
        ),
        Figure(
            name="hostile.slowdown",
            value=after / before,
            unit="times",
            goal=MAX_SLOWDOWN,
            at_most=True,
            command=COMMAND,
        ),
    ]


def _unexpected(answer: tuple[int, Any]) -> str | None:
    """Describe the fault of an answer; None if the answer is 4xx with a message."""
    status, content = answer
    if not 400 <= status < 500:
        return f"status {status}"
    message = content.get("error", {}).get("message") if isinstance(content, dict) else None
    if not isinstance(message, str) or len(message) <= 10:
        return f"status {status} without a sentence"
    return None if message.isprintable() else f"status {status} with characters that a terminal acts on"


def _probe(client: Client, request: Request) -> float:
    """Return the median seconds that a good request takes; each must be answered with 200."""
    seconds = []
    for _ in range(PROBES):
        started = time.perf_counter()
        status, _ = client.send(request)
        seconds.append(time.perf_counter() - started)
        assert status == 200, f"a good request got {status}"
    return median(seconds[PROBES // 2 :])


def _show(faults: list[tuple[str, str]], before: float, after: float) -> None:
    console = Console()
    for (name, fault), count in Counter(faults).most_common(40):
        console.print(f"unexpected, {count} times: {name}: {fault}", markup=False)
    console.print(f"a good request took {before * 1000:.1f} ms before and {after * 1000:.1f} ms after")
