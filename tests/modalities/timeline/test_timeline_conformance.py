from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from polyclinic.cohort.meds import MedsDataset, write_meds
from polyclinic.modality import EventWindow, Modality, Source
from polyclinic.modality.physiology import Patient
from polyclinic.testing import ModalityConformance
from polyclinic_timeline import Timeline


class TestTimeline(ModalityConformance):
    def modality(self) -> Modality:
        return Timeline(max_codes=32)


class TestTimelineOfFewEvents(ModalityConformance):
    def modality(self) -> Modality:
        return Timeline(max_codes=4, max_events=20)


class TestTimelineOfWindows(ModalityConformance):
    """Windows of a MEDS dataset, which states the time of the study."""

    def modality(self) -> Modality:
        return Timeline(max_codes=32)

    @pytest.fixture
    def sources(self, tmp_path: Path) -> list[Source]:
        tables = []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            path = Timeline().phantom(Patient(rng).visit(rng), rng, tmp_path / f"s{seed}")
            table = pd.read_csv(path, parse_dates=["time"]).assign(subject_id=seed)
            table["numeric_value"] = pd.to_numeric(table.value, errors="coerce")
            table["text_value"] = table.value.where(table.numeric_value.isna(), None).astype(object)
            tables.append(table[["subject_id", "time", "code", "numeric_value", "text_value", "unit"]])
        write_meds(tmp_path / "meds", pd.concat(tables), dataset_name="phantom")
        [file] = MedsDataset(tmp_path / "meds").shards
        last = [table.time.max().to_pydatetime() for table in tables]
        first = [table.time.min().to_pydatetime() for table in tables]
        return [EventWindow(file, seed, first[seed], last[seed], last[seed]) for seed in range(6)]


def test_padding_and_placeholders_of_missing_values_have_no_effect() -> None:
    encoder = Timeline(max_codes=8).default_encoder("nano").eval()
    inputs = {
        "code": torch.tensor([[2, 3, 0]]),
        "values": torch.tensor([[0.5, 0.0, 0.0]]),
        "observed": torch.tensor([[True, False, False]]),
        "text": torch.tensor([[0, 5, 0]]),
        "hours": torch.tensor([[-5.0, 0.0, 0.0]]),
        "padding": torch.tensor([[False, False, True]]),
    }
    other = {**inputs, "values": torch.tensor([[0.5, 7.0, 9.0]]), "hours": torch.tensor([[-5.0, 0.0, 3.0]])}
    torch.testing.assert_close(encoder(inputs).pooled, encoder(other).pooled)
    later = {**inputs, "hours": torch.tensor([[-50.0, 0.0, 0.0]])}
    assert not torch.allclose(encoder(inputs).pooled, encoder(later).pooled)
