"""Issues of a radiograph (names in header and pixels, clipping, size, pixel spacing), and its transfer syntax."""

import re
import warnings
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from PIL.ExifTags import GPS, Base
from pydicom.uid import UID

from polyclinic.modality import Issue, Source, dicom_issues, identifying_fields, labelled_names
from polyclinic_xray.radiograph import Radiograph
from polyclinic_xray.reading.burned_in import words_in

_MIN_SIDE = 128
_MAX_DARK_SHARE, _MAX_BRIGHT_SHARE = 0.4, 0.2
_HEAD_BYTES = 4096
_UID = re.compile(r"\d+(?:\.\d+){2,}")
_SYNTAX_ELEMENT = b"\x02\x00\x10\x00UI"
_NAMING_EXIF = {Base.Artist: "Artist", Base.XPAuthor: "XPAuthor", Base.CameraOwnerName: "CameraOwnerName"}
_TEXT_EXIF = (Base.ImageDescription, Base.UserComment, Base.XPComment, Base.XPTitle, Base.XPSubject, Base.DocumentName)


def radiograph_issues(source: Source, raw: Radiograph) -> Iterator[Issue]:
    """Yield the issues of a radiograph; header elements are named by their keywords, never by their values."""
    if isinstance(source, Path):
        yield from _dicom_header(source) if raw.facts.get("format") == "dicom" else _raster_header(source)
    yield from _size(raw)
    yield from _spacing(raw)
    yield from _clipping(raw)
    # Without recognition, which takes a second per image and would take a day for a hundred thousand images.
    if isinstance(source, Path) and words_in(source, raw, recognise=False):
        yield Issue(severity="warning", code="burned-in-text", message="what looks like a word is drawn in the pixels")


def transfer_syntax(source: Source) -> str:
    """Return the name and UID of a DICOM transfer syntax, or the kind of a raster; empty for any other file.

    The file meta information is always explicit and little-endian (PS3.10 section 7.1), so that the element can be
    found without a parser, even in a file that cannot be parsed.
    """
    if not isinstance(source, Path):
        return ""
    with source.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for kind, signature in (("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff")):
        if head.startswith(signature):
            return kind
    _, _, tail = head.partition(_SYNTAX_ELEMENT)
    value = tail[2 : 2 + int.from_bytes(tail[:2], "little")].rstrip(b"\0 ").decode("latin-1")
    if not _UID.fullmatch(value):  # checked before pydicom, which would log the value
        return "dicom without a transfer syntax" if head[128:132] == b"DICM" else ""
    return f"{UID(value).name} ({value})" if UID(value).name != value else value


def _dicom_header(path: Path) -> Iterator[Issue]:
    with warnings.catch_warnings():
        # pydicom warns about every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(BytesIO(path.read_bytes()), force=True, stop_before_pixels=True)
        yield from dicom_issues(dataset.get)


def _raster_header(path: Path) -> Iterator[Issue]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info, tags, location = _embedded(path)
    fields = [name for tag, name in _NAMING_EXIF.items() if _as_text(tags.get(tag, "")).strip()]
    if any(tag in location for tag in (GPS.GPSLatitude, GPS.GPSLongitude)):
        fields.append("the GPS position")
    fields += [f"text ({kind})" for kind in identifying_fields("\n".join(_texts(info, tags)))]
    if fields:
        message = f"the file names a person in {', '.join(fields)}"
        yield Issue(severity="warning", code="header-identifiers", message=message)


def raster_names(path: Path) -> list[str]:
    """Return names in the metadata of a PNG or JPEG, from tags for people and after labels."""
    info, tags, _ = _embedded(path)
    people = [_as_text(tags.get(tag, "")) for tag in _NAMING_EXIF]
    people += [value for key, value in info.items() if str(key).casefold() in ("author", "artist", "patient")]
    return [*filter(None, map(str, people)), *labelled_names("\n".join(_texts(info, tags)))]


def _texts(info: Mapping[Any, Any], tags: Mapping[int, Any]) -> list[str]:
    texts = [f"{key}: {value}" for key, value in info.items() if isinstance(value, str)]
    return [*texts, _as_text(info.get("comment", b"")), *(_as_text(tags.get(tag, "")) for tag in _TEXT_EXIF)]


def _embedded(path: Path) -> tuple[dict[Any, Any], dict[int, Any], dict[int, Any]]:
    """Return the metadata of a PNG or JPEG: texts by key, EXIF by tag, and GPS by tag."""
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        exif = image.getexif()  # in a PNG, this also loads the texts after the pixels
        return dict(image.info), {**exif, **exif.get_ifd(Base.ExifOffset)}, dict(exif.get_ifd(Base.GPSInfo))


def _as_text(value: object) -> str:
    """Decode an EXIF text of one or two bytes per character."""
    if not isinstance(value, bytes):
        return str(value)
    return value.replace(b"\0", b"").decode("latin-1")


def _size(raw: Radiograph) -> Iterator[Issue]:
    height, width = raw.pixels.shape
    if min(height, width) < _MIN_SIDE:
        yield Issue(
            severity="warning",
            code="tiny-image",
            message=f"an image of {height} x {width} pixels: no side should be below {_MIN_SIDE}",
        )


def _spacing(raw: Radiograph) -> Iterator[Issue]:
    if "not usable" in str(raw.facts.get("spacing", "")):
        yield Issue(
            severity="warning",
            code="pixel-spacing",
            message=f"{raw.facts['spacing']}: the pixels are taken to be square; correct the element",
        )


def _clipping(raw: Radiograph) -> Iterator[Issue]:
    """Report a large share of pixels at an end of the range, inside a uniform border (collimation, padding)."""
    ends = (("darkest", raw.pixels.min(), _MAX_DARK_SHARE), ("brightest", raw.pixels.max(), _MAX_BRIGHT_SHARE))
    for end, extreme, limit in ends:
        at_end = raw.pixels == extreme
        rows, columns = (np.flatnonzero(~at_end.all(axis=axis)) for axis in (1, 0))
        inside = at_end[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if (share := float(inside.mean())) > limit:
            yield Issue(
                severity="warning",
                code="clipped-image",
                message=f"{share:.0%} of the pixels inside the borders have the {end} value; limit {limit:.0%}",
            )
