"""Where the files of a scan are: in the folder, or unpacked from its archives."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(kw_only=True)
class Places:
    """Places of the files of a scan; a member of an archive has a path below that of the archive.

    Attributes:
        root: folder that is scanned.
        unpacked: paths of members, with the file to which each was unpacked.
    """

    root: Path
    unpacked: dict[str, Path] = field(default_factory=dict)

    def file(self, path: str) -> Path:
        """Return the file of a path of the scan."""
        return self.unpacked.get(path) or self.root / path

    def cell(self, path: str) -> str:
        """Return the path for the table of the cohort: relative to the folder, or absolute for a member."""
        return str(self.unpacked.get(path, path))
