"""Dynamic batches: which requests are computed together, and who gets which response."""

import asyncio
from collections.abc import Sequence

import pytest

from polyclinic.deploy.service.workers.batches import DynamicBatches


class _Squares:
    """Squares numbers, keeps its batches, and waits until it may compute."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_compute = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        await self.may_compute.wait()
        if 13 in numbers:
            raise RuntimeError("unlucky")
        return [number**2 for number in numbers]


def test_requests_that_wait_are_computed_together_and_answered_one_by_one() -> None:
    async def run() -> list[list[int]]:
        squares = _Squares()
        batches = DynamicBatches(squares, size=3, wait=0.0)
        first = asyncio.create_task(batches.result(1))
        while not squares.batches:
            await asyncio.sleep(0)
        others = [asyncio.create_task(batches.result(number)) for number in range(2, 7)]
        await asyncio.sleep(0)
        squares.may_compute.set()
        assert await asyncio.gather(first, *others) == [1, 4, 9, 16, 25, 36]
        return squares.batches

    assert asyncio.run(run()) == [[1], [2, 3, 4], [5, 6]]


def test_a_batch_that_is_not_full_waits_for_further_requests() -> None:
    async def run(wait: float) -> list[list[int]]:
        squares = _Squares()
        squares.may_compute.set()
        batches = DynamicBatches(squares, size=8, wait=wait)
        first = asyncio.create_task(batches.result(1))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, batches.result(2))
        return squares.batches

    assert asyncio.run(run(0.0)) == [[1], [2]]
    assert asyncio.run(run(0.5)) == [[1, 2]]


def test_an_error_reaches_every_request_of_its_batch_and_no_other() -> None:
    async def run() -> None:
        squares = _Squares()
        squares.may_compute.set()
        batches = DynamicBatches(squares, size=2, wait=0.0)
        results = await asyncio.gather(*map(batches.result, (12, 13, 3, 4)), return_exceptions=True)
        assert [str(result) for result in results] == ["unlucky", "unlucky", "9", "16"]
        with pytest.raises(RuntimeError, match="unlucky"):
            await batches.result(13)
        assert await batches.result(5) == 25

    asyncio.run(run())


def test_a_request_that_is_cancelled_costs_no_other_request_its_response() -> None:
    async def run() -> None:
        squares = _Squares()
        batches = DynamicBatches(squares, size=3, wait=0.0)
        first, *others = [asyncio.create_task(batches.result(number)) for number in (1, 2, 3)]
        while not squares.batches:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        squares.may_compute.set()
        assert await asyncio.gather(*others) == [4, 9]
        assert squares.batches == [[1, 2, 3]]

    asyncio.run(run())
