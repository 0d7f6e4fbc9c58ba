"""Clients of a service in a separate process: ``python -m benchmarks.load ORDER.json`` prints their result as JSON."""

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
        address: address of the server.
        token: bearer token.
        requests: requests to send in turn.
        folder: folder of the order file.
        how: ``clients``, ``seconds``, and the total ``rate`` per second, 0 for as fast as possible.

    Returns:
        ``seconds`` of each answer, ``statuses`` by number, and ``per_second``.
    """
    for place, request in enumerate(requests):
        assert isinstance(request.body, bytes)
        (folder / f"{place}.body").write_bytes(request.body)
    order = {
        "address": address, "token": token, **how,
        "requests": [{"path": request.path, "kind": request.kind} for request in requests],
    }  # fmt: skip
    (folder / "order.json").write_text(json.dumps(order))
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", str(folder / "order.json")],
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def main(path: Path) -> None:
    """Send the requests of an order file, and print the result."""
    order = json.loads(path.read_text())
    requests = [
        Request(name=str(index), body=(path.parent / f"{index}.body").read_bytes(), path=row["path"], kind=row["kind"])
        for index, row in enumerate(order["requests"])
    ]
    clients, rate = int(order["clients"]), float(order["rate"])
    lock, turn = threading.Lock(), iter(range(10**9))
    seconds: list[float] = []
    statuses: dict[int, int] = {}
    started = time.perf_counter()
    end = started + float(order["seconds"])

    def client() -> None:
        connection = Client(order["address"], order["token"])
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
                # Timed from the planned start, because a slow server does not reduce the load.
                seconds.append(time.perf_counter() - planned)
                statuses[status] = statuses.get(status, 0) + 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    per_second = len(seconds) / (time.perf_counter() - started)
    sys.stdout.write(json.dumps({"seconds": seconds, "statuses": statuses, "per_second": per_second}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
