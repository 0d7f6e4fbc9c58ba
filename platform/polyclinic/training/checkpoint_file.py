"""Read the content and provenance of a ``.ckpt`` file, without building its model."""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
import yaml

from polyclinic.cohort.leakage.overlap import TrainingExposure
from polyclinic.files.kinds import CHECKPOINT, refuse_other_kind

_RUN_ID_CHARACTERS = 8
_MAX_CONFIGURATION = 1_000_000
_CHUNK = 1 << 20
_MARK = b"sha256:"
_SEAL = len(_MARK) + 2 * hashlib.sha256().digest_size
_END, _END_SIZE = b"PK\x05\x06", 22
"""The record that ends a ZIP archive; its last two bytes are the length of the comment that follows it."""


def load_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Load the content of a ``.ckpt`` file.

    Raises:
        ValueError: the file is missing, damaged, not weights-only, or not from ``polyclinic fit``.
    """
    refuse_other_kind(checkpoint, CHECKPOINT, "name a .ckpt file of `polyclinic fit`")
    if not checkpoint.is_file():
        raise ValueError(f"checkpoint {checkpoint.name!r} does not exist; name a .ckpt file")
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
    """Append the SHA-256 of a checkpoint as the comment of its ZIP archive, which torch and unzip skip.

    Args:
        stream: archive of ``torch.save``, open for reading and writing.
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
    """Verify the SHA-256 of a checkpoint, or the CRC of every entry where it was written without one.

    Raises:
        ValueError: a byte was changed, or the archive is not complete.
    """
    with checkpoint.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _END_SIZE - _SEAL))
        tail = stream.read()
        sealed, plain = tail[:_END_SIZE], tail[-_END_SIZE:]
        if _ends(sealed, _SEAL) and len(tail) == _END_SIZE + _SEAL:
            intact = tail[_END_SIZE:] == _MARK + _digest(stream, size - _SEAL)
        else:
            intact = _ends(plain, 0) and _has_right_entries(stream)
    if not intact:
        raise ValueError(
            f"{checkpoint.name} is damaged or not a weights-only checkpoint: its content does not match its checksum; "
            "use a copy, or another checkpoint of the run"
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
    """Return whether every entry of an archive is uncompressed, as torch writes them, and matches its CRC."""
    try:
        with zipfile.ZipFile(stream) as archive:
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
            return stored and archive.testzip() is None
    except Exception:  # zipfile raises many types for damaged archives.
        return False


def provenance(content: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance record of a checkpoint; empty where it was not written by ``polyclinic fit``."""
    record = _callback_state(content, "Provenance")
    return record if isinstance(record, dict) else {}


def configuration(text: object) -> dict[str, Any]:
    """Parse the configuration that a run stored in its checkpoints, with ``model`` and ``data``.

    Raises:
        ValueError: the text is not YAML, or not such a mapping.
    """
    if not isinstance(text, str) or len(text) > _MAX_CONFIGURATION:
        raise ValueError(
            f"got a configuration that is not a text of at most {_MAX_CONFIGURATION} characters, expected YAML"
        )
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
    """Return the training exposure of a checkpoint; an unknown one, with the reason, where none was recorded."""
    state = _callback_state(content, "SeenRecord")
    if state:
        return TrainingExposure.of(state)
    run = str(provenance(content).get("run_id") or "without a name")[:_RUN_ID_CHARACTERS]
    return TrainingExposure(
        unknown=(f"the checkpoint of run {run} keeps no record of the studies that it was made from",)
    )


def _callback_state(content: dict[str, Any], key: str) -> Any:
    """Return the state of a callback; None where the checkpoint has no such callback."""
    states = content.get("callbacks")
    return states.get(key) if isinstance(states, dict) else None
