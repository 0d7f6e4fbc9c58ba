"""Blocks that every modality shares."""

from polyclinic.nn.adapt import Adapter, Frozen
from polyclinic.nn.decoder import MaskedDecoder
from polyclinic.nn.decoders import MaskedDecoders
from polyclinic.nn.encoder import Encoded, Encoder, MaskableEncoder, Tokenizer, Tokens, TransformerEncoder
from polyclinic.nn.fusion import (
    AttentionFusion,
    ConcatenationFusion,
    Fused,
    Fusion,
    Readout,
    SequentialFusion,
    StandInFusion,
)
from polyclinic.nn.joint import JointEncoder
from polyclinic.nn.masking import hide_one, hide_units, keep_by_budget, keep_by_ratio
from polyclinic.nn.pooling import StatisticsPooling, masked_mean, token_statistics
from polyclinic.nn.positions import grid_positions, sine_positions
from polyclinic.nn.projection import Projection, StudyNorm, Unprojected
from polyclinic.nn.reconstruction import PatchReconstruction, Reconstruction
from polyclinic.nn.strides import stem_strides
from polyclinic.nn.transformer import SIZES, Transformer, Visible
from polyclinic.nn.weights import WeightAccount

__all__ = [
    "SIZES",
    "Adapter",
    "AttentionFusion",
    "ConcatenationFusion",
    "Encoded",
    "Encoder",
    "Frozen",
    "Fused",
    "Fusion",
    "JointEncoder",
    "MaskableEncoder",
    "MaskedDecoder",
    "MaskedDecoders",
    "PatchReconstruction",
    "Projection",
    "Readout",
    "Reconstruction",
    "SequentialFusion",
    "StandInFusion",
    "StatisticsPooling",
    "StudyNorm",
    "Tokenizer",
    "Tokens",
    "Transformer",
    "TransformerEncoder",
    "Unprojected",
    "Visible",
    "WeightAccount",
    "grid_positions",
    "hide_one",
    "hide_units",
    "keep_by_budget",
    "keep_by_ratio",
    "masked_mean",
    "sine_positions",
    "stem_strides",
    "token_statistics",
]
