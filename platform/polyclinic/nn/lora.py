"""Low-rank adaptation, in a separate module because peft takes seconds to import."""

from collections.abc import Sequence

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from polyclinic.nn.adapters import Adapter


class Lora(Adapter):
    """Freezes an encoder and adds low-rank updates to some of its linear maps, by peft (Hu et al. 2022, equation 3).

    Args:
        rank: rank of the updates.
        alpha: numerator of their scale, ``alpha / rank``.
        dropout: dropout probability of their inputs.
        modules: last parts of the names of the linear maps; all linear maps of the transformer blocks unless set.
    """

    def __init__(
        self, *, rank: int = 4, alpha: float = 8.0, dropout: float = 0.0, modules: Sequence[str] | None = None
    ) -> None:
        if rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
            raise ValueError(
                f"got rank {rank}, alpha {alpha} and dropout {dropout}, expected a rank of at least 1, alpha above 0 "
                "and dropout in [0, 1); set them in `model.adapter`"
            )
        self.rank, self.alpha, self.dropout, self.modules = rank, alpha, dropout, modules

    def adapt(self, encoder: nn.Module) -> None:
        """Freeze the encoder and add the trained updates.

        Raises:
            ValueError: the encoder has no linear map with one of these names.
        """
        found = self._linear_maps(encoder)
        if not found:
            raise ValueError(
                f"got modules {self.modules}, expected names of linear maps of {type(encoder).__name__}, such as "
                f"{sorted({name.rpartition('.')[2] for name in _linear_names(encoder)})}; set `model.adapter.modules`"
            )
        encoder.requires_grad_(False)
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=found)
        inject_adapter_in_model(config, encoder)

    def merge(self, encoder: nn.Module) -> None:
        """Add the updates to the weights of the linear maps."""
        for name, module in list(encoder.named_modules()):
            if isinstance(module, LoraLayer):
                module.merge()
                parent, _, attribute = name.rpartition(".")
                setattr(encoder.get_submodule(parent), attribute, module.get_base_layer())

    def _linear_maps(self, encoder: nn.Module) -> list[str]:
        names = _linear_names(encoder)
        if self.modules is None:
            return [name for name in names if any(part.isdigit() for part in name.split("."))]
        wanted = {*self.modules}
        return [name for name in names if name.rpartition(".")[2] in wanted]


def _linear_names(encoder: nn.Module) -> list[str]:
    return [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
