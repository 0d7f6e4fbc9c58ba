"""Studies of the demo as requests, with the scores of `polyclinic score` for the same files."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.multipart import Request, form, part
from polyclinic.cli import main as polyclinic

QUERY = ("xray", "ecg", "tabular", "audio")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request, and the scores that the command returned for its study, by finding."""

    request: Request
    expected: dict[str, float]


def complete_studies(cohort: Path, names: tuple[str, ...], count: int) -> list[dict[str, Path]]:
    """Return the files of the first test studies that have all of several modalities."""
    with (cohort / "cohort.csv").open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["split"] == "test" and all(row[name] for name in names)]
    return [{name: cohort / row[name] for name in names} for row in rows[:count]]


def as_request(files: dict[str, Path], name: str = "study") -> Request:
    """Return a request with the files of a study as a form."""
    parts = []
    for modality, path in files.items():
        parts += [part(modality, file.name, file.read_bytes()) for file in (path, *companions(path))]
    return Request(name=name, body=form(*parts))


def with_expected(bundle: Path, cohort: Path, folder: Path, count: int, seed: int) -> list[Sent]:
    """Return studies with random subsets of their modalities, and the scores of ``polyclinic score`` for them.

    Args:
        bundle: bundle that scores.
        cohort: folder of the demo's cohort.
        folder: folder of the smaller cohort.
        count: number of studies.
        seed: seed of the subsets.
    """
    rng = np.random.default_rng(seed)
    studies = complete_studies(cohort, QUERY, count)
    subsets = [
        {name: files[name] for name in rng.permutation(QUERY)[: rng.integers(1, len(QUERY) + 1)]} for files in studies
    ]
    scores = _command(bundle, cohort, folder, subsets)
    return [
        Sent(request=as_request(files, f"study {place}"), expected=expected)
        for place, (files, expected) in enumerate(zip(subsets, scores, strict=True))
    ]


def _command(bundle: Path, cohort: Path, folder: Path, subsets: list[dict[str, Path]]) -> list[dict[str, float]]:
    with (folder / "cohort.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, ["study_id", "patient_id", "split", *QUERY])
        writer.writeheader()
        for place, files in enumerate(subsets):
            writer.writerow(
                {"study_id": f"s{place:05}", "patient_id": f"p{place:05}", "split": "test"}
                | {name: path.absolute() for name, path in files.items()}
            )
    spec = ["table: cohort.csv", "study_id: study_id", "patient_id: patient_id", "split: split", "modalities:"]
    spec += [f"  {name}: {{path: {name}}}" for name in QUERY]
    (folder / "cohort.yaml").write_text("\n".join(spec) + "\n", encoding="utf-8")
    out = folder / "scores.json"
    if polyclinic(["score", str(bundle), "--cohort", str(folder / "cohort.yaml"), "--json", str(out)]):
        raise RuntimeError("polyclinic score failed; see above")
    scored: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["studies"]
    return [{finding["name"]: finding["score"] for finding in study["findings"]} for study in scored]


def companions(path: Path) -> list[Path]:
    """Return the further files that belong to a source."""
    return [path.with_suffix(".dat")] if path.suffix == ".hea" else []
