"""Extract text from RTF, HTML, CDA and HL7 v2; refuse other document formats by name."""

import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from striprtf.striprtf import rtf_to_text

from polyclinic.modality import Delimiters, UnreadableSource, unescape_hl7

_EXPORT = "export the report as plain text"
_SIGNATURES = (
    (b"%PDF-", "PDF"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip (DOCX and ODT are zip files)"),
    (b"PK\x05\x06", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "DOC (OLE)"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"%!PS", "PostScript"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_HEAD_SIZE = 1024
_HTML_START = re.compile(r"<!doctype\s+html|<(?:html|head|body|meta)\b", re.IGNORECASE)
_INLINE_TAGS = "p|div|span|b|i|u|strong|em|font|table|tr|td|th|tbody|thead|ul|ol|li|h[1-6]|pre|center|small|sub|sup"
_HTML_PART = re.compile(rf"<br\s*/?>|<({_INLINE_TAGS})(?:\s[^<>]{{0,500}})?>[^<>]{{0,5000}}</\1\s*>", re.IGNORECASE)
_BLOCK_TAGS = frozenset({"br", "p", "div", "table", "tr", "ul", "ol", "li", "pre", "hr", "center"}) | frozenset(
    {"h1", "h2", "h3", "h4", "h5", "h6", "paragraph", "list", "item", "caption"}
)
_CELL_TAGS = frozenset({"td", "th"})
_HIDDEN_TAGS = frozenset({"script", "style", "title", "head", "template"})
_TOKEN = re.compile(r"""<!--|<(/?)([a-z][a-z0-9]*)\b(?:[^<>"']|"[^"<]*"|'[^'<]*')*>|<[!?][^<>]*>""", re.IGNORECASE)
_MAX_COMMENT_LENGTH = 100_000
_CDA = "{urn:hl7-org:v3}"
_MAX_DEPTH = 100
_JSON = re.compile(r'\{\s*"|\[\s*\{\s*"')
_MAIL = re.compile(r"^(?:MIME-Version|Content-Transfer-Encoding|Content-Type):", re.IGNORECASE | re.MULTILINE)
_HL7_TEXT = frozenset({"TX", "FT", "ST"})
_HL7_SECTIONS = {"GDT": "FINDINGS", "IMP": "IMPRESSION"}


def refuse_other_document(stored: bytes) -> None:
    """Refuse documents, archives and images that are not text, by their first bytes.

    Raises:
        UnreadableSource: the file is one of them.
    """
    head = stored[:_HEAD_SIZE].removeprefix(b"\xef\xbb\xbf").lstrip()
    for signature, name in _SIGNATURES:
        if stored.startswith(signature) or head.startswith(signature):
            raise UnreadableSource(f"got a {name} file, expected a text file; {_EXPORT}")
    if stored[128:132] == b"DICM":
        raise UnreadableSource(f"got a DICOM file, expected a text file; {_EXPORT}")


def plain_text(text: str) -> tuple[str, str]:
    """Extract text from markup; plain text, with or without ``<``, is returned unchanged.

    Returns:
        The text, and ``plain``, ``rtf``, ``html``, ``cda`` or ``hl7``.

    Raises:
        UnreadableSource: the markup is broken or holds no report, or the format is not supported.
    """
    start = text.lstrip("\ufeff\v \t\r\n")
    if start.startswith("{\\rtf"):
        return _of_rtf(start), "rtf"
    if start.startswith(("MSH|", "MSH^", "FHS|", "BHS|")):
        return _of_hl7(start), "hl7"
    if start.startswith("%PDF-"):
        raise UnreadableSource(f"got PDF, expected text; {_EXPORT}")
    if start.startswith("<?xml") or start.startswith("<ClinicalDocument"):
        return _of_xml(start)
    if _HTML_START.match(start) or _HTML_PART.search(text):
        return _of_html(text), "html"
    if _JSON.match(start) and '":' in start:
        raise UnreadableSource(f"got JSON, expected text; {_EXPORT}")
    if _MAIL.search(text[:_HEAD_SIZE]):
        raise UnreadableSource(f"got an e-mail with MIME headers, expected text; {_EXPORT}")
    return text, "plain"


def _of_rtf(text: str) -> str:
    """Return the body of a document; ``striprtf`` leaves out authors, fonts, pictures, headers and footers."""
    if not text.rstrip("\0 \t\r\n").endswith("}"):
        raise UnreadableSource("RTF that is cut short: its last group is not closed")
    try:
        return str(rtf_to_text(text))
    except Exception as error:
        raise UnreadableSource(f"RTF that cannot be converted ({type(error).__name__}); {_EXPORT}") from None


def _of_html(text: str) -> str:
    """Return the text that a browser shows, with line ends for blocks, without comments, scripts, styles and titles.

    Tokenised in one pass, because ``html.parser`` takes quadratic time for comments and tags that are not closed.
    """
    is_document = _HTML_START.match(text.lstrip("\ufeff \t\r\n")) is not None
    parts: list[str] = []
    place, unshown = 0, ""
    while match := _TOKEN.search(text, place):
        if not unshown:
            parts.append(_shown_text(text[place : match.start()], collapse=is_document))
        place = match.end()
        closing, name = match[1], (match[2] or "").lower()
        if match[0] == "<!--":
            place = (text.find("-->", place) + 3) if "-->" in text[place : place + _MAX_COMMENT_LENGTH] else len(text)
        elif unshown:
            unshown = "" if (closing and name == unshown) or (unshown == "head" and name == "body") else unshown
        elif name in _HIDDEN_TAGS and not closing:
            unshown = name
        else:
            parts.append("\n" if name in _BLOCK_TAGS else " " if name in _CELL_TAGS else "")
    if not unshown:
        parts.append(_shown_text(text[place:], collapse=is_document))
    return _tidy("".join(parts))


def _shown_text(text: str, *, collapse: bool) -> str:
    """Return the text between tags; plain text with single tags keeps its lines."""
    return html.unescape(re.sub(r"\s+", " ", text) if collapse else text.replace("\r\n", "\n").replace("\r", "\n"))


def _of_xml(text: str) -> tuple[str, str]:
    if re.search(r"<!(?:DOCTYPE(?!\s+html\b)|ENTITY)", text, re.IGNORECASE):
        raise UnreadableSource(f"XML with a document type or entities; {_EXPORT}")
    if re.search(r"<html\b", text[:_HEAD_SIZE], re.IGNORECASE):
        return _of_html(re.sub(r"^<\?xml[^>]*\?>\s*", "", text)), "html"
    try:
        root = ElementTree.fromstring(re.sub(r"^<\?xml[^>]*\?>", "", text))
    except ElementTree.ParseError:
        raise UnreadableSource(f"XML that cannot be parsed; {_EXPORT}") from None
    if root.tag != f"{_CDA}ClinicalDocument":
        raise UnreadableSource(f"got XML that is not a CDA document, expected text; {_EXPORT}")
    parts = [
        "".join(_shown(part, 0)) for section in root.iter(f"{_CDA}section") for part in section if _is_narrative(part)
    ]
    if not parts:
        raise UnreadableSource(f"CDA document without sections of text; {_EXPORT}")
    return _tidy("\n".join(parts)), "cda"


def _is_narrative(part: ElementTree.Element) -> bool:
    return part.tag in (f"{_CDA}title", f"{_CDA}text")


def _shown(element: ElementTree.Element, depth: int) -> Iterator[str]:
    """Yield the text of an element in order, with a line end for each block and a colon after a title."""
    if depth > _MAX_DEPTH:
        raise UnreadableSource(f"XML nested more than {_MAX_DEPTH} deep; {_EXPORT}")
    name = element.tag.removeprefix(_CDA) if isinstance(element.tag, str) else ""
    yield "\n" if name in _BLOCK_TAGS else " " if name in _CELL_TAGS else ""
    yield re.sub(r"\s+", " ", element.text or "")
    for child in element:
        yield from _shown(child, depth + 1)
        yield re.sub(r"\s+", " ", child.tail or "")
    if name == "title" and not (element.text or "").rstrip().endswith(":"):
        yield ":"
    yield "\n" if name in (*_BLOCK_TAGS, "title") else ""


def _of_hl7(text: str) -> str:
    """Return the text of all OBX segments of an ORU message (HL7 v2, chapter 7), without numbers and codes."""
    segments = [line for line in re.split(r"[\r\n\x1c]+", text) if line.strip("\v ")]
    if sum(line.lstrip("\v").startswith("MSH") for line in segments) != 1:
        raise UnreadableSource("several HL7 v2 messages in one file, expected the report of one study")
    header = next(line.lstrip("\v") for line in segments if line.lstrip("\v").startswith("MSH"))
    if len(header) < 8:
        raise UnreadableSource("HL7 v2 message without its delimiters")
    delimiters = Delimiters(*header[3:8])
    parts: list[str] = []
    heading = ""
    for line in segments:
        fields = line.split(delimiters.field)
        if fields[0] != "OBX" or len(fields) < 6 or fields[2] not in _HL7_TEXT or not fields[5]:
            continue
        identifier = fields[3].partition(delimiters.component)[0]
        section = _HL7_SECTIONS.get(identifier.partition(delimiters.subcomponent)[2], "")
        if section and section != heading and not fields[5].upper().lstrip().startswith(section):
            parts.append(f"{section}:")
        heading = section or heading
        parts.append(unescape_hl7(fields[5].replace(delimiters.repetition, "\n"), delimiters))
    if not parts:
        raise UnreadableSource("HL7 v2 message without text in OBX-5")
    return "\n".join(parts)


def _tidy(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.replace("\xa0", " ").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
