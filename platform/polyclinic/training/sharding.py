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
    """Average over ranks, in one message per type of number; a parameter without a gradient gives zeros."""
    trained = [p for p in parameters if p.requires_grad]
    for dtype in dict.fromkeys(p.dtype for p in trained):
        group = [p for p in trained if p.dtype == dtype]
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in group])
        dist.all_reduce(flat)
        parts = flat.div_(dist.get_world_size()).split([p.numel() for p in group])
        for p, part in zip(group, parts, strict=True):
            p.grad = part.view_as(p)


def whole(state: Mapping[str, Any]) -> dict[str, Any]:
    """Gathered values on the CPU of rank zero; every rank must call it."""
    told = {}
    for name, value in state.items():
        full = value.full_tensor() if isinstance(value, DTensor) else value
        if dist.get_rank() == 0:
            told[name] = full.cpu() if isinstance(full, Tensor) else full
    return told


def share(value: Any, held: Any) -> Any:
    """This rank's share of a whole value, laid out as what it will replace."""
    if not isinstance(held, DTensor) or not isinstance(value, Tensor) or value.shape != held.shape:
        return value
    return distribute_tensor(value.to(held.device), held.device_mesh, held.placements, src_data_rank=None)


def shared_moments(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's state numbers parameters in the order of its groups."""
    held = [p for group in optimizer.param_groups for p in group["params"]]
    keys = [key for group in state["param_groups"] for key in group["params"]]
    moments = {
        key: {name: share(value, p) for name, value in state["state"][key].items()}
        for key, p in zip(keys, held, strict=True)
        if key in state["state"]
    }
    return {**state, "state": moments}


_PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true")


class ShardedEncoders(DDPStrategy):
    """Trains as DDP would, while each rank keeps a share of every encoder (FSDP2; Zhao et al. 2023, "PyTorch FSDP").

    An encoder's blocks are gathered one after the other as the forward and the backward pass come to them; gradients
    and the optimizer's moments exist in shares alone. Heads, fusion, decoders and objective are small: every rank has
    them whole, and their gradients are averaged once a step. Validation gathers the encoders whole, once, so that
    ranks may then have different modalities and numbers of batches. A checkpoint is one file, the one that a single
    process would write: it is read without ranks, and a run may go on from it under another strategy.

    Args:
        process_group_backend: such as ``nccl``; by the device unless set.
        minutes: after which a rank that waits for the others gives up.

    Raises:
        ValueError: a precision with scaled gradients, or averaged weights, which need the weights whole in each step.
    """

    def __init__(self, *, process_group_backend: str | None = None, minutes: float = 30.0) -> None:
        super().__init__(process_group_backend=process_group_backend, timeout=timedelta(minutes=minutes))

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """A checkpoint is shared out as it is read, so shares must be there."""
        return True

    def setup(self, trainer: L.Trainer) -> None:
        """Refuse what cannot be shared out, then go DDP's way."""
        if self.precision_plugin.precision not in _PRECISIONS:
            raise ValueError(
                f"got `trainer.precision` {self.precision_plugin.precision} with sharded encoders, expected one of "
                f"{_PRECISIONS}; set it to bf16-mixed"
            )
        if any(isinstance(callback, WeightAveraging) for callback in getattr(trainer, "callbacks", [])):
            raise ValueError(
                "got averaged weights with sharded encoders, which no rank has whole to average; remove the callback, "
                "or set `trainer.strategy` to ddp"
            )
        if self._shared_out() and trainer.state.fn != TrainerFn.FITTING:
            # Evaluated after a fit: DDP would send whole weights around.
            assert self.accelerator is not None
            self.accelerator.setup(trainer)
            self.setup_precision_plugin()
            return
        super().setup(trainer)

    def configure_ddp(self) -> None:
        """Share out the encoders, from the weights of rank zero."""
        assert self.lightning_module is not None
        if self._shared_out():
            return
        for value in [*self.lightning_module.parameters(), *self.lightning_module.buffers()]:
            dist.broadcast(value.detach(), src=0)
        # What tasks make of tokens is made out of place.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        for encoder in self._encoders():
            _shard(encoder, self.root_device.type)

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average the gradients that FSDP2 does not know of."""
        assert self.lightning_module is not None
        average_gradients(p for p in self.lightning_module.parameters() if not isinstance(p, DTensor))

    def teardown(self) -> None:
        """Leave weights and moments where they are: a share on another device is no share of anything."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()

    def on_validation_start(self) -> None:
        """Gather the encoders."""
        self._gather()

    def on_validation_end(self) -> None:
        """Keep a share again."""
        self._release()

    def on_test_start(self) -> None:
        """Gather the encoders."""
        self._gather()

    def on_test_end(self) -> None:
        """Keep a share again."""
        self._release()

    def on_predict_start(self) -> None:
        """Gather the encoders."""
        self._gather()

    def on_predict_end(self) -> None:
        """Keep a share again."""
        self._release()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights, on rank zero, which writes them; nothing on the others."""
        return whole(super().lightning_module_state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Likewise the moments."""
        told: dict[str, Any] = super().optimizer_state(optimizer)
        return {**told, "state": {key: whole(moments) for key, moments in told["state"].items()}}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this rank's share of whole weights."""
        assert self.lightning_module is not None
        held = self.lightning_module.state_dict()
        shared = {name: share(value, held.get(name)) for name, value in checkpoint["state_dict"].items()}
        super().load_model_state_dict({"state_dict": shared}, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Likewise of whole moments."""
        states = [
            shared_moments(state, optimizer)
            for state, optimizer in zip(checkpoint["optimizer_states"], self.optimizers, strict=True)
        ]
        super().load_optimizer_state_dict({"optimizer_states": states})

    def _gather(self) -> None:
        # Gathered weights are trained with later on, which those made in inference mode could not be.
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

    def _shared_out(self) -> bool:
        return any(isinstance(encoder, FSDPModule) for encoder in self._encoders())

    def _encoders(self) -> list[nn.Module]:
        assert self.lightning_module is not None
        return list(self.lightning_module.get_submodule("encoders").children())

    def _blocks(self) -> list[FSDPModule]:
        """What is gathered by itself inside an encoder."""
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
