"""LightningModules: they wire encoders, heads and objectives."""

from polyclinic.tasks.compiling import CompileEncoders
from polyclinic.tasks.contrastive import ContrastivePretraining
from polyclinic.tasks.downstream import Downstream
from polyclinic.tasks.masked import MaskedPretraining
from polyclinic.tasks.sharding import ShardedEncoders

__all__ = ["CompileEncoders", "ContrastivePretraining", "Downstream", "MaskedPretraining", "ShardedEncoders"]
