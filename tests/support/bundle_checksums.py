"""Checksums of a bundle that a test has edited, so that only the edit can be the reason of a refusal."""

from pathlib import Path

from polyclinic.deploy.bundle.files import SUMS
from polyclinic.files.digest import file_sha256


def write_checksums(folder: Path) -> None:
    """List every file of the folder with its checksum, as an export does."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    (folder / SUMS).write_text("".join(f"{file_sha256(folder / name)}  {name}\n" for name in names))
