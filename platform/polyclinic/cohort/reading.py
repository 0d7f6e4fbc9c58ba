"""Decoded sources of some studies."""

from collections.abc import Iterator, Sequence
from typing import Any

from polyclinic.cohort.cohort import Study
from polyclinic.modality import Modality, UnreadableSource


def readable_raws(studies: Sequence[Study], name: str, modality: Modality) -> Iterator[Any]:
    """Decode one modality of those studies that have it; broken sources are left out, for the caller to count."""
    for study in studies:
        if name in study.sources:
            try:
                yield modality.read(study.sources[name])
            except UnreadableSource:
                continue
