"""Pictures of a masked-autoencoder run: what was there, what was shown, and what was made of it."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor

from polyclinic.data import Batch, CohortDataModule
from polyclinic.modality import Imputable
from polyclinic.tasks import MaskedPretraining
from polyclinic.tracking import log_figure

_COLUMNS = ("original", "masked", "reconstructed")


class ReconstructionGrid(Callback):
    """Logs the same validation studies again and again: original, masked, reconstructed.

    Args:
        every: validations from one picture to the next; 0 for none.
        studies: of the first validation batch, those with most modalities.

    Raises:
        ValueError: a number below 0.
    """

    def __init__(self, every: int = 1, studies: int = 3) -> None:
        if every < 0 or studies < 1:
            raise ValueError(
                f"got every {every} and studies {studies}, expected 0 or more and 1 or more; set `pictures.every` and "
                "`pictures.studies`"
            )
        self._every, self._studies, self._seen = every, studies, 0
        self._batch: Batch | None = None

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first batch of all."""
        if self._batch is None and isinstance(batch, Batch):
            self._batch = batch

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, on rank zero."""
        if trainer.sanity_checking or not self._every or not isinstance(pl_module, MaskedPretraining):
            return
        due, self._seen = self._seen % self._every == 0, self._seen + 1
        data: Any = getattr(trainer, "datamodule", None)
        if due and trainer.is_global_zero and self._batch is not None and isinstance(data, CohortDataModule):
            for name, stages in reconstructed(pl_module, self._batch).items():
                modality = data.modalities[name]
                if isinstance(modality, Imputable):
                    rows = _chosen(self._batch, name, self._studies)
                    figure = draw_stages(modality, stages, rows)
                    log_figure(trainer.logger, figure, f"reconstruction/{name}/epoch{trainer.current_epoch:04d}.png")


@torch.no_grad()
def reconstructed(task: MaskedPretraining, batch: Batch) -> dict[str, list[dict[str, Tensor]]]:
    """The inputs of each modality as they are, with the hidden tokens of evaluation blank, and with them predicted."""
    hidden = task.draw_masks(batch)
    stages = {}
    for name, predicted in task(batch, hidden).items():
        inputs, reconstruction = batch.inputs[name], task.decoders.reconstruction(name)
        shown = reconstruction.hide(inputs, hidden[name])
        stages[name] = [inputs, shown, reconstruction.fill(inputs, hidden[name], predicted)]
    return stages


def draw_stages(modality: Imputable, stages: list[dict[str, Tensor]], rows: Mapping[str, int]) -> Figure:
    """One row per study, by its name, and one column per stage.

    Args:
        modality: draws a study.
        stages: from ``reconstructed``.
        rows: where each study stands.
    """
    figure = Figure(figsize=(12, 2.9 * len(rows)), dpi=100, layout="constrained")
    grid = figure.subplots(len(rows), len(_COLUMNS), squeeze=False)
    for line, (study, row) in zip(grid, rows.items(), strict=True):
        for axes, heading, inputs in zip(line, _COLUMNS, stages, strict=True):
            modality.draw({key: value[row].cpu() for key, value in inputs.items()}, axes)
            axes.set_title(f"{study}, {heading}", fontsize=9)
    return figure


def _chosen(batch: Batch, name: str, most: int) -> dict[str, int]:
    """Rows, in a modality's inputs, of the studies that have it and most others."""
    having = batch.present[name].nonzero()[:, 0].tolist()
    others = torch.stack(list(batch.present.values())).sum(dim=0).tolist()
    best = sorted(sorted(range(len(having)), key=lambda row: -others[having[row]])[:most])
    return {batch.study_ids[having[row]]: row for row in best}
