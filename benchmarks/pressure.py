"""Attacks on a running service: each returns its faults by name."""

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

ANOTHER = "127.0.0.2"
"""Address of the client that must be answered during all attacks of others."""

CLIENTS, ASKED, CONNECTIONS = 16, 10, 300


def hogged(address: str, good: Request, made: list[Request]) -> list[tuple[str, str]]:
    """Send the slowest requests from one client at its rate limit; another client must be answered meanwhile."""
    slow = [request for request in made if isinstance(request.body, bytes) and len(request.body) > 1_000_000] or made
    ended = threading.Event()

    def hog(start: int) -> None:
        client, turn = Client(address, TOKEN), start
        while not ended.is_set():
            client.send(slow[turn % len(slow)])
            turn += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        hogs = [pool.submit(hog, start) for start in range(CLIENTS)]
        try:
            wrong = _answered("a good request beside a hog", address, good)
        finally:
            ended.set()
        for future in hogs:
            future.result()
    return wrong


def slow_clients(address: str, good: Request) -> list[tuple[str, str]]:
    """Open hundreds of connections of one client that send half a header, or half a body, and then nothing."""
    where = urlsplit(address)
    head = f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {KIND}\r\n"
    with ExitStack() as opened:
        for place in range(CONNECTIONS):
            connection = opened.enter_context(socket.create_connection((where.hostname, where.port), timeout=60))
            partial = head if place % 2 else f"{head}Content-Length: 1000\r\n\r\n--"
            # The service may already have closed the connection.
            with suppress(OSError):
                connection.sendall(partial.encode())
        return _answered("a good request beside slow clients", address, good)


def without_audit_log(address: str, good: Request, log: Path) -> list[tuple[str, str]]:
    """Check that nothing is scored while the audit log is missing, replaced or truncated, and that scoring resumes."""
    client, aside, content = Client(address, TOKEN), log.with_name("aside"), log.read_bytes()
    ready = Request(name="ready", method="GET", path="/readyz", kind=None)
    wrong = []

    def expect(expected: int, how: str) -> None:
        for request in (good, ready):
            status, content = client.send(request)
            if status != expected or (status == 503 and "audit log" not in content["error"]["message"]):
                wrong.append((f"{request.name} with its audit log {how}", f"status {status}"))

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
    return wrong


def odd_audit_lines(log: Path) -> list[tuple[str, str]]:
    """Check that ``polyclinic audit`` names the line of anything that was added to a log, in one sentence."""
    whole, wrong = log.read_bytes(), []
    number = whole.count(b"\n") + 1
    for line in _odd_lines(json.loads(whole.splitlines()[-1])):
        odd = log.with_name("odd.jsonl")
        odd.write_bytes(whole + line + b"\n")
        errors = io.StringIO()
        try:
            with redirect_stderr(errors), redirect_stdout(io.StringIO()):
                code = main(["audit", str(odd)])
        except Exception as error:
            wrong.append((f"audit of {line[:40]!r}", type(error).__name__))
            continue
        if code != 1 or f"line {number} of the audit log" not in errors.getvalue() or "\x1b" in errors.getvalue():
            wrong.append((f"audit of {line[:40]!r}", f"code {code}: {errors.getvalue()[:200]!r}"))
    return wrong


def _odd_lines(entry: dict[str, object]) -> Iterator[bytes]:
    odd = (None, [], {}, True, -1, 1.5, 10**30, "\x1b[31m", float("nan"), float("inf"), [[[]]], "\ud800", "[/b]")
    for name in entry:
        for value in odd:
            yield json.dumps({**entry, name: value}).encode()
    for opened in (b"[", b'{"a":'):
        yield from (opened * depth for depth in (1, 500, 5000, 150_000))
    yield from (b"", b" ", b"null", b"1e999", b"\xff", b"\x00", b"9" * 5000, b'{"a":1,"a":1}', b'"' * (2 << 20))


def _answered(name: str, address: str, good: Request) -> list[tuple[str, str]]:
    """Return those of several requests of another client that were not answered with scores."""
    client, wrong = Client(address, TOKEN, client=ANOTHER), []
    for _ in range(ASKED):
        started = time.perf_counter()
        status, _ = client.send(good)
        if status != 200:
            wrong.append((name, f"status {status} after {time.perf_counter() - started:.1f} s"))
    return wrong
