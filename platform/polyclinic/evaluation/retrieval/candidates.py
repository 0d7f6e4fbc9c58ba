"""Retrieval among predefined candidates per query, such as those of a published test set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Float

from polyclinic.cohort.csv_file import DAMAGED, read_csv
from polyclinic.evaluation.metrics.arrays import Array, checked_scores
from polyclinic.evaluation.metrics.intervals import patient_resamples
from polyclinic.evaluation.retrieval.retrieval import Placement, RetrievalResult, check_k, retrieval_result

CandidateSets: TypeAlias = Mapping[str, tuple[str, ...]]
"""Study ids of the distractors by study id of the query; the query's own study completes the candidates."""

_COLUMNS = ("split", "query_study", "candidate_study", "label")
_MAX_NAMED_STUDIES = 5


@dataclass(frozen=True, kw_only=True)
class CandidateSetReport:
    """Retrieval among predefined candidates.

    Attributes:
        given: result with intervals over patients.
        by_query: the same result with intervals over queries, as other publications report them; they are narrower if
            patients have several queries.
        queries: number of scored queries.
        patients: number of their patients.
        left_out: number of sets left out because a study lacks a required modality or cannot be read.
        same_patient: number of distractors from the query's own patient.
    """

    given: RetrievalResult
    by_query: RetrievalResult
    queries: int
    patients: int
    left_out: int
    same_patient: int
    resamples: int
    seed: int


def read_candidate_sets(path: Path, *, split: str, studies: Sequence[str]) -> CandidateSets:
    """Read the candidate sets of a split from a table.

    Args:
        path: Parquet or CSV table with a row per candidate and the columns ``split``, ``query_study``,
            ``candidate_study`` and ``label``, 1 for the query's own study and 0 for a distractor.
        split: name of the split to read.
        studies: ids of the cohort's studies in that split.

    Raises:
        ValueError: the table, a column or the split is missing, a label is neither 0 nor 1, a study is not in the
            split, a candidate is listed twice, or a query lacks its own study or distractors.
    """
    table = _table(path)
    table = table[table["split"] == split]
    if table.empty:
        raise ValueError(f"{path.name} has no candidates of split {split!r}; set `--split`, or `--candidate_sets`")
    named = pd.unique(pd.concat([table["query_study"], table["candidate_study"]]))
    if unknown := sorted(set(named) - set(studies)):
        raise ValueError(
            f"{path.name} names {len(unknown)} studies that are not in split {split!r} of the cohort (studies "
            f"{unknown[:_MAX_NAMED_STUDIES]}); set `--candidate_sets` to those of this cohort"
        )
    _refuse_wrong_sets(path.name, table)
    distractors = table[table["label"] == "0"].groupby("query_study", sort=False)["candidate_study"].agg(tuple)
    return dict(distractors)


def retrieval_in_sets(
    *,
    scores: Float[Array, "Q C"],
    queries: Sequence[str],
    candidates: Sequence[str],
    sets: CandidateSets,
    patients: Mapping[str, str],
    resamples: int,
    seed: int,
    k: Sequence[int] = (1, 5),
) -> CandidateSetReport:
    """Measure recall at k and the median rank among predefined candidates.

    The recall has 95 % intervals over patients and over queries.

    Args:
        scores: scores of each query against each candidate.
        queries: study ids of the rows.
        candidates: study ids of the columns.
        sets: distractors of each query; a set with a study that was not scored is left out and counted.
        patients: patient id by study id.
        resamples: number of resamples of patients, and of queries.
        seed: seed of the resamples.
        k: numbers of top-ranked candidates among which the query's own study counts as retrieved.

    Raises:
        ValueError: no set can be scored, scores have another shape or are not finite, or ``k`` is empty or below 1.
    """
    check_k(k)
    rows = checked_scores(scores)
    if rows.shape != (len(queries), len(candidates)):
        raise ValueError(
            f"got scores of shape {rows.shape} for {len(queries)} queries and {len(candidates)} candidates, expected "
            "one row and one column each; give both in the order of the scores"
        )
    row, column = ({study: place for place, study in enumerate(studies)} for studies in (queries, candidates))
    scored = [query for query, others in sets.items() if query in row and all(s in column for s in (query, *others))]
    if not scored:
        raise ValueError(
            f"got {len(sets)} candidate sets, each with a study that lacks a modality or cannot be read; set `--query`"
        )
    places = [[column[study] for study in (query, *sets[query])] for query in scored]
    placement = _placed([rows[row[query], columns] for query, columns in zip(scored, places, strict=True)])
    of_patient = [patients[query] for query in scored]
    given, by_query = (
        retrieval_result(placement, k, patient_resamples(groups, resamples, seed)) for groups in (of_patient, scored)
    )
    return CandidateSetReport(
        given=given,
        by_query=by_query,
        queries=len(scored),
        patients=len(set(of_patient)),
        left_out=len(sets) - len(scored),
        same_patient=sum(patients[other] == patients[query] for query in scored for other in sets[query]),
        resamples=resamples,
        seed=seed,
    )


def _table(path: Path) -> pd.DataFrame:
    """Read a table with every cell as text and labels as "0" or "1"."""
    try:
        if path.suffix != ".parquet":
            table = read_csv(path, encoding="utf-8", wanted=_COLUMNS)
        else:
            table = pd.read_parquet(path, dtype_backend="pyarrow")
    except (*DAMAGED, pa.ArrowException) as error:
        raise ValueError(
            f"{path.name} cannot be read as a table ({type(error).__name__}); set `--candidate_sets`"
        ) from None
    if absent := [name for name in _COLUMNS if name not in table]:
        raise ValueError(f"{path.name} has no column {absent[0]!r}, expected {list(_COLUMNS)}; add it")
    labels = pd.to_numeric(table["label"], errors="coerce")
    if not labels.isin([0, 1]).all():
        raise ValueError(f"{path.name} has labels other than 0 and 1; correct its column `label`")
    text = table[list(_COLUMNS)].astype(str)
    return text.assign(label=labels.astype(int).astype(str))


def _refuse_wrong_sets(name: str, table: pd.DataFrame) -> None:
    is_target = table["label"] == "1"
    query = table["query_study"]
    counts = is_target.groupby(query, sort=False).agg(["sum", "size"])
    wrong = {
        "a candidate twice": query[table.duplicated(["query_study", "candidate_study"])],
        "a candidate of label 1 that is another study, or its own study as one of label 0": query[
            is_target != (query == table["candidate_study"])
        ],
        "not exactly one candidate of label 1": counts.index[counts["sum"] != 1],
        "no candidate of label 0": counts.index[counts["size"] < 2],
    }
    for message, queries in wrong.items():
        if affected := sorted(set(queries)):
            raise ValueError(
                f"{name} gives {len(affected)} queries {message} (studies {affected[:_MAX_NAMED_STUDIES]}), expected "
                "the query's own study once with label 1 and others with label 0; correct the table"
            )


def _placed(rows: Sequence[Float[np.ndarray, " _"]]) -> Placement:
    """Place the first score of each row among all scores of the row."""
    return Placement(
        above=np.array([(row[1:] > row[0]).sum() for row in rows]),
        tied=np.array([(row[1:] == row[0]).sum() for row in rows]),
        candidates=np.array([len(row) for row in rows]),
    )
