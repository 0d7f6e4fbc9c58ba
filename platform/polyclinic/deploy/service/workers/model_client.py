"""The client of the model worker, used by the front process."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from threading import Thread
from typing import Any

from polyclinic.deploy.service.errors import ServiceError
from polyclinic.deploy.service.metrics import ServiceMetrics
from polyclinic.deploy.service.workers.messages import ServedBundle, pack, unpack
from polyclinic.deploy.service.workers.process import WorkerDied, WorkerProcess, start_model

_COMPUTE_SECONDS, _START_SECONDS = 30.0, 30.0
_RETRY_PAUSES = (0.0, 0.2, 1.0, 5.0)


class ModelClient:
    """Send requests to the model worker; if it dies, fail the waiting requests and start it again.

    Args:
        first: running model worker.
        bundle: description of the bundle that the worker loaded.
        measures: metrics of the service.
        together: maximum number of studies per batch.
    """

    def __init__(self, *, first: WorkerProcess, bundle: ServedBundle, measures: ServiceMetrics, together: int) -> None:
        self.bundle, self._measures, self._together = bundle, measures, together
        self._process: WorkerProcess | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._sending = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sending")
        self._starting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starting")
        self._ready, self._closed = asyncio.Event(), False
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._take(first)

    @property
    def ready(self) -> bool:
        """Whether a worker is running."""
        return self._ready.is_set()

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None while it is being replaced."""
        return self._process.pid if self._process is not None else None

    async def score(self, number: int, items: Mapping[str, bytes], problems: Mapping[str, str]) -> dict[str, Any]:
        """Return the scores of one study, as plain values.

        Args:
            number: number of the request.
            items: prepared items by modality, as safetensors.
            problems: reason by unreadable modality.

        Raises:
            ServiceError: the scores cannot be computed.
        """
        answer = await self._ask(number, items, {"problems": dict(problems), "finding": None})
        self._measures.together.observe(answer["together"])
        scores: dict[str, Any] = answer["scores"]
        return scores

    async def relevance(self, number: int, items: Mapping[str, bytes], finding: str) -> dict[str, list[float]]:
        """Return, by modality, how much each token raises the score of a finding.

        Raises:
            ServiceError: the relevance cannot be computed.
        """
        answer = await self._ask(number, items, {"problems": {}, "finding": finding})
        relevance: dict[str, list[float]] = answer["relevance"]
        return relevance

    def close(self) -> None:
        """End the worker; ``end_all`` ends one that is still starting."""
        self._closed = True
        self._starting.shutdown(wait=False, cancel_futures=True)
        if (process := self._process) is not None:
            process.kill()
            self._sending.shutdown(cancel_futures=True)
            process.forget()

    async def _ask(self, number: int, items: Mapping[str, bytes], head: dict[str, Any]) -> dict[str, Any]:
        process = await self._current()
        message = pack({**head, "number": number, "modalities": list(items)}, list(items.values()))
        assert number not in self._waiting, "a request has one question at a time"
        self._waiting[number] = future = self._loop.create_future()
        self._measures.busy.labels("model").inc()
        try:
            async with asyncio.timeout(_COMPUTE_SECONDS):
                await self._loop.run_in_executor(self._sending, process.send, message)
                answer = await future
        except TimeoutError:
            process.kill()
            raise ServiceError(503, f"the model took longer than {_COMPUTE_SECONDS:g} s; send it again") from None
        except WorkerDied:
            raise _stopped() from None
        finally:
            self._waiting.pop(number, None)
            self._measures.busy.labels("model").dec()
        if answer["problem"] is not None:
            raise ServiceError(422, f"the study cannot be scored: {answer['problem']}")
        return answer

    async def _current(self) -> WorkerProcess:
        if self._process is not None and self._process.ended:
            # It died while idle, and the listening thread has not noticed yet: wait for the next one.
            self._ready.clear()
        try:
            await asyncio.wait_for(self._ready.wait(), _START_SECONDS)
        except TimeoutError:
            raise _stopped() from None
        assert self._process is not None
        return self._process

    def _take(self, process: WorkerProcess) -> None:
        self._process = process
        self._ready.set()
        Thread(target=self._listen, args=(process,), name="listening", daemon=True).start()

    def _listen(self, process: WorkerProcess) -> None:
        """Pass on answers until the process ends. Runs in a thread."""
        with suppress(RuntimeError):  # the event loop has ended before this thread
            try:
                while True:
                    answer, _ = unpack(process.receive())
                    self._loop.call_soon_threadsafe(self._answered, answer)
            except WorkerDied:
                self._loop.call_soon_threadsafe(self._lost)

    def _answered(self, answer: dict[str, Any]) -> None:
        future = self._waiting.get(answer["number"])
        if future is not None and not future.done():
            future.set_result(answer)

    def _lost(self) -> None:
        self._ready.clear()
        if self._process is not None and not self._closed:
            # Queued after a message that is being sent: a descriptor closed under its writer may be reused at once.
            self._sending.submit(self._process.forget)
        self._process = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_stopped())
        if not self._closed:
            self._measures.replaced.labels("model").inc()
            task = self._loop.create_task(self._start_again())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _start_again(self) -> None:
        for attempt in count():
            await asyncio.sleep(_RETRY_PAUSES[min(attempt, len(_RETRY_PAUSES) - 1)])
            if self._closed:
                return
            try:
                process, _ = await self._loop.run_in_executor(self._starting, start_model, self._together)
            except (ValueError, RuntimeError, WorkerDied, OSError, EOFError):
                continue
            self._take(process)
            return


def _stopped() -> ServiceError:
    return ServiceError(503, "the model process was stopped; send it again", {"Retry-After": "1"})
