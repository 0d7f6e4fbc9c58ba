"""Results and reports of FHIR R4 resources, in Bundles or alone.

Each resource follows its own subject. The resources of a folder are read first, and their references are followed
afterwards, as bulk exports keep patients and observations in different files.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.patient import Patient
from fhir.resources.R4B.servicerequest import ServiceRequest

from polyclinic.cohort.ward.fhir_references import References
from polyclinic.cohort.ward.fhir_report import accession_of, refuse_broken_base64, report_text
from polyclinic.cohort.ward.fhir_values import (
    concept_code,
    effective_time,
    moment_of_element,
    reference_range,
    resource_version,
    value_of,
)
from polyclinic.cohort.ward.json_documents import json_documents
from polyclinic.cohort.ward.left_out import LeftOut, NotUsed
from polyclinic.modality import Measurement, PatientNumber, WrittenReport
from polyclinic.modality.records import Standing

_MODELS: dict[str, Any] = {
    "Patient": Patient,
    "Observation": Observation,
    "DiagnosticReport": DiagnosticReport,
    "ServiceRequest": ServiceRequest,
}
_STANDING: dict[str, Standing] = {"final": "final", "amended": "corrected", "corrected": "corrected"}
_STANDING |= {"appended": "corrected", "cancelled": "withdrawn", "entered-in-error": "withdrawn"}
_NAME = re.compile(r"[A-Z][A-Za-z]{2,40}")
_NAMED_ELEMENTS = 3


class _Place(NamedTuple):
    """Where a resource was found: file, bundle (None for a resource alone) and its full URL there."""

    path: str
    bundle: int | None
    url: str = ""


class _Pending(NamedTuple):
    """A record whose patient is not known yet: its subject, and the order with its accession number."""

    place: _Place
    subject: str | PatientNumber
    order: str
    record: Measurement | WrittenReport


class FhirReader:
    """The FHIR resources of a folder.

    Args:
        left_out: where resources that cannot be used are counted.
    """

    def __init__(self, left_out: LeftOut) -> None:
        self._left_out = left_out
        self._patients: References[PatientNumber] = References()
        self._accessions: References[str] = References()
        self._pending: list[_Pending] = []
        self._deleted: set[str] = set()
        self._bundles = self._sequence = 0

    def read(self, path: Path, name: str) -> None:
        """Read a file; what cannot be used is counted.

        Args:
            path: file of one JSON document, or of one per line.
            name: path relative to the folder.
        """
        for document in json_documents(path):
            if isinstance(document, NotUsed):
                self._left_out.add(document.reason, name, document.why)
            elif document.get("resourceType") == "Bundle":
                self._bundles += 1
                self._read_bundle(document, _Place(name, self._bundles))
            else:
                self._read_resource(document, _Place(name, None))

    def records(self) -> Iterator[tuple[str, Measurement | WrittenReport]]:
        """Yield the path and the content of each record, with its patient; others are counted."""
        for place, subject, order, record in self._pending:
            if not self._deleted.isdisjoint(record.identity):
                self._left_out.add("withdrawn", place.path)
                continue
            try:
                number = self._patient(place, subject)
            except NotUsed as why:
                self._left_out.add(why.reason, place.path, why.why)
                continue
            changes: dict[str, Any] = {"patient": number, "identity": ("fhir", *number, *record.identity)}
            if isinstance(record, WrittenReport) and not record.accession and order:
                changes["accession"] = next(iter(self._accessions.found(order, place.bundle)), "")
            yield place.path, _replaced(record, changes)

    def _patient(self, place: _Place, subject: str | PatientNumber) -> PatientNumber:
        if isinstance(subject, PatientNumber):
            return subject
        if not subject:
            raise NotUsed("without-patient")
        numbers = self._patients.found(subject, place.bundle)
        if len(numbers) != 1:
            raise NotUsed("ambiguous-patient" if numbers else "unknown-subject")
        return next(iter(numbers))

    def _read_bundle(self, bundle: Mapping[str, Any], place: _Place) -> None:
        entries = bundle.get("entry", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            self._left_out.add("broken", place.path, "a Bundle whose entries are not objects")
            return
        for entry in entries:
            url = entry.get("fullUrl")
            at = place._replace(url=url if isinstance(url, str) else "")
            if isinstance(entry.get("resource"), dict):
                self._read_resource(entry["resource"], at)
            elif name := _deleted(entry):
                self._deleted.add(name)
            else:
                self._left_out.add("empty", place.path, "an entry of a Bundle without a resource")

    def _read_resource(self, content: dict[str, Any], place: _Place) -> None:
        kind = content.get("resourceType")
        if not isinstance(kind, str) or not _NAME.fullmatch(kind):
            self._left_out.add("not-a-record", place.path, "JSON without the type of a FHIR resource")
            return
        if kind not in _MODELS:
            self._left_out.add("other-resource", place.path, kind)
            return
        try:
            self._take(kind, _validated(kind, content), content, place)
        except NotUsed as why:
            self._left_out.add(why.reason, place.path, why.why)

    def _take(self, kind: str, resource: Any, content: dict[str, Any], place: _Place) -> None:
        names = [place.url, f"{kind}/{resource.id}" if resource.id else ""]
        if kind == "Patient":
            self._patients.add(names, place.bundle, _number(resource, names))
        elif kind == "ServiceRequest":
            if number := accession_of(resource):
                self._accessions.add(names, place.bundle, number)
        else:
            self._sequence += 1
            contained = _contained_patients(resource)
            identity = _identity(kind, resource, content, names)
            subject = _subject(resource, contained)
            if kind == "DiagnosticReport":
                refuse_broken_base64(content)
            read = self._observation if kind == "Observation" else self._report
            read(resource, identity, subject, place)
            for each in resource.contained or []:
                if type(each) is Observation:
                    part = (*identity, each.id or "")
                    self._observation(each, part, _subject(each, contained), place)

    def _observation(
        self, resource: Any, identity: tuple[str, ...], subject: str | PatientNumber, place: _Place
    ) -> None:
        common: dict[str, Any] = self._common(resource, identity)
        withdrawn = common["standing"] == "withdrawn"
        parts = [resource, *(resource.component or [])]
        if withdrawn:
            parts = [resource]
        for part in parts:
            try:
                value = None if withdrawn else value_of(part)
                code = concept_code(part.code)
                if not code and not withdrawn:
                    raise NotUsed("without-code")
            except NotUsed as why:
                if part is resource and why.reason == "without-value" and resource.component:
                    continue  # a panel, such as blood pressure, has its values in the components
                if part is resource and why.reason == "without-value" and resource.hasMember:
                    continue  # the members are resources themselves
                self._left_out.add(why.reason, place.path, why.why)
                continue
            record = Measurement(**common, code=code, value=value, range=reference_range(part))
            self._pending.append(_Pending(place, subject, "", record))

    def _report(self, resource: Any, identity: tuple[str, ...], subject: str | PatientNumber, place: _Place) -> None:
        common = self._common(resource, identity)
        text = report_text(resource) if common["standing"] in ("final", "corrected") else ""
        orders = [each.reference for each in resource.basedOn or [] if each.reference]
        record = WrittenReport(**common, accession=accession_of(resource), text=text)
        self._pending.append(_Pending(place, subject, orders[0] if orders else "", record))

    def _common(self, resource: Any, identity: tuple[str, ...]) -> dict[str, Any]:
        return {
            "patient": None,
            "identity": identity,
            "version": resource_version(resource),
            "sequence": self._sequence,
            "standing": _STANDING.get(resource.status or "", "preliminary"),
            "time": effective_time(resource),
            "available": moment_of_element(resource.issued),
        }


def _deleted(entry: Mapping[str, Any]) -> str:
    """Return ``Type/id`` of what an entry of a history deletes; empty for another entry."""
    request = entry.get("request")
    if not isinstance(request, dict) or request.get("method") != "DELETE" or not isinstance(request.get("url"), str):
        return ""
    return "/".join(request["url"].split("/")[-2:])


def _validated(kind: str, content: dict[str, Any]) -> Any:
    """Return a resource as its model of R4B, which has all elements of R4 that are read here.

    Raises:
        NotUsed: it does not follow R4; the message names elements of the standard only.
    """
    model = _MODELS[kind]
    try:
        return model.model_validate(content)
    except Exception as error:  # its contained resources may be of any form
        errors = error.errors() if hasattr(error, "errors") else []
        known = {str(each["loc"][0]) for each in errors if each["loc"]} & set(model.model_fields)
        named = ", ".join(sorted(known)[:_NAMED_ELEMENTS]) or "elements that R4 does not have"
        raise NotUsed("broken", f"{kind} that does not follow FHIR R4: {named}") from None


def _number(patient: Any, names: list[str]) -> PatientNumber:
    """Return the medical record number of a patient, else the first identifier, else the id of the resource."""
    numbers = [each for each in patient.identifier or [] if each.value and each.value.strip()]
    records = [each for each in numbers if "MR" in _type_codes(each)]
    if chosen := (records or numbers)[:1]:
        return PatientNumber(chosen[0].value.strip(), f"fhir {chosen[0].system or ''}".strip())
    url = names[0] if names else ""
    if not (name := patient.id or url):
        raise NotUsed("without-patient", "a Patient without an identifier and an id")
    # Ids are unique on a server, whose address is the start of the URL.
    return PatientNumber(name, f"fhir id {url.removesuffix(name)}".strip())


def _type_codes(identifier: Any) -> list[str]:
    return [each.code for each in (identifier.type.coding or [] if identifier.type else []) if each.code]


def _contained_patients(resource: Any) -> dict[str, PatientNumber]:
    contained = {}
    for each in resource.contained or []:
        if type(each) is Patient and each.id and each.identifier:
            contained[f"#{each.id}"] = _number(each, [])
    return contained


def _subject(resource: Any, contained: Mapping[str, PatientNumber]) -> str | PatientNumber:
    subject = resource.subject
    if subject is None:
        return ""
    if subject.reference:
        return contained.get(subject.reference, subject.reference)
    if subject.identifier is not None and (value := (subject.identifier.value or "").strip()):
        return PatientNumber(value, f"fhir {subject.identifier.system or ''}".strip())
    return ""


def _identity(kind: str, resource: Any, content: dict[str, Any], names: list[str]) -> tuple[str, ...]:
    """Return what versions of a resource share: its id, else its URL or identifier, else all of its content.

    With its code, as all results of an order may have the accession number as their identifier.
    """
    numbers = [f"{each.system or ''}|{each.value}" for each in resource.identifier or [] if each.value]
    stable = [*(name for name in reversed(names) if name and not name.startswith("urn:uuid:")), *numbers]
    if stable:
        return kind, stable[0], concept_code(resource.code)
    canonical = json.dumps(content, sort_keys=True, default=str)
    return kind, hashlib.sha256(canonical.encode()).hexdigest()


def _replaced(record: Measurement | WrittenReport, changes: Mapping[str, Any]) -> Measurement | WrittenReport:
    fields = {name: getattr(record, name) for name in type(record).__dataclass_fields__}
    return type(record)(**{**fields, **changes})
