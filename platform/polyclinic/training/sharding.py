"""Encoders sharded over ranks with FSDP2, and conversion between sharded and full tensors."""

import warnings
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import lightning.pytorch as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from polyclinic.nn import MaskableEncoder
from polyclinic.tasks.optimizer import blocks_of


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over ranks, in one all-reduce per dtype; a missing gradient counts as zeros."""
    trained = [p for p in parameters if p.requires_grad]
    for dtype in dict.fromkeys(p.dtype for p in trained):
        group = [p for p in trained if p.dtype == dtype]
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in group])
        dist.all_reduce(flat)
        parts = flat.div_(dist.get_world_size()).split([p.numel() for p in group])
        for p, part in zip(group, parts, strict=True):
            p.grad = part.view_as(p)


def full_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Gather sharded values on the CPU of rank zero; every rank must call it."""
    gathered = {}
    for name, value in state.items():
        full = value.full_tensor() if isinstance(value, DTensor) else value
        if dist.get_rank() == 0:
            gathered[name] = full.cpu() if isinstance(full, Tensor) else full
    return gathered


def shard_like(value: Any, target: Any) -> Any:
    """Shard a full value with the layout of the tensor that it replaces; return any other value unchanged."""
    if not isinstance(target, DTensor) or not isinstance(value, Tensor) or value.shape != target.shape:
        return value
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements, src_data_rank=None)


def shard_optimizer_state(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Shard the full moments of an optimizer with the layout of its parameters."""
    # Keys of the state are numbers of parameters, in the order of the groups.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    keys = [key for group in state["param_groups"] for key in group["params"]]
    moments = {
        key: {name: shard_like(value, p) for name, value in state["state"][key].items()}
        for key, p in zip(keys, parameters, strict=True)
        if key in state["state"]
    }
    return {**state, "state": moments}


_PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true")


class ShardedEncoders(DDPStrategy):
    """DDP with encoders sharded over the ranks (FSDP2; Zhao et al. 2023, "PyTorch FSDP").

    The forward and the backward pass gather the blocks of an encoder one after the other; its gradients and moments
    exist only in shards. Heads, fusion, decoders and objective are small: they are replicated, and their gradients are
    averaged once a step. Validation gathers the full encoders once, so that ranks may have different modalities and
    numbers of batches in it. A checkpoint is the file that a single process would write: it is read without ranks, and
    a run may resume from it under another strategy.

    Args:
        process_group_backend: backend, such as ``nccl``; by the device unless set.
        minutes: timeout of a rank that waits for the others.

    Raises:
        ValueError: the precision scales gradients, or weights are averaged, which needs full weights in each step.
    """

    def __init__(self, *, process_group_backend: str | None = None, minutes: float = 30.0) -> None:
        super().__init__(process_group_backend=process_group_backend, timeout=timedelta(minutes=minutes))

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Always True: loading a checkpoint shards it like the parameters, so these must be sharded before."""
        return True

    def setup(self, trainer: L.Trainer) -> None:
        """Refuse settings that sharding does not support, then set up DDP."""
        if self.precision_plugin.precision not in _PRECISIONS:
            raise ValueError(
                f"got `trainer.precision` {self.precision_plugin.precision} with sharded encoders, expected one of "
                f"{_PRECISIONS}; set it to bf16-mixed"
            )
        if any(isinstance(callback, WeightAveraging) for callback in getattr(trainer, "callbacks", [])):
            raise ValueError(
                "got averaged weights with sharded encoders, expected none, as no rank has full weights to average; "
                "remove the callback, or set `trainer.strategy` to ddp"
            )
        if self._is_sharded() and trainer.state.fn != TrainerFn.FITTING:
            # In an evaluation after a fit, DDP would broadcast the full weights.
            assert self.accelerator is not None
            self.accelerator.setup(trainer)
            self.setup_precision_plugin()
            return
        super().setup(trainer)

    def configure_ddp(self) -> None:
        """Shard the encoders, from the weights of rank zero."""
        assert self.lightning_module is not None
        if self._is_sharded():
            return
        for value in [*self.lightning_module.parameters(), *self.lightning_module.buffers()]:
            dist.broadcast(value.detach(), src=0)
        # Tasks never change tokens in place, which the warning is about.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        for encoder in self._encoders():
            _shard(encoder, self.root_device.type)

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average the gradients of replicated parameters, which FSDP2 does not reduce."""
        assert self.lightning_module is not None
        average_gradients(p for p in self.lightning_module.parameters() if not isinstance(p, DTensor))

    def teardown(self) -> None:
        """Tear down without moving weights and moments to the CPU, as a shard belongs to the device of its mesh."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()

    def on_validation_start(self) -> None:
        """Gather the full encoders."""
        self._gather()

    def on_validation_end(self) -> None:
        """Shard the encoders again."""
        self._release()

    def on_test_start(self) -> None:
        """Gather the full encoders."""
        self._gather()

    def on_test_end(self) -> None:
        """Shard the encoders again."""
        self._release()

    def on_predict_start(self) -> None:
        """Gather the full encoders."""
        self._gather()

    def on_predict_end(self) -> None:
        """Shard the encoders again."""
        self._release()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the full weights on rank zero, which writes them; nothing on other ranks."""
        return full_state(super().lightning_module_state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the full moments on rank zero; empty ones on other ranks."""
        sharded: dict[str, Any] = super().optimizer_state(optimizer)
        return {**sharded, "state": {key: full_state(moments) for key, moments in sharded["state"].items()}}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load this rank's shards of full weights."""
        assert self.lightning_module is not None
        current = self.lightning_module.state_dict()
        sharded = {name: shard_like(value, current.get(name)) for name, value in checkpoint["state_dict"].items()}
        super().load_model_state_dict({"state_dict": sharded}, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this rank's shards of full moments."""
        states = [
            shard_optimizer_state(state, optimizer)
            for state, optimizer in zip(checkpoint["optimizer_states"], self.optimizers, strict=True)
        ]
        super().load_optimizer_state_dict({"optimizer_states": states})

    def _gather(self) -> None:
        # Tensors made in inference mode could not be trained with after the evaluation.
        with torch.inference_mode(mode=False), torch.no_grad():
            for module in [*self._encoders(), *self._blocks()]:
                if isinstance(module, FSDPModule):
                    module.set_reshard_after_forward(False, recurse=False)
                    module.unshard()

    def _release(self) -> None:
        for block in self._blocks():
            block.set_reshard_after_forward(True, recurse=False)
        for module in [*self._encoders(), *self._blocks()]:
            if isinstance(module, FSDPModule):
                module.reshard()

    def _is_sharded(self) -> bool:
        return any(isinstance(encoder, FSDPModule) for encoder in self._encoders())

    def _encoders(self) -> list[nn.Module]:
        assert self.lightning_module is not None
        return list(self.lightning_module.get_submodule("encoders").children())

    def _blocks(self) -> list[FSDPModule]:
        """Return the modules inside encoders that FSDP gathers separately."""
        inner = [module for encoder in self._encoders() for module in list(encoder.modules())[1:]]
        return [module for module in inner if isinstance(module, FSDPModule)]


def _shard(encoder: nn.Module, device: str) -> None:
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    for block in blocks_of(encoder):
        fully_shard(block, mesh=mesh)
    fully_shard(encoder, mesh=mesh, reshard_after_forward=False)
    if isinstance(encoder, MaskableEncoder):
        for method in ("tokenize", "encode"):
            register_fsdp_forward_method(encoder, method)
