"""The pool of decoder workers, used by the front process."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from polyclinic.deploy.service.admission import Admission, WorkerQueue, fair_share
from polyclinic.deploy.service.errors import ServiceError
from polyclinic.deploy.service.metrics import ServiceMetrics
from polyclinic.deploy.service.uploads import Part
from polyclinic.deploy.service.workers.entrypoints import decode
from polyclinic.deploy.service.workers.messages import pack, unpack
from polyclinic.deploy.service.workers.process import WorkerDied, WorkerProcess, end_starts
from polyclinic.deploy.service.workers.sandbox import Scratch

_RECYCLE_AFTER = 500
"""Number of files after which a process is replaced, as decoders in C leak memory."""

_QUEUE_SECONDS = 30.0
_RETRY_PAUSES = (0.0, 0.2, 1.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The result of reading the files of one modality.

    Attributes:
        candidates: modalities to which the files may belong.
        modality: the candidate that could read them; the first candidate if none could.
        parts: uploaded files.
        problem: reason, as a sentence, if no candidate could read them; else None.
        item: prepared tensors, as safetensors.
        notes: unused contents of the files, as sentences.
        view: result of ``View.as_json``.
        located: result of ``Located.as_json``.
    """

    candidates: tuple[str, ...]
    modality: str
    parts: Sequence[Part]
    problem: str | None
    item: bytes = b""
    notes: tuple[str, ...] = ()
    view: dict[str, Any] | None = None
    located: dict[str, Any] | None = None


@dataclass(kw_only=True)
class _Worker:
    process: WorkerProcess
    folder: str
    messages: int = 0


class DecoderPool:
    """Decoder workers, each of which reads the files of one modality at a time.

    Args:
        number: number of workers.
        scratch: parent of their folders.
        memory: maximum memory for decoding a file in bytes.
        largest: maximum size of a file in bytes.
        seconds: maximum time for decoding a file, not counting the time for which no CPU was free.
        measures: metrics of the service.
    """

    def __init__(
        self, *, number: int, scratch: Scratch, memory: int, largest: int, seconds: float, measures: ServiceMetrics
    ) -> None:
        self.number, self._scratch, self._seconds = number, scratch, seconds
        self._limits = (memory, largest, int(seconds) + 1)
        self._measures, self._names = measures, count()
        self._queue: WorkerQueue[_Worker] = WorkerQueue(fair_share(number))
        self._all: list[_Worker] = []
        self._threads = ThreadPoolExecutor(max_workers=number, thread_name_prefix="reading")
        self._starting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starting")
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether at least one worker is running."""
        return bool(self._all)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._all]

    async def start(self) -> None:
        """Start the workers, and return when all are running."""
        await asyncio.gather(*(self._add() for _ in range(self.number)))

    async def read(
        self,
        admission: Admission,
        candidates: Sequence[str],
        parts: Sequence[Part],
        *,
        view: bool,
        relevance: Sequence[float] | None = None,
    ) -> Reading:
        """Decode and prepare the files of one modality.

        Args:
            admission: admission of the request.
            candidates: modalities to which the files may belong, in the order in which they are tried.
            parts: uploaded files.
            view: whether to draw the files.
            relevance: relevance of each token, to be mapped to the frame of the view.

        Raises:
            ServiceError: no worker is free in time, or the worker was killed from outside.
        """
        number = admission.number
        head = {"number": number, "candidates": list(candidates), "names": [part.filename for part in parts]}
        head |= {"view": view, "relevance": None if relevance is None else list(relevance)}
        try:
            answer, blobs = unpack(await self._exchange(admission, pack(head, [part.content for part in parts])))
        except _UnreadableFile as reason:
            return Reading(candidates=tuple(candidates), modality=candidates[0], parts=parts, problem=str(reason))
        if answer["number"] != number:
            raise RuntimeError("a decoder worker answered another request")
        if answer.get("full"):
            raise ServiceError(503, "the service has no room in memory for the file; send it again later")
        return Reading(
            candidates=tuple(candidates),
            modality=answer.get("modality", candidates[0]),
            parts=parts,
            problem=answer["problem"],
            item=blobs[0] if blobs else b"",
            notes=tuple(answer.get("notes", ())),
            view=answer.get("view"),
            located=answer.get("located"),
        )

    async def recognise(
        self, admission: Admission, candidates: Sequence[Sequence[str]], parts: Sequence[Part]
    ) -> tuple[list[str | None], list[str]]:
        """Find the modality of files by their headers.

        Args:
            admission: admission of the request.
            candidates: modalities to which each file may belong.
            parts: uploaded files.

        Returns:
            The modality of each file, None where it is not certain, and the modalities whose files are one recording.
            Nothing is recognised if a file ends the process; it is reported when the file is read.

        Raises:
            ServiceError: no worker is free in time, or the worker was killed from outside.
        """
        head = {"number": admission.number, "candidates_of": list(map(list, candidates))}
        head |= {"names": [part.filename for part in parts]}
        try:
            answer, _ = unpack(await self._exchange(admission, pack(head, [part.content for part in parts])))
        except _UnreadableFile:
            return [None] * len(parts), []
        if answer["number"] != admission.number:
            raise RuntimeError("a decoder worker answered another request")
        if "modalities" not in answer:
            return [None] * len(parts), []
        return answer["modalities"], answer["joined"]

    def close(self) -> None:
        """Kill the workers, and release their resources."""
        self._closed = True
        self._starting.shutdown(wait=False, cancel_futures=True)
        end_starts()
        self._starting.shutdown()
        for worker in self._all:
            worker.process.kill()
        self._threads.shutdown()
        for worker in self._all:
            worker.process.forget()

    async def _take(self, client: str) -> _Worker:
        """Wait for a free worker that is running; workers that died while idle are replaced and skipped."""
        try:
            async with asyncio.timeout(_QUEUE_SECONDS):
                while (worker := await self._queue.take(client)).process.ended:
                    self._measures.replaced.labels("reading").inc()
                    self._queue.release(client)
                    self._background(self._replace(worker))
        except TimeoutError:
            raise ServiceError(
                503, "too many files wait to be read; send it again later", {"Retry-After": "5"}
            ) from None
        return worker

    async def _exchange(self, admission: Admission, message: bytes) -> bytes:
        async with admission.share:
            worker = await self._take(admission.client)
            admission.working = True
            future = asyncio.get_running_loop().run_in_executor(self._threads, worker.process.exchange, message)
            worker.messages += 1
            answered = False
            self._measures.busy.labels("reading").inc()
            try:
                await self._in_time(worker.process, future)
                answer = future.result()
                answered = True
                return answer
            except WorkerDied as death:
                if death.by_fault:
                    reason = "ended the process that read it; it is broken, or needs too much memory"
                    raise _UnreadableFile(reason) from None
                raise ServiceError(
                    503, "the process that read a file was stopped; send it again", {"Retry-After": "1"}
                ) from None
            finally:
                self._measures.busy.labels("reading").dec()
                self._queue.release(admission.client)
                self._give_back(worker, future, answered=answered)

    async def _in_time(self, process: WorkerProcess, future: "asyncio.Future[bytes]") -> None:
        """Wait for an answer; time for which the process waited for a CPU does not count towards the limit."""
        started, waited = time.monotonic(), process.waited
        while (left := started + self._seconds + max(0.0, process.waited - waited) - time.monotonic()) > 0:
            if (await asyncio.wait({future}, timeout=left))[0]:
                return
        raise _UnreadableFile(f"took longer than {self._seconds:g} s to read")

    def _give_back(self, worker: _Worker, future: "asyncio.Future[bytes]", *, answered: bool) -> None:
        if answered and worker.messages < _RECYCLE_AFTER:
            self._queue.add(worker)
            return
        if not answered:
            self._measures.replaced.labels("reading").inc()
            worker.process.kill()
        self._background(self._replace(worker, future))

    async def _replace(self, worker: _Worker, future: "asyncio.Future[bytes] | None" = None) -> None:
        if future is not None:
            await asyncio.wait({future})
            future.exception()
        self._all.remove(worker)
        await self._in_thread(partial(self._discard, worker))
        await self._add()

    def _discard(self, worker: _Worker) -> None:
        worker.process.forget()
        self._scratch.forget(worker.folder)

    async def _add(self) -> None:
        for attempt in count():
            if self._closed:
                return
            await asyncio.sleep(_RETRY_PAUSES[min(attempt, len(_RETRY_PAUSES) - 1)])
            try:
                worker = await self._in_thread(self._start_worker)
            except (RuntimeError, OSError, EOFError):
                continue
            self._queue.add(worker)
            return

    def _start_worker(self) -> _Worker:
        folder = f"reader-{next(self._names)}"
        process = WorkerProcess(decode, (str(self._scratch.folder / folder), *self._limits))
        worker = _Worker(process=process, folder=folder)
        # Registered here, as the service may stop before the waiting caller gets the worker.
        self._all.append(worker)
        return worker

    async def _in_thread(self, function: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._starting, function)

    def _background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _UnreadableFile(Exception):
    """Reason, as a sentence, why a file cannot be read."""
