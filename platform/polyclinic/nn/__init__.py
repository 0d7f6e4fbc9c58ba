"""Blocks that every modality shares."""

from polyclinic.nn.encoder import Encoded, Encoder, Tokenizer, Tokens, TransformerEncoder
from polyclinic.nn.pooling import StatisticsPooling, masked_mean
from polyclinic.nn.positions import grid_positions, sine_positions
from polyclinic.nn.projection import Projection
from polyclinic.nn.strides import stem_strides
from polyclinic.nn.transformer import SIZES, Transformer

__all__ = [
    "SIZES",
    "Encoded",
    "Encoder",
    "Projection",
    "StatisticsPooling",
    "Tokenizer",
    "Tokens",
    "Transformer",
    "TransformerEncoder",
    "grid_positions",
    "masked_mean",
    "sine_positions",
    "stem_strides",
]
