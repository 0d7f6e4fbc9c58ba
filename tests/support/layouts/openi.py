"""Roots of OpenI: XML reports with NLMCXR_png, and the two tables with images_normalized."""

import gzip
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape
from zlib import crc32

import numpy as np
from PIL import Image as Picture


class Report(NamedTuple):
    """One report; ``images`` as the XML names them, with what each shows."""

    uid: int
    findings: str
    impression: str
    terms: tuple[str, ...]
    images: tuple[tuple[str, str], ...]


REPORTS = (
    Report(1, "The lungs are clear. No XXXX of effusion.", "Normal chest x-XXXX.", ("normal",),
           (("CXR1_1_IM-0001-3001", "Lateral"), ("CXR1_1_IM-0001-4001", "Frontal"))),
    Report(2, "Borderline heart, <2 cm nodule & effusion.", "No acute findings.",
           ("Cardiomegaly/borderline", "Pulmonary Artery/enlarged", "Nodule/lung/upper lobe/right "),
           (("CXR2_IM-0652-1001", "Frontal"), ("CXR2_IM-0652-2001", "Lateral"))),
    Report(3, "", "Mass in the breast.",
           ("Mass/breast", "Pleural Effusion/small", "Cardiomegaly", "Cardiomegaly/borderline"),
           (("CXR3_IM-1384-1001", "Frontal"),)),
    Report(4, "", "", ("No Indexing",), (("CXR4_IM-2050-1001", "Frontal"), ("CXR4_IM-2050-1002", "Frontal"))),
    Report(5, "Lines in place.", "", ("Technical Quality of Image Unsatisfactory ", "Catheters, Indwelling/right"),
           (("CXR5_IM-2117-1003002", "Lateral"),)),
    Report(16, "No image was kept.", "Clear.", ("normal",), ()),
)  # fmt: skip
_XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <meta type="rr"/>
   <uId id="CXR{uid}"/>
   <pmcId id="{uid}"/>
   <MedlineCitation Owner="Indiana University" Status="supplied by publisher">
      <Article PubModel="Electronic">
         <Abstract>
            <AbstractText Label="COMPARISON">None.</AbstractText>
            <AbstractText Label="INDICATION">XXXX-year-old with cough</AbstractText>
            <AbstractText Label="FINDINGS">{findings}</AbstractText>
            <AbstractText Label="IMPRESSION">{impression}</AbstractText>
         </Abstract>
      </Article>
   </MedlineCitation>
   <MeSH>
{terms}      <automatic>pneumothorax</automatic>
   </MeSH>
{images}</eCitation>
"""


def write_openi_xml(root: Path) -> None:
    """Write ``ecgen-radiology`` and ``NLMCXR_png``; no table states the view of an image."""
    (root / "ecgen-radiology").mkdir(parents=True)
    for report in REPORTS:
        text = _XML.format(
            uid=report.uid,
            findings=escape(report.findings),
            impression=escape(report.impression),
            terms="".join(f"      <major>{escape(term)}</major>\n" for term in report.terms),
            images="".join(
                f'   <parentImage id="{image}">\n      <figureId>F{number}</figureId>\n   </parentImage>\n'
                for number, (image, _) in enumerate(report.images, start=1)
            ),
        )
        (root / "ecgen-radiology" / f"{report.uid}.xml").write_text(text, encoding="utf-8")
        for image, _ in report.images:
            _write_image(root / "NLMCXR_png" / f"{image}.png")


def write_metadata(root: Path) -> None:
    """Write ``nlmcxr_dicom_metadata.csv.gz``, in which some views are blank and others are not those of the tables."""
    views = {
        "CXR1_1_IM-0001-3001": "LL", "CXR1_1_IM-0001-4001": "PA", "CXR2_IM-0652-1001": "AP",
        "CXR2_IM-0652-2001": "PA",  # a lateral, by the projections
    }  # fmt: skip
    lines = ["imageid,Modality,View Position,Manufacturer"]
    for report in REPORTS:
        lines += [f"{image},DX,{views.get(image, '')},FUJI" for image, _ in report.images]
    (root / "nlmcxr_dicom_metadata.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def write_openi_tables(root: Path) -> None:
    """Write ``indiana_reports.csv``, ``indiana_projections.csv`` and ``images/images_normalized``."""
    root.mkdir(parents=True, exist_ok=True)
    rows = [
        (str(report.uid), ";".join(report.terms), ";".join(term.split("/")[0] for term in report.terms),
         "Xray Chest PA and Lateral", "XXXX-year-old with cough", "None.", report.findings, report.impression)
        for report in REPORTS
    ]  # fmt: skip
    header = "uid,MeSH,Problems,image,indication,comparison,findings,impression"
    text = "\n".join([header, *(",".join(_quoted(cell) for cell in row) for row in rows)]) + "\n"
    (root / "indiana_reports.csv").write_text(text, encoding="utf-8")
    write_projections(root)
    for report in REPORTS:
        for image, _ in report.images:
            _write_image(root / "images" / "images_normalized" / _renamed(report.uid, image))


def write_projections(root: Path) -> None:
    """Write ``indiana_projections.csv``."""
    lines = [
        f"{report.uid},{_renamed(report.uid, image)},{view}" for report in REPORTS for image, view in report.images
    ]
    (root / "indiana_projections.csv").write_text("\n".join(["uid,filename,projection", *lines]) + "\n")


def write_content_views(root: Path) -> None:
    """Write ``nlmcxr_tsne_pa.csv.gz``, which lists some images and calls one lateral that the header calls PA."""
    lines = ["imageid,tsne-view", "CXR1_1_IM-0001-3001,L", "CXR2_IM-0652-2001,L", "CXR3_IM-1384-1001,PA"]
    (root / "nlmcxr_tsne_pa.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def _renamed(uid: int, image: str) -> str:
    return f"{uid}_{image[image.index('IM-') :]}.dcm.png"


def _quoted(cell: str) -> str:
    return f'"{cell}"' if "," in cell else cell


def _write_image(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(crc32("/".join(file.parts[-4:]).encode())).integers(0, 256, (40, 32), dtype=np.uint8)
    Picture.fromarray(pixels).save(file)
