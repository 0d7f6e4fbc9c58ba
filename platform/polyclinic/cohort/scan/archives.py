"""Describe the archives of a folder, without unpacking them."""

import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ZIP, GZIP = (b"PK\x03\x04", b"PK\x05\x06"), b"\x1f\x8b"
"""First bytes of a zip file, which may be empty, and of gzip."""

_ARCHIVES = (*ZIP, GZIP, b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf", b"Rar!")
_TAR_PLACE, _TAR = 257, b"ustar"
_DOCUMENTS = frozenset({"[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF"})
_END_BYTES = 22 + 0xFFFF
_MAX_DIRECTORY_BYTES = 2**25
"""Size of the list of members in a zip file, from which on reading it would fill the memory."""

DAMAGED = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, tarfile.TarError)
"""Errors of the standard library for an archive that is damaged or packed in a way that it does not know."""


def is_tar(head: bytes) -> bool:
    """Return whether a file starts as a tar archive that is not compressed."""
    return head[_TAR_PLACE : _TAR_PLACE + len(_TAR)] == _TAR


def describe_archive(file: Path, head: bytes) -> tuple[str, str]:
    """Return the reason to leave an archive or a compressed file out, and how many members it has.

    Both are empty for another file. The members of a compressed tar archive are not counted, as all of it would have
    to be inflated.

    Args:
        file: file that may be an archive.
        head: its first bytes.
    """
    if not is_tar(head) and not head.startswith(_ARCHIVES):
        return "", ""
    try:
        names, targets = _members(file, head)
    except DAMAGED:
        return "archive", ""
    if any(map(climbs_out, (*names, *targets))):
        return "archive-climbs-out", ""
    return "archive", f"{len(names)} members" if names else ""


def is_document(names: list[str]) -> bool:
    """Return whether a zip file is one of an office program or of Java, whose members are not files of a hospital."""
    return bool(_DOCUMENTS & set(names))


def refuse_long_directory(file: Path) -> None:
    """Refuse a zip file whose list of members is too long to be read (APPNOTE 4.3.14, 4.3.16).

    Raises:
        ValueError: the list is larger than 32 MB.
    """
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - _END_BYTES))
        tail = stream.read()
    place, place64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    sizes = []
    if 0 <= place <= len(tail) - 16:
        sizes.append(struct.unpack_from("<I", tail, place + 12)[0])
    if 0 <= place64 <= len(tail) - 48:
        sizes.append(struct.unpack_from("<Q", tail, place64 + 40)[0])
    if any(size > _MAX_DIRECTORY_BYTES and size != 0xFFFFFFFF for size in sizes):
        raise ValueError("a list of members that is too long")


def climbs_out(name: str) -> bool:
    """Return whether the name of a member is absolute or leads out of the folder of the archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return path.is_absolute() or name[1:2] == ":"


def _members(file: Path, head: bytes) -> tuple[list[str], list[str]]:
    """Return the names of the members, and the targets of their links."""
    if not is_tar(head):
        refuse_long_directory(file)
        with zipfile.ZipFile(file) as archive:
            names = [member.filename for member in archive.infolist() if not member.is_dir()]
        return names, []
    with tarfile.open(file, "r:") as packed:
        members = [member for member in packed if not member.isdir()]
    return [member.name for member in members], list(_targets(members))


def _targets(members: list[tarfile.TarInfo]) -> Iterator[str]:
    """Yield where the links of an archive lead, relative to the archive."""
    for member in members:
        if member.issym():
            yield (PurePosixPath(member.name).parent / member.linkname).as_posix()
        elif member.islnk():
            yield member.linkname
