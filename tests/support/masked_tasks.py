"""Small masked tasks over the five plugins, and batches of the phantom for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from polyclinic.cohort import readable_raws
from polyclinic.data import Batch, CohortDataModule
from polyclinic.modality import Modality
from polyclinic.tasks import MaskedPretraining
from polyclinic_audio import Audio
from polyclinic_ecg import ECG
from polyclinic_report import Report
from polyclinic_tabular import Tabular
from polyclinic_xray import XRay

MODALITIES: dict[str, Modality] = {
    "xray": XRay(size=32, patch=8, normalised_targets=False),
    "ecg": ECG(rate=50, seconds=4, patch=20, shift=0.5),
    "report": Report(vocabulary_size=400, max_tokens=48),
    "audio": Audio(seconds=2, patch=10, normalised_targets=False),
    "tabular": Tabular(),
}


def masked_task(names: Sequence[str] = tuple(MODALITIES), **settings: Any) -> MaskedPretraining:
    """Make a small seeded task whose modalities already mix, as after some training."""
    torch.manual_seed(0)
    modalities = {name: MODALITIES[name] for name in names}
    small = {"size": "pico", "joint_width": 32, "decoder_width": 32}
    task = MaskedPretraining(modalities=modalities, **{**small, **settings})
    awaken(task)
    return task


def awaken(module: torch.nn.Module) -> None:
    """Fill the zero matrices that keep residual branches inactive at the start."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 2 and not parameter.any():
                parameter.normal_(std=0.1)


def batch_of(cohort: Path, studies: int) -> Batch:
    """Return a batch of the first training studies, after fitting the modalities."""
    data = CohortDataModule(cohort=cohort, modalities=MODALITIES, batch_size=studies)
    for name, modality in MODALITIES.items():
        modality.fit(readable_raws(data.cohort.split("train"), name, modality))
    return next(iter(data.loader("train")))
