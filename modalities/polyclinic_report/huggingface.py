"""Any transformers text model as a report encoder, from a local folder only."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from polyclinic.nn import Encoded, Encoder, WeightAccount, masked_mean

_RUNS_CODE = {"auto_map", "quantization_config", "attn_implementation", "_attn_implementation", "_name_or_path"}
"""Keys of a configuration by which transformers imports or fetches more than the architecture."""


class HuggingFaceEncoder(Encoder):
    """A transformers text encoder, trained whole or through low-rank adapters (LoRA; Hu et al. 2021).

    Give the same folder to ``Report(pretrained=...)``, so that token numbers agree. Nothing is downloaded, no code
    of the folder is run, and only safetensors weights are read.

    Args:
        folder: with ``config.json`` and ``*.safetensors``; needed unless there is a ``config``.
        config: content of a ``config.json`` instead, for an architecture whose weights come from elsewhere.
        lora_rank: rank of the adapters; 0 trains the whole model.
        lora_alpha: the adapters' scale is ``lora_alpha / lora_rank``.
        lora_targets: names of the linear layers that get an adapter; peft's choice for the architecture when absent.

    Raises:
        ValueError: no such folder, no or not all weights in it, an architecture that is no text encoder, or not one
            of ``folder`` and ``config``.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        config: Mapping[str, Any] | None = None,
        lora_rank: int = 0,
        lora_alpha: int = 16,
        lora_targets: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if lora_rank < 0:
            raise ValueError(f"got rank {lora_rank}, expected 0 (no adapters) or more; set `lora_rank`")
        if (folder is None) == (config is None):
            raise ValueError("got both or neither of folder and config, expected one; set `folder` to a model folder")
        model, info = _pretrained(folder) if folder is not None else _of_config(config or {})
        if model.config.is_encoder_decoder:
            raise ValueError(f"got {model.config.model_type!r} with a decoder, expected a text encoder; set `folder`")
        if getattr(model, "pooler", None) is not None:
            # Unused by a mean over tokens, and distributed training stops at parameters without a gradient.
            model.pooler = None
        self.account = None if folder is None else _account(folder.name, list(model.state_dict()), info)
        self.width = int(model.config.hidden_size)
        self._longest = int(getattr(model.config, "max_position_embeddings", 0)) or None
        self._padding_token = int(getattr(model.config, "pad_token_id", None) or 0)
        if lora_rank:
            targets = None if lora_targets is None else list(lora_targets)
            model = _adapted(model, LoraConfig(r=lora_rank, lora_alpha=lora_alpha, target_modules=targets))
        # transformers hands it over in evaluation mode, in which its dropout would stay off.
        self.backbone = model.train()

    @classmethod
    def portable(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with the folder's configuration in the place of the folder."""
        if settings.get("folder") is None:
            return dict(settings)
        config = json.loads((Path(settings["folder"]) / "config.json").read_text(encoding="utf-8"))
        # The name under which somebody saved it may be a path.
        return {**settings, "folder": None, "config": {**config, "_name_or_path": ""}}

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``inputs["tokens"]`` [B, T] where not ``inputs["padding"]`` [B, T]; pool by a mean over real tokens.

        Raises:
            ValueError: more tokens than the model has positions.
        """
        tokens, padding = inputs["tokens"], inputs["padding"]
        if self._longest is not None and tokens.shape[1] > self._longest:
            raise ValueError(f"got {tokens.shape[1]} tokens, expected at most {self._longest}; set `max_tokens`")
        # Some architectures count positions from the padding token's number.
        filled = tokens.masked_fill(padding, self._padding_token)
        mixed = self.backbone(input_ids=filled, attention_mask=(~padding).long()).last_hidden_state
        return Encoded(mixed, masked_mean(mixed, padding), padding)


def _pretrained(folder: Path) -> tuple[Any, Mapping[str, Any]]:
    """The model of a folder, and which of its weights were found."""
    refuse_unusable(folder)
    # In float32, whatever the weights were stored in: Lightning's precision setting decides.
    found: tuple[Any, Mapping[str, Any]] = AutoModel.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
        output_loading_info=True,
    )  # fmt: skip
    return found


def _of_config(config: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The model of a configuration with random weights; code that it names is not run."""
    kind = str(config.get("model_type"))
    try:
        made = AutoConfig.for_model(**{key: value for key, value in config.items() if key not in _RUNS_CODE})
    except (ValueError, TypeError):
        raise ValueError(f"got config of model_type {kind!r}, which transformers does not know; set `config`") from None
    return AutoModel.from_config(made, trust_remote_code=False, dtype=torch.float32), {}


def _account(folder: str, names: Sequence[str], info: Mapping[str, Any]) -> WeightAccount:
    """Which weights were found; a pooler is not used, and need not be there.

    Raises:
        ValueError: a weight of the model is not in the folder, or has another shape there.
    """
    wanted = {str(key) for kind in ("missing_keys", "mismatched_keys") for key in info[kind]}
    missing = [name for name in names if name in wanted]
    if missing:
        raise ValueError(
            f"got folder {folder!r} without {len(missing)} of the model's weights (first {missing[0]!r}), expected all "
            "of them; set `folder`"
        )
    return WeightAccount(
        source=folder, loaded=tuple(names), new=(), dropped=tuple(sorted(map(str, info["unexpected_keys"])))
    )


def _adapted(model: nn.Module, config: LoraConfig) -> nn.Module:
    with warnings.catch_warnings():
        # peft still reads an attribute that transformers has renamed.
        warnings.simplefilter("ignore", FutureWarning)
        adapted: nn.Module = get_peft_model(model, config)
    return adapted


def refuse_unusable(folder: Path, *, setting: str = "folder") -> None:
    """Refuse a folder that lacks what every model folder has, before a library looks at it.

    Args:
        folder: of a model.
        setting: that names the folder, for the message.

    Raises:
        ValueError: no such folder, or no ``config.json`` or ``*.safetensors`` in it.
    """
    if not folder.is_dir():
        raise ValueError(f"got {folder.name!r}, which is not a folder; set `{setting}` to a local model folder")
    if not (folder / "config.json").is_file():
        raise ValueError(f"got folder {folder.name!r} without config.json; set `{setting}` to a local model folder")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"got folder {folder.name!r} without *.safetensors; save the model with `safe_serialization=True` "
            f"and set `{setting}`"
        )
