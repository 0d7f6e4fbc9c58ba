"""The files of a bundle, and their checksums."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from polyclinic.files.atomic import atomic_folder
from polyclinic.files.digest import file_sha256
from polyclinic.system.terminal import printable

WEIGHTS, CONTENT, CARD, LICENCES, SUMS = (
    "model.safetensors", "bundle.json", "MODEL_CARD.md", "LICENCES.md", "SHA256SUMS",
)  # fmt: skip
FILES = (WEIGHTS, CONTENT, CARD, LICENCES)
_LONGEST_LIST = 1 << 16
_DIGEST = re.compile("[0-9a-f]{64}")


def check_files(folder: Path) -> str:
    """Compare every file of a bundle with the list of checksums.

    Returns:
        SHA-256 of that list, which tells one bundle from another.

    Raises:
        ValueError: no bundle, a file that is missing, altered, linked elsewhere or that the format does not know.
    """
    if not folder.is_dir():
        raise ValueError(
            f"got {printable(folder.name)!r}, which is not a folder; set it to a bundle of `polyclinic bundle export`"
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
    for name, digest in _listed(sums).items():
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing from the bundle; fetch it again")
        if file_sha256(folder / name) != digest:
            raise ValueError(f"{name} is not what {SUMS} says: it was altered or is damaged; fetch the bundle again")
    return file_sha256(sums)


def write_files(folder: Path, files: Mapping[str, bytes], check: Callable[[Path], None]) -> str:
    """Write a bundle whole, or not at all.

    Args:
        folder: that is not there yet, or empty.
        files: content by name.
        check: is given the written folder before it gets its name; where it raises, nothing is left.

    Returns:
        What ``check_files`` would.
    """
    refuse_used(folder)
    with atomic_folder(folder) as partial:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        lines = [f"{file_sha256(partial / name)}  {name}\n" for name in sorted(files)]
        (partial / SUMS).write_text("".join(lines), encoding="utf-8")
        check(partial)
    return file_sha256(folder / SUMS)


def refuse_used(folder: Path) -> None:
    """Stop where a folder to be written holds something.

    Raises:
        ValueError: it does, or it is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"got folder {folder.name!r}, which is not empty; set `--out` to a new folder")


def _listed(sums: Path) -> dict[str, str]:
    """Digest by name, as ``sha256sum`` writes them: of every file of the format, once.

    Raises:
        ValueError: another line, another file, or one that is missing.
    """
    listed: dict[str, str] = {}
    with sums.open("rb") as stream:
        text = stream.read(_LONGEST_LIST).decode("utf-8", errors="replace")
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        if not _DIGEST.fullmatch(digest) or not name or name in listed:
            raise ValueError(f"{SUMS} has a line that is no checksum and plain file name; fetch the bundle again")
        if name not in FILES:
            raise ValueError(
                f"{SUMS} lists {printable(name)!r}, expected only {', '.join(FILES)}; fetch the bundle again"
            )
        listed[name] = digest
    for name in sorted(FILES):
        if name not in listed:
            raise ValueError(f"{SUMS} does not list {name}; the bundle is not whole: fetch it again")
    return listed
