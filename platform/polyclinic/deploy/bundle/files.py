"""Read and write the files of a bundle, with checksums, and weights as float32, bfloat16 or int8."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.files.atomic import atomic_folder
from polyclinic.files.digest import file_sha256
from polyclinic.files.kinds import BUNDLE, refuse_other_kind
from polyclinic.files.results import refuse_used_folder
from polyclinic.system.terminal import printable

WEIGHTS, CONTENT, CARD, LICENCES, SUMS = (
    "model.safetensors", "bundle.json", "MODEL_CARD.md", "LICENCES.md", "SHA256SUMS",
)  # fmt: skip
FILES = (WEIGHTS, CONTENT, CARD, LICENCES)
_MAX_SUMS_BYTES = 1 << 16
_DIGEST = re.compile("[0-9a-f]{64}")


def check_files(folder: Path) -> str:
    """Verify the checksums of a bundle.

    Returns:
        SHA-256 of the list of checksums, which identifies the bundle.

    Raises:
        ValueError: the folder is not a bundle, or a file is missing, altered, a link or not part of the format.
    """
    refuse_other_kind(folder, BUNDLE, "name a folder written by `polyclinic bundle export`")
    if not folder.is_dir():
        raise ValueError(
            f"got {printable(folder.name)!r}, which is not a folder; set it to one written by "
            "`polyclinic bundle export`"
        )
    sums = folder / SUMS
    if not sums.is_file() or sums.is_symlink():
        raise ValueError(
            f"got folder {printable(folder.name)!r} without {SUMS}; expected a bundle of `polyclinic bundle export`"
        )
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file() or path.name not in (*FILES, SUMS):
            raise ValueError(
                f"got {printable(path.name)!r} in the bundle, expected {', '.join((*FILES, SUMS))} alone, as plain "
                "files; remove it"
            )
    for name, digest in _read_sums(sums).items():
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing from the bundle; fetch it again")
        if file_sha256(folder / name) != digest:
            raise ValueError(f"{name} does not match {SUMS}: it was altered or is damaged; fetch the bundle again")
    return file_sha256(sums)


def write_files(folder: Path, files: Mapping[str, bytes], check: Callable[[Path], None]) -> str:
    """Write a bundle atomically.

    Args:
        folder: new or empty folder.
        files: content by file name.
        check: function that checks the temporary folder before it is renamed; if it raises, nothing is left.

    Returns:
        The digest of the bundle, as ``check_files`` does.
    """
    refuse_used_folder(folder)
    with atomic_folder(folder) as partial:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        lines = [f"{file_sha256(partial / name)}  {name}\n" for name in sorted(files)]
        (partial / SUMS).write_text("".join(lines), encoding="utf-8")
        check(partial)
    return file_sha256(folder / SUMS)


def _read_sums(sums: Path) -> dict[str, str]:
    """Read the digest of each file from a list in the format of ``sha256sum``.

    Raises:
        ValueError: a line is malformed, or a file is unknown, listed twice or missing.
    """
    listed: dict[str, str] = {}
    with sums.open("rb") as stream:
        text = stream.read(_MAX_SUMS_BYTES).decode("utf-8", errors="replace")
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        if not _DIGEST.fullmatch(digest) or not name or name in listed:
            raise ValueError(f'{SUMS} has a line that is not "<sha256>  <file name>"; fetch the bundle again')
        if name not in FILES:
            raise ValueError(
                f"{SUMS} lists {printable(name)!r}, expected only {', '.join(FILES)}; fetch the bundle again"
            )
        listed[name] = digest
    for name in sorted(FILES):
        if name not in listed:
            raise ValueError(f"{SUMS} does not list {name}, so the bundle is not complete; fetch it again")
    return listed


WEIGHT_DTYPES = ("float32", "bfloat16", "int8")
_SCALE = ".scale"
_MIN_PACKED_SIZE = 1024
_MAX_INT8 = 127


def pack(state: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
    """Quantise the large matrices of a state; vectors, small tensors and integers are unchanged.

    ``int8`` stores each row of a matrix as integers times a scale, its largest magnitude over 127: symmetric, one scale
    per output (Jacob et al. 2018, section 2, without zero points).

    Args:
        state: tensors by name.
        weights: one of ``WEIGHT_DTYPES``.

    Raises:
        ValueError: ``weights`` is not one of ``WEIGHT_DTYPES``.
    """
    if weights not in WEIGHT_DTYPES:
        raise ValueError(f"got weights {weights!r}, expected one of {WEIGHT_DTYPES}; set `--weights`")
    packed: dict[str, Tensor] = {}
    for name, value in state.items():
        if weights == "float32" or not _is_large_matrix(value):
            packed[name] = value.contiguous()
        elif weights == "bfloat16":
            packed[name] = value.to(torch.bfloat16).contiguous()
        else:
            packed[name + _SCALE] = scale = _row_scales(value)
            packed[name] = torch.round(value.flatten(1) / scale[:, None]).to(torch.int8).reshape(value.shape)
    return packed


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that ``pack`` stored, with float32 in place of bfloat16 and int8."""
    return {
        name: _unpacked(value, packed.get(name + _SCALE))
        for name, value in packed.items()
        if not (name.endswith(_SCALE) and packed.get(name.removesuffix(_SCALE), value).dtype == torch.int8)
    }


def _unpacked(value: Tensor, scale: Tensor | None) -> Tensor:
    if scale is not None and value.dtype == torch.int8:
        return (value.flatten(1).float() * scale[:, None]).reshape(value.shape)
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def _is_large_matrix(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim >= 2 and value.numel() >= _MIN_PACKED_SIZE


def _row_scales(value: Tensor) -> Float[Tensor, " R"]:
    return value.flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / _MAX_INT8
