"""The way of one study through the service: read, scored, explained, shown, and entered in the audit log."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from polyclinic.deploy.service.admission import Admission, Admissions, fair_share
from polyclinic.deploy.service.audit import AuditLog, AuditLost
from polyclinic.deploy.service.errors import ServiceError
from polyclinic.deploy.service.metrics import ServiceMetrics
from polyclinic.deploy.service.uploads import FILES, Group, Part, Upload, sort_parts
from polyclinic.deploy.service.workers.decoder_pool import DecoderPool, Reading
from polyclinic.deploy.service.workers.model_client import ModelClient


class ScoringHandler:
    """What requests share.

    Args:
        model: that computes.
        readers: that decode.
        audit: log.
        measures: of the service.
        in_flight: studies at a time.
    """

    def __init__(
        self, *, model: ModelClient, readers: DecoderPool, audit: AuditLog, measures: ServiceMetrics, in_flight: int
    ) -> None:
        self.model, self.readers, self.audit, self.measures = model, readers, audit, measures
        self._admissions, self._number = Admissions(in_flight, measures), audit.number

    def next_request(self, client: str) -> Admission:
        """A request of a client; no two in one audit log have the same number."""
        self._number += 1
        share = asyncio.Semaphore(fair_share(self.readers.number))
        return Admission(number=self._number, client=client, share=share)

    def place(self, admission: Admission) -> AbstractAsyncContextManager[None]:
        """One of the places for studies.

        Raises:
            Refusal: all are taken.
        """
        return self._admissions.place(admission)

    async def check_audit(self) -> None:
        """Return where a line can be added to the audit log.

        Raises:
            Refusal: it is not there any more as it was written; then nothing is scored.
        """
        try:
            await asyncio.to_thread(self.audit.check)
        except AuditLost as lost:
            raise ServiceError(503, str(lost)) from None

    def check_finding(self, finding: str | None) -> None:
        """Refuse what nobody can explain.

        Raises:
            Refusal: a finding that the bundle does not have.
        """
        known = [one["name"] for one in self.model.card["findings"]]
        if finding is not None and finding not in known:
            raise ServiceError(422, f"got another finding to explain, expected one of {known}; set `explain`")

    async def score(
        self, admission: Admission, parts: Sequence[Part], used: list[str], *, views: bool, finding: str | None
    ) -> dict[str, Any]:
        """The answer to one study.

        Args:
            admission: of the request.
            parts: its files.
            used: filled with the modalities that were read, for the audit log.
            views: whether to show them.
            finding: to explain; None for none.

        Raises:
            Refusal: nothing that may speak can be read, or the service cannot do it now.
        """
        groups = sort_parts(parts, self.model.card["_suffixes"])
        readings = await self._read(admission, groups, views=views)
        used += [one.modality for one in readings.values() if one.problem is None]
        items = {name: one.item for name, one in readings.items() if one.problem is None}
        problems = {name: one.problem for name, one in readings.items() if one.problem is not None}
        speaking = {name: item for name, item in items.items() if name not in self._silent}
        if not speaking:
            raise ServiceError(422, self._nothing_speaks(problems, items))
        told = await self.model.score(admission.number, speaking, _only(problems, told=self._query))
        unused = [f"{name}: {note}" for name, one in readings.items() for note in one.notes]
        told["notes"] = [*told["notes"], *unused, *self._notes(items, problems)]
        told["files"] = _sorted_as(parts, readings)
        if views:
            told["views"] = {name: one.view for name, one in readings.items() if one.view is not None}
        if finding is not None:
            told["relevance"] = await self._located(admission, readings, speaking, finding)
        return told

    async def enter(self, number: int, upload: Upload | None, used: Sequence[str], status: int, started: float) -> None:
        """Add a line to the audit log.

        Raises:
            Refusal: it cannot be written; then nobody gets an answer.
        """
        parts = upload.parts if upload is not None else []
        entry = {
            "number": number,
            "parts": [{"bytes": len(one.content), "hmac": one.digest.hexdigest()} for one in parts],
            "modalities": list(used),
            "status": status,
            "bundle": self.model.card["sha256"],
            "milliseconds": round(1000 * (time.monotonic() - started), 1),
        }
        try:
            await asyncio.to_thread(self.audit.add, entry)
        except AuditLost as lost:
            raise ServiceError(503, str(lost)) from None
        except OSError:
            raise ServiceError(
                503, "the audit log cannot be written, so that nothing is scored; see to its disk"
            ) from None

    async def _read(self, admission: Admission, groups: Sequence[Group], *, views: bool) -> dict[str, Reading]:
        found = await _all_or_none(
            self.readers.read(admission, group.candidates, group.parts, view=views) for group in groups
        )
        for one in found:
            if one.problem is not None:
                self.measures.unread.labels(one.modality).inc()
        readings: dict[str, Reading] = {}
        # Those that were read go first: a file that nothing reads must not take the place of one that is.
        for one in sorted(found, key=lambda one: one.problem is not None):
            if one.modality in readings:
                if one.problem is not None and len(one.candidates) > 1:
                    raise ServiceError(422, f"a file cannot be read: {one.problem}")
                raise ServiceError(422, f"got more than one study's files for {one.modality}; send those of one study")
            readings[one.modality] = one
        order = list(self.model.card["_suffixes"])
        return {name: readings[name] for name in sorted(readings, key=order.index)}

    async def _located(
        self, admission: Admission, readings: Mapping[str, Reading], items: Mapping[str, bytes], finding: str
    ) -> dict[str, Any]:
        """Where in its view; a file is decoded once more, as no process keeps what it decoded."""
        relevance = await self.model.relevance(admission.number, items, finding)
        again = await _all_or_none(
            self.readers.read(admission, (name,), readings[name].parts, view=False, relevance=values)
            for name, values in relevance.items()
        )
        return {one.modality: one.located for one in again if one.located is not None}

    @property
    def _silent(self) -> dict[str, str]:
        silent: dict[str, str] = self.model.card["_silent"]
        return silent

    @property
    def _query(self) -> list[str]:
        return [one["name"] for one in self.model.card["modalities"] if one["query"]]

    def _notes(self, items: Mapping[str, bytes], problems: Mapping[str, str]) -> list[str]:
        """Of modalities that the scorer does not know of, as they do not speak."""
        notes = [self._silent[name] for name in items if name in self._silent]
        return [*notes, *(f"{name} could not be read: {why}" for name, why in problems.items() if name in self._silent)]

    def _nothing_speaks(self, problems: Mapping[str, str], items: Mapping[str, bytes]) -> str:
        message = [f"{name}: {why}" for name, why in problems.items()]
        silent = [self._silent[name] for name in items]
        wanted = [f"send a file of one of {self._query}"] if silent else []
        return "; ".join([*message, *silent, *wanted])


async def _all_or_none(work: Iterable[Awaitable[Reading]]) -> list[Reading]:
    """Where one of them fails, the others are given up, and wait in nobody's way."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _sorted_as(parts: Sequence[Part], readings: Mapping[str, Reading]) -> list[str | None]:
    """The modality of each part that came without one; None where its file could not be read."""
    known = {id(one): name for name, reading in readings.items() if reading.problem is None for one in reading.parts}
    return [known.get(id(one)) for one in parts if one.name == FILES]


def _only(problems: Mapping[str, str], *, told: Sequence[str]) -> dict[str, str]:
    return {name: why for name, why in problems.items() if name in told}
