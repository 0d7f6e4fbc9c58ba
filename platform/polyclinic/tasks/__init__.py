"""Tasks: LightningModules that combine encoders, heads and objectives."""

from polyclinic.system.old_names import forward_old_names
from polyclinic.tasks.contrastive import ContrastivePretraining
from polyclinic.tasks.downstream import Downstream
from polyclinic.tasks.masked import MaskedPretraining

__all__ = ["ContrastivePretraining", "Downstream", "MaskedPretraining"]

__getattr__ = forward_old_names(__name__)
