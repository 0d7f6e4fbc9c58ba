"""The handler of scoring requests: read the files, score, explain, show, and add a line to the audit log."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from polyclinic.deploy.service.admission import Admission, Admissions, fair_share
from polyclinic.deploy.service.audit import AuditLog, AuditLost
from polyclinic.deploy.service.errors import ServiceError
from polyclinic.deploy.service.metrics import ServiceMetrics
from polyclinic.deploy.service.uploads import FILES, Group, Part, Upload, join_parts, sort_parts
from polyclinic.deploy.service.workers.decoder_pool import DecoderPool, Reading
from polyclinic.deploy.service.workers.model_client import ModelClient


class ScoringHandler:
    """Score uploaded studies with the worker processes.

    Args:
        model: client of the model worker.
        readers: pool of decoder workers.
        audit: log of requests.
        measures: metrics of the service.
        in_flight: maximum number of studies at a time.
    """

    def __init__(
        self, *, model: ModelClient, readers: DecoderPool, audit: AuditLog, measures: ServiceMetrics, in_flight: int
    ) -> None:
        self.model, self.readers, self.audit, self.measures = model, readers, audit, measures
        self._admissions, self._number = Admissions(in_flight, measures), audit.number

    def next_request(self, client: str) -> Admission:
        """Return the admission of a new request; its number is unique in the audit log."""
        self._number += 1
        share = asyncio.Semaphore(fair_share(self.readers.number))
        return Admission(number=self._number, client=client, share=share)

    def place(self, admission: Admission) -> AbstractAsyncContextManager[None]:
        """Return a context in which the request occupies one of the ``in_flight`` places.

        Raises:
            ServiceError: all places are taken.
        """
        return self._admissions.place(admission)

    async def check_audit(self) -> None:
        """Check that a line can be added to the audit log.

        Raises:
            ServiceError: the log was removed or changed, so nothing may be scored.
        """
        try:
            await asyncio.to_thread(self.audit.check)
        except AuditLost as lost:
            raise ServiceError(503, str(lost)) from None

    def check_finding(self, finding: str | None) -> None:
        """Check that a finding can be explained.

        Raises:
            ServiceError: the bundle does not have the finding.
        """
        card = self.model.bundle.card
        names = [entry["name"] for entry in (*card["findings"], *card["estimates"])]
        if finding is not None and finding not in names:
            raise ServiceError(422, f"got another finding to explain, expected one of {names}; set `explain`")

    async def read(self, admission: Admission, parts: Sequence[Part], *, views: bool) -> dict[str, Reading]:
        """Decode and prepare the files of one study.

        Args:
            admission: admission of the request.
            parts: uploaded files.
            views: whether to draw the files.

        Returns:
            A reading by modality, in the order of the bundle; files of a modality that cannot be read have a problem.

        Raises:
            ServiceError: the files belong to more than one study, or the service cannot read them now.
        """
        groups = await self._joined(admission, sort_parts(parts, self.model.bundle.suffixes))
        results = await _all_or_none(
            self.readers.read(admission, group.candidates, group.parts, view=views) for group in groups
        )
        for reading in results:
            if reading.problem is not None:
                self.measures.unread.labels(reading.modality).inc()
        readings: dict[str, Reading] = {}
        # Readable files first: an unreadable one must not take the place of a file of the same modality.
        for reading in sorted(results, key=lambda reading: reading.problem is not None):
            name = reading.modality
            if name in readings:
                if reading.problem is not None and len(reading.candidates) > 1:
                    raise ServiceError(422, f"a file cannot be read: {reading.problem}")
                raise ServiceError(422, f"got more than one study's files for {name}; send those of one study")
            readings[name] = reading
        order = list(self.model.bundle.suffixes)
        return {name: readings[name] for name in sorted(readings, key=order.index)}

    async def _joined(self, admission: Admission, groups: list[Group]) -> list[Group]:
        """Join files that only their headers show to be one recording, such as slices of a series."""
        unsure = [(group.candidates, part) for group in groups if group.by_stem for part in group.parts]
        if sum(group.by_stem for group in groups) < 2:
            return groups
        candidates, parts = zip(*unsure, strict=True)
        modalities, joined = await self.readers.recognise(admission, candidates, parts)
        known = {id(part): name for part, name in zip(parts, modalities, strict=True) if name is not None}
        return join_parts(groups, known, joined)

    async def score(
        self,
        admission: Admission,
        parts: Sequence[Part],
        readings: Mapping[str, Reading],
        *,
        views: bool,
        finding: str | None,
    ) -> dict[str, Any]:
        """Return the answer to one study, as plain values.

        Args:
            admission: admission of the request.
            parts: uploaded files.
            readings: result of ``read``.
            views: whether to return the views of the readings.
            finding: finding to explain; None for none.

        Raises:
            ServiceError: no file of an input modality can be read, or the service cannot score the study now.
        """
        unused = self.model.bundle.unused
        items = {name: reading.item for name, reading in readings.items() if reading.problem is None}
        problems = {name: reading.problem for name, reading in readings.items() if reading.problem is not None}
        inputs = {name: item for name, item in items.items() if name not in unused}
        if not inputs:
            raise ServiceError(422, self._no_input_message(problems, items))
        input_problems = {name: problem for name, problem in problems.items() if name in self._input_modalities}
        answer = await self.model.score(admission.number, inputs, input_problems)
        answer["notes"] = [
            *answer["notes"],
            *(f"{name}: {note}" for name, reading in readings.items() for note in reading.notes),
            # The model worker does not get unused modalities, so their notes are added here.
            *(unused[name] for name in items if name in unused),
            *(f"{name} could not be read: {problem}" for name, problem in problems.items() if name in unused),
        ]
        answer["files"] = _modality_of_parts(parts, readings)
        if views:
            answer["views"] = {name: reading.view for name, reading in readings.items() if reading.view is not None}
        if finding is not None:
            answer["relevance"] = await self._locate(admission, readings, inputs, finding)
        return answer

    async def record(
        self, number: int, upload: Upload | None, modalities: Sequence[str], status: int, started: float
    ) -> None:
        """Add a request to the audit log.

        Raises:
            ServiceError: the line cannot be written, so the client must not get an answer.
        """
        parts = upload.parts if upload is not None else []
        entry = {
            "number": number,
            "parts": [{"bytes": len(part.content), "hmac": part.digest.hexdigest()} for part in parts],
            "modalities": list(modalities),
            "status": status,
            "bundle": self.model.bundle.card["sha256"],
            "milliseconds": round(1000 * (time.monotonic() - started), 1),
        }
        try:
            await asyncio.to_thread(self.audit.add, entry)
        except AuditLost as lost:
            raise ServiceError(503, str(lost)) from None
        except OSError:
            raise ServiceError(
                503, "the audit log cannot be written, so that nothing is scored; check its disk"
            ) from None

    async def _locate(
        self, admission: Admission, readings: Mapping[str, Reading], inputs: Mapping[str, bytes], finding: str
    ) -> dict[str, Any]:
        """Return the relevance in the frame of each view; files are decoded again, as no process keeps them."""
        relevance = await self.model.relevance(admission.number, inputs, finding)
        located = await _all_or_none(
            self.readers.read(admission, (name,), readings[name].parts, view=False, relevance=values)
            for name, values in relevance.items()
        )
        return {reading.modality: reading.located for reading in located if reading.located is not None}

    @property
    def _input_modalities(self) -> list[str]:
        return [entry["name"] for entry in self.model.bundle.card["modalities"] if entry["query"]]

    def _no_input_message(self, problems: Mapping[str, str], items: Mapping[str, bytes]) -> str:
        reasons = [f"{name}: {problem}" for name, problem in problems.items()]
        unused = [self.model.bundle.unused[name] for name in items]
        remedy = [f"send a file of one of {self._input_modalities}"] if unused else []
        return "; ".join([*reasons, *unused, *remedy])


def modalities_read(readings: Mapping[str, Reading]) -> list[str]:
    """Return the modalities whose files could be read."""
    return [name for name, reading in readings.items() if reading.problem is None]


async def _all_or_none(work: Iterable[Awaitable[Reading]]) -> list[Reading]:
    """Return all readings; if one fails, cancel the others, so that they do not wait for a worker."""
    tasks = [asyncio.ensure_future(reading) for reading in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _modality_of_parts(parts: Sequence[Part], readings: Mapping[str, Reading]) -> list[str | None]:
    """Return the modality of each part named ``files``; None if its file could not be read."""
    modalities = {
        id(part): name for name, reading in readings.items() if reading.problem is None for part in reading.parts
    }
    return [modalities.get(id(part)) for part in parts if part.name == FILES]
