"""Members of archives become sources, and no archive writes outside its folder or more than the limits."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from archives import flatten, write_dicom
from polyclinic.cohort import default_modalities, read_cohort
from polyclinic.cohort.scan import ScanResult, scan, scan_folder, unpack
from polyclinic.modality import Modality

TEXT = b"Findings: no effusion."


@pytest.fixture(scope="module")
def plugins() -> dict[str, Modality]:
    return default_modalities()


@pytest.fixture
def run(tmp_path: Path, plugins: Mapping[str, Modality]) -> Callable[..., ScanResult]:
    (tmp_path / "archive").mkdir()
    write_dicom(tmp_path / "archive/good.dcm", PatientID="G", StudyInstanceUID="2.25.1")

    def scanned(**settings: Any) -> ScanResult:
        options = {"unpack": tmp_path / "members"} | settings
        return scan_folder(tmp_path / "archive", out=tmp_path / "out", modalities=plugins, workers=1, **options)

    return scanned


def zipped(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


def tarred(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def why(result: ScanResult, reason: str = "archive-refused") -> list[str]:
    return [file.get("why", "") for file in result.report["left_out"].get(reason, {"files": []})["files"]]


def test_a_zipped_phantom_gives_the_studies_of_its_table(
    tmp_path: Path, phantom_cohort: Path, plugins: Mapping[str, Modality]
) -> None:
    flat = flatten(phantom_cohort.parent, tmp_path / "flat")
    files = {path.name: path.read_bytes() for path in sorted(flat.iterdir())}
    table = {name: content for name, content in files.items() if name == "cohort.csv"}
    others = {name: content for name, content in files.items() if name not in table}
    images = {name: content for name, content in others.items() if name.endswith(".dcm")}
    zipped(tmp_path / "archive/images.zip", images)
    tarred(tmp_path / "archive/rest.tgz", {n: c for n, c in others.items() if n not in images}, "w:gz")
    (tmp_path / "archive/cohort.csv").write_bytes(table["cohort.csv"])
    before = {path: path.read_bytes() for path in sorted((tmp_path / "archive").iterdir())}
    result = scan_folder(
        tmp_path / "archive", out=tmp_path / "out", modalities=plugins, workers=1, unpack=tmp_path / "members"
    )
    expected = read_cohort(phantom_cohort)

    def content(cohort: Any) -> dict[str, object]:
        return {
            study.study_id: (study.patient_id, study.split, {k: Path(v).stem for k, v in study.sources.items()})
            for study in cohort.studies
        }

    assert content(result.cohort) == content(expected)
    assert result.report["left_out"] == {}
    assert result.report["unpacked"] == len(others)
    assert {path: path.read_bytes() for path in sorted((tmp_path / "archive").iterdir())} == before
    paths = [Path(str(source)) for study in read_cohort(result.path).studies for source in study.sources.values()]
    assert all(path.is_relative_to(tmp_path / "members") for path in paths)


def test_without_the_option_the_members_are_counted(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    zipped(tmp_path / "archive/a.zip", {"x.txt": TEXT, "y/": b"", "y/z.txt": TEXT})
    tarred(tmp_path / "archive/b.tar", {"x.txt": TEXT})
    tarred(tmp_path / "archive/c.tar.gz", {"x.txt": TEXT}, "w:gz")
    entry = run(unpack=None).report["left_out"]["archive"]
    assert [file.get("why") for file in entry["files"]] == ["2 members", "1 members", None]
    assert "`--unpack`" in entry["advice"]
    assert not (tmp_path / "members").exists()


def _encrypted(path: Path) -> None:
    content = bytearray(zipped(path, {"a.txt": TEXT}).read_bytes())
    for signature, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(signature) + place] |= 1
    path.write_bytes(content)


def _linked_zip(path: Path) -> None:
    link = zipfile.ZipInfo("a.txt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")


def _tar_of(kind: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo("a.txt")
            member.type, member.linkname = kind, "b.txt"
            archive.addfile(member)

    return write


def _declares_less(path: Path) -> None:
    """A zip file whose list of members states a smaller size than its members have."""
    content = bytearray(zipped(path, {"a.txt": TEXT * 100}).read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 10)
    path.write_bytes(content)


def _cut(write: Callable[[Path], Any], share: float) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return cut


def _many(path: Path) -> Any:
    return zipped(path, {f"{number}.txt": bytes([65 + number]) * 4000 for number in range(9)}, zipfile.ZIP_STORED)


def _tars(path: Path) -> Any:
    return tarred(path, {f"{number}.txt": bytes([65 + number]) * 4000 for number in range(9)})


def _gzipped(path: Path) -> Any:
    return tarred(path, {f"{number}.txt": os.urandom(4000) for number in range(9)}, "w:gz")


def _long_header(path: Path) -> None:
    """A compressed tar archive with an extended header of a gigabyte, which tarfile would read at once."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 2**30
    with gzip.open(path, "wb", 1) as out:
        out.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(8):
            out.write(bytes(2**20))


def _damaged_header(path: Path) -> None:
    content = bytearray(_tars(path).read_bytes())
    content[512 * 9 + 10 : 512 * 9 + 200] = b"\xff" * 190  # of the second member
    path.write_bytes(content)


REFUSED: list[tuple[Callable[[Path], Any], str]] = [
    (_encrypted, "a member that is encrypted"),
    (_linked_zip, "a member that is a link"),
    (_tar_of(tarfile.SYMTYPE), "a member that is a link"),
    (_tar_of(tarfile.LNKTYPE), "a member that is a link"),
    (_tar_of(tarfile.FIFOTYPE), "a member that is neither a file nor a folder"),
    (_tar_of(tarfile.CHRTYPE), "a member that is neither a file nor a folder"),
    (lambda path: zipped(path, {"a.txt": TEXT}, zipfile.ZIP_LZMA), "a member that is not packed by deflate"),
    (lambda path: zipped(path, {"a.txt": TEXT, "b/../a2.txt": TEXT}), "a member whose path leads out of the folder"),
    (lambda path: zipped(path, {"a": TEXT, "a/b": TEXT}), "two members of one name"),
    (lambda path: tarred(path, {"a.txt": TEXT, "./a.txt": TEXT}), "two members of one name"),
    (lambda path: zipped(path, {"a" * 300: TEXT}), "damaged or cut off"),
    (lambda path: zipped(path, {"[Content_Types].xml": TEXT}), "a document of an office program"),
    (lambda path: zipped(path, {"zeros": bytes(3_000_000)}), "inflates to more than 200 times its size"),
    (lambda path: tarred(path, {"zeros": bytes(3_000_000)}, "w:gz"), "inflates to more than 200 times its size"),
    (_declares_less, "damaged or cut off"),
    (_cut(_many, 0.5), "damaged or cut off"),
    (_cut(_tars, 0.5), "damaged or cut off"),
    (_cut(_tars, 512 * 9 / 51200), "damaged or cut off"),
    (_cut(_gzipped, 0.5), "damaged or cut off"),
    (_long_header, "a header that is too long"),
    (_damaged_header, "damaged or cut off"),
    (lambda path: path.write_bytes(gzip.compress(TEXT)), "a compressed file, or a damaged archive"),
    (lambda path: path.write_bytes(b"Rar!" + TEXT), "an archive of a kind that is not unpacked"),
    (lambda path: path.write_bytes(b"PK\x03\x04" + TEXT), "damaged or cut off"),
]


@pytest.mark.parametrize(("write", "reason"), REFUSED)
def test_an_archive_that_is_not_safe_is_left_out_completely(
    tmp_path: Path,
    run: Callable[..., ScanResult],
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], Any],
    reason: str,
) -> None:
    monkeypatch.setattr(unpack, "SMALL_BYTES", 1_000_000)
    write(tmp_path / "archive/bad")
    zipped(tmp_path / "archive/other.zip", {"z.txt": TEXT})
    result = run()
    [stated] = why(result)
    assert stated.startswith(reason)
    assert [path.name for path in (tmp_path / "members").rglob("*") if path.is_file()] == ["z.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "members", "out"]
    assert {"good.dcm", str(tmp_path / "members/other.zip/z.txt")} == {
        str(source).removeprefix(f"{tmp_path}/archive/") for s in result.cohort.studies for source in s.sources.values()
    }


def test_a_refused_archive_leaves_no_folder(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    _encrypted(tmp_path / "archive/bad.zip")
    assert why(run()) == ["a member that is encrypted"]
    assert not (tmp_path / "members").exists()


def test_climbing_archives_are_not_unpacked(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    zipped(tmp_path / "archive/a.zip", {"../b.txt": TEXT})
    tarred(tmp_path / "archive/b.tgz", {"../../b.txt": TEXT}, "w:gz")
    result = run()
    assert set(result.report["left_out"]) == {"archive-climbs-out", "archive-refused"}
    assert not (tmp_path / "b.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out"]


def test_names_keep_their_letters_and_windows_separators(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    zipped(tmp_path / "archive/a.zip", {"Lunge rechts\\Ü.txt": TEXT, "Grün.txt": TEXT + b"x"})
    old = (tmp_path / "archive/a.zip").read_bytes().replace("Grün.txt".encode(), b"Gr\x81n2.txt")
    # Clears the flag of UTF-8 names in the second member: the byte is then a letter of cp437 (APPNOTE 4.4.4).
    for signature, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        last = old.rindex(signature) + place
        old = old[:last] + b"\0\0" + old[last + 2 :]
    (tmp_path / "archive/a.zip").write_bytes(old)
    run()
    found = {path.relative_to(tmp_path / "members").as_posix() for path in (tmp_path / "members").rglob("*.txt")}
    assert found == {"a.zip/Lunge rechts/Ü.txt", "a.zip/Grün2.txt"}


def test_one_level_is_unpacked(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    inner = zipped(tmp_path / "inner.zip", {"deep.txt": TEXT}).read_bytes()
    zipped(tmp_path / "archive/a.zip", {"in.zip": inner, "b.txt": TEXT})
    tarred(tmp_path / "archive/c", {"in.zip": inner})
    result = run()
    assert [file["path"] for file in result.report["left_out"]["archive-within"]["files"]] == [
        "a.zip/in.zip",
        "c/in.zip",
    ]
    assert not list((tmp_path / "members").rglob("deep.txt"))


@pytest.mark.parametrize(("name", "limit"), [("MAX_MEMBERS", 3), ("MAX_BYTES", 10_000)])
def test_limits_count_what_is_written(
    tmp_path: Path, run: Callable[..., ScanResult], monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    monkeypatch.setattr(unpack, name, limit)
    _many(tmp_path / "archive/a.zip")
    _tars(tmp_path / "archive/b.tar")
    _gzipped(tmp_path / "archive/c.tgz")
    assert len(why(run())) == 3
    assert not (tmp_path / "members").exists()


def test_all_archives_together_stay_below_the_limit(
    tmp_path: Path, run: Callable[..., ScanResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "MAX_BYTES", 3000)
    for number in range(4):
        zipped(tmp_path / f"archive/{number}.zip", {"a.txt": bytes([65 + number]) * 1000})
    assert len(why(run())) == 1


def test_thousands_of_empty_folders_and_a_loop_of_links_are_harmless(
    tmp_path: Path, run: Callable[..., ScanResult]
) -> None:
    zipped(tmp_path / "archive/a.zip", {**{f"{number}/": b"" for number in range(5000)}, "b.txt": TEXT})
    loop = tmp_path / "archive/loop"
    loop.mkdir()
    (loop / "again").symlink_to(loop)
    (loop / "first").symlink_to("second")
    (loop / "second").symlink_to("first")
    for number in range(2000):
        (loop / str(number)).mkdir()
    left_out = run().report["left_out"]
    assert {reason: entry["count"] for reason, entry in left_out.items()} == {"link": 1, "link-leaves-folder": 2}
    assert len(list((tmp_path / "members/a.zip").iterdir())) == 1


@pytest.mark.parametrize("step", ["walk", "group_sources", "write_report"])
def test_members_do_not_remain_after_an_error(
    tmp_path: Path, run: Callable[..., ScanResult], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    zipped(tmp_path / "archive/a.zip", {"a.txt": TEXT})
    calls: list[object] = []
    real = getattr(scan, step)

    def fail(*words: object, **settings: object) -> object:
        calls.append(words)
        if step == "walk" and len(calls) == 1:
            return real(*words, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(scan, step, fail)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_the_folder_of_members_is_new_and_outside(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    zipped(tmp_path / "archive/a.zip", {"a.txt": TEXT})
    (tmp_path / "taken").mkdir()
    for folder, message in (
        (tmp_path / "taken", "already exists; choose another `--unpack`"),
        (tmp_path / "archive/new", "`--unpack` lies in the folder to scan"),
        (tmp_path / "out/new", "lie in each other"),
        (tmp_path / "out", "lie in each other"),
    ):
        with pytest.raises(ValueError, match=message):
            run(unpack=folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "taken"]


def test_a_compressed_file_that_a_plugin_takes_is_not_an_archive(
    tmp_path: Path, run: Callable[..., ScanResult]
) -> None:
    class Packed(Modality):  # type: ignore[misc]
        suffixes = (".txt.gz",)

        def read(self, source: Any) -> bytes:
            return gzip.decompress(source.read_bytes())

    (tmp_path / "archive/a.b.TXT.gz").write_bytes(gzip.compress(TEXT))
    (tmp_path / "archive/other.gz").write_bytes(gzip.compress(TEXT))
    Packed.__abstractmethods__ = frozenset()  # type: ignore[misc]
    result = scan_folder(tmp_path / "archive", out=tmp_path / "out", modalities={"packed": Packed()}, workers=1)
    assert [source.name for study in result.cohort.studies for source in study.sources.values()] == ["a.b.TXT.gz"]  # type: ignore[union-attr]
    assert why(result, "archive") == [""]
