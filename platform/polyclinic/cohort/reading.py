"""Decoded sources of some studies."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from polyclinic.cohort.cohort import Cohort, Study
from polyclinic.modality import Modality, UnreadableSource


def adapt_modalities(cohort: Cohort, modalities: Mapping[str, Modality]) -> list[str]:
    """Let plugins choose the settings that were left out, from the training studies.

    Returns:
        Sentences that say what a modality leaves out of its sources, and why.
    """
    studies = cohort.split("train")
    return [
        f"{name} leaves out {part!r}: {reason}"
        for name, modality in modalities.items()
        for part, reason in modality.adapt([study.sources[name] for study in studies if name in study.sources]).items()
    ]


def readable_raws(studies: Sequence[Study], name: str, modality: Modality) -> Iterator[Any]:
    """Decode one modality of those studies that have it; broken sources are left out, for the caller to count."""
    for study in studies:
        if name in study.sources:
            try:
                yield modality.read(study.sources[name])
            except UnreadableSource:
                continue
