"""Pictures of a masked-autoencoder run: original, masked and reconstructed inputs."""

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
    """Logs the same validation studies in every picture: original, masked, reconstructed.

    Args:
        every: number of validations per picture; 0 for none.
        studies: number of studies, taken from the first validation batch by their number of modalities.

    Raises:
        ValueError: ``every`` is below 0 or ``studies`` below 1.
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
        """Store the first validation batch of the run."""
        if self._batch is None and isinstance(batch, Batch):
            self._batch = batch

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw and log the pictures when due, on rank zero."""
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
    """Return the inputs of each modality: original, with the hidden tokens of evaluation blank, and predicted."""
    hidden = task.draw_masks(batch)
    stages = {}
    for name, predicted in task(batch, hidden).items():
        inputs, reconstruction = batch.inputs[name], task.decoders.reconstruction(name)
        shown = reconstruction.hide(inputs, hidden[name])
        stages[name] = [inputs, shown, reconstruction.fill(inputs, hidden[name], predicted)]
    return stages


def draw_stages(modality: Imputable, stages: list[dict[str, Tensor]], rows: Mapping[str, int]) -> Figure:
    """Draw a figure with one row per study and one column per stage.

    Args:
        modality: modality that draws a study.
        stages: stages of the modality, from ``reconstructed``.
        rows: row of each study in the inputs, by study id.
    """
    figure = Figure(figsize=(12, 2.9 * len(rows)), dpi=100, layout="constrained")
    grid = figure.subplots(len(rows), len(_COLUMNS), squeeze=False)
    for line, (study, row) in zip(grid, rows.items(), strict=True):
        for axes, heading, inputs in zip(line, _COLUMNS, stages, strict=True):
            modality.draw({key: value[row].cpu() for key, value in inputs.items()}, axes)
            axes.set_title(f"{study}, {heading}", fontsize=9)
    return figure


def _chosen(batch: Batch, name: str, limit: int) -> dict[str, int]:
    """Return the rows, in the inputs of a modality, of the studies with the most modalities, by study id."""
    positions = batch.present[name].nonzero()[:, 0].tolist()
    counts = torch.stack(list(batch.present.values())).sum(dim=0).tolist()
    best = sorted(sorted(range(len(positions)), key=lambda row: -counts[positions[row]])[:limit])
    return {batch.study_ids[positions[row]]: row for row in best}
