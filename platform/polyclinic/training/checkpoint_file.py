"""What a ``.ckpt`` file says of itself, without building its model."""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
import yaml

from polyclinic.cohort.leakage.overlap import TrainingExposure

_SHOWN = 8
_LONGEST = 1_000_000
_CHUNK = 1 << 20
_MARK = b"sha256:"
_SEAL = len(_MARK) + 2 * hashlib.sha256().digest_size
_END, _END_SIZE = b"PK\x05\x06", 22
"""The record that ends a ZIP archive; its last two bytes are the length of the comment that follows it."""


def load_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """The content of a ``.ckpt`` file.

    Raises:
        ValueError: no such file, damaged, not weights-only, or not of ``polyclinic fit``.
    """
    if not checkpoint.is_file():
        raise ValueError(f"checkpoint {checkpoint.name!r} does not exist; set `--checkpoint` to a .ckpt file")
    verify_checksum(checkpoint)
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{checkpoint.name} is not a weights-only checkpoint ({type(error).__name__})") from None
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ValueError(f"{checkpoint.name} is not a checkpoint of `polyclinic fit`")
    return cast(dict[str, Any], content)


def seal(stream: BinaryIO) -> None:
    """Append a SHA-256 of a checkpoint to it, as the comment of its archive, which torch and unzip skip.

    Args:
        stream: the archive that ``torch.save`` wrote, open for reading and writing.
    """
    stream.seek(-_END_SIZE, os.SEEK_END)
    assert stream.read(_END_SIZE)[:4] == _END, "torch.save wrote an archive that ends in a comment"
    stream.seek(-2, os.SEEK_END)
    stream.write(_SEAL.to_bytes(2, "little"))
    size = stream.tell()
    digest = _digest(stream, size)
    stream.seek(size)
    stream.write(_MARK + digest)


def verify_checksum(checkpoint: Path) -> None:
    """Compare every byte of a checkpoint with its SHA-256, or every entry with its CRC where it was written without.

    Raises:
        ValueError: a byte was changed, or the file is not a whole archive.
    """
    with checkpoint.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _END_SIZE - _SEAL))
        tail = stream.read()
        sealed, plain = tail[:_END_SIZE], tail[-_END_SIZE:]
        if _ends(sealed, _SEAL) and len(tail) == _END_SIZE + _SEAL:
            whole = tail[_END_SIZE:] == _MARK + _digest(stream, size - _SEAL)
        else:
            whole = _ends(plain, 0) and _has_right_entries(stream)
    if not whole:
        raise ValueError(
            f"{checkpoint.name} is damaged or not a weights-only checkpoint: its content does not have its checksum; "
            "take a copy, or another checkpoint of the run"
        )


def _ends(record: bytes, comment: int) -> bool:
    return record[:4] == _END and record[-2:] == comment.to_bytes(2, "little")


def _digest(stream: BinaryIO, size: int) -> bytes:
    digest, left = hashlib.sha256(), size
    stream.seek(0)
    while left and (chunk := stream.read(min(_CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest().encode()


def _has_right_entries(stream: BinaryIO) -> bool:
    """Whether every entry of an archive has its CRC; torch stores entries as they are."""
    try:
        with zipfile.ZipFile(stream) as archive:
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
            return stored and archive.testzip() is None
    except Exception:  # zipfile has half a dozen kinds of them for damaged archives
        return False


def provenance(content: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint's content tells of its run; empty where it was not written by ``polyclinic fit``."""
    told = _of_callback(content, "Provenance")
    return told if isinstance(told, dict) else {}


def configuration(text: object) -> dict[str, Any]:
    """The configuration that a run put into its checkpoints, with ``model`` and ``data``.

    Raises:
        ValueError: no YAML, or no such mapping.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ValueError(f"got a configuration that is not a text of at most {_LONGEST} characters, expected YAML")
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"the checkpoint's configuration is not YAML ({type(error).__name__}); expected one of `polyclinic fit`"
        ) from None
    if not isinstance(config, dict) or not all(isinstance(config.get(key), dict) for key in ("model", "data")):
        raise ValueError("the configuration holds no `model` and `data`; expected a checkpoint of `polyclinic fit`")
    return config


def exposure_of(content: dict[str, Any]) -> TrainingExposure:
    """The patients and contents that a checkpoint was made from; in words where it was written without them."""
    state = _of_callback(content, "SeenRecord")
    if state:
        return TrainingExposure.of(state)
    run = str(provenance(content).get("run_id") or "without a name")[:_SHOWN]
    return TrainingExposure(
        unknown=(f"the checkpoint of run {run} keeps no record of the studies that it was made from",)
    )


def _of_callback(content: dict[str, Any], key: str) -> Any:
    """What a callback kept; None where the checkpoint has no such callback."""
    states = content.get("callbacks")
    return states.get(key) if isinstance(states, dict) else None
