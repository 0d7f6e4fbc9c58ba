"""Small cohorts of pulses with chosen patients and contents, for tests of the training exposure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

PULSES: dict[str, Any] = {"first": {"class_path": "pulse_plugin.Pulse"}, "second": {"class_path": "pulse_plugin.Pulse"}}


class Row(NamedTuple):
    """One study: patient, split, and a number that determines the content of its file and text."""

    study: str
    patient: str
    split: str
    content: int


def rows(letter: str, start: int = 0, *, train: int = 24, val: int = 6, test: int = 6) -> list[Row]:
    """Make one study per patient, named by a letter, with contents numbered from ``start``."""
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    return [Row(f"{letter}{place}", f"P{letter}{place}", split, start + place) for place, split in enumerate(splits)]


def write(folder: Path, studies: Sequence[Row], *, suffix: str = ".pulse", **spec: Any) -> Path:
    """Write a cohort of files named after the studies and inline texts, both long enough to be compared."""
    folder.mkdir(parents=True)
    table = []
    for study, patient, split, content in studies:
        (folder / f"{study}{suffix}").write_text(f"{60 + content / 100:.40f} 37.5")
        cells = {"id": study, "who": patient, "part": split, "file": f"{study}{suffix}", "sick": content % 2}
        table.append(cells | {"text": f"{70 + content / 100:.40f} 36.5"})
    pd.DataFrame(table).to_csv(folder / "table.csv", index=False)
    settings = {
        "table": "table.csv", "study_id": "id", "patient_id": "who", "split": "part", "labels": ["sick"],
        "modalities": {"first": {"path": "file"}, "second": {"text": "text"}},
    }  # fmt: skip
    path = folder / "cohort.yaml"
    path.write_text(yaml.safe_dump(settings | spec))
    return path
