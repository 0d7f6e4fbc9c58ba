"""Where the training studies lie, so that others can be told from them; nothing of a single patient is kept."""

from collections.abc import Iterable

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.deploy.bundle.load import OODReference
from polyclinic.tasks import ContrastivePretraining

RARE = 0.01
_FEWEST = 10


@torch.inference_mode()
def pooled_vectors(task: ContrastivePretraining, batches: Iterable[Batch], names: tuple[str, ...]) -> dict[str, Tensor]:
    """What the encoders make of the studies of some batches, before projection, by modality."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for batch in batches:
        for name in names:
            if name in batch.inputs:
                found[name].append(task.encoders[name](batch.inputs[name]).pooled.double())
    return {name: torch.cat(parts) if parts else torch.zeros(0, 0) for name, parts in found.items()}


def learn_ood_reference(train: dict[str, Tensor], validation: dict[str, Tensor]) -> dict[str, OODReference]:
    """Mean and shrunk covariance (Ledoit and Wolf 2004) of each modality, and the distance that is rare.

    Args:
        train: pooled vectors of training studies.
        validation: of validation studies, one in a hundred of which lies beyond the limit; those of training count
            where there are too few.

    Raises:
        ValueError: a modality that hardly any training study has.
    """
    familiar = {}
    for name, vectors in train.items():
        if len(vectors) < _FEWEST:
            raise ValueError(
                f"the training split has {len(vectors)} studies with {name!r}, expected at least {_FEWEST}, by which "
                "unlike ones are told; leave it out of `--query`"
            )
        fitted = LedoitWolf().fit(vectors.numpy())
        whitening = torch.from_numpy(np.linalg.cholesky(fitted.precision_))
        one = OODReference(mean=torch.from_numpy(fitted.location_), whitening=whitening, limit=float("inf"))
        seen = validation[name] if len(validation[name]) >= _FEWEST else vectors
        limit = float(torch.quantile(one.distance(seen), 1 - RARE))
        familiar[name] = OODReference(mean=one.mean, whitening=whitening, limit=limit)
    return familiar
