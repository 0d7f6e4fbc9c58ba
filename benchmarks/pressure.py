"""Attacks on a running service, each of which returns the name and description of its faults."""

import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.multipart import KIND, Client, Request
from benchmarks.server import TOKEN
from polyclinic.cli import main

OTHER_CLIENT = "127.0.0.2"
"""Address of the client that must be answered while other clients attack."""

CLIENTS, GOOD_REQUESTS, CONNECTIONS = 16, 10, 300


def hogged(address: str, good: Request, attacks: list[Request]) -> list[tuple[str, str]]:
    """Send the slowest requests from one client at its rate limit, and check that another client is answered."""
    slow = [
        request for request in attacks if isinstance(request.body, bytes) and len(request.body) > 1_000_000
    ] or attacks
    ended = threading.Event()

    def hog(start: int) -> None:
        client, turn = Client(address, TOKEN), start
        while not ended.is_set():
            client.send(slow[turn % len(slow)])
            turn += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        hogs = [pool.submit(hog, start) for start in range(CLIENTS)]
        try:
            faults = _answered("a good request beside a hog", address, good)
        finally:
            ended.set()
        for future in hogs:
            future.result()
    return faults


def slow_clients(address: str, good: Request) -> list[tuple[str, str]]:
    """Open hundreds of connections that send half a header or body, and check that another client is answered."""
    target = urlsplit(address)
    head = f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {KIND}\r\n"
    with ExitStack() as connections:
        for place in range(CONNECTIONS):
            connection = connections.enter_context(socket.create_connection((target.hostname, target.port), timeout=60))
            partial = head if place % 2 else f"{head}Content-Length: 1000\r\n\r\n--"
            # The service may already have closed the connection.
            with suppress(OSError):
                connection.sendall(partial.encode())
        return _answered("a good request beside slow clients", address, good)


def without_audit_log(address: str, good: Request, log: Path) -> list[tuple[str, str]]:
    """Check that nothing is scored while the audit log is missing, replaced or truncated, and that scoring resumes."""
    client, aside, content = Client(address, TOKEN), log.with_name("aside"), log.read_bytes()
    ready = Request(name="ready", method="GET", path="/readyz", kind=None)
    faults = []

    def expect(expected_status: int, how: str) -> None:
        for request in (good, ready):
            status, answer = client.send(request)
            if status != expected_status or (status == 503 and "audit log" not in answer["error"]["message"]):
                faults.append((f"{request.name} with its audit log {how}", f"status {status}"))

    log.rename(aside)
    expect(503, "removed")
    log.write_bytes(content)
    expect(503, "replaced")
    aside.replace(log)
    expect(200, "put back")
    content = log.read_bytes()
    os.truncate(log, len(content) // 2)
    expect(503, "cut off")
    with log.open("r+b") as stream:
        stream.write(content)
    expect(200, "whole again")
    return faults


def odd_audit_lines(log: Path) -> list[tuple[str, str]]:
    """Check that ``polyclinic audit`` names, in one sentence, the line of anything that was added to a log."""
    content, faults = log.read_bytes(), []
    number = content.count(b"\n") + 1
    for line in _odd_lines(json.loads(content.splitlines()[-1])):
        odd = log.with_name("odd.jsonl")
        odd.write_bytes(content + line + b"\n")
        errors = io.StringIO()
        try:
            with redirect_stderr(errors), redirect_stdout(io.StringIO()):
                code = main(["audit", str(odd)])
        except Exception as error:
            faults.append((f"audit of {line[:40]!r}", type(error).__name__))
            continue
        if code != 1 or f"line {number} of the audit log" not in errors.getvalue() or "\x1b" in errors.getvalue():
            faults.append((f"audit of {line[:40]!r}", f"code {code}: {errors.getvalue()[:200]!r}"))
    return faults


def _odd_lines(entry: dict[str, object]) -> Iterator[bytes]:
    odd: tuple[object, ...] = (
        None, [], {}, True, -1, 1.5, 10**30, "\x1b[31m", float("nan"), float("inf"), [[[]]], "\ud800", "[/b]",
    )  # fmt: skip
    for name in entry:
        for value in odd:
            yield json.dumps({**entry, name: value}).encode()
    for opened in (b"[", b'{"a":'):
        yield from (opened * depth for depth in (1, 500, 5000, 150_000))
    yield from (b"", b" ", b"null", b"1e999", b"\xff", b"\x00", b"9" * 5000, b'{"a":1,"a":1}', b'"' * (2 << 20))


def _answered(name: str, address: str, good: Request) -> list[tuple[str, str]]:
    """Send several requests of another client and return those that were not answered with scores."""
    client, faults = Client(address, TOKEN, client=OTHER_CLIENT), []
    for _ in range(GOOD_REQUESTS):
        started = time.perf_counter()
        status, _ = client.send(good)
        if status != 200:
            faults.append((name, f"status {status} after {time.perf_counter() - started:.1f} s"))
    return faults
