"""Scores as documents for a hospital's sandbox: FHIR Observations and, by plugins, structured reports."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyclinic.deploy.bundle import Bundle
from polyclinic.deploy.scores import EstimateScore, FindingScore, StudyScores
from polyclinic.files.digest import file_sha256
from polyclinic.modality import (
    ArrayRow,
    EventWindow,
    Reportable,
    ResearchFinding,
    ResearchModel,
    ResearchReport,
    Source,
    UnreadableSource,
)

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


def content_key(bundle: Bundle, sources: Mapping[str, Source], digests: dict[Path, str] | None = None) -> str:
    """Return a digest of the content of all sources of a study; names of files have no effect.

    Args:
        bundle: bundle with the plugins that read the sources.
        sources: source by modality.
        digests: digests of files that are known, to which others are added; studies may share a file.

    Raises:
        OSError: a file cannot be read.
    """
    digest, digests = hashlib.sha256(), {} if digests is None else digests
    for name, source in sorted(sources.items()):
        files = bundle.modalities[name].files(source)
        for file in files:
            if file not in digests:
                digests[file] = file_sha256(file)
        parts = [*(digests[file] for file in files), _within(source)]
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
    model, digests = research_model(bundle), dict[Path, str]()
    for study in studies:
        report = None
        for name, source in study.sources.items():
            plugin = bundle.modalities[name]
            if not isinstance(plugin, Reportable):
                continue
            report = report or _report(model, content_key(bundle, study.sources, digests), study.scores)
            try:
                content = plugin.report(source, report)
            except UnreadableSource as reason:
                yield Document(study_id=study.study_id, modality=name, content=None, problem=str(reason))
                continue
            if content is not None:
                yield Document(study_id=study.study_id, modality=name, content=content)


def _within(source: Source) -> str:
    """Return what a source is besides its files: a row, a window of events, a text, or cells."""
    if isinstance(source, Path):
        return ""
    if isinstance(source, ArrayRow):
        return str(source.row)
    if isinstance(source, EventWindow):
        return source.key()
    return source if isinstance(source, str) else repr(sorted(source.items()))


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
