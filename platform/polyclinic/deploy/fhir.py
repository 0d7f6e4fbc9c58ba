"""Scores as FHIR R4: a Bundle of Observations that are marked as research, and the bundle that made them as a Device.

The resources are plain JSON, so that a sandbox needs no further library; the tests validate them by a model of R4.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from polyclinic.deploy.scores import EstimateScore, FindingScore, StudyScores
from polyclinic.system.research import RESEARCH_TITLE, ResearchModel

MEDIA_TYPE = "application/fhir+json"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "polyclinic")
_SYSTEM = "urn:polyclinic:{}"
_TERMS = "http://terminology.hl7.org/CodeSystem/{}"
_DIGITS = 6
_RESEARCH = {"system": _TERMS.format("v3-ActReason"), "code": "HRESCH", "display": "healthcare research"}
_NOT_CLINICAL = {"system": _SYSTEM.format("use"), "code": "not-for-clinical-use", "display": RESEARCH_TITLE}
_INTERPRETATIONS = {"present": ("POS", "Positive"), "absent": ("NEG", "Negative")}


def observations(model: ResearchModel, studies: Iterable[tuple[str, StudyScores]]) -> dict[str, Any]:
    """Return a Bundle with one Observation per study and finding or estimate, in plain JSON values.

    An Observation names no patient: its ``focus`` is the id of the study. Its id is the same whenever the same bundle
    scores a study of the same id.

    Args:
        model: bundle that made the scores.
        studies: id and scores of each study.
    """
    device = _urn(model.sha256)
    entries = [{"fullUrl": device, "resource": _device(model)}]
    for study_id, scores in studies:
        answers: Sequence[FindingScore | EstimateScore] = [*scores.findings, *scores.estimates]
        for answer in answers:
            url = _urn(model.sha256, study_id, answer.name)
            resource = _observation(model, study_id, answer, scores.notes)
            entries.append({"fullUrl": url, "resource": {**resource, "id": _id(url), "device": {"reference": device}}})
    return {
        "resourceType": "Bundle",
        "meta": _meta(),
        "type": "collection",
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "entry": entries,
    }


def _urn(*parts: str) -> str:
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, chr(0).join(parts))}"


def _id(url: str) -> str:
    return url.rpartition(":")[2]


def _meta() -> dict[str, Any]:
    return {"security": [_RESEARCH], "tag": [_NOT_CLINICAL]}


def _device(model: ResearchModel) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "id": _id(_urn(model.sha256)),
        "meta": _meta(),
        "identifier": [{"system": _SYSTEM.format("bundle-sha256"), "value": model.sha256}],
        "manufacturer": "Polyclinic",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "version": [{"value": model.version}],
        "note": [{"text": model.not_a_device}],
    }


def _observation(
    model: ResearchModel, study_id: str, answer: FindingScore | EstimateScore, notes: Sequence[str]
) -> dict[str, Any]:
    measured = _finding(answer) if isinstance(answer, FindingScore) else _estimate(answer)
    texts = [model.not_a_device, *notes]
    return {
        "resourceType": "Observation",
        "meta": _meta(),
        "status": "preliminary",
        "category": [_concept("category", "research", RESEARCH_TITLE)],
        "code": _concept("finding", answer.name, f"{answer.name} by a research model"),
        "focus": [{"identifier": {"system": _SYSTEM.format("study"), "value": study_id}}],
        "note": [{"text": text} for text in texts],
        **measured,
    }


def _finding(score: FindingScore) -> dict[str, Any]:
    """Return the probability and the decision; no value where the scorer abstains, but a component (rule obs-6)."""
    components = []
    if score.interval is not None:
        low, high = ({"value": _rounded(each)} for each in score.interval)
        components.append(_component("interval", "95 % interval", {"valueRange": {"low": low, "high": high}}))
    if score.threshold is not None:
        components.append(_component("threshold", "Threshold", {"valueQuantity": _share(score.threshold)}))
    components.append(_component("score", "Log-odds", {"valueQuantity": {"value": _rounded(score.score)}}))
    if score.probability is None or score.decision is None:
        if score.probability is not None:
            value = {"valueQuantity": _share(score.probability)}
            components.insert(0, _component("probability", "Probability, without a decision", value))
        return {**_absent(score.reason), "component": components}
    code, display = _INTERPRETATIONS[score.decision]
    coding = {"system": _TERMS.format("v3-ObservationInterpretation"), "code": code, "display": display}
    return {
        "valueQuantity": _share(score.probability),
        "interpretation": [{"coding": [coding], "text": score.decision}],
        "component": components,
    }


def _estimate(score: EstimateScore) -> dict[str, Any]:
    components = []
    if score.interval is not None:
        low, high = (_amount(each, score.unit) for each in score.interval)
        components.append(_component("interval", "Interval", {"valueRange": {"low": low, "high": high}}))
    value = {"valueQuantity": _amount(score.value, score.unit)}
    if score.abstained:
        components.insert(0, _component("estimate", "Estimate, not supported by the evidence", value))
        return {**_absent(score.reason), "component": components}
    if score.level is not None:
        components.insert(0, _component("estimate", "Expected level, counted from 0", value))
        return {"valueCodeableConcept": {"text": score.level}, "component": components}
    return {**value, **({"component": components} if components else {})}


def _absent(reason: str | None) -> dict[str, Any]:
    coding = {"system": _TERMS.format("data-absent-reason"), "code": "unsupported", "display": "Unsupported"}
    return {"dataAbsentReason": {"coding": [coding], "text": reason or "the model abstains"}}


def _component(code: str, text: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"code": _concept("component", code, text), **value}


def _concept(kind: str, code: str, text: str) -> dict[str, Any]:
    return {"coding": [{"system": _SYSTEM.format(kind), "code": code}], "text": text}


def _share(value: float) -> dict[str, Any]:
    return {"value": _rounded(value), "unit": "1", "system": "http://unitsofmeasure.org", "code": "1"}


def _amount(value: float, unit: str) -> dict[str, Any]:
    return {"value": _rounded(value), **({"unit": unit} if unit else {})}


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)
