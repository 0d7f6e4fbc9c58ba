"""Clients in a process of their own: python -m benchmarks.load ORDER.json, which prints JSON."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.multipart import Client, Request


def load(address: str, token: str, requests: list[Request], folder: Path, **how: float) -> dict[str, Any]:
    """Send requests from another process.

    Args:
        address: of the server.
        token: sent as bearer.
        requests: taken in turn.
        folder: for the order.
        how: ``clients``, ``seconds``, and ``rate`` per second of all clients together, 0 for as fast as they can.

    Returns:
        ``seconds`` of each answer, ``statuses`` by number, and ``per_second``.
    """
    for place, request in enumerate(requests):
        assert isinstance(request.body, bytes)
        (folder / f"{place}.body").write_bytes(request.body)
    order = {
        "address": address, "token": token, **how,
        "requests": [{"path": one.path, "kind": one.kind} for one in requests],
    }  # fmt: skip
    (folder / "order.json").write_text(json.dumps(order))
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", str(folder / "order.json")],
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(told.stdout)
    return result


def main(order: Path) -> None:
    """Carry it out."""
    told = json.loads(order.read_text())
    requests = [
        Request(name=str(place), body=(order.parent / f"{place}.body").read_bytes(), path=one["path"], kind=one["kind"])
        for place, one in enumerate(told["requests"])
    ]
    clients, rate = int(told["clients"]), float(told["rate"])
    lock, seconds, statuses, turn = threading.Lock(), [], {}, iter(range(10**9))
    started = time.perf_counter()
    end = started + float(told["seconds"])

    def client() -> None:
        connection = Client(told["address"], told["token"])
        while True:
            with lock:
                number = next(turn)
            planned = started + number / rate if rate else time.perf_counter()
            if planned > end:
                connection.close()
                return
            time.sleep(max(0.0, planned - time.perf_counter()))
            status, _ = connection.send(requests[number % len(requests)])
            with lock:
                # From when it was due: a server that falls behind is not asked less.
                seconds.append(time.perf_counter() - planned)
                statuses[status] = statuses.get(status, 0) + 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    per_second = len(seconds) / (time.perf_counter() - started)
    sys.stdout.write(json.dumps({"seconds": seconds, "statuses": statuses, "per_second": per_second}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
