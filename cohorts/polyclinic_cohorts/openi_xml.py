"""Read the published reports of OpenI: one small XML file each."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import pyarrow as pa

from polyclinic.system.progress import track

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("verdict", pa.string()),
        ("uid", pa.int64()),
        ("findings", pa.string()),
        ("impression", pa.string()),
        ("terms", pa.list_(pa.string())),
        ("images", pa.list_(pa.string())),
    ]
)
_MAX_BYTES = 1_000_000


class _DoctypeRefused(Exception):
    """Raised where a file declares a document type."""


def read_reports(folder: Path) -> pa.Table:
    """Read every report of a folder to the columns of ``SCHEMA``; ``verdict`` is the reason why it cannot be read.

    Args:
        folder: folder ``ecgen-radiology``.
    """
    files = sorted(folder.glob("*.xml"), key=lambda file: (len(file.name), file.name))
    rows = [_row(file) for file in track(files, description="reading reports")]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(file: Path) -> dict[str, Any]:
    if file.stat().st_size > _MAX_BYTES:
        return {"name": file.name, "verdict": f"file is larger than {_MAX_BYTES // 1_000_000} MB"}
    try:
        root = _parsed(file.read_bytes())
    except _DoctypeRefused:
        return {"name": file.name, "verdict": "declares a document type, which a report does not need"}
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError):
        return {"name": file.name, "verdict": "is not XML"}
    uid = root.find(".//uId")
    number = re.fullmatch(r"(?:CXR)?(\d{1,18})", "" if uid is None else uid.get("id", ""))
    if number is None:
        return {"name": file.name, "verdict": "has no uId"}
    return {
        "name": file.name,
        "verdict": "",
        "uid": int(number.group(1)),
        "findings": _section(root, "FINDINGS"),
        "impression": _section(root, "IMPRESSION"),
        "terms": [term for node in root.iterfind(".//MeSH/major") if (term := _text(node))],
        "images": [image for node in root.iterfind(".//parentImage") if (image := node.get("id", "").strip())],
    }


def _parsed(content: bytes) -> ElementTree.Element:
    """Parse XML, but refuse document type declarations, as only they can define exponentially expanding entities."""
    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = _refuse
    guard.Parse(content, True)
    return ElementTree.fromstring(content)


def _refuse(*_: object) -> None:
    raise _DoctypeRefused


def _section(root: ElementTree.Element, label: str) -> str | None:
    texts = [_text(node) for node in root.iterfind(".//AbstractText") if node.get("Label", "").upper() == label]
    return " ".join(filter(None, texts)) or None


def _text(node: ElementTree.Element) -> str:
    return "".join(node.itertext()).strip()
