"""``polyclinic score``: score the files of one study, or the studies of a cohort."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from polyclinic.cli.parser import Parser
from polyclinic.cli.score_documents import refuse_outputs, write_documents
from polyclinic.cohort import Study as CohortStudy
from polyclinic.cohort import read_cohort
from polyclinic.deploy.bundle import Bundle, load_bundle
from polyclinic.deploy.scoring.reading import read_study, score
from polyclinic.deploy.scoring.research import ScoredStudy, content_key, study_name
from polyclinic.deploy.scoring.scorer import StudyScorer
from polyclinic.deploy.scoring.table import print_scores
from polyclinic.files.results import write_result
from polyclinic.modality import Source
from polyclinic.prompts import load_prompts
from polyclinic.system.progress import track
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console

_BATCH_SIZE = 32


def main(argv: Sequence[str]) -> None:
    """Run the ``score`` command."""
    words = list(argv[1:])
    # The options depend on the modalities of the bundle, so its folder is the first word.
    folder = Path(words[0]) if words and not words[0].startswith("-") else None
    bundle = load_bundle(folder) if folder is not None else None
    given = _parser(list(bundle.modalities) if bundle else []).parse_args(words)
    if bundle is None:
        raise ValueError(f"got {words[0]!r} first, expected the folder of a bundle; write it before the options")
    if given.prompts is not None:
        bundle = bundle.with_prompts(load_prompts(given.prompts))
    files = {name: path for name in bundle.modalities if (path := getattr(given, name)) is not None}
    if bool(files) == (given.cohort is not None):
        raise ValueError(f"got files of {list(files)} and cohort {given.cohort}, expected one of the two; set either")
    refuse_outputs(given.json, given.fhir, given.sr)
    console = Console()
    if files:
        scores = score(bundle, files)
        print_scores(scores, console)
        result = scores.as_json()
        sources: Mapping[str, Source] = {name: path for name, path in files.items() if name in bundle.query}
        name = study_name(content_key(bundle, sources))
        studies = [ScoredStudy(study_id=name, sources=sources, scores=scores)]
    else:
        result, studies = _score_cohort(bundle, given.cohort, given.split, console)
    write_documents(bundle, studies, fhir=given.fhir, sr=given.sr, console=console)
    if given.json is not None:
        write_result(given.json, result)
        console.print(f"scores: {given.json}", soft_wrap=True, markup=False)
    console.print(bundle.content.not_a_device, style="bold")
    print_next("polyclinic", "serve", folder)


def _parser(modalities: Sequence[str]) -> Parser:
    parser = Parser(
        prog="polyclinic score",
        text="Score the files of one study, or a cohort: polyclinic score bundle --ecg ecg.hea --json scores.json",
    )
    parser.add_argument(
        "bundle", type=Path, help="bundle of `polyclinic bundle export`; with it, --help lists the modalities"
    )
    for name in modalities:
        parser.add_argument(f"--{name}", type=Path | None, help=f"{name} of the study")
    parser.add_argument("--cohort", type=Path | None, help="cohort.yaml whose studies to score instead")
    parser.add_argument("--split", type=str | None, help="split of the cohort; all studies unless set")
    parser.add_argument(
        "--prompts", type=Path | None, help="prompt file whose findings replace those of the bundle, uncalibrated"
    )
    parser.add_argument("--json", type=Path | None, help="file for the scores")
    parser.add_argument("--fhir", type=Path | None, help="file for the scores as a FHIR R4 Bundle of Observations")
    parser.add_argument("--sr", type=Path | None, help="new folder for a DICOM structured report per DICOM file")
    return parser


def _score_cohort(
    bundle: Bundle, path: Path, split: str | None, console: Console
) -> tuple[dict[str, Any], list[ScoredStudy]]:
    cohort = read_cohort(path)
    studies = [study for study in cohort.studies if split in (None, study.split)]
    if not studies:
        raise ValueError(f"the cohort has no study in split {split!r}; set `--split`")
    results = list(_scored(bundle, iter(track(studies, "scoring"))))
    scored = [result for result in results if isinstance(result, ScoredStudy)]
    console.print(f"{len(scored)} of {len(studies)} studies scored")
    entries = [_entry(result) if isinstance(result, ScoredStudy) else result for result in results]
    if not scored:
        raise ValueError(f"no study could be scored; the first: {entries[0]['problem']}")
    return {"bundle": bundle.digest, "cohort": cohort.fingerprint, "studies": entries}, scored


def _entry(study: ScoredStudy) -> dict[str, Any]:
    return {"study_id": study.study_id, **study.scores.as_json()}


def _scored(bundle: Bundle, studies: Iterator[CohortStudy]) -> Iterator[ScoredStudy | dict[str, Any]]:
    """Yield scores in order; a study without a readable input modality has a ``problem`` instead."""
    scorer = StudyScorer(bundle)
    while batch := list(islice(studies, _BATCH_SIZE)):
        readings = [
            read_study(bundle, {name: study.sources[name] for name in bundle.query if name in study.sources})
            for study in batch
        ]
        usable = [reading for reading in readings if reading.items]
        scores = iter(scorer.score([reading.items for reading in usable], [reading.problems for reading in usable]))
        for study, reading in zip(batch, readings, strict=True):
            if reading.items:
                result = next(scores)
                yield ScoredStudy(
                    study_id=study.study_id,
                    sources={name: study.sources[name] for name in reading.items},
                    scores=replace(result, notes=(*result.notes, *reading.notes)),
                )
            else:
                problem = "; ".join(reading.problems.values()) or f"it has none of {bundle.query}"
                yield {"study_id": study.study_id, "problem": problem}
