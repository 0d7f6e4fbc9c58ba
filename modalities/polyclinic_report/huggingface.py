"""Text encoders of the transformers library, from a local folder only."""

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

_UNSAFE_KEYS = {"auto_map", "quantization_config", "attn_implementation", "_attn_implementation", "_name_or_path"}
"""Configuration keys by which transformers imports or downloads more than the architecture."""


class HuggingFaceEncoder(Encoder):
    """Text encoder of transformers, trained fully or by low-rank adapters (LoRA; Hu et al. 2021).

    Pass the same folder to ``Report(pretrained=...)``, so that token numbers agree. Nothing is downloaded, no code of
    the folder runs, and only safetensors weights are read.

    Args:
        folder: folder with ``config.json`` and ``*.safetensors``; required without ``config``.
        config: content of a ``config.json``, for an architecture whose weights come from a checkpoint.
        lora_rank: rank of the adapters; 0 trains the full model.
        lora_alpha: numerator of the adapter scale ``lora_alpha / lora_rank``.
        lora_targets: names of the adapted linear layers; peft's default for the architecture if None.

    Raises:
        ValueError: the folder is missing or lacks weights, the architecture is not a text encoder, or not exactly one
            of ``folder`` and ``config`` is given.
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
            # The pooler is not used, and distributed training fails on parameters without a gradient.
            model.pooler = None
        self.account = None if folder is None else _account(folder.name, list(model.state_dict()), info)
        self.width = int(model.config.hidden_size)
        self._max_positions = int(getattr(model.config, "max_position_embeddings", 0)) or None
        self._padding_token = int(getattr(model.config, "pad_token_id", None) or 0)
        if lora_rank:
            targets = None if lora_targets is None else list(lora_targets)
            model = _adapted(model, LoraConfig(r=lora_rank, lora_alpha=lora_alpha, target_modules=targets))
        # transformers returns the model in evaluation mode, in which dropout would stay off.
        self.backbone = model.train()

    @classmethod
    def portable(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings with the configuration of the folder in place of its path."""
        if settings.get("folder") is None:
            return dict(settings)
        config = json.loads((Path(settings["folder"]) / "config.json").read_text(encoding="utf-8"))
        # The name in a saved configuration may be a local path.
        return {**settings, "folder": None, "config": {**config, "_name_or_path": ""}}

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``inputs["tokens"]`` [B, T] outside ``inputs["padding"]`` [B, T]; pool by a mean over tokens.

        Raises:
            ValueError: there are more tokens than positions.
        """
        tokens, padding = inputs["tokens"], inputs["padding"]
        if self._max_positions is not None and tokens.shape[1] > self._max_positions:
            raise ValueError(f"got {tokens.shape[1]} tokens, expected at most {self._max_positions}; set `max_tokens`")
        # Some architectures derive positions from the number of the padding token.
        filled = tokens.masked_fill(padding, self._padding_token)
        mixed = self.backbone(input_ids=filled, attention_mask=(~padding).long()).last_hidden_state
        return Encoded(mixed, masked_mean(mixed, padding), padding)


def _pretrained(folder: Path) -> tuple[Any, Mapping[str, Any]]:
    """Load the model of a folder, with an account of its weights."""
    refuse_unusable(folder)
    # Always float32: the precision setting of Lightning decides, not the stored dtype.
    loaded: tuple[Any, Mapping[str, Any]] = AutoModel.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
        output_loading_info=True,
    )  # fmt: skip
    return loaded


def _of_config(config: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """Build the model of a configuration with random weights; code that it names is not run."""
    kind = str(config.get("model_type"))
    try:
        architecture = AutoConfig.for_model(**{key: value for key, value in config.items() if key not in _UNSAFE_KEYS})
    except (ValueError, TypeError):
        raise ValueError(f"got config of model_type {kind!r}, which transformers does not know; set `config`") from None
    return AutoModel.from_config(architecture, trust_remote_code=False, dtype=torch.float32), {}


def _account(folder: str, names: Sequence[str], info: Mapping[str, Any]) -> WeightAccount:
    """Return the account of loaded weights; those of an unused pooler may be missing.

    Raises:
        ValueError: a weight of the model is missing in the folder, or has another shape.
    """
    unfilled = {str(key) for kind in ("missing_keys", "mismatched_keys") for key in info[kind]}
    missing = [name for name in names if name in unfilled]
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
    """Refuse a folder without the files of a model, before a library opens it.

    Args:
        folder: model folder.
        setting: name of the setting, for the message.

    Raises:
        ValueError: the folder does not exist, or lacks ``config.json`` or ``*.safetensors``.
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
