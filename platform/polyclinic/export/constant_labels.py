"""Labels of a trained head that validation says nothing about."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.scorers import Scorer, TrainedScorer


def label_notes(scorer: Scorer, validation: EmbeddedSplit) -> list[str]:
    """Return a sentence for each label of a head that is constant or unknown in validation; none for prompts.

    Raises:
        ValueError: no label of the head has two values in validation.
    """
    if not isinstance(scorer, TrainedScorer):
        return []
    columns = list(_columns(scorer, validation))
    problems = {name: problem for name, values in columns if (problem := _problem(values)) is not None}
    if len(problems) == len(columns):
        name, problem = next(iter(problems.items()))
        raise ValueError(
            f"got label {name!r} that {problem}, and no other label with two values there, expected one that can be "
            "calibrated; set another `split` in the cohort file"
        )
    return [
        f"label {name!r} {problem}, expected two values, so that the bundle abstains on it; set another `split` in the "
        "cohort file"
        for name, problem in problems.items()
    ]


def _columns(scorer: TrainedScorer, validation: EmbeddedSplit) -> Iterator[tuple[str, Float[np.ndarray, " N"]]]:
    yield from zip(scorer.findings, validation.outcomes.T, strict=True)
    _, labels, targets = scorer.estimates(validation, scorer.modalities)
    yield from zip((target.name for target in targets), labels.T, strict=True)


def _problem(values: Float[np.ndarray, " N"]) -> str | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return f"is unknown in all {len(values)} validation studies"
    if len(np.unique(known)) < 2:
        return f"is {known[0]:g} in all {len(known)} validation studies where it is known"
    return None
