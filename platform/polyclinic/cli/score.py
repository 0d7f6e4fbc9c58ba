"""``polyclinic score``: the files of one study, or the studies of a cohort."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from rich.progress import track

from polyclinic.cohort import Study as CohortStudy
from polyclinic.cohort import read_cohort
from polyclinic.deploy.bundle import Bundle, load_bundle
from polyclinic.deploy.scoring.reading import read_study, silent
from polyclinic.deploy.scoring.scorer import StudyScorer
from polyclinic.deploy.scoring.table import print_scores
from polyclinic.files.results import refuse_unwritable, write_result
from polyclinic.prompts import load_prompts
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console

_AT_ONCE = 32


class _Parser(argparse.ArgumentParser):
    """Wrong options are told in a sentence, as everywhere else."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    words = list(argv[1:])
    first = _Parser(prog="polyclinic score", add_help=False)
    first.add_argument("bundle", type=Path, nargs="?")
    folder: Path | None = first.parse_known_args(words[:1])[0].bundle
    bundle = load_bundle(folder) if folder is not None and not str(folder).startswith("-") else None
    given = _parser(list(bundle.modalities) if bundle else []).parse_args(words)
    assert bundle is not None
    if given.prompts is not None:
        bundle = bundle.with_prompts(load_prompts(given.prompts))
    files = {name: path for name in bundle.modalities if (path := getattr(given, name)) is not None}
    if bool(files) == (given.cohort is not None):
        raise ValueError(f"got files of {list(files)} and cohort {given.cohort}, expected one of both; set either")
    refuse_unwritable(given.json)
    console = Console()
    told = _one(bundle, files, console) if files else _many(bundle, given.cohort, given.split, console)
    if given.json is not None:
        write_result(given.json, told)
        console.print(f"scores: {given.json}", soft_wrap=True, markup=False)
    console.print(bundle.content.not_a_device, style="bold")
    print_next("polyclinic", "serve", folder)


def _parser(modalities: Sequence[str]) -> _Parser:
    parser = _Parser(
        prog="polyclinic score",
        description="Score one study, or a cohort: polyclinic score BUNDLE --MODALITY FILE ... --json scores.json",
    )
    parser.add_argument(
        "bundle", type=Path, help="folder of `polyclinic bundle export`; with it, --help lists modalities"
    )
    for name in modalities:
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"the study's {name}")
    parser.add_argument("--cohort", type=Path, help="a cohort.yaml whose studies to score instead")
    parser.add_argument("--split", help="of the cohort; all of its studies unless set")
    parser.add_argument("--prompts", type=Path, help="findings to score in place of the bundle's, without calibration")
    parser.add_argument("--json", type=Path, help="file to write everything to")
    return parser


def _one(bundle: Bundle, files: dict[str, Path], console: Console) -> dict[str, Any]:
    if missing := [name for name, path in files.items() if not path.exists()]:
        raise ValueError(f"the file of {missing[0]} does not exist; set `--{missing[0]}`")
    study, problems, notes = read_study(bundle, files)
    if problems:
        name, reason = next(iter(problems.items()))
        raise ValueError(f"{name}: {reason}")
    scores = StudyScorer(bundle).score([study])[0]
    print_scores(scores, console)
    notes += [said for name in files if (said := silent(bundle, name)) is not None]
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    return {**scores.as_json(), "notes": [*scores.notes, *notes]}


def _many(bundle: Bundle, path: Path, split: str | None, console: Console) -> dict[str, Any]:
    cohort = read_cohort(path)
    studies = [one for one in cohort.studies if split in (None, one.split)]
    if not studies:
        raise ValueError(f"the cohort has no study in split {split!r}; set `--split`")
    scored = list(_scored(bundle, iter(track(studies, "scoring", transient=True))))
    refused = [one for one in scored if "problem" in one]
    console.print(f"{len(scored) - len(refused)} of {len(studies)} studies scored")
    if len(refused) == len(scored):
        raise ValueError(f"no study could be scored; the first: {refused[0]['problem']}")
    return {"bundle": bundle.digest, "cohort": cohort.fingerprint, "studies": scored}


def _scored(bundle: Bundle, studies: Iterator[CohortStudy]) -> Iterator[dict[str, Any]]:
    """In order; a study of which nothing that speaks could be read has a problem in the place of scores."""
    scorer = StudyScorer(bundle)
    while some := list(islice(studies, _AT_ONCE)):
        read = [
            read_study(bundle, {name: one.sources[name] for name in bundle.query if name in one.sources})
            for one in some
        ]
        usable = [place for place, study in enumerate(read) if study.items]
        scores = scorer.score([read[place].items for place in usable], [read[place].problems for place in usable])
        told = dict(zip(usable, scores, strict=True))
        for place, one in enumerate(some):
            if place in told:
                notes = [*told[place].notes, *read[place].notes]
                yield {"study_id": one.study_id, **told[place].as_json(), "notes": notes}
            else:
                problem = "; ".join(read[place].problems.values()) or f"it has none of {bundle.query}"
                yield {"study_id": one.study_id, "problem": problem}
