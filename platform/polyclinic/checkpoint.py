"""What a ``.ckpt`` file says of itself, without building its model."""

from pathlib import Path
from typing import Any

import torch

from polyclinic.cohort.overlap import Seen

_SHOWN = 8


def load_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """The content of a ``.ckpt`` file.

    Raises:
        ValueError: no such file, not weights-only, or not of ``polyclinic fit``.
    """
    if not checkpoint.is_file():
        raise ValueError(f"checkpoint {checkpoint.name!r} does not exist; set `--checkpoint` to a .ckpt file")
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{checkpoint.name} is not a weights-only checkpoint ({type(error).__name__})") from None
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"{checkpoint.name} is not a checkpoint of `polyclinic fit`")
    return content


def provenance(content: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint's content tells of its run; empty where it was not written by ``polyclinic fit``."""
    told: dict[str, Any] = content.get("callbacks", {}).get("Provenance") or {}
    return told


def seen_by(content: dict[str, Any]) -> Seen:
    """The patients and contents that a checkpoint was made from; in words where it was written without them."""
    state = content.get("callbacks", {}).get("SeenRecord")
    if state:
        return Seen.of(state)
    run = str(provenance(content).get("run_id") or "without a name")[:_SHOWN]
    return Seen(unknown=(f"the checkpoint of run {run} keeps no record of the studies that it was made from",))
