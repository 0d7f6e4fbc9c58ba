"""The pool of processes that decode, seen from the front."""

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
"""Files, after which a process is replaced: decoders in C leak."""

_SECONDS_IN_LINE = 30.0
_PAUSES = (0.0, 0.2, 1.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What became of the files of one modality.

    Attributes:
        candidates: modalities that the files may be of.
        modality: of these, the one that reads them; the first where none does.
        parts: the files.
        problem: why none does, in a sentence.
        item: prepared tensors, as stored by safetensors.
        notes: what of the files was not used, in sentences.
        view: as ``View.as_json`` gives it.
        located: as ``Located.as_json`` gives it.
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
class _Reader:
    process: WorkerProcess
    folder: str
    read: int = 0


class DecoderPool:
    """Processes that decode, each one file at a time.

    Args:
        number: of them.
        scratch: where their folders are.
        memory: bytes that a file may take.
        largest: bytes of a file.
        seconds: that a file may take, besides those for which no processor was free.
        measures: of the service.
    """

    def __init__(
        self, *, number: int, scratch: Scratch, memory: int, largest: int, seconds: float, measures: ServiceMetrics
    ) -> None:
        self.number, self._scratch, self._seconds = number, scratch, seconds
        self._limits = (memory, largest, int(seconds) + 1)
        self._measures, self._names = measures, count()
        self._line: WorkerQueue[_Reader] = WorkerQueue(fair_share(number))
        self._all: list[_Reader] = []
        self._threads = ThreadPoolExecutor(max_workers=number, thread_name_prefix="reading")
        self._starting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starting")
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether any of the processes lives."""
        return bool(self._all)

    @property
    def pids(self) -> list[int]:
        """Of the operating system."""
        return [one.process.pid for one in self._all]

    async def start(self) -> None:
        """Start all of them."""
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
            admission: of the request.
            candidates: modalities that they may be of, in order.
            parts: the files.
            view: whether to show it.
            relevance: of its tokens, to be brought into the frame of the view.

        Raises:
            Refusal: no process is free in time, or one was ended from outside.
        """
        number = admission.number
        head = {"number": number, "candidates": list(candidates), "names": [one.filename for one in parts]}
        head |= {"view": view, "relevance": None if relevance is None else list(relevance)}
        try:
            answer, blobs = unpack(await self._asked(admission, pack(head, [one.content for one in parts])))
        except _Unanswered as reason:
            return Reading(candidates=tuple(candidates), modality=candidates[0], parts=parts, problem=str(reason))
        if answer["number"] != number:
            raise RuntimeError("a reading process answered another request")
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

    def close(self) -> None:
        """End all of them."""
        self._closed = True
        self._starting.shutdown(wait=False, cancel_futures=True)
        end_starts()
        self._starting.shutdown()
        for reader in self._all:
            reader.process.kill()
        self._threads.shutdown()
        for reader in self._all:
            reader.process.forget()

    async def _free(self, client: str) -> _Reader:
        """A process that lives; one that died with nothing to do fails no request."""
        try:
            async with asyncio.timeout(_SECONDS_IN_LINE):
                while (reader := await self._line.take(client)).process.ended:
                    self._measures.replaced.labels("reading").inc()
                    self._line.release(client)
                    self._background(self._replace(reader))
        except TimeoutError:
            raise ServiceError(
                503, "too many files wait to be read; send it again later", {"Retry-After": "5"}
            ) from None
        return reader

    async def _asked(self, admission: Admission, message: bytes) -> bytes:
        async with admission.share:
            reader = await self._free(admission.client)
            admission.working = True
            future = asyncio.get_running_loop().run_in_executor(self._threads, reader.process.exchange, message)
            reader.read += 1
            whole = False
            self._measures.busy.labels("reading").inc()
            try:
                await self._in_time(reader.process, future)
                answer = future.result()
                whole = True
                return answer
            except WorkerDied as gone:
                if gone.by_fault:
                    said = "ended the process that read it; it is broken, or needs too much memory"
                    raise _Unanswered(said) from None
                raise ServiceError(
                    503, "the process that read a file was stopped; send it again", {"Retry-After": "1"}
                ) from None
            finally:
                self._measures.busy.labels("reading").dec()
                self._line.release(admission.client)
                self._give_back(reader, future, whole=whole)

    async def _in_time(self, process: WorkerProcess, future: "asyncio.Future[bytes]") -> None:
        """Wait for an answer. A file does not take longer because the machine has other work."""
        started, waited = time.monotonic(), process.waited
        while (left := started + self._seconds + max(0.0, process.waited - waited) - time.monotonic()) > 0:
            if (await asyncio.wait({future}, timeout=left))[0]:
                return
        raise _Unanswered(f"took longer than {self._seconds:g} s to read")

    def _give_back(self, reader: _Reader, future: "asyncio.Future[bytes]", *, whole: bool) -> None:
        if whole and reader.read < _RECYCLE_AFTER:
            self._line.add(reader)
            return
        if not whole:
            self._measures.replaced.labels("reading").inc()
            reader.process.kill()
        self._background(self._replace(reader, future))

    async def _replace(self, reader: _Reader, future: "asyncio.Future[bytes] | None" = None) -> None:
        if future is not None:
            await asyncio.wait({future})
            future.exception()
        self._all.remove(reader)
        await self._start_soon(partial(self._buried, reader))
        await self._add()

    def _buried(self, reader: _Reader) -> None:
        reader.process.forget()
        self._scratch.forget(reader.folder)

    async def _add(self) -> None:
        for attempt in count():
            if self._closed:
                return
            await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            try:
                reader = await self._start_soon(self._started)
            except (RuntimeError, OSError, EOFError):
                continue
            self._line.add(reader)
            return

    def _started(self) -> _Reader:
        folder = f"reader-{next(self._names)}"
        process = WorkerProcess(decode, (str(self._scratch.folder / folder), *self._limits))
        reader = _Reader(process=process, folder=folder)
        # Here, as a stop may come before whoever waits for it has it.
        self._all.append(reader)
        return reader

    async def _start_soon(self, function: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._starting, function)

    def _background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Unanswered(Exception):
    """The file's own fault, in a sentence."""
