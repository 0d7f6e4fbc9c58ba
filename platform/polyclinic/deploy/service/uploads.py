"""Uploads: multipart files held to their limits while they arrive, then assigned to modalities."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from polyclinic.deploy.service.errors import ServiceError

MOST_PARTS = 32
_LONGEST_NAME = 150
_PLAIN_ENCODINGS = (b"", b"7bit", b"8bit", b"binary")
_MEGABYTE = 1 << 20


@dataclass(kw_only=True)
class Part:
    """One uploaded file.

    Attributes:
        name: of the part: a modality, or ``files``.
        filename: plain, without any folder; never told to anybody.
        content: of the file.
        digest: keyed, for the audit log.
    """

    name: str
    filename: str
    content: bytearray = field(default_factory=bytearray)
    digest: "hmac.HMAC"


class Upload:
    """Reads the body of one request.

    Args:
        content_type: of the request.
        largest: bytes of a file.
        most: bytes of the request.
        digest: makes a keyed digest of nothing yet.

    Raises:
        Refusal: not multipart.
    """

    def __init__(self, content_type: str, *, largest: int, most: int, digest: Callable[[], "hmac.HMAC"]) -> None:
        self._largest, self._most, self._digest = largest, most, digest
        self.parts: list[Part] = []
        self.size = 0
        self._whole = False
        self._headers: dict[bytes, bytes] = {}
        self._key, self._value = bytearray(), bytearray()
        self._parser = MultipartParser(_boundary(content_type), {
            "on_part_begin": self._begin, "on_header_field": self._header_field, "on_header_value": self._header_value,
            "on_header_end": self._header_end, "on_headers_finished": self._named, "on_part_data": self._data,
            "on_end": self._end,
        })  # fmt: skip

    async def read(self, headers: Mapping[str, str], stream: AsyncIterator[bytes], *, seconds: float) -> list[Part]:
        """All parts.

        Args:
            headers: of the request.
            stream: of its body.
            seconds: that a client may take to send it.

        Raises:
            Refusal: too much, too slow, broken, cut off, or nothing.
        """
        announced = headers.get("content-length", "0")
        if announced.isascii() and announced.isdecimal() and int(announced) > self._most:
            raise self._too_much()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in stream:
                    self._write(chunk)
        except TimeoutError:
            raise ServiceError(
                408, f"the upload took longer than {seconds:g} s; send smaller files, or faster"
            ) from None
        if not self._whole:
            raise ServiceError(400, "the multipart body ends in the middle; send it again")
        if not self.parts:
            raise ServiceError(400, "got no file, expected at least one; send each as a part named by its modality")
        return self.parts

    def _write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._most:
            raise self._too_much()
        try:
            self._parser.write(chunk)
        except MultipartParseError:
            raise ServiceError(400, "the multipart body is broken; send it again") from None

    def _too_much(self) -> ServiceError:
        return ServiceError(
            413, f"got more than {self._most / _MEGABYTE:g} MB, the most of a request; send fewer files"
        )

    def _begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            raise ServiceError(413, f"got more than {MOST_PARTS} parts, the most of a request; send fewer files")
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[bytes(self._key).lower()] = bytes(self._value)
        self._key, self._value = bytearray(), bytearray()

    def _named(self) -> None:
        if self._headers.get(b"content-transfer-encoding", b"").strip().lower() not in _PLAIN_ENCODINGS:
            raise ServiceError(400, "got a part with a transfer encoding, expected its bytes as they are; leave it out")
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise ServiceError(400, "got a part without a name, expected the name of its modality or `files`")
        filename = _plain(options[b"filename"]) if options.get(b"filename") else ""
        if any(one.name == name and one.filename == filename for one in self.parts):
            raise ServiceError(400, "got two files with one name for one modality; send each file once")
        self.parts.append(Part(name=name, filename=filename, digest=self._digest()))

    def _data(self, data: bytes, start: int, end: int) -> None:
        part, some = self.parts[-1], memoryview(data)[start:end]
        if len(part.content) + len(some) > self._largest:
            raise ServiceError(413, f"got a file of more than {self._largest / _MEGABYTE:g} MB, the most of a file")
        part.content += some
        part.digest.update(some)

    def _end(self) -> None:
        self._whole = True


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data":
        raise ServiceError(415, "got another content type, expected multipart/form-data with one part for each file")
    if not 0 < len(boundary) <= 70:
        raise ServiceError(
            400, "got multipart/form-data without a boundary of 1 to 70 characters; let the client set it"
        )
    return boundary


def _plain(filename: bytes) -> str:
    """A name without any folder, as browsers of old sent one, that a file system takes."""
    name = filename.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    if name in ("", ".", "..") or not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
        raise ServiceError(
            400, f"got a file name that is empty, unprintable or longer than {_LONGEST_NAME} bytes; rename it"
        )
    return name


FILES = "files"
"""Name of the parts that are sorted here."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Files that belong together.

    Attributes:
        candidates: modalities whose plugins may read them, in order.
        parts: the files.
    """

    candidates: tuple[str, ...]
    parts: tuple[Part, ...]


def sort_parts(parts: Sequence[Part], suffixes: Mapping[str, Sequence[str]]) -> list[Group]:
    """Group files by modality.

    Parts are named by their modality; those named ``files`` go by how their names end. Where that leaves several
    modalities, the plugins will tell: a file is of the first that reads it, and files whose names differ only in
    their endings stay together, as a header and its signals.

    Args:
        parts: of one request.
        suffixes: by modality, how its files end.

    Raises:
        Refusal: a part that is of no modality.
    """
    groups = [*_by_name(parts, suffixes), *_by_suffix(parts, suffixes)]
    taken: set[str] = set()
    for group in sorted(groups, key=lambda one: len(one.candidates)):
        if set(group.candidates) <= taken:
            raise ServiceError(
                422, f"got more than one study's files for {group.candidates[0]}; send those of one study"
            )
        if len(group.candidates) == 1:
            taken.add(group.candidates[0])
    return [_without(group, taken) for group in groups]


def _by_name(parts: Sequence[Part], suffixes: Mapping[str, Sequence[str]]) -> Iterator[Group]:
    if any(one.name != FILES and one.name not in suffixes for one in parts):
        raise ServiceError(422, f"got a part with another name, expected some of {[*suffixes, FILES]}; rename it")
    for name, ends in suffixes.items():
        if own := [one for one in parts if one.name == name]:
            for place, one in enumerate(own):
                # Sent without a file name, as a plain field is.
                one.filename = one.filename or f"part{place}{ends[0] if ends else ''}"
            yield Group(candidates=(name,), parts=tuple(own))


def _by_suffix(parts: Sequence[Part], suffixes: Mapping[str, Sequence[str]]) -> Iterator[Group]:
    found: dict[tuple[tuple[str, ...], str], list[Part]] = {}
    for one in parts:
        if one.name == FILES:
            path = PurePath(one.filename or "part")
            fitting = tuple(name for name, ends in suffixes.items() if path.suffix.lower() in ends)
            if not fitting:
                known = sorted({end for ends in suffixes.values() for end in ends if end})
                raise ServiceError(422, f"got a file whose name ends in none of {known}; name its part by its modality")
            # Several files of one sure modality belong together; of an unsure one only those that share a stem.
            found.setdefault((fitting, "" if len(fitting) == 1 else path.stem), []).append(one)
    for (fitting, _), own in found.items():
        for place, one in enumerate(own):
            one.filename = one.filename or f"part{place}"
        yield Group(candidates=fitting, parts=tuple(own))


def _without(group: Group, taken: set[str]) -> Group:
    """Two files may both be of two modalities; one that is taken for sure is left to its own file."""
    if len(group.candidates) == 1:
        return group
    return Group(candidates=tuple(name for name in group.candidates if name not in taken), parts=group.parts)
