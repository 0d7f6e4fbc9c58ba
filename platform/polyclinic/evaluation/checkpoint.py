"""Access to checkpoints from notebooks: embeddings of a cohort as arrays or as a table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from polyclinic.evaluation.embedding import EmbeddedSplit, embed_split
from polyclinic.training.restore import Restored, restore


@dataclass(frozen=True)
class Checkpoint:
    """A contrastive checkpoint with its cohort.

    Attributes:
        restored: restored task and data module.
    """

    restored: Restored

    def embeddings(self, split: str = "test") -> dict[str, Float[np.ndarray, "N d"]]:
        """Return the embeddings of a split by modality; rows are NaN where a study lacks the modality.

        Raises:
            ValueError: the checkpoint is not contrastive, or the split is empty.
        """
        return _arrays(embed_split(self.restored, split))

    def frame(self, split: str = "test") -> pd.DataFrame:
        """Return the embeddings as a table: a row per modality and study, with columns ``0`` to ``d - 1``.

        Raises:
            ValueError: see ``embeddings``.
        """
        embedded = embed_split(self.restored, split)
        index = pd.Index(embedded.study_ids, name="study_id")
        tables = {name: pd.DataFrame(rows, index=index).dropna() for name, rows in _arrays(embedded).items()}
        return pd.concat(tables, names=["modality"])


def load_checkpoint(path: str | Path, *, cohort: str | Path | None = None) -> Checkpoint:
    """Load a checkpoint of ``polyclinic fit``.

    Args:
        path: ``.ckpt`` file.
        cohort: ``cohort.yaml`` to use instead of the training cohort.

    Raises:
        ValueError: see ``restore``.
    """
    return Checkpoint(restore(Path(path), cohort=None if cohort is None else Path(cohort)))


def _arrays(embedded: EmbeddedSplit) -> dict[str, Float[np.ndarray, "N d"]]:
    return {
        name: np.where(embedded.present[name][:, None].numpy(), rows.float().numpy(), np.nan)
        for name, rows in embedded.embeddings.items()
    }
