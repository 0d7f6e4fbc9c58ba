"""A cohort with a name in every file, column and file name, and a search for places that it leaked to."""

import re
import shutil
import struct
from pathlib import Path

import pandas as pd
import pydicom
import soundfile
from pydicom.dataset import Dataset

SECRET = "DOE^JOHN"
_FULL_NAME = re.compile(
    rb"doe[^a-z0-9]{0,3}john|john[^a-z0-9]{0,3}doe|d\0o\0e\0.{2}j\0o\0h\0n", re.IGNORECASE | re.DOTALL
)
_WORD = re.compile(r"(?<![a-z0-9])(?:doe|john)(?![a-z0-9])", re.IGNORECASE)


def plant(cohort: Path, out: Path, *, broken: bool) -> Path:
    """Copy a phantom cohort of the five plugins and name a patient wherever a hospital might.

    Reports name outside of their findings: a vocabulary learns each word that the texts it reads repeat.

    Args:
        cohort: its ``cohort.yaml``.
        out: a new folder.
        broken: whether one training source of each modality is damaged as well, with the name in its remains.

    Returns:
        The new ``cohort.yaml``.
    """
    shutil.copytree(cohort.parent, out)
    table = pd.read_csv(out / "cohort.csv", dtype=str, keep_default_na=False)
    planters = {"xray": _radiograph, "ecg": _electrocardiogram, "report": _report, "audio": _sound, "tabular": _row}
    for name, planter in planters.items():
        (out / name).rename(out / f"{SECRET} {name}")
        places = [place for place, source in enumerate(table[name]) if source]
        for place in places:
            source = out / f"{SECRET} {name}" / Path(table.loc[place, name]).name
            table.loc[place, name] = planter(source, f"{SECRET}_{place}").relative_to(out).as_posix()
        if broken:
            last = out / table.loc[[place for place in places if table.loc[place, "split"] == "train"][-1], name]
            last.write_bytes(f"{SECRET}\n".encode() + b"\0" + last.read_bytes()[:50] + SECRET.encode())
    table["patient_name"] = table["comment"] = SECRET
    table[f"seen by {SECRET}"] = "yes"
    table.to_csv(out / "cohort.csv", index=False)
    return out / "cohort.yaml"


def leaks(folder: Path) -> list[str]:
    """List files below a folder with the name in their path or content; in text, a single word of it counts."""
    paths = []
    for file in sorted(folder.rglob("*")):
        report = file.relative_to(folder).as_posix()
        content = file.read_bytes() if file.is_file() else b""
        if _WORD.search(report) or _FULL_NAME.search(content) or _is_text_with_name(content):
            paths.append(report)
    return paths


def leaks_name(text: str) -> bool:
    """Return whether a text holds a word of the name."""
    return bool(_WORD.search(text))


def _is_text_with_name(content: bytes) -> bool:
    try:
        return leaks_name(content.decode())
    except UnicodeDecodeError:
        return False


def _radiograph(source: Path, stem: str) -> Path:
    dataset = pydicom.dcmread(source)
    dataset.PatientName = dataset.InstitutionName = dataset.StudyDescription = dataset.ManufacturerModelName = SECRET
    dataset.private_block(0x0043, SECRET, create=True).add_new(1, "LO", SECRET)
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning, outer.ViewCodeSequence, outer.OperatorsName = SECRET, [inner], SECRET
    dataset.ReferencedStudySequence = [outer]
    dataset.preamble = (SECRET * 16).encode()
    source.unlink()
    written = source.with_name(f"{stem}.dcm")
    dataset.save_as(written)
    return written


def _electrocardiogram(source: Path, stem: str) -> Path:
    """Rename a record and its header, without the characters that a record name cannot hold."""
    stem = re.sub(r"\W", "_", stem)
    text = source.read_text().replace(source.stem, stem) + f"# Name: {SECRET}\n# {SECRET} of the ward\n"
    source.with_suffix(".dat").rename(source.with_name(f"{stem}.dat"))
    source.unlink()
    written = source.with_name(f"{stem}.hea")
    written.write_text(text)
    return written


def _report(source: Path, stem: str) -> Path:
    written = source.rename(source.with_name(f"{stem}.txt"))
    head = f"Patient name: {SECRET}\nMRN: 0012345678\n"
    written.write_text(f"{head}{written.read_text()}\nJohn Doe was told. {SECRET}", encoding="utf-8")
    return written


def _sound(source: Path, stem: str) -> Path:
    samples, rate = soundfile.read(source, dtype="int16")
    with soundfile.SoundFile(source, "w", rate, 1, "PCM_16") as file:
        file.title = file.artist = file.comment = f"Patient name: {SECRET}"
        file.write(samples)
    content = source.read_bytes() + b"bext" + struct.pack("<I", len(SECRET)) + SECRET.encode()
    source.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    return source.rename(source.with_name(f"{stem}.wav"))


def _row(source: Path, stem: str) -> Path:
    written = source.rename(source.with_name(f"{stem}.csv"))
    written.write_text(f"{written.read_text()}patient_name,{SECRET},\n{SECRET},1,{SECRET}\n")
    return written
