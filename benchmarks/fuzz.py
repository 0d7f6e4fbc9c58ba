"""Damaged files of every format, each of which must be read or refused with a message in bounded time and memory."""

import gzip
import multiprocessing
import resource
import struct
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import gdcm
import numpy as np
import pandas as pd
import pydicom
import soundfile
import torch
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from benchmarks.cart_files import WRITERS
from benchmarks.measure import Figure
from polyclinic.modality import Item, Modality, UnreadableSource, installed_modalities
from polyclinic.modality.physiology import Patient
from polyclinic_ecg.reading.wfdb_record import read_wfdb
from polyclinic_ecg.wfdb_write import write_wfdb
from polyclinic_volume.reading.nifti import read_nifti
from polyclinic_volume.reading.sidecar import sidecar_of

COMMAND = "python -m benchmarks fuzz"
MUTATIONS = 2000
LIMIT_SECONDS, LIMIT_BYTES = 5.0, 2 * 10**9
ORIGINALS = 3
NAME = "doe_john"
_MAX_REPEATED_BYTES = 900_000
_MAX_MAGNITUDE = 1e5
"""Bound of prepared values: radiographs and sounds have unit deviation, leads at most 10 V, rows percentiles."""

_VARIABLE_LENGTH_PLUGINS = ("Report", "Timeline")

Study = dict[str, bytes]
"""Files of a study by the ending of their names after the name of the study, the source first."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format.

    Attributes:
        plugin: name of the installed modality.
        convert: function from the phantom's file to the files of this format in its folder; the first is the source.
        source: suffix of the source.
        header: number of header bytes at the start.
    """

    plugin: str
    convert: Callable[[Path], list[Path]]
    source: str
    header: int


def _itself(path: Path) -> list[Path]:
    return [path]


def _wfdb(path: Path) -> list[Path]:
    return [path, path.with_suffix(".dat")]


def _segments(path: Path) -> list[Path]:
    """Convert to two segments of fixed layout, the second of them shorter."""
    first, *lines = (line.split() for line in path.read_text(encoding="ascii").splitlines() if line[0] != "#")
    stored = np.fromfile(path.with_suffix(".dat"), dtype="<i2").reshape(-1, len(lines)).T
    halves, listed, files = (stored[:, :3000], stored[:, 3000:]), [], []
    for number, half in enumerate(halves, start=1):
        name = f"{path.stem}_{number}"
        header = write_wfdb(
            path.with_name(name),
            np.ascontiguousarray(half),
            names=[line[-1] for line in lines],
            gain=lines[0][2],
            rate=float(first[2]),
            comments=(),
        )
        listed.append(f"{name} {half.shape[1]}\n")
        files += [header, header.with_suffix(".dat")]
    path.write_text(f"{path.stem}/2 {' '.join(first[1:])}\n{''.join(listed)}", encoding="ascii")
    return [path, *files]


def _image(suffix: str) -> Callable[[Path], list[Path]]:
    def convert(path: Path) -> list[Path]:
        dataset = pydicom.dcmread(path)
        stored = dataset.pixel_array
        if suffix == ".png":
            # Depths of 8 and 16 bit, by what the phantom drew.
            image = Image.fromarray(stored << 4 if stored[0, 0] % 2 else (stored >> 4).astype(np.uint8))
        else:
            image = Image.fromarray((stored >> 4).astype(np.uint8))
        image.save(path.with_suffix(suffix))
        return [path.with_suffix(suffix)]

    return convert


def _compressed(syntax: str) -> Callable[[Path], list[Path]]:
    def convert(path: Path) -> list[Path]:
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
        return [path]

    return convert


def _jpeg_lossless(path: Path) -> list[Path]:
    """Convert to a syntax that only GDCM decodes, which used to crash on a broken stream."""
    reader, writer, coder = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(path))
    target = gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    coder.SetTransferSyntax(target)
    # GDCM's wrappers do not keep their referents alive, so each object has a name here.
    image = reader.GetImage() if reader.Read() else None
    coder.SetInput(image)
    assert coder.Change(), "a phantom can be coded"
    writer.SetFileName(str(path))
    coded, content = coder.GetOutput(), reader.GetFile()
    writer.SetFile(content)
    writer.SetImage(coded)
    assert writer.Write(), "a phantom can be written"
    return [path]


def _sound(suffix: str) -> Callable[[Path], list[Path]]:
    def convert(path: Path) -> list[Path]:
        samples, rate = soundfile.read(path)
        soundfile.write(path.with_suffix(suffix), samples, 16_000 if suffix == ".mp3" else rate)
        return [path.with_suffix(suffix)]

    return convert


def dicom_waveform(path: Path) -> list[Path]:
    """Convert to a twelve-lead waveform of two seconds, with the modules of the standard that a reader needs."""
    target = path.with_suffix(".dcm")
    stored = np.fromfile(path.with_suffix(".dat"), dtype="<i2")[: 12 * 1000].reshape(-1, 12)
    group = pydicom.Dataset()
    group.WaveformOriginality, group.SamplingFrequency = "ORIGINAL", 500
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 12, len(stored)
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.ChannelDefinitionSequence = [_channel(number) for number in (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)]
    group.add_new("WaveformData", "OW", stored.tobytes())
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3"
    dataset.PatientName, dataset.WaveformSequence = "Phantom^Study", [group]
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.save_as(target, enforce_file_format=True)
    return [target]


def _channel(number: int) -> pydicom.Dataset:
    source, unit, channel = (pydicom.Dataset() for _ in range(3))
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = f"2:{number}", "MDC", "Lead"
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
    channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [unit]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "5", "1"
    channel.ChannelBaseline, channel.WaveformBitsStored = "0", 16
    return channel


def _cart(name: str) -> Callable[[Path], list[Path]]:
    """Convert to a format of ``cart_files``, with zeros for what was not recorded."""
    write, suffix, _ = WRITERS[name]

    def convert(path: Path) -> list[Path]:
        raw = read_wfdb(path)
        write(path.with_suffix(suffix), np.nan_to_num(raw.signal), raw.rate)
        return [path.with_suffix(suffix)]

    return convert


def _events_in_parquet(path: Path) -> list[Path]:
    """Convert to typed columns, as data warehouses write them."""
    table = pd.read_csv(path, parse_dates=["time"]).rename(columns={"value": "text_value"})
    table["numeric_value"] = pd.to_numeric(table["text_value"], errors="coerce")
    table.to_parquet(path.with_suffix(".parquet"), index=False)
    return [path.with_suffix(".parquet")]


def _nifti(path: Path) -> list[Path]:
    return [path, sidecar_of(path)]


def _plain_nifti(path: Path) -> list[Path]:
    target = path.with_suffix("")
    target.write_bytes(gzip.decompress(path.read_bytes()))
    return [target, sidecar_of(path)]


def _ct_series(path: Path) -> list[Path]:
    """Convert to eight slices of DICOM, each a file."""
    voxels = read_nifti(path, kind="ct")
    files = []
    for number in range(8):
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        pixels = np.round(voxels.values[:, :, 12 + 2 * number].T + 1024).clip(0, 4095).astype("<u2")
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelData, dataset.PixelRepresentation, dataset.RescaleIntercept = pixels.tobytes(), 0, -1024
        dataset.InstanceNumber, dataset.SOPInstanceUID = number + 1, f"2.25.7{number}"
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 16 * number], [1, 0, 0, 0, 1, 0]
        for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
            if keyword in dataset:
                del dataset[keyword]
        files.append(path.with_name(f"{NAME}-{number}.dcm"))
        dataset.save_as(files[-1])
    return files


_CART_HEADERS = {".xml": 1500, ".edf": 2600, ".ecg": 522, ".scp": 520, ".mwf": 200, ".csv": 120}

FORMATS: Mapping[str, Format] = {
    "xray-dicom": Format(plugin="xray", convert=_itself, source=".dcm", header=1200),
    "xray-dicom-rle": Format(plugin="xray", convert=_compressed(RLELossless), source=".dcm", header=1300),
    "xray-dicom-jpegls": Format(plugin="xray", convert=_compressed(JPEGLSLossless), source=".dcm", header=1300),
    "xray-dicom-jpeg2000": Format(plugin="xray", convert=_compressed(JPEG2000Lossless), source=".dcm", header=1300),
    "xray-dicom-jpeg-lossless": Format(plugin="xray", convert=_jpeg_lossless, source=".dcm", header=1300),
    "xray-png": Format(plugin="xray", convert=_image(".png"), source=".png", header=64),
    "xray-jpeg": Format(plugin="xray", convert=_image(".jpg"), source=".jpg", header=640),
    "ecg-wfdb": Format(plugin="ecg", convert=_wfdb, source=".hea", header=600),
    "ecg-wfdb-segments": Format(plugin="ecg", convert=_segments, source=".hea", header=600),
    "ecg-dicom": Format(plugin="ecg", convert=dicom_waveform, source=".dcm", header=2400),
    **{
        f"ecg-{name}": Format(plugin="ecg", convert=_cart(name), source=suffix, header=_CART_HEADERS[suffix])
        for name, (_, suffix, _) in WRITERS.items()
    },
    "audio-wav": Format(plugin="audio", convert=_itself, source=".wav", header=44),
    "audio-flac": Format(plugin="audio", convert=_sound(".flac"), source=".flac", header=128),
    "audio-ogg": Format(plugin="audio", convert=_sound(".ogg"), source=".ogg", header=4000),
    "audio-mp3": Format(plugin="audio", convert=_sound(".mp3"), source=".mp3", header=128),
    "report-txt": Format(plugin="report", convert=_itself, source=".txt", header=200),
    "volume-nifti": Format(plugin="volume", convert=_plain_nifti, source=".nii", header=352),
    "volume-nifti-gz": Format(plugin="volume", convert=_nifti, source=".nii.gz", header=64),
    "volume-dicom": Format(plugin="volume", convert=_ct_series, source="-0.dcm", header=1500),
    "tabular-csv": Format(plugin="tabular", convert=_itself, source=".csv", header=200),
    "timeline-csv": Format(plugin="timeline", convert=_itself, source=".csv", header=200),
    "timeline-parquet": Format(plugin="timeline", convert=_events_in_parquet, source=".parquet", header=200),
}


def measure(mutations: int = MUTATIONS) -> list[Figure]:
    """Test every format in a separate process, restarted after a hang or a crash; counts go to stderr."""
    unexpected = 0
    for name in FORMATS:
        counts = Counter(outcome for _, outcome in outcomes(name, mutations))
        unexpected += counts.total() - counts["read"] - counts["refused"]
        sys.stderr.write(f"{name}: {dict(counts)}\n")
    return [
        Figure(name="fuzz.unexpected", value=float(unexpected), unit="files", goal=0.0, at_most=True, command=COMMAND)
    ]


def outcomes(name: str, mutations: int) -> Iterator[tuple[str, str]]:
    """Yield the damage of each file, and ``read``, ``refused`` or a description of the unexpected outcome."""
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        originals, worker = write_originals(name, folder), _Worker(name, folder)
        for index in range(mutations):
            damage, study = damaged(originals, header=FORMATS[name].header, index=index)
            yield (
                f"{damage} {index}",
                believed(worker.outcome(write_study(study, folder / "changed_study")), study, originals),
            )
        worker.stop()


def write_originals(name: str, folder: Path) -> list[Study]:
    """Write phantoms in a format, one folder each."""
    modality, originals = installed_modalities()[FORMATS[name].plugin](), []
    for seed in range(ORIGINALS):
        rng = np.random.default_rng(seed)
        (folder / str(seed)).mkdir()
        path = modality.phantom(Patient(rng).visit(rng), rng, folder / str(seed) / NAME)
        files = FORMATS[name].convert(path)
        originals.append({file.name.removeprefix(NAME): file.read_bytes() for file in files})
    return originals


def write_study(study: Study, folder: Path) -> Path:
    """Write the files of a study to one folder and return its source."""
    folder.mkdir(exist_ok=True)
    for suffix, content in study.items():
        # A new file changes the time of its folder, by which a plugin may remember what lies in it.
        (folder / f"{NAME}{suffix}").unlink(missing_ok=True)
        (folder / f"{NAME}{suffix}").write_bytes(content)
    return folder / f"{NAME}{next(iter(study))}"


def damaged(originals: Sequence[Study], *, header: int, index: int) -> tuple[str, Study]:
    """Damage one file of the ``index``-th study and return the kind of damage and the study."""
    rng = np.random.default_rng(index)
    chosen = index % len(originals)
    study, other = originals[chosen], originals[(chosen + 1) % len(originals)]
    suffix = list(study)[rng.integers(len(study))]
    damage = _DAMAGES[index // len(originals) % len(_DAMAGES)]
    content = damage(study[suffix], other[suffix], header, rng)
    return damage.__name__.strip("_"), {**study, suffix: content}


def _truncated(content: bytes, other: bytes, header: int, rng: np.random.Generator) -> bytes:
    end = int(rng.integers(len(content)))
    return content[: end if rng.random() < 0.8 else end % header]


def _flipped(content: bytes, end: int, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(min(len(content), end), size=rng.integers(1, 9)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _flipped_header(content: bytes, other: bytes, header: int, rng: np.random.Generator) -> bytes:
    return _flipped(content, header, rng)


def _flipped_anywhere(content: bytes, other: bytes, header: int, rng: np.random.Generator) -> bytes:
    return _flipped(content, len(content), rng)


def _swapped_blocks(content: bytes, other: bytes, header: int, rng: np.random.Generator) -> bytes:
    size = int(rng.integers(1, max(2, min(header, len(content) // 3))))
    first, second = sorted(int(place) for place in rng.integers(len(content) - size, size=2))
    second = max(second, first + size)
    parts = content[:first], content[second : second + size], content[first + size : second]
    return b"".join([*parts, content[first : first + size], content[second + size :]])


def _swapped_header(content: bytes, other: bytes, header: int, rng: np.random.Generator) -> bytes:
    end = header if rng.random() < 0.5 else int(rng.integers(1, header))
    return other[:end] + content[end:]


def _inserted(content: bytes, other: bytes, header: int, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content) if rng.random() < 0.5 else min(header, len(content))))
    return content[:place] + rng.bytes(int(rng.integers(1, 65))) + content[place:]


def _repeated(content: bytes, other: bytes, header: int, rng: np.random.Generator) -> bytes:
    """Repeat a few bytes many times, which takes minutes in a reader of quadratic time."""
    place, size = int(rng.integers(len(content))), int(rng.integers(1, 9))
    times = int(rng.integers(1, _MAX_REPEATED_BYTES // size))
    return content[:place] + content[place : place + size] * times + content[place:]


def _emptied(content: bytes, other: bytes, header: int, rng: np.random.Generator) -> bytes:
    return b"" if rng.random() < 0.5 else bytes(len(content))


_DAMAGES = (
    *(_truncated, _flipped_header, _flipped_anywhere, _swapped_blocks, _swapped_header, _inserted, _repeated),
    _emptied,
)


def believed(outcome: str, study: Study, originals: Sequence[Study]) -> str:
    """Return the outcome, or a fault where a file was read although a checksum in it fails."""
    if outcome != "read":
        return outcome
    for name in (suffix.removesuffix(".dat") for suffix in study if suffix.endswith(".dat")):
        header = study[f"{name}.hea"]
        is_header_intact = any(header == original[f"{name}.hea"] for original in originals)
        if is_header_intact and not _sums_hold(header, study[f"{name}.dat"]):
            return "read in spite of a failed checksum"
    if ".png" in study:
        return outcome if _cyclic_sums_hold(study[".png"]) else "read in spite of a failed checksum"
    return outcome


def _sums_hold(header: bytes, samples: bytes) -> bool:
    """Return whether the 16-bit sums of a record in format 16 match its undamaged header."""
    lines = [line.split() for line in header.decode().splitlines() if not line.startswith("#")]
    count, length = int(lines[0][1]), int(lines[0][3])
    stored = np.frombuffer(samples[: 2 * count * length], dtype="<i2")
    if len(stored) < count * length:
        return False
    sums = stored.reshape(length, count).sum(axis=0, dtype=np.int64)
    return all(int(line[6]) % 65536 == total % 65536 for line, total in zip(lines[1:], sums, strict=True))


def _cyclic_sums_hold(content: bytes) -> bool:
    """Return whether every chunk of a PNG up to its end matches its CRC."""
    place = 8
    while len(content) >= place + 12:
        (size,) = struct.unpack_from(">I", content, place)
        chunk = content[place + 4 : place + 8 + size]
        if content[place + 8 + size : place + 12 + size] != struct.pack(">I", zlib.crc32(chunk)):
            return False
        if chunk[:4] == b"IEND":
            return True
        place += 12 + size
    return False


def fitted(folder: Path, name: str) -> tuple[Modality, Item]:
    """Return the plugin, fitted on the originals in ``folder``, and the prepared item of the first original."""
    modality = installed_modalities()[FORMATS[name].plugin]()
    suffix = FORMATS[name].source
    raws = [modality.read(folder / str(seed) / f"{NAME}{suffix}") for seed in range(ORIGINALS)]
    modality.fit(raws)
    return modality, modality.prepare(raws[0])


def judged(modality: Modality, sound: Item, source: Path) -> str:
    """Return ``read``, ``refused``, or the fault in reading a source.

    Args:
        modality: fitted plugin.
        sound: item of an undamaged source.
        source: source to read.
    """
    try:
        raw = modality.read(source)
    except UnreadableSource as error:
        return _refusal(str(error), source)
    except Exception as error:
        return f"read raised {type(error).__name__}"
    try:
        facts, item = modality.describe(raw), modality.prepare(raw)
        modality.collate([item, sound])
    except Exception as error:
        return f"prepare raised {type(error).__name__}"
    if not all(np.isfinite(fact) for fact in facts.values() if isinstance(fact, float)):
        return "facts that are not finite"
    return _item_fault(item, sound, varies=type(modality).__name__ in _VARIABLE_LENGTH_PLUGINS) or "read"


def _refusal(message: str, source: Path) -> str:
    if "MemoryError" in message:
        return "refused for want of memory"
    return "a path in the message" if any(part in message for part in (NAME, *source.parts[1:])) else "refused"


def _item_fault(item: Item, sound: Item, *, varies: bool) -> str | None:
    if item.keys() != sound.keys():
        return "other tensors"
    for name, value in item.items():
        if value.dtype != sound[name].dtype or value.shape[varies:] != sound[name].shape[varies:]:
            return f"{name} of another shape or type"
        if value.is_floating_point() and not bool(value.isfinite().all()):
            return f"{name} that is not finite"
        if value.is_floating_point() and value.abs().max() > _MAX_MAGNITUDE:
            return f"{name} beyond what is possible"
    return None


class _Worker:
    """A process that reads one file at a time, and is killed when a file takes too long."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._start()

    def outcome(self, source: Path) -> str:
        """Return the result of ``judged``, or how the process ended."""
        self._ours.send(source)
        try:
            if self._ours.poll(LIMIT_SECONDS):
                return str(self._ours.recv())
            outcome = f"longer than {LIMIT_SECONDS:g} s"
        except EOFError:
            outcome = "crash"
        self.stop()
        self._start()
        return outcome

    def stop(self) -> None:
        """Kill the process and wait for it."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._name, self._folder, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._ours.recv()


def _serve(name: str, folder: Path, connection: Connection) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    modality, sound = fitted(folder, name)
    # The limit is the memory mapped so far (statm counts pages) plus the allowance for a file.
    mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + LIMIT_BYTES, mapped + LIMIT_BYTES))
    connection.send("ready")
    while True:
        connection.send(judged(modality, sound, connection.recv()))
