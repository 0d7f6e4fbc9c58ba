"""Attacks on a running service as a whole: each gives what went wrong, by name."""

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
"""Address that the client sends from which must be answered whatever the others do."""

CLIENTS, ASKED, CONNECTIONS = 16, 10, 300


def hogged(address: str, good: Request, made: list[Request]) -> list[tuple[str, str]]:
    """One client keeps sending what takes longest, as often as it may; another one is answered meanwhile."""
    slow = [one for one in made if isinstance(one.body, bytes) and len(one.body) > 1_000_000] or made
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
        for one in hogs:
            one.result()
    return wrong


def slow_clients(address: str, good: Request) -> list[tuple[str, str]]:
    """Hundreds of connections of one client that send half a head, or half a body, and then nothing."""
    where = urlsplit(address)
    head = f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {KIND}\r\n"
    with ExitStack() as opened:
        for place in range(CONNECTIONS):
            connection = opened.enter_context(socket.create_connection((where.hostname, where.port), timeout=60))
            said = head if place % 2 else f"{head}Content-Length: 1000\r\n\r\n--"
            # The service may have closed it already, which is its right.
            with suppress(OSError):
                connection.sendall(said.encode())
        return _answered("a good request beside slow clients", address, good)


def without_audit_log(address: str, good: Request, log: Path) -> list[tuple[str, str]]:
    """Nothing is scored while the log is away, replaced or cut off; with it, scores come again."""
    client, aside, content = Client(address, TOKEN), log.with_name("aside"), log.read_bytes()
    ready = Request(name="ready", method="GET", path="/readyz", kind=None)
    wrong = []

    def expect(expected: int, how: str) -> None:
        for one in (good, ready):
            status, told = client.send(one)
            if status != expected or (status == 503 and "audit log" not in told["error"]["message"]):
                wrong.append((f"{one.name} with its audit log {how}", f"status {status}"))

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
    """``polyclinic audit`` names the line of whatever was added to a log, in one sentence."""
    whole, wrong = log.read_bytes(), []
    number = whole.count(b"\n") + 1
    for line in _odd_lines(json.loads(whole.splitlines()[-1])):
        odd = log.with_name("odd.jsonl")
        odd.write_bytes(whole + line + b"\n")
        said = io.StringIO()
        try:
            with redirect_stderr(said), redirect_stdout(io.StringIO()):
                code = main(["audit", str(odd)])
        except Exception as error:
            wrong.append((f"audit of {line[:40]!r}", type(error).__name__))
            continue
        if code != 1 or f"line {number} of the audit log" not in said.getvalue() or "\x1b" in said.getvalue():
            wrong.append((f"audit of {line[:40]!r}", f"code {code}: {said.getvalue()[:200]!r}"))
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
    """Which of several requests of another client were not answered with scores."""
    client, wrong = Client(address, TOKEN, client=ANOTHER), []
    for _ in range(ASKED):
        started = time.perf_counter()
        status, _ = client.send(good)
        if status != 200:
            wrong.append((name, f"status {status} after {time.perf_counter() - started:.1f} s"))
    return wrong
