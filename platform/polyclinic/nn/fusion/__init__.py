"""From one vector per modality to one prediction, with any of them missing."""

from polyclinic.nn.fusion.attention import AttentionFusion
from polyclinic.nn.fusion.concatenation import ConcatenationFusion
from polyclinic.nn.fusion.fusion import Fused, Fusion, Readout
from polyclinic.nn.fusion.sequential import SequentialFusion
from polyclinic.nn.fusion.stand_in import StandInFusion

__all__ = [
    "AttentionFusion",
    "ConcatenationFusion",
    "Fused",
    "Fusion",
    "Readout",
    "SequentialFusion",
    "StandInFusion",
]
