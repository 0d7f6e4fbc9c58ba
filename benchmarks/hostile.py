"""Over a thousand hostile uploads: each must get 4xx and a sentence, and the service must be as fast as before."""

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
from benchmarks.server import TOKEN, serving
from benchmarks.studies_to_send import QUERY, as_request, complete_studies

COMMAND = "python -m benchmarks hostile"
FEWEST, SLOWER, PROBES = 1000, 1.5, 40


def measure() -> list[Figure]:
    """Send them all, one after the other, between good requests that are timed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = exported(folder / "bundle")
        study = complete_studies(DEMO / "cohort", QUERY, 1)[0]
        made = attacks(study, seed=0)
        assert len(made) >= FEWEST
        with serving(bundle, folder, "--per_minute", 0, "--file_seconds", 10) as server:
            client = Client(server.address, TOKEN)
            before = _probe(client, as_request(study))
            wrong = [(one.name, told) for one in made if (told := _unexpected(client.send(one))) is not None]
            after = _probe(client, as_request(study))
    _show(wrong, before, after)
    slower = after > SLOWER * before
    return [
        Figure(
            name="hostile.unexpected",
            value=float(len(wrong) + slower),
            unit=f"of {len(made)}",
            goal=0,
            at_most=True,
            command=COMMAND,
        ),
        Figure(name="hostile.slowdown", value=after / before, unit="times", goal=SLOWER, at_most=True, command=COMMAND),
    ]


def _unexpected(answer: tuple[int, Any]) -> str | None:
    """What is wrong with an answer; None where it is 4xx with a sentence."""
    status, content = answer
    if not 400 <= status < 500:
        return f"status {status}"
    said = content.get("error", {}).get("message") if isinstance(content, dict) else None
    return None if isinstance(said, str) and len(said) > 10 else f"status {status} without a sentence"


def _probe(client: Client, request: Request) -> float:
    """Median seconds of a good request, which must be answered."""
    seconds = []
    for _ in range(PROBES):
        started = time.perf_counter()
        status, _ = client.send(request)
        seconds.append(time.perf_counter() - started)
        assert status == 200, f"a good request got {status}"
    return median(seconds[PROBES // 2 :])


def _show(wrong: list[tuple[str, str]], before: float, after: float) -> None:
    console = Console()
    for (name, told), count in Counter(wrong).most_common(40):
        console.print(f"unexpected, {count} times: {name}: {told}", markup=False)
    console.print(f"a good request took {before * 1000:.1f} ms before and {after * 1000:.1f} ms after")
