"""Clients of the service take turns: in the queue for readers, in places for requests, and through the desk."""

import asyncio
import hashlib
import hmac
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polyclinic.deploy.service import admission
from polyclinic.deploy.service.admission import Admission, Admissions, WorkerQueue, fair_share
from polyclinic.deploy.service.audit import AuditLog
from polyclinic.deploy.service.errors import ServiceError
from polyclinic.deploy.service.metrics import ServiceMetrics
from polyclinic.deploy.service.scoring import ScoringHandler
from polyclinic.deploy.service.uploads import Part
from polyclinic.deploy.service.workers import decoder_pool as reading
from polyclinic.deploy.service.workers.decoder_pool import DecoderPool
from polyclinic.deploy.service.workers.messages import ServedBundle, pack, unpack
from polyclinic.deploy.service.workers.model_client import ModelClient
from polyclinic.deploy.service.workers.process import WorkerProcess
from polyclinic.deploy.service.workers.sandbox import Scratch

NAMES = ("image", "trace", "row")


def _request(client: str, number: int = 1, share: int = 1) -> Admission:
    return Admission(number=number, client=client, share=asyncio.Semaphore(share))


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def _order_of_service(line: WorkerQueue[int], clients: str) -> list[str]:
    """Return clients in the order in which they get workers, where each returns its worker at once."""
    served = []

    async def ask(client: str) -> None:
        worker = await line.take(client)
        served.append(client)
        await asyncio.sleep(0)
        line.release(client)
        line.add(worker)

    tasks = [asyncio.create_task(ask(client)) for client in clients]
    await _settle()
    line.add(0)
    await asyncio.gather(*tasks)
    return served


@pytest.mark.parametrize(("clients", "turns"), [
    ("aaaaab", "abaaaa"), ("aabbcc", "abcabc"), ("abc", "abc"), ("aaa", "aaa"), ("aaaabbc", "abcabaa"),
])  # fmt: skip
def test_clients_take_turns_however_many_requests_they_send(clients: str, turns: str) -> None:
    assert "".join(asyncio.run(_order_of_service(WorkerQueue(1), clients))) == turns


def test_a_client_may_use_all_workers_until_another_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def run() -> None:
        line: WorkerQueue[int] = WorkerQueue(1)
        line.add(0)
        line.add(1)
        assert [await line.take("a"), await line.take("a")] == [0, 1]
        waiting_other, waiting_second = (asyncio.create_task(line.take(client)) for client in "ba")
        await _settle()
        assert not waiting_other.done()
        for worker in (0, 1):
            line.release("a")
            line.add(worker)
        assert await waiting_other == 0
        assert await waiting_second == 1
        third = asyncio.create_task(line.take("a"))
        line.release("b")
        line.add(0)
        await _settle()
        # A reader is reserved for the other one, which sent a request a moment ago.
        assert not third.done()
        now[0] += 61
        line.release("a")
        line.add(1)
        assert await third == 0
        assert await line.take("a") == 1

    asyncio.run(run())


def test_a_cancelled_wait_holds_no_worker() -> None:
    async def run() -> None:
        line: WorkerQueue[int] = WorkerQueue(1)
        waiting, lent = (asyncio.create_task(line.take(client)) for client in "ab")
        await _settle()
        waiting.cancel()
        line.add(0)
        # It has been given the worker, and is cancelled before it resumes.
        lent.cancel()
        await asyncio.wait({waiting, lent})
        assert waiting.cancelled()
        assert lent.cancelled()
        assert await asyncio.wait_for(line.take("c"), 10) == 0
        assert not line._waiting
        assert line._held == {"c": 1}

    asyncio.run(run())


@pytest.mark.parametrize(("readers", "share"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_a_request_gets_half_of_the_readers(readers: int, share: int) -> None:
    assert fair_share(readers) == share


async def _hold_a_place(places: Admissions, request: Admission, ended: dict[int, int]) -> None:
    try:
        async with places.place(request):
            await asyncio.sleep(60)
    except ServiceError as refusal:
        ended[request.number] = refusal.status


def test_the_newest_request_of_the_busiest_client_is_dropped() -> None:
    async def run() -> dict[int, int]:
        places, ended, tasks = Admissions(4, ServiceMetrics()), {}, []
        for number, client in enumerate("aaaabbb"):
            request = _request(client, number)
            request.working = number == 3
            tasks.append(asyncio.create_task(_hold_a_place(places, request, ended)))
            await _settle()
        assert len(places._present) == 4
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert places._present == []
        return ended

    # Request 3 is being read; the last of b finds as many of a as of b, and has to try again.
    assert asyncio.run(run()) == {1: 503, 2: 503, 6: 503}


class _Slow(WorkerProcess):
    """A worker that reads at once, except files named slow, which take until they are released."""

    let_go: threading.Event
    waited = 0.0
    ended = False

    def __init__(self, *_: object) -> None:
        pass

    def exchange(self, message: bytes) -> bytes:
        head, _ = unpack(message)
        if head["names"][0].startswith("slow"):
            assert self.let_go.wait(60)
        return pack({"number": head["number"], "modality": head["candidates"][0], "problem": None}, [b"item"])

    def kill(self) -> None:
        self.let_go.set()

    def forget(self) -> None:
        pass


class _Model(ModelClient):
    bundle = ServedBundle(
        card={"sha256": "", "modalities": [{"name": name, "query": True} for name in NAMES]},
        suffixes={name: [f".{name}"] for name in NAMES},
        unused={},
    )

    def __init__(self) -> None:
        pass

    async def score(self, number: int, items: Mapping[str, bytes], problems: Mapping[str, str]) -> dict[str, Any]:
        return {"notes": [], "read": sorted(items)}


class _Log(AuditLog):
    number = 0

    def __init__(self) -> None:
        pass


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Slow]]:
    monkeypatch.setattr(reading, "WorkerProcess", _Slow)
    _Slow.let_go = threading.Event()
    yield _Slow
    _Slow.let_go.set()


def _parts(name: str) -> list[Part]:
    digest = hmac.new(b"key", digestmod=hashlib.sha256)
    return [Part(name=modality, filename=f"{name}.{modality}", digest=digest) for modality in NAMES]


async def _score(desk: ScoringHandler, client: str, name: str) -> dict[str, Any]:
    admission, parts = desk.next_request(client), _parts(name)
    readings = await desk.read(admission, parts, views=False)
    return await desk.score(admission, parts, readings, views=False, finding=None)


def _run(tmp_path: Path, number: int, scenario: Any, seconds: float = 60.0) -> Any:
    async def run() -> Any:
        readers = DecoderPool(
            number=number, scratch=Scratch(tmp_path), memory=1, largest=1, seconds=seconds, measures=ServiceMetrics()
        )
        await readers.start()
        desk = ScoringHandler(model=_Model(), readers=readers, audit=_Log(), measures=ServiceMetrics(), in_flight=9)
        try:
            return await scenario(desk)
        finally:
            readers.close()

    return asyncio.run(run())


@pytest.mark.parametrize("client", ["b", "a"])
def test_a_slow_request_leaves_a_reader_for_another(tmp_path: Path, slow: type[_Slow], client: str) -> None:
    async def scenario(desk: ScoringHandler) -> list[str]:
        order: list[str] = []

        async def score(client: str, name: str) -> None:
            report = await _score(desk, client, name)
            assert report["read"] == sorted(NAMES)
            order.append(name)

        hog = asyncio.create_task(score("a", "slow"))
        await asyncio.sleep(0.05)
        await score(client, "good")
        slow.let_go.set()
        await hog
        return order

    assert _run(tmp_path, 2, scenario) == ["good", "slow"]


def test_a_client_with_many_slow_requests_starves_no_other(tmp_path: Path, slow: type[_Slow]) -> None:
    async def scenario(desk: ScoringHandler) -> list[str]:
        order: list[str] = []

        async def score(client: str, name: str) -> None:
            await _score(desk, client, name)
            order.append(client)

        # The first request makes the other client known.
        await score("b", "good")
        hogs = [asyncio.create_task(score("a", "slow")) for _ in range(6)]
        await asyncio.sleep(0.05)
        await score("b", "good")
        slow.let_go.set()
        await asyncio.gather(*hogs)
        return order

    assert _run(tmp_path, 2, scenario) == ["b", "b", *"aaaaaa"]


@pytest.mark.parametrize(("waited", "problem"), [(0.0, "took longer than 0.05 s to read"), (0.2, None)])
def test_time_without_a_processor_does_not_count_against_a_file(
    tmp_path: Path, slow: type[_Slow], monkeypatch: pytest.MonkeyPatch, waited: float, problem: str | None
) -> None:
    times = iter([0.0, 0.0, waited])
    monkeypatch.setattr(slow, "waited", property(lambda _: next(times, waited)))

    async def scenario(desk: ScoringHandler) -> Any:
        asyncio.get_running_loop().call_later(0.1, slow.let_go.set)
        [part] = _parts("slow")[:1]
        return (await desk.readers.read(_request("a"), ("image",), [part], view=False)).problem

    assert _run(tmp_path, 1, scenario, seconds=0.05) == problem
