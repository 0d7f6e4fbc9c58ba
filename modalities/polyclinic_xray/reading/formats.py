"""Recognise files that are not radiographs by their first bytes."""

from polyclinic.modality import UnreadableSource

SIGNATURE_BYTES = 1024

_SIGNATURES = (
    (b"\x1f\x8b", "a gzip file: unpack it first"),
    (b"PK\x03\x04", "a zip file: unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 file"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 code stream"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"RIFF", "a RIFF file (WebP, WAV or AVI)"),
    (b"NRRD", "an NRRD volume"),
)
_PREAMBLE, _MAGIC = 128, b"DICM"
_TEXT_BYTES = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\n\r\f")


def refuse_other_formats(head: bytes) -> None:
    """Refuse a file of a known format other than DICOM.

    Args:
        head: first ``SIGNATURE_BYTES`` bytes of the file, or all bytes of a shorter file.

    Raises:
        UnreadableSource: the file has another format, which the message names.
    """
    if head[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC:
        return  # a preamble may hold the signature of another format (PS3.10 section 7.1)
    kind = next((name for signature, name in _SIGNATURES if head.startswith(signature)), None)
    if kind is None and _looks_like_text(head):
        kind = "text (such as CSV, HTML or JSON)"
    if kind is not None:
        raise UnreadableSource(f"got {kind}, expected a DICOM, PNG or JPEG image")


def _looks_like_text(head: bytes) -> bool:
    """Return whether every character is printable; DICOM without a preamble starts with a tag that has zero bytes."""
    content = head.removeprefix(b"\xef\xbb\xbf")  # byte order mark
    try:
        text = content.decode("utf-8", errors="strict" if len(head) < SIGNATURE_BYTES else "ignore")
    except UnicodeDecodeError:
        return False
    return bool(text) and all(ord(character) in _TEXT_BYTES or character.isprintable() for character in text)
