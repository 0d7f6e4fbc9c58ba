"""OOD references: mean and covariance of training embeddings, without data of single patients."""

from collections.abc import Iterable

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

from polyclinic.data import Batch
from polyclinic.deploy.bundle.load import OODReference

RARE = 0.01
_MIN_STUDIES = 10


@torch.inference_mode()
def pooled_vectors(encoders: nn.ModuleDict, batches: Iterable[Batch], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Encode batches into pooled vectors by modality, before projection."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for batch in batches:
        for name in names:
            if name in batch.inputs:
                found[name].append(encoders[name](batch.inputs[name]).pooled.double())
    return {name: torch.cat(parts) if parts else torch.zeros(0, 0) for name, parts in found.items()}


def learn_ood_reference(train: dict[str, Tensor], validation: dict[str, Tensor]) -> dict[str, OODReference]:
    """Fit mean, shrunk covariance (Ledoit and Wolf 2004) and distance limit for each modality.

    Args:
        train: pooled vectors of training studies.
        validation: pooled vectors of validation studies; 1 % of them lie beyond the limit. If there are too few,
            those of training are used.

    Raises:
        ValueError: too few training studies have a modality.
    """
    references = {}
    for name, vectors in train.items():
        if len(vectors) < _MIN_STUDIES:
            raise ValueError(
                f"the training split has {len(vectors)} studies with {name!r}, expected at least {_MIN_STUDIES} for an "
                "OOD reference; leave it out of `--query`"
            )
        fitted = LedoitWolf().fit(vectors.numpy())
        whitening = torch.from_numpy(np.linalg.cholesky(fitted.precision_))
        unlimited = OODReference(mean=torch.from_numpy(fitted.location_), whitening=whitening, limit=float("inf"))
        calibration = validation[name] if len(validation[name]) >= _MIN_STUDIES else vectors
        limit = float(torch.quantile(unlimited.distance(calibration), 1 - RARE))
        references[name] = OODReference(mean=unlimited.mean, whitening=whitening, limit=limit)
    return references
