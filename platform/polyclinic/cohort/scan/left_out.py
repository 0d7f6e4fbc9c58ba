"""Files that a scan leaves out, by reason."""

from collections import defaultdict
from typing import Any

REASONS = {
    "about-the-data": "a file that describes the data set, such as a README, a licence, checksums or a DICOMDIR",
    "ambiguous": "several plugins or several rows of a table take the file: separate them, or name its modality by its "
    "suffix",
    "ambiguous-name": "its name fits studies of several patients: name the file after its study",
    "another-of-the-study": "its study has another file of this modality, and a cohort has one: add a row for it",
    "archive": "a cohort reads plain files: set `--unpack` to a new folder for the members of zip and tar archives",
    "archive-climbs-out": "an archive whose members would be written outside its folder: do not unpack it",
    "archive-refused": "damaged, too large, or with a member that is not safe: unpack it with care and scan the result",
    "archive-within": "an archive in an archive, of which only the outer one is unpacked: unpack it, and scan again",
    "conflicting-headers": "files of one study state different patients: correct the headers or the table",
    "duplicate": "the same content as a file that is used",
    "empty": "a file of no bytes",
    "hidden": "a hidden file, or one that a desktop left behind",
    "link": "a link to a place inside the folder, which is scanned there",
    "link-leaves-folder": "a link that leads out of the folder, or nowhere: move its target into the folder",
    "not-a-file": "neither a file nor a folder, such as a socket",
    "table-without-studies": "no column of the table has one row per study or patient of the folder: join it with "
    "`polyclinic cohort add`",
    "unreadable": "broken, or of a format that no installed plugin reads",
    "unreadable-folder": "a folder without permission to list it",
    "unusable-name": "a name that a table cannot hold: spaces at its ends, or characters that are not text",
}
"""What a person should know or do, by reason."""


class LeftOut:
    """Collect files with the reason for which they are left out."""

    def __init__(self) -> None:
        self._files: dict[str, list[tuple[str, str]]] = defaultdict(list)

    def add(self, reason: str, path: str, why: str = "") -> None:
        """Add a file by its path relative to the folder, with what its reader said about it."""
        assert reason in REASONS
        self._files[reason].append((path, why))

    def counts(self) -> dict[str, int]:
        """Return the number of files by reason."""
        return {reason: len(files) for reason, files in sorted(self._files.items())}

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values: count, advice and files by reason."""
        return {
            reason: {
                "count": len(files),
                "advice": REASONS[reason],
                "files": [{"path": path} | ({"why": why} if why else {}) for path, why in sorted(files)],
            }
            for reason, files in sorted(self._files.items())
        }
