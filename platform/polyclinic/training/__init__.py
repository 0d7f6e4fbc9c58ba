"""The life cycle of training: checkpoints, resuming, transfer, sharding and callbacks."""

from typing import TYPE_CHECKING

from polyclinic.system.lazy import import_when_used

if TYPE_CHECKING:
    from polyclinic.training.callbacks.compile_encoders import CompileEncoders
    from polyclinic.training.sharding import ShardedEncoders

__all__ = ["CompileEncoders", "ShardedEncoders"]

# Commands that only read a checkpoint do not load Lightning.
__getattr__ = import_when_used(
    __name__, {"CompileEncoders": "callbacks.compile_encoders", "ShardedEncoders": "sharding"}
)
