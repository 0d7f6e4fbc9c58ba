import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from polyclinic.modality import UnreadableSource
from polyclinic_ecg import ECG
from polyclinic_ecg.reading.dicom_waveform import MAX_INFLATED_BYTES


@pytest.fixture
def dataset() -> Dataset:
    return pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))


def save(dataset: Dataset, folder: Path) -> Path:
    dataset.save_as(folder / "study.dcm")
    return folder / "study.dcm"


def reason(source: Path) -> str:
    with pytest.raises(UnreadableSource) as caught:
        ECG().read(source)
    return str(caught.value)


def test_stored_integers_become_millivolts(dataset: Dataset, tmp_path: Path) -> None:
    stored = np.frombuffer(dataset.WaveformSequence[0].WaveformData, dtype="<i2").reshape(10_000, 12).T
    raw = ECG().read(save(dataset, tmp_path))
    np.testing.assert_allclose(raw.signal, stored * 1.25e-3, atol=1e-6)
    assert (raw.rate, raw.facts["format"], raw.facts["leads"]) == (1000.0, "dicom", 12)


def test_leads_follow_codes_meanings_and_padding(dataset: Dataset, tmp_path: Path) -> None:
    group = dataset.WaveformSequence[0]
    stored = np.frombuffer(group.WaveformData, dtype="<i2").reshape(10_000, 12).copy()
    stored[:100, 0] = -32768
    group.WaveformData = stored.tobytes()
    group.add_new("WaveformPaddingValue", "OW", b"\x00\x80")
    channels = group.ChannelDefinitionSequence
    channels[0], channels[7] = channels[7], channels[0]
    source = channels[6].ChannelSourceSequence[0]
    source.CodingSchemeDesignator, source.CodeValue = "99LOCAL", "17"
    signal = ECG().read(save(dataset, tmp_path)).signal
    np.testing.assert_allclose(signal[6], stored[:, 6] * 1.25e-3, atol=1e-6)
    np.testing.assert_allclose(signal[0], stored[:, 7] * 1.25e-3, atol=1e-6)
    assert np.isnan(signal).sum() == np.isnan(signal[7, :100]).sum() == 100


def test_invalid_waveforms_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    group = dataset.WaveformSequence[0]
    data = group.WaveformData
    group.WaveformData = data[:-24]
    assert "declares 240000" in reason(save(dataset, tmp_path))
    group.WaveformData = data
    group.ChannelDefinitionSequence[2].ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"
    assert "lead in another unit than mV, uV and V" in reason(save(dataset, tmp_path))
    group.WaveformOriginality = "DERIVED"
    assert "derived" in reason(save(dataset, tmp_path))


def test_a_deflated_waveform_is_read_and_a_bomb_refused_while_inflating(dataset: Dataset, tmp_path: Path) -> None:
    plain = ECG().read(save(dataset, tmp_path)).signal
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    source = save(dataset, tmp_path)
    np.testing.assert_array_equal(ECG().read(source).signal, plain)
    content = source.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = b"".join(packer.compress(bytes(2**22)) for _ in range(MAX_INFLATED_BYTES // 2**22 + 2)) + packer.flush()
    source.write_bytes(content[:start] + packed)
    tracemalloc.start()
    try:
        assert "deflated DICOM of more than 200,000,000 bytes" in reason(source)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_an_image_is_refused_as_a_waveform() -> None:
    assert "Waveform Sequence" in reason(Path(str(get_testdata_file("CT_small.dcm"))))
