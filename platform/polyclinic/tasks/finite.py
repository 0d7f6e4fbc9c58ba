"""Stops a run before a broken batch reaches a weight, and says which studies were in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from polyclinic.data import Batch


@contextmanager
def naming_studies(batch: Batch) -> Iterator[None]:
    """Add the batch's study ids to an error that its values raise."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}; studies of the batch: {', '.join(batch.study_ids)}") from error


def refuse_non_finite(loss: Tensor, batch: Batch) -> None:
    """Stop where a loss is no number.

    Raises:
        ValueError: it is NaN or infinite.
    """
    if not torch.isfinite(loss):
        with naming_studies(batch):
            raise ValueError(
                f"got loss {float(loss)}; lower `model.lr`, set `trainer.gradient_clip_val`, or train in higher "
                "`trainer.precision`"
            )
