"""Network blocks shared by all modalities."""

from polyclinic.nn.adapters import Adapter, Frozen
from polyclinic.nn.encoder import (
    Encoded,
    Encoder,
    MaskableEncoder,
    Tokenizer,
    Tokens,
    TransformerEncoder,
    WeightAccount,
)
from polyclinic.nn.fixed_features import FixedFeatures, in_double
from polyclinic.nn.fusion import (
    AttentionFusion,
    ConcatenationFusion,
    Fused,
    Fusion,
    PromptPoolFusion,
    Readout,
    SequentialFusion,
)
from polyclinic.nn.heads import IdentityHead, Projection, StudyNorm
from polyclinic.nn.linear_path import LinearPath
from polyclinic.nn.masked.decoder import MaskedDecoder, MaskedDecoders
from polyclinic.nn.masked.joint import JointEncoder
from polyclinic.nn.masked.masking import hide_one, hide_units, keep_by_budget, keep_by_ratio
from polyclinic.nn.masked.reconstruction import PatchReconstruction, Reconstruction
from polyclinic.nn.pooling import StatisticsPooling, masked_mean, token_statistics
from polyclinic.nn.positions import grid_positions, sine_positions, stem_strides
from polyclinic.nn.random_kernels import RandomKernels
from polyclinic.nn.transformer import SIZES, Transformer, Visible
from polyclinic.system.old_names import forward_old_names

__all__ = [
    "SIZES",
    "Adapter",
    "AttentionFusion",
    "ConcatenationFusion",
    "Encoded",
    "Encoder",
    "FixedFeatures",
    "Frozen",
    "Fused",
    "Fusion",
    "IdentityHead",
    "JointEncoder",
    "LinearPath",
    "MaskableEncoder",
    "MaskedDecoder",
    "MaskedDecoders",
    "PatchReconstruction",
    "Projection",
    "PromptPoolFusion",
    "RandomKernels",
    "Readout",
    "Reconstruction",
    "SequentialFusion",
    "StatisticsPooling",
    "StudyNorm",
    "Tokenizer",
    "Tokens",
    "Transformer",
    "TransformerEncoder",
    "Visible",
    "WeightAccount",
    "grid_positions",
    "hide_one",
    "hide_units",
    "in_double",
    "keep_by_budget",
    "keep_by_ratio",
    "masked_mean",
    "sine_positions",
    "stem_strides",
    "token_statistics",
]

__getattr__ = forward_old_names(__name__)
