"""The loader of ``mlflow.pyfunc.load_model`` for a bundle; does not import MLflow."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyclinic.deploy.bundle import Bundle, load_bundle
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.deploy.scoring.reading import StudyReading, read_study, why_unused
from polyclinic.registry.inputs import as_sources, is_one, rows_of

_BATCH_SIZE = 32


class ScoringModel:
    """A bundle with MLflow's ``predict``; returns the same JSON as ``polyclinic score --json``.

    Args:
        bundle: loaded bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._scorer = StudyScorer(bundle)

    def predict(self, data: Any) -> dict[str, Any] | list[dict[str, Any]]:
        """Score one study or several studies.

        Args:
            data: a mapping from modality to source, see ``as_sources``; or a list or a table of studies.

        Returns:
            Scores for a mapping, otherwise a list of scores; the reason under ``problem`` for a study in the list that
            cannot be scored.

        Raises:
            ValueError: a mapping cannot be scored, or the data have another form.
        """
        rows = rows_of(data)
        if is_one(data):
            return self._one(rows[0])
        starts = range(0, len(rows), _BATCH_SIZE)
        return [scores for start in starts for scores in self._many(rows[start : start + _BATCH_SIZE])]

    def _one(self, row: Mapping[str, Any]) -> dict[str, Any]:
        study = self._read(row)
        if study.problems:
            name, reason = next(iter(study.problems.items()))
            raise ValueError(f"{name}: {reason}")
        return self._scored([study], [row])[0]

    def _many(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        read, refused = [], {}
        for place, row in enumerate(rows):
            try:
                study = self._read(row)
            except ValueError as error:
                study = StudyReading({}, {"": str(error)}, [])
            if any(name in study.items for name in self.bundle.query):
                read.append((study, row))
            else:
                refused[place] = "; ".join(study.problems.values()) or f"it has none of {self.bundle.query}"
        scored = iter(self._scored([study for study, _ in read], [row for _, row in read]))
        for place in range(len(rows)):
            yield {"problem": refused[place]} if place in refused else next(scored)

    def _read(self, row: Mapping[str, Any]) -> StudyReading:
        with as_sources(row, self.bundle.modalities) as sources:
            return read_study(self.bundle, sources)

    def _scored(self, studies: Sequence[StudyReading], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        results = []
        items, problems = [study.items for study in studies], [study.problems for study in studies]
        scored = self._scorer.score(items, problems) if studies else []
        for scores, study, row in zip(scored, studies, rows, strict=True):
            plain: dict[str, Any] = json.loads(json.dumps(scores.as_json(), allow_nan=False))
            plain["notes"] += [
                *study.notes,
                *(note for name in row if (note := why_unused(self.bundle, name)) is not None),
            ]
            results.append(plain)
        return results


def _load_pyfunc(path: str) -> ScoringModel:
    """Load a bundle for MLflow: check every file against its checksum, and unpickle nothing.

    Args:
        path: folder of the bundle inside the model.
    """
    return ScoringModel(load_bundle(Path(path)))
