"""From files to batches."""

from polyclinic.cohort import Target
from polyclinic.data.batch import Batch, BrokenSource, Sample, collate
from polyclinic.data.datamodule import CohortDataModule
from polyclinic.data.dataset import StudyDataset, StudySampler
from polyclinic.data.labels import LabelPolicy
from polyclinic.data.lengths import ByLength
from polyclinic.data.mixing import Mixed, Order
from polyclinic.data.quarantine import Quarantine

__all__ = [
    "Batch",
    "BrokenSource",
    "ByLength",
    "CohortDataModule",
    "LabelPolicy",
    "Mixed",
    "Order",
    "Quarantine",
    "Sample",
    "StudyDataset",
    "StudySampler",
    "Target",
    "collate",
]
