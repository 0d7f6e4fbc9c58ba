"""Read every source of a cohort once and report what it is."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from polyclinic.cohort.cohort import SPLITS, Cohort
from polyclinic.cohort.reading import readable_raws
from polyclinic.modality import Modality, UnreadableSource


@dataclass(kw_only=True)
class ModalityCheck:
    """What reading one modality of a cohort showed.

    Attributes:
        readable: studies whose source decodes.
        broken: study id to reason.
        numbers: mean of each numeric fact.
        texts: how often each value of each text fact occurs.
    """

    readable: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    texts: dict[str, dict[str, int]] = field(default_factory=dict)


def check_cohort(cohort: Cohort, modalities: Mapping[str, Modality]) -> dict[str, ModalityCheck]:
    """Fit each plugin on the training split, then read and describe every source."""
    return {name: _check(cohort, name, modality) for name, modality in modalities.items()}


def _check(cohort: Cohort, name: str, modality: Modality) -> ModalityCheck:
    found, told = ModalityCheck(), Counter[tuple[str, str]]()
    studies = [study for study in cohort.studies if name in study.sources]
    numbers: dict[str, list[float]] = {}
    modality.fit(readable_raws(cohort.split("train"), name, modality))
    for study in track(studies, description=f"reading {name}", transient=True):
        try:
            facts = modality.describe(modality.read(study.sources[name]))
        except UnreadableSource as reason:
            found.broken[study.study_id] = str(reason)
            continue
        found.readable += 1
        for fact, value in facts.items():
            if isinstance(value, str):
                told[fact, value] += 1
            else:
                numbers.setdefault(fact, []).append(value)
    found.numbers = {fact: float(np.mean(values)) for fact, values in numbers.items()}
    for (fact, value), count in sorted(told.items()):
        found.texts.setdefault(fact, {})[value] = count
    return found


def print_check(cohort: Cohort, checks: Mapping[str, ModalityCheck], console: Console) -> None:
    """Show the cohort, its modalities and every broken source."""
    sizes = ", ".join(f"{len(cohort.split(split))} {split}" for split in SPLITS)
    patients = len({study.patient_id for study in cohort.studies})
    console.print(f"{len(cohort.studies)} studies of {patients} patients ({sizes}); no patient is in two splits")
    table = Table("modality", "present", "readable", "broken", "facts")
    for name, check in checks.items():
        numbers = [f"{fact} {value:.4g}" for fact, value in check.numbers.items()]
        texts = [
            f"{fact} " + ", ".join(f"{value} x{count}" for value, count in values.items())
            for fact, values in check.texts.items()
        ]
        present = check.readable + len(check.broken)
        table.add_row(name, str(present), str(check.readable), str(len(check.broken)), "\n".join(texts + numbers))
    console.print(table)
    for name, check in checks.items():
        for study, reason in check.broken.items():
            console.print(f"broken: study {study!r}, {name}: {reason}", markup=False)
