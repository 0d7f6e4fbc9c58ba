"""The process that computes: studies that come close together are scored together, by ``batched``."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from batched.aio import AsyncBatchProcessor
from batched.aio.batch_generator import AsyncBatchGenerator
from safetensors.torch import load

from polyclinic.deploy.bundle import Bundle
from polyclinic.deploy.bundle.verification import check_scores
from polyclinic.deploy.scoring import Study, StudyScorer
from polyclinic.deploy.scoring.reading import silent
from polyclinic.deploy.service.workers.messages import LARGEST, pack, unpack
from polyclinic.deploy.service.workers.preload import loaded
from polyclinic.deploy.service.workers.sandbox import ignore_signals
from polyclinic.modality import Viewable

WAIT_MS = 2.0
"""How long the first study of a batch waits for others."""


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """One study to score; ``number`` is that of its request."""

    number: int
    study: Study
    problems: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class BatchResponse:
    """What became of it: scores, or why there are none."""

    number: int
    scores: dict[str, Any] | None
    problem: str | None
    together: int


def main(connection: Connection, together: int) -> None:
    """Say what the bundle is, then answer until the other side is gone.

    Args:
        connection: to the front process.
        together: studies of a batch, at most.
    """
    ignore_signals()
    try:
        bundle = loaded()
        check_scores(bundle)
    except ValueError as error:
        connection.send_bytes(pack({"number": 0, "problem": str(error)}))
        return
    connection.send_bytes(pack({"number": 0, "problem": None, "card": card(bundle)}))
    asyncio.run(_ModelWorker(bundle, connection, together).serve())


def card(bundle: Bundle) -> dict[str, Any]:
    """What ``GET /v1/bundle`` says, and by ``_suffixes`` and ``_silent`` what the front process must know."""
    content, modalities = bundle.content, bundle.modalities
    return {
        "name": content.name,
        "version": content.origin.version,
        "created": content.origin.date,
        "sha256": bundle.digest,
        "intended_use": content.intended_use,
        "not_a_device": content.not_a_device,
        "modalities": [
            {
                "name": name,
                "title": plugin.title if isinstance(plugin, Viewable) else None,
                "accept": [one for one in plugin.suffixes if one],
                "query": name in bundle.query,
            }
            for name, plugin in modalities.items()
        ],
        "findings": [{"name": name, **content.performance.get(name, {})} for name in bundle.findings],
        "_suffixes": {name: list(plugin.suffixes) for name, plugin in modalities.items()},
        "_silent": {name: said for name in modalities if (said := silent(bundle, name)) is not None},
    }


class _RestingQueue(AsyncBatchGenerator[BatchRequest, BatchResponse]):
    """The library looks for studies every two milliseconds, day and night; this sleeps while there are none.

    Nobody here gives up waiting for a batch, so that every study that came in comes out.
    """

    def __init__(self, *, batch_size: int, timeout_ms: float) -> None:
        super().__init__(batch_size=batch_size, timeout_ms=timeout_ms)
        self._some, self._waiting = asyncio.Event(), 0

    async def extend(self, items: list[Any]) -> None:
        self._waiting += len(items)
        self._some.set()
        await super().extend(items)

    async def optimal_batches(self) -> AsyncIterator[list[Any]]:
        batches = super().optimal_batches()
        while True:
            await self._some.wait()
            batch = await anext(batches)
            self._waiting -= len(batch)
            if not self._waiting:
                self._some.clear()
            yield batch


class _ModelWorker:
    """One thread computes, as torch's hooks for explanations may not meet a batch; the loop reads and answers."""

    def __init__(self, bundle: Bundle, connection: Connection, together: int) -> None:
        self._scorer, self._connection = StudyScorer(bundle), connection
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._batches: AsyncBatchProcessor[BatchRequest, BatchResponse] = AsyncBatchProcessor(self._together)
        self._batches.batch_queue = _RestingQueue(batch_size=together, timeout_ms=WAIT_MS)
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._connection.fileno(), self._receive)
        await self._ended.wait()
        loop.remove_reader(self._connection.fileno())

    def _receive(self) -> None:
        try:
            head, blobs = unpack(self._connection.recv_bytes(LARGEST))
        except (EOFError, OSError):
            self._ended.set()
            return
        task = asyncio.create_task(self._answer(head, blobs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, head: dict[str, Any], blobs: Sequence[bytes]) -> None:
        number = head["number"]
        try:
            study = {name: load(blob) for name, blob in zip(head["modalities"], blobs, strict=True)}
            if head["finding"] is None:
                told = await self._batches(BatchRequest(number=number, study=study, problems=head["problems"]))
                answer = {"problem": told.problem, "scores": told.scores, "together": told.together}
                number = told.number
            else:
                answer = {"problem": None, "relevance": await self._alone(study, head["finding"])}
            message = pack({"number": number, **answer})
        except Exception as error:  # one study must not end the process that serves the others
            message = pack({"number": number, "problem": f"the model cannot use it ({type(error).__name__})"})
        self._connection.send_bytes(message)

    async def _alone(self, study: Study, finding: str) -> dict[str, list[float]]:
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self._scorer.relevance, study, finding)
        return {name: relevance.tolist() for name, relevance in found.items()}

    async def _together(self, asked: list[BatchRequest]) -> list[BatchResponse]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._scored, asked)

    def _scored(self, asked: Sequence[BatchRequest]) -> list[BatchResponse]:
        """Where a batch fails, each of its studies by itself: only the one at fault goes without scores."""
        try:
            scores = self._scorer.score([one.study for one in asked], [one.problems for one in asked])
            told = [one.as_json() for one in scores]
            json.dumps(told, allow_nan=False)
        except Exception as error:
            if len(asked) > 1:
                return [self._scored([one])[0] for one in asked]
            reason = f"the model gives it no finite scores ({type(error).__name__})"
            return [BatchResponse(number=asked[0].number, scores=None, problem=reason, together=1)]
        return [
            BatchResponse(number=one.number, scores=scored, problem=None, together=len(asked))
            for one, scored in zip(asked, told, strict=True)
        ]
