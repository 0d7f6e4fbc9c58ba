"""Contrastive losses and their scoring rules."""

from polyclinic.objectives.clip import Clip
from polyclinic.objectives.objective import Embeddings, Objective, Present
from polyclinic.objectives.symile import Symile

__all__ = ["Clip", "Embeddings", "Objective", "Present", "Symile"]
