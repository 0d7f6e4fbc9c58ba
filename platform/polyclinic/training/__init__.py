"""The life cycle of training: checkpoints, resuming, transfer, sharding and callbacks."""

from polyclinic.training.callbacks.compile_encoders import CompileEncoders
from polyclinic.training.sharding import ShardedEncoders

__all__ = ["CompileEncoders", "ShardedEncoders"]
