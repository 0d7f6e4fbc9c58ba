"""The model worker: scores studies in dynamic batches."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from safetensors.torch import load

from polyclinic.deploy.bundle import Bundle, Head, MeasuredError
from polyclinic.deploy.bundle.verification import check_scores
from polyclinic.deploy.scoring import Study, StudyScorer
from polyclinic.deploy.scoring.reading import why_unused
from polyclinic.deploy.service.workers.batches import DynamicBatches
from polyclinic.deploy.service.workers.messages import LARGEST, ServedBundle, pack, unpack
from polyclinic.deploy.service.workers.preload import loaded
from polyclinic.deploy.service.workers.sandbox import ignore_signals
from polyclinic.modality import Viewable
from polyclinic.models.zero_shot import ZeroShotModel

WAIT = 0.002
"""Seconds for which the first study of a batch waits for others."""


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """One study to score; ``number`` is the number of its request."""

    number: int
    study: Study
    problems: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class BatchResponse:
    """The scores of one study, or the reason why it has none."""

    number: int
    scores: dict[str, Any] | None
    problem: str | None
    together: int


def main(connection: Connection, together: int) -> None:
    """Describe the bundle to the front process, then answer requests until it closes the connection.

    Args:
        connection: connection to the front process.
        together: maximum number of studies in a batch.
    """
    ignore_signals()
    try:
        bundle = loaded()
        check_scores(bundle)
    except ValueError as error:
        connection.send_bytes(pack({"number": 0, "problem": str(error)}))
        return
    connection.send_bytes(pack({"number": 0, "problem": None, "bundle": describe(bundle)._asdict()}))
    asyncio.run(_ModelWorker(bundle, connection, together).serve())


def describe(bundle: Bundle) -> ServedBundle:
    """Return the card of a bundle, with the endings and unused modalities that the front process needs."""
    content, modalities = bundle.content, bundle.modalities
    card = {
        "name": content.name,
        "version": content.origin.version,
        "created": content.origin.date,
        "sha256": bundle.digest,
        "intended_use": content.intended_use,
        "not_a_device": content.not_a_device,
        "baseline": content.baseline,
        "evidence": _evidence(bundle),
        "modalities": [
            {
                "name": name,
                "title": plugin.title if isinstance(plugin, Viewable) else None,
                "accept": [suffix for suffix in plugin.suffixes if suffix],
                "query": name in bundle.query,
            }
            for name, plugin in modalities.items()
        ],
        "findings": [{"name": name, **content.performance.get(name, {})} for name in bundle.findings],
        "estimates": _estimates(content.head),
    }
    return ServedBundle(
        card=card,
        suffixes={name: list(plugin.suffixes) for name, plugin in modalities.items()},
        unused={name: reason for name in modalities if (reason := why_unused(bundle, name)) is not None},
    )


def _evidence(bundle: Bundle) -> str | None:
    """Return what maps of relevance leave out; None where they describe the whole model."""
    model = bundle.model
    if isinstance(model, ZeroShotModel):
        return None
    members = len(bundle.further) + 1
    of_members = f"the first of {members} models" if members > 1 else "the model"
    if model.linear_path is not None:
        if model.linear_path.is_alone:
            return f"There are no maps: a linear model makes the scores of {of_members}, without its neural network."
        share = float(model.linear_path.share)
        return (
            f"Evidence is that of the neural network of {of_members}. A linear model adds {1 - share:.0%} of a score."
        )
    return f"Evidence is that of {of_members}." if members > 1 else None


def _estimates(head: Head | None) -> list[dict[str, Any]]:
    if head is None:
        return []
    return [
        {"name": label.name, "unit": label.unit, "levels": label.names, **_measured(head.errors[label.name])}
        for label in head.estimated
    ]


def _measured(error: MeasuredError) -> dict[str, Any]:
    value = None if error.error is None else dict(zip(("value", "low", "high"), error.error, strict=True))
    return {"error": value, "guess": error.guess, "n": error.n}


class _ModelWorker:
    """Answers requests in an event loop, and computes in one thread: hooks of an explanation must not see a batch."""

    def __init__(self, bundle: Bundle, connection: Connection, together: int) -> None:
        self._scorer, self._connection = StudyScorer(bundle), connection
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._batches = DynamicBatches(self._score_batch, size=together, wait=WAIT)
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
                request = BatchRequest(number=number, study=study, problems=head["problems"])
                response = await self._batches.result(request)
                answer = {"problem": response.problem, "scores": response.scores, "together": response.together}
                number = response.number
            else:
                answer = {"problem": None, "relevance": await self._relevance(study, head["finding"])}
            message = pack({"number": number, **answer})
        except Exception as error:  # one study must not end the process
            message = pack({"number": number, "problem": f"the model cannot use it ({type(error).__name__})"})
        self._connection.send_bytes(message)

    async def _relevance(self, study: Study, finding: str) -> dict[str, list[float]]:
        loop = asyncio.get_running_loop()
        relevance = await loop.run_in_executor(self._thread, self._scorer.relevance, study, finding)
        return {name: values.tolist() for name, values in relevance.items()}

    async def _score_batch(self, requests: Sequence[BatchRequest]) -> list[BatchResponse]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._scored, requests)

    def _scored(self, requests: Sequence[BatchRequest]) -> list[BatchResponse]:
        """Score a batch; if that fails, score its studies one by one, so that only the faulty one has no scores."""
        try:
            scores = self._scorer.score(
                [request.study for request in requests], [request.problems for request in requests]
            )
            records = [study_scores.as_json() for study_scores in scores]
            # Raises for a score that is not finite.
            json.dumps(records, allow_nan=False)
        except Exception as error:
            if len(requests) > 1:
                return [self._scored([request])[0] for request in requests]
            reason = f"the model gives it no finite scores ({type(error).__name__})"
            return [BatchResponse(number=requests[0].number, scores=None, problem=reason, together=1)]
        return [
            BatchResponse(number=request.number, scores=record, problem=None, together=len(requests))
            for request, record in zip(requests, records, strict=True)
        ]
