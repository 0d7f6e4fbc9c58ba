"""Contrastive objectives with their scoring rules, additional loss terms, and gathering across ranks."""

from polyclinic.objectives.alignment_uniformity import AlignmentUniformity
from polyclinic.objectives.clip import Clip
from polyclinic.objectives.cwcl import Cwcl
from polyclinic.objectives.embedding_batch import EmbeddingBatch, Embeddings, Groups, Present, gather_embeddings
from polyclinic.objectives.intra_modal import IntraModal
from polyclinic.objectives.mixup_contrast import MixupContrast
from polyclinic.objectives.objective import Objective
from polyclinic.objectives.reliability_gate import ReliabilityGate
from polyclinic.objectives.siglip import Siglip
from polyclinic.objectives.similarity_matching import SimilarityMatching
from polyclinic.objectives.symile import Symile
from polyclinic.objectives.term import Term, WithTerms

__all__ = [
    "AlignmentUniformity",
    "Clip",
    "Cwcl",
    "EmbeddingBatch",
    "Embeddings",
    "Groups",
    "IntraModal",
    "MixupContrast",
    "Objective",
    "Present",
    "ReliabilityGate",
    "Siglip",
    "SimilarityMatching",
    "Symile",
    "Term",
    "WithTerms",
    "gather_embeddings",
]
