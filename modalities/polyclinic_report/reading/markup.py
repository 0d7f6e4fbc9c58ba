"""The words of a report that is stored as RTF, HTML, CDA or HL7 v2; other documents are refused by name."""

import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from striprtf.striprtf import rtf_to_text

from polyclinic.modality import UnreadableSource

_EXPORT = "export the report as plain text"
_BINARY = (
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
_HEAD = 1024
_HTML_START = re.compile(r"<!doctype\s+html|<(?:html|head|body|meta)\b", re.IGNORECASE)
_TAGS = "p|div|span|b|i|u|strong|em|font|table|tr|td|th|tbody|thead|ul|ol|li|h[1-6]|pre|center|small|sub|sup"
_HTML_PART = re.compile(rf"<br\s*/?>|<({_TAGS})(?:\s[^<>]{{0,500}})?>[^<>]{{0,5000}}</\1\s*>", re.IGNORECASE)
_BLOCKS = frozenset({"br", "p", "div", "table", "tr", "ul", "ol", "li", "pre", "hr", "center"}) | frozenset(
    {"h1", "h2", "h3", "h4", "h5", "h6", "paragraph", "list", "item", "caption"}
)
_CELLS = frozenset({"td", "th"})
_UNSHOWN = frozenset({"script", "style", "title", "head", "template"})
_TOKEN = re.compile(r"""<!--|<(/?)([a-z][a-z0-9]*)\b(?:[^<>"']|"[^"<]*"|'[^'<]*')*>|<[!?][^<>]*>""", re.IGNORECASE)
_LONGEST_COMMENT = 100_000
_CDA = "{urn:hl7-org:v3}"
_DEEPEST = 100
_JSON = re.compile(r'\{\s*"|\[\s*\{\s*"')
_MAIL = re.compile(r"^(?:MIME-Version|Content-Transfer-Encoding|Content-Type):", re.IGNORECASE | re.MULTILINE)
_HL7_TEXT = frozenset({"TX", "FT", "ST"})
_HL7_SECTIONS = {"GDT": "FINDINGS", "IMP": "IMPRESSION"}
_HL7_CODE = re.compile(r"\\([^\\]{0,40})\\")


def refuse_other_document(stored: bytes) -> None:
    """Name a document, archive or picture by its first bytes.

    Raises:
        UnreadableSource: it is one.
    """
    head = stored[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
    for signature, name in _BINARY:
        if stored.startswith(signature) or head.startswith(signature):
            raise UnreadableSource(f"got a {name} file, expected a text file; {_EXPORT}")
    if stored[128:132] == b"DICM":
        raise UnreadableSource(f"got a DICOM file, expected a text file; {_EXPORT}")


def plain_text(text: str) -> tuple[str, str]:
    """Take the words out of markup; text without markup, with or without ``<``, is returned as it is.

    Returns:
        The text, and ``plain``, ``rtf``, ``html``, ``cda`` or ``hl7``.

    Raises:
        UnreadableSource: markup that is broken or that holds no report, or a format that is not converted.
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
    if _MAIL.search(text[:_HEAD]):
        raise UnreadableSource(f"got an e-mail with MIME headers, expected text; {_EXPORT}")
    return text, "plain"


def _of_rtf(text: str) -> str:
    """The document's body: ``striprtf`` leaves out its authors, fonts, pictures, headers and footers."""
    if not text.rstrip("\0 \t\r\n").endswith("}"):
        raise UnreadableSource("RTF that is cut short: its last group is not closed")
    try:
        return str(rtf_to_text(text))
    except Exception as error:
        raise UnreadableSource(f"RTF that cannot be converted ({type(error).__name__}); {_EXPORT}") from None


def _of_html(text: str) -> str:
    """What a browser shows, with a line end for each block; comments, scripts, styles and titles are left out.

    A tokenizer of one pass, as ``html.parser`` takes quadratic time for comments and tags that are not closed.
    """
    whole = _HTML_START.match(text.lstrip("\ufeff \t\r\n")) is not None
    parts: list[str] = []
    place, unshown = 0, ""
    while match := _TOKEN.search(text, place):
        if not unshown:
            parts.append(_shown_text(text[place : match.start()], collapse=whole))
        place = match.end()
        closing, name = match[1], (match[2] or "").lower()
        if match[0] == "<!--":
            place = (text.find("-->", place) + 3) if "-->" in text[place : place + _LONGEST_COMMENT] else len(text)
        elif unshown:
            unshown = "" if (closing and name == unshown) or (unshown == "head" and name == "body") else unshown
        elif name in _UNSHOWN and not closing:
            unshown = name
        else:
            parts.append("\n" if name in _BLOCKS else " " if name in _CELLS else "")
    if not unshown:
        parts.append(_shown_text(text[place:], collapse=whole))
    return _tidy("".join(parts))


def _shown_text(text: str, *, collapse: bool) -> str:
    """Text between tags; the lines of plain text that has single tags in it are kept."""
    return html.unescape(re.sub(r"\s+", " ", text) if collapse else text.replace("\r\n", "\n").replace("\r", "\n"))


def _of_xml(text: str) -> tuple[str, str]:
    if re.search(r"<!(?:DOCTYPE(?!\s+html\b)|ENTITY)", text, re.IGNORECASE):
        raise UnreadableSource(f"XML with a document type or entities; {_EXPORT}")
    if re.search(r"<html\b", text[:_HEAD], re.IGNORECASE):
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
    """The text of an element in its order, with a line end for each block, and a colon behind a title."""
    if depth > _DEEPEST:
        raise UnreadableSource(f"XML nested more than {_DEEPEST} deep; {_EXPORT}")
    name = element.tag.removeprefix(_CDA) if isinstance(element.tag, str) else ""
    yield "\n" if name in _BLOCKS else " " if name in _CELLS else ""
    yield re.sub(r"\s+", " ", element.text or "")
    for child in element:
        yield from _shown(child, depth + 1)
        yield re.sub(r"\s+", " ", child.tail or "")
    if name == "title" and not (element.text or "").rstrip().endswith(":"):
        yield ":"
    yield "\n" if name in (*_BLOCKS, "title") else ""


def _of_hl7(text: str) -> str:
    """The text of all OBX segments of one ORU message (HL7 v2, chapter 7); numbers and codes are left out."""
    segments = [line for line in re.split(r"[\r\n\x1c]+", text) if line.strip("\v ")]
    if sum(line.lstrip("\v").startswith("MSH") for line in segments) != 1:
        raise UnreadableSource("several HL7 v2 messages in one file, expected the report of one study")
    header = next(line.lstrip("\v") for line in segments if line.lstrip("\v").startswith("MSH"))
    if len(header) < 8:
        raise UnreadableSource("HL7 v2 message without its delimiters")
    field, component, repetition, escape, subcomponent = tuple(header[3:8])
    signs = {"F": field, "S": component, "T": subcomponent, "R": repetition, "E": escape, ".br": "\n", ".sp": "\n"}
    parts: list[str] = []
    heading = ""
    for line in segments:
        fields = line.split(field)
        if fields[0] != "OBX" or len(fields) < 6 or fields[2] not in _HL7_TEXT or not fields[5]:
            continue
        section = _HL7_SECTIONS.get(fields[3].partition(component)[0].partition(subcomponent)[2], "")
        if section and section != heading and not fields[5].upper().lstrip().startswith(section):
            parts.append(f"{section}:")
        heading = section or heading
        value = fields[5].replace(repetition, "\n")
        parts.append(_unescaped(value, escape, signs))
    if not parts:
        raise UnreadableSource("HL7 v2 message without text in OBX-5")
    return "\n".join(parts)


def _unescaped(value: str, escape: str, signs: dict[str, str]) -> str:
    """Escape sequences (HL7 v2, section 2.7): delimiters and line ends; highlighting is dropped.

    Raises:
        UnreadableSource: characters given by their code, of which a character set is not known.
    """
    if escape != "\\":
        value = value.replace(escape, "\\")

    def replace(match: re.Match[str]) -> str:
        code = match[1]
        if code[:1] in ("X", "C", "M", "Z") and code:
            raise UnreadableSource("HL7 v2 text with characters given by their codes; export it without escapes")
        return signs.get(code, signs.get(code.rstrip("+0123456789"), ""))

    return _HL7_CODE.sub(replace, value)


def _tidy(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.replace("\xa0", " ").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
