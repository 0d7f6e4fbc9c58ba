"""Scores as documents for a hospital's sandbox: FHIR Observations and, by plugins, structured reports."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyclinic.deploy.bundle import Bundle
from polyclinic.deploy.scores import EstimateScore, FindingScore, StudyScores
from polyclinic.files.digest import file_sha256
from polyclinic.modality import Reportable, ResearchFinding, ResearchModel, ResearchReport, Source, UnreadableSource
from polyclinic.modality.contract import ArrayRow

_ID_LENGTH = 12


@dataclass(frozen=True, kw_only=True)
class ScoredStudy:
    """A study with its scores.

    Attributes:
        study_id: id in the cohort, else a hash of its files.
        sources: sources of the modalities that were used.
        scores: scores of the study.
    """

    study_id: str
    sources: Mapping[str, Source]
    scores: StudyScores


@dataclass(frozen=True, kw_only=True)
class Document:
    """A structured report.

    Attributes:
        study_id: study that it is about.
        modality: modality whose source it references.
        content: bytes of the file; None where the source cannot be referenced.
        problem: why there is no content.
    """

    study_id: str
    modality: str
    content: bytes | None
    problem: str = ""


def research_model(bundle: Bundle) -> ResearchModel:
    """Return what a document states about the bundle."""
    content = bundle.content
    return ResearchModel(
        name=content.name, version=content.origin.version, sha256=bundle.digest, not_a_device=content.not_a_device
    )


def content_key(bundle: Bundle, sources: Mapping[str, Source]) -> str:
    """Return a digest of the content of all sources of a study; names of files have no effect.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for name, source in sorted(sources.items()):
        files = bundle.modalities[name].files(source)
        parts = [file_sha256(file) for file in files] if files else [_inline(source)]
        if isinstance(source, ArrayRow):
            parts.append(str(source.row))
        digest.update("\0".join([name, *parts, ""]).encode())
    return digest.hexdigest()


def study_name(key: str) -> str:
    """Return the id of a study that has no id, from its content."""
    return f"s{key[:_ID_LENGTH]}"


def documents(bundle: Bundle, studies: Sequence[ScoredStudy]) -> Iterator[Document]:
    """Yield a structured report for each source that its plugin can report on.

    Raises:
        OSError: a file cannot be read.
    """
    model = research_model(bundle)
    for study in studies:
        report = None
        for name, source in study.sources.items():
            plugin = bundle.modalities[name]
            if not isinstance(plugin, Reportable):
                continue
            report = report or _report(model, content_key(bundle, study.sources), study.scores)
            try:
                content = plugin.report(source, report)
            except UnreadableSource as reason:
                yield Document(study_id=study.study_id, modality=name, content=None, problem=str(reason))
                continue
            if content is not None:
                yield Document(study_id=study.study_id, modality=name, content=content)


def _inline(source: Source) -> str:
    assert not isinstance(source, Path | ArrayRow), "a plugin lists the files of a source"
    cells = source if isinstance(source, str) else "\0".join(f"{key}={cell}" for key, cell in sorted(source.items()))
    return hashlib.sha256(cells.encode()).hexdigest()


def _report(model: ResearchModel, key: str, scores: StudyScores) -> ResearchReport:
    found = [*map(_of_finding, scores.findings), *map(_of_estimate, scores.estimates)]
    return ResearchReport(model=model, content_key=key, findings=tuple(found), notes=scores.notes)


def _of_finding(score: FindingScore) -> ResearchFinding:
    return ResearchFinding(
        name=score.name,
        value=score.probability,
        unit="1",
        interval=score.interval,
        answer=score.decision or "",
        reason=score.reason or "",
        is_probability=True,
    )


def _of_estimate(score: EstimateScore) -> ResearchFinding:
    return ResearchFinding(
        name=score.name,
        value=score.value,
        unit=score.unit or "1",
        interval=score.interval,
        answer="" if score.abstained else score.level or "",
        reason=score.reason or "",
        is_probability=False,
    )
