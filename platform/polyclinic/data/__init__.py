"""Load the studies of a cohort: from files to batches."""

from polyclinic.cohort import Target
from polyclinic.data.batch import Batch, BrokenSource, Sample, collate
from polyclinic.data.datamodule import AUTO, CohortDataModule
from polyclinic.data.dataset import StudyDataset, StudySampler
from polyclinic.data.labels import LabelPolicy
from polyclinic.data.quarantine import Quarantine
from polyclinic.data.samplers import LengthBucketOrder, OrderStrategy, StratifiedOrder
from polyclinic.system.old_names import forward_old_names

__all__ = [
    "AUTO",
    "Batch",
    "BrokenSource",
    "CohortDataModule",
    "LabelPolicy",
    "LengthBucketOrder",
    "OrderStrategy",
    "Quarantine",
    "Sample",
    "StratifiedOrder",
    "StudyDataset",
    "StudySampler",
    "Target",
    "collate",
]

__getattr__ = forward_old_names(__name__)
