"""Lines in the log of a training, from which a demo draws its bar."""

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback


class EpochLines(Callback):
    """Prints a line at the end of each epoch, as Lightning's bar is shown on a terminal alone."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the line of this epoch."""
        if trainer.is_global_zero:
            print(f"epoch {trainer.current_epoch + 1} has ended")  # noqa: T201
