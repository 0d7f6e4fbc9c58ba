"""Twenty thousand mixed requests, which must return the scores of `polyclinic score`, without status 500 or a leak."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.attacks import attacks
from benchmarks.demo_bundle import DEMO, exported
from benchmarks.measure import Figure
from benchmarks.multipart import Client, Request
from benchmarks.server import TOKEN, serving
from benchmarks.studies_to_send import QUERY, Sent, complete_studies, with_expected
from polyclinic.system.progress import track

COMMAND = "make soak"
REQUESTS, WARM_UP_REQUESTS, CLIENTS, STUDIES, BAD_SHARE = 20_000, 2_000, 8, 60, 0.2
MAX_SCORE_GAP, MAX_SMALL_BODY_BYTES = 1e-6, 1 << 20


@dataclass(kw_only=True)
class _Tally:
    """Counts and messages of unexpected answers, and the largest difference of scores."""

    wrong: int = 0
    errors: int = 0
    gap: float = 0.0
    messages: set[str] = field(default_factory=set)


def measure() -> list[Figure]:
    """Send the requests, a fifth of them bad, from eight clients at a time."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = exported(folder / "bundle")
        good = with_expected(bundle, DEMO / "cohort", folder, STUDIES, seed=0)
        bad = _small(attacks(complete_studies(DEMO / "cohort", QUERY, 1)[0], seed=1))
        with serving(bundle, folder, "--per_minute", 0, "--in_flight", 32) as server:
            tally = _Tally()
            _send(server.address, good, bad, WARM_UP_REQUESTS, tally)
            before = server.megabytes()
            _send(server.address, good, bad, REQUESTS - WARM_UP_REQUESTS, tally)
            after = server.megabytes()
    for message in sorted(tally.messages):
        Console().print(message, markup=False)
    Console().print(f"memory {before:.0f} MB after {WARM_UP_REQUESTS} requests, {after:.0f} MB after {REQUESTS}")
    of = f"of {REQUESTS}"
    return [
        Figure(name="soak.wrong", value=float(tally.wrong), unit=of, goal=0, at_most=True, command=COMMAND),
        Figure(name="soak.errors", value=float(tally.errors), unit=of, goal=0, at_most=True, command=COMMAND),
        Figure(name="soak.score_gap", value=tally.gap, unit="", goal=MAX_SCORE_GAP, at_most=True, command=COMMAND),
        Figure(name="soak.growth_mb", value=after - before, unit="MB", goal=50, at_most=True, command=COMMAND),
    ]


def _small(made: list[Request]) -> list[Request]:
    """Return the attacks that do not take seconds each; bombs and endless streams have a separate benchmark."""
    small = [
        request for request in made if isinstance(request.body, bytes) and len(request.body) < MAX_SMALL_BODY_BYTES
    ]
    return [request for request in small if "bomb" not in request.name and "nested" not in request.name]


def _send(address: str, good: list[Sent], bad: list[Request], count: int, tally: _Tally) -> None:
    rng = np.random.default_rng(count)
    kinds = [bad if rng.random() < BAD_SHARE else good for _ in range(count)]
    turns = [kind[rng.integers(len(kind))] for kind in kinds]
    shares = [list(islice(turns, start, None, CLIENTS)) for start in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for part in track(pool.map(lambda share: _client(address, share), shares), "sending requests", total=CLIENTS):
            tally.wrong += part.wrong
            tally.errors += part.errors
            tally.gap = max(tally.gap, part.gap)
            tally.messages |= part.messages


def _client(address: str, share: list[Sent | Request]) -> _Tally:
    client, tally = Client(address, TOKEN), _Tally()
    for entry in share:
        request = entry.request if isinstance(entry, Sent) else entry
        status, content = client.send(request)
        if status >= 500 or status == 0:
            tally.errors += 1
            tally.messages.add(f"{request.name}: status {status}")
        if isinstance(entry, Sent):
            _compare(entry, status, content, tally)
        elif not 400 <= status < 500:
            tally.wrong += 1
            tally.messages.add(f"{request.name}: status {status}")
    return tally


def _compare(sent: Sent, status: int, content: Any, tally: _Tally) -> None:
    scores = {finding["name"]: finding["score"] for finding in content["findings"]} if status == 200 else {}
    if set(scores) != set(sent.expected):
        tally.wrong += 1
        tally.messages.add(f"{sent.request.name}: status {status}")
        return
    gap = max(abs(scores[name] - expected) for name, expected in sent.expected.items())
    tally.gap = max(tally.gap, gap)
    tally.wrong += gap > MAX_SCORE_GAP
