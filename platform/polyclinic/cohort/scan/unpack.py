"""Unpack the archives of a folder into another one: no member leaves it, and all of it is bounded.

The limits are checked before anything is written where the archive states its sizes, and again for what is written.
An archive with a member that is refused is left out completely.
"""

import errno
import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from polyclinic.cohort.scan.archives import DAMAGED, GZIP, ZIP, climbs_out, is_document, is_tar, refuse_long_directory
from polyclinic.cohort.scan.left_out import LeftOut
from polyclinic.files.atomic import atomic_folder
from polyclinic.system.progress import track

MAX_MEMBERS = 200_000
MAX_BYTES = 200_000_000_000
MAX_RATIO = 200
"""Largest ratio of an archive that inflates to more than ``SMALL_BYTES``: images reach 5, zeros 1000."""

SMALL_BYTES = 100_000_000
_MIN_FREE_BYTES = 1_000_000_000
_CHUNK_BYTES = 2**20
_MAX_READ = 2**22
"""Largest number of bytes that the reader of tar asks for at once: it takes the length of a header from the file."""

_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Refused(Exception):
    """Raised for an archive that is left out; the argument is the reason."""


class _Budget:
    """Count what one archive writes, and refuse it above the limits.

    Args:
        packed: size of the archive in bytes.
        left: bytes that may still be written by all archives.
    """

    def __init__(self, packed: int, left: int) -> None:
        self._packed, self._left, self._members, self.written = packed, left, 0, 0

    def add_member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise _Refused(f"more than {MAX_MEMBERS:,} members")

    def add(self, size: int) -> None:
        self.written += size
        self.check(self.written)

    def check(self, size: int) -> None:
        if size > SMALL_BYTES and size > MAX_RATIO * self._packed:
            raise _Refused(f"inflates to more than {MAX_RATIO} times its size")
        if size > self._left:
            raise _Refused("inflates to more than the limit or the free space of the disk")


class _Member(NamedTuple):
    """Name, declared size and reader of one member."""

    name: str
    size: int
    stream: IO[bytes]


@contextmanager
def unpacked(paths: Sequence[str], *, root: Path, out: Path, left_out: LeftOut) -> Iterator[list[str]]:
    """Unpack archives, each into a folder of its path below ``out``, and yield the paths of those that were.

    Archives within archives are not unpacked. If the block raises an error, ``out`` is removed. It is not made if
    nothing is unpacked.

    Args:
        paths: archives, relative to ``root``.
        root: folder of the archives, which is only read.
        out: folder that does not exist.
        left_out: where refused archives are added, with the reason.

    Raises:
        ValueError: the disk is full.
    """
    done: list[str] = []
    if paths:
        with atomic_folder(out) as partial:
            left = min(MAX_BYTES, shutil.disk_usage(partial).free - _MIN_FREE_BYTES)
            for path in track(paths, "unpacking archives"):
                budget = _Budget((root / path).stat().st_size, left)
                try:
                    _unpack(root / path, partial / path, budget)
                except _Refused as error:
                    left_out.add("archive-refused", path, str(error))
                    shutil.rmtree(partial / path, ignore_errors=True)
                else:
                    done.append(path)
                    left -= budget.written
        if not done:
            shutil.rmtree(out)
    try:
        yield done
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def _unpack(file: Path, folder: Path, budget: _Budget) -> None:
    """Write the members of one archive.

    Raises:
        _Refused: the archive is damaged, of an unknown kind, or has a member that is refused.
        ValueError: the disk is full.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(512)
        # By its start: the last member of a tar archive may be a zip file, of which zipfile reads the end.
        if is_tar(head) or head.startswith(GZIP):
            members = _tar_members(file, budget, is_packed=not is_tar(head))
        elif head.startswith(ZIP):
            members = _zip_members(file, budget)
        else:
            raise _Refused("an archive of a kind that is not unpacked, expected zip, tar or tar.gz")
        for member in members:
            _write(member, folder, budget)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _Refused("two members of one name") from None
    except (*DAMAGED, zlib.error) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError("the disk is full; free space, or set `--unpack` to another disk") from None
        raise _Refused(f"damaged or cut off ({type(error).__name__})") from None


def _zip_members(file: Path, budget: _Budget) -> Iterator[_Member]:
    refuse_long_directory(file)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if is_document([member.filename for member in members]):
            raise _Refused("a document of an office program")
        for member in members:
            budget.add_member()
            _refuse_name(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _Refused("a member that is a link")
            if member.flag_bits & _ENCRYPTED:
                raise _Refused("a member that is encrypted")
            if member.compress_type not in _METHODS:
                raise _Refused("a member that is not packed by deflate")
        budget.check(sum(member.file_size for member in members))
        for member in members:
            if not member.is_dir():
                with archive.open(member) as stream:
                    yield _Member(member.filename, member.file_size, stream)


def _tar_members(file: Path, budget: _Budget, *, is_packed: bool) -> Iterator[_Member]:
    with gzip.open(file) if is_packed else file.open("rb") as stream:
        forward = _Forward(cast(IO[bytes], stream), budget)
        try:
            archive = tarfile.open(fileobj=cast(Any, forward), mode="r:")  # noqa: SIM115
        except tarfile.ReadError:
            raise _Refused("a compressed file, or a damaged archive; expected zip, tar or tar.gz") from None
        with archive:
            for member in archive:
                budget.add_member()
                _refuse_name(member.name)
                if member.issym() or member.islnk():
                    raise _Refused("a member that is a link")
                if not member.isfile() and not member.isdir():
                    raise _Refused("a member that is neither a file nor a folder")
                budget.check(budget.written + member.size)
                if member.isfile() and (content := archive.extractfile(member)) is not None:
                    yield _Member(member.name, member.size, content)
                cast(Any, archive).members.clear()  # otherwise tarfile keeps the headers of all members
        # tarfile ends at a damaged header as at the end, which is a block of zeros.
        if forward.last != bytes(tarfile.BLOCKSIZE):
            raise _Refused("damaged or cut off")


class _Forward:
    """Read a tar archive forwards: a header may state any length, and a gap in it inflates to any size.

    Args:
        stream: uncompressed archive.
        budget: what may be read in all, as for what is written.
    """

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream, self._budget, self._place = stream, budget, 0
        self.last = b""

    def tell(self) -> int:
        return self._place

    def read(self, size: int) -> bytes:
        if size > _MAX_READ:
            raise _Refused("a header that is too long")
        content = self._stream.read(size)
        self._place += len(content)
        self._budget.check(self._place)
        self.last = content
        return content

    def seek(self, place: int) -> None:
        if place < self._place:
            raise _Refused("damaged")
        while self._place < place and self.read(min(_CHUNK_BYTES, place - self._place)):
            pass


def _refuse_name(name: str) -> None:
    if climbs_out(name) or ".." in _parts(name):
        raise _Refused("a member whose path leads out of the folder")


def _parts(name: str) -> list[str]:
    return [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "."]


def _write(member: _Member, folder: Path, budget: _Budget) -> None:
    """Write one member to a place that must be free; it must be as long as it states."""
    target = folder.joinpath(*_parts(member.name))
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("xb") as out:
        while chunk := member.stream.read(_CHUNK_BYTES):
            size += len(chunk)
            budget.add(len(chunk))
            out.write(chunk)
    if size != member.size:
        raise _Refused("damaged or cut off, as a member is shorter than it states")
