"""From files to batches."""

from polyclinic.data.batch import Batch, BrokenSource, Sample, collate
from polyclinic.data.dataset import StudyDataset, StudySampler
from polyclinic.data.module import CohortDataModule
from polyclinic.data.quarantine import Quarantine

__all__ = [
    "Batch",
    "BrokenSource",
    "CohortDataModule",
    "Quarantine",
    "Sample",
    "StudyDataset",
    "StudySampler",
    "collate",
]
