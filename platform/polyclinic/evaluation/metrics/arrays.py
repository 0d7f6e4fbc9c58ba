"""Convert and check scores and labels as float64 numpy arrays."""

from typing import Any, TypeAlias

import numpy as np
import torch

Array: TypeAlias = np.ndarray | torch.Tensor


def as_float64(values: Any) -> np.ndarray:
    """Copy an array or a tensor of any device and precision to float64."""
    if isinstance(values, torch.Tensor):
        return values.detach().to("cpu", torch.float64).numpy()
    return np.asarray(values, dtype=np.float64)


def checked_scores(scores: Any) -> np.ndarray:
    """Return scores as float64.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    values = as_float64(scores)
    if broken := int((~np.isfinite(values)).sum()):
        raise ValueError(
            f"got {broken} scores that are not finite, expected a number for each study; leave out the studies "
            "without any query modality, or evaluate another checkpoint"
        )
    return values


def checked_labels(labels: Any) -> np.ndarray:
    """Return labels as float64: 0 absent, 1 present, NaN unknown.

    Raises:
        ValueError: a label has another value, such as -1 for an uncertain finding.
    """
    values = as_float64(labels)
    other = np.unique(values[~np.isnan(values) & (values != 0) & (values != 1)])
    if len(other):
        raise ValueError(
            f"got label values {other[:5].tolist()}, expected 0, 1 or NaN for unknown; map them in `labels` of the "
            "cohort.yaml"
        )
    return values
