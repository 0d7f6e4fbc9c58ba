"""From files to batches."""

from polyclinic.cohort import Target
from polyclinic.data.batch import Batch, BrokenSource, Sample, collate
from polyclinic.data.dataset import StudyDataset, StudySampler
from polyclinic.data.labels import LabelPolicy
from polyclinic.data.module import CohortDataModule
from polyclinic.data.quarantine import Quarantine

__all__ = [
    "Batch",
    "BrokenSource",
    "CohortDataModule",
    "LabelPolicy",
    "Quarantine",
    "Sample",
    "StudyDataset",
    "StudySampler",
    "Target",
    "collate",
]
