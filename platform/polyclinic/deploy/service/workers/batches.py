"""Dynamic batches of requests that arrive one by one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")


class DynamicBatches(Generic[Request, Response]):
    """Answers requests in batches, one batch at a time and in order of arrival.

    A batch that is not full waits for further requests. While one is computed, requests collect for the next.

    Args:
        compute: answers a batch of requests, one response to each, in their order.
        size: maximum number of requests in a batch.
        wait: seconds for which a batch that is not full waits.
    """

    def __init__(
        self, compute: Callable[[Sequence[Request]], Awaitable[Sequence[Response]]], *, size: int, wait: float
    ) -> None:
        self._compute, self._size, self._wait = compute, size, wait
        self._queue: asyncio.Queue[tuple[Request, asyncio.Future[Response]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def result(self, request: Request) -> Response:
        """Return the response to one request; an exception of its batch is raised here."""
        if self._task is None:
            self._task = asyncio.create_task(self._answer_batches())
        response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((request, response))
        return await response

    async def _answer_batches(self) -> None:
        while True:
            first = await self._queue.get()
            if self._queue.qsize() < self._size - 1:
                await asyncio.sleep(self._wait)
            batch = [first]
            while len(batch) < self._size and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._answer(batch)

    async def _answer(self, batch: Sequence[tuple[Request, asyncio.Future[Response]]]) -> None:
        waiting = [response for _, response in batch]
        try:
            for response, value in zip(waiting, await self._compute([request for request, _ in batch]), strict=True):
                if not response.done():  # a request may be cancelled meanwhile
                    response.set_result(value)
        except Exception as error:
            for response in waiting:
                if not response.done():
                    response.set_exception(error)
