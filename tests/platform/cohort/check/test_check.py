"""Checking a cohort: facts, issues, duplicates, and sources that end or stall the process that reads them."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from polyclinic.cli import main
from polyclinic.cohort import Cohort, Study, check_cohort, default_modalities, read_cohort
from polyclinic.cohort.check import all_checks, check_as_json, check_labels, print_check, worst_of, worst_sentence
from polyclinic.cohort.check.workers import Readers, Task
from polyclinic.cohort.content_index import ContentIndex
from polyclinic.modality import ArrayRow, Inspectable, Issue, Source, UnreadableSource
from pulse_plugin import Pulse

SECRET = "DOE^JOHN"


class Panic(BaseException):
    """Stands for the exception of a decoder in Rust."""


class Odd(Pulse):
    """Does what the first word of a file says; reads any other file."""

    def read(self, source: Source) -> Any:
        if isinstance(source, ArrayRow):
            return np.load(source.file)[source.row]
        words = source.read_bytes() if isinstance(source, Path) else str(source).encode()
        word = words.split()[0].decode()
        if word in ACTS:
            ACTS[word](source)
        return words

    def describe(self, raw: Any) -> Mapping[str, float | str]:
        return {"length": float(len(raw)), "nan": float("nan")}

    def issues(self, source: Source, raw: Any) -> Iterable[Issue]:
        if raw.startswith(b"puzzling"):
            raise RuntimeError(SECRET)
        for word in (b"warned", b"rare", b"failed"):
            if raw.startswith(word):
                severity = {b"warned": "warning", b"rare": "warning", b"failed": "error"}[word]
                output = word.decode()
                for message in ("this", "that"):
                    yield Issue(severity=severity, code=output, message=message, tolerated=0.5 * (output == "rare"))

    def stored_as(self, source: Source) -> str:
        if isinstance(source, Path) and source.is_file() and source.read_bytes().startswith(b"strange"):
            raise RuntimeError(SECRET)
        return "odd bytes"


class Learner(Odd):
    """Describes what it was fitted on."""

    def __init__(self) -> None:
        self.learned: list[str] = []

    def sample(self) -> int:
        return 3

    def fit(self, raws: Iterable[Any]) -> None:
        self.learned = [raw.decode() for raw in raws]

    def state(self) -> dict[str, Any]:
        return {"learned": self.learned}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.learned = state["learned"]

    def describe(self, raw: Any) -> Mapping[str, float | str]:
        return {"learned": " ".join(self.learned)}


class Unwilling(Odd):
    """Cannot be unpickled in another process."""

    def __setstate__(self, state: object) -> None:
        raise RuntimeError("no")


def _refuse(_: Source) -> None:
    raise UnreadableSource("not to be read")


def _fault(_: Source) -> None:
    raise TypeError(SECRET)


def _panic(_: Source) -> None:
    raise Panic(SECRET)


def _grow(source: Source) -> None:
    assert isinstance(source, Path)
    with source.open("ab") as stream:
        stream.write(b"more")


def _vanish(source: Source) -> None:
    assert isinstance(source, Path)
    source.unlink()
    raise UnreadableSource("file cannot be opened")


def _fade(source: Source) -> None:
    assert isinstance(source, Path)
    source.unlink()


ACTS = {
    "crash": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda _: os._exit(3),
    "hang": lambda _: time.sleep(600),
    "refuse": _refuse,
    "strange": _refuse,
    "fault": _fault,
    "panic": _panic,
    "grow": _grow,
    "vanish": _vanish,
    "fade": _fade,
}


def _cohort(folder: Path, contents: Mapping[str, bytes | str], **of: tuple[str, str]) -> Cohort:
    """Return a cohort from the content of each study (bytes for a file); ``of`` gives patient and split."""
    sources: dict[str, Source] = {}
    for name, content in contents.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
            sources[name] = folder / name
        else:
            sources[name] = content
    studies = tuple(
        Study(
            study_id=name,
            patient_id=of.get(name, (f"P{name}", "train"))[0],
            split=of.get(name, ("", "train"))[1],
            sources={"odd": source},
            labels=(),
            groups={},
        )
        for name, source in sources.items()
    )
    return Cohort(name="cohort", studies=studies, modalities=("odd",), targets=(), fingerprint="f")


def _reasons(cohort: Cohort, **settings: Any) -> dict[str, tuple[str, str]]:
    (check,) = check_cohort(cohort, {"odd": Odd()}, **settings).values()
    return {study: (problem.stored_as, problem.reason) for problem in check.unreadable for study in problem.studies}


def test_a_source_that_ends_or_stalls_its_process_is_reported_and_the_rest_continues(tmp_path: Path) -> None:
    words = ["fine", "crash", "well", "hang", "exit", "refuse", "strange", "fault", "panic", "grow", "vanish", "fade"]
    cohort = _cohort(tmp_path, {f"S{index}-{word[:4]}": word.encode() for index, word in enumerate(words)})
    assert _reasons(cohort, workers=2, seconds=4) == {
        "S1-cras": ("odd bytes", "its decoder ended the process (SIGSEGV)"),
        "S3-hang": ("odd bytes", "reading took longer than 4 s"),
        "S4-exit": ("odd bytes", "its decoder ended the process (exit code 3)"),
        "S5-refu": ("odd bytes", "not to be read"),
        "S6-stra": ("", "not to be read"),
        "S7-faul": ("odd bytes", "TypeError while it was inspected: a bug of the plugin"),
        "S8-pani": ("odd bytes", "Panic while it was inspected: a bug of the plugin"),
        "S9-grow": ("odd bytes", "file changed while it was read; check again when nothing writes to it"),
        "S10-vani": ("odd bytes", "file changed while it was read; check again when nothing writes to it"),
        "S11-fade": ("odd bytes", "file changed while it was read; check again when nothing writes to it"),
    }
    assert multiprocessing.active_children() == []


def test_a_vanished_file_is_reported_as_missing(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, {"S1": b"fine", "S2": b"fine"})
    (tmp_path / "S1").unlink()
    assert _reasons(cohort, workers=0) == {"S1": ("odd bytes", "file is gone since the table of the cohort was read")}


def test_the_report_does_not_depend_on_the_number_of_processes(phantom_cohort: Path) -> None:
    cohort = read_cohort(phantom_cohort)
    output = [
        {name: asdict(check) for name, check in check_cohort(cohort, default_modalities(), workers=workers).items()}
        for workers in (0, 2)
    ]
    assert output[0] == output[1]
    assert list(output[0]) == list(default_modalities())


def test_numbers_are_summarised_by_lowest_mean_and_highest_without_nan(tmp_path: Path) -> None:
    lengths = [5, 9, 300, 7]
    cohort = _cohort(tmp_path, {f"S{length}": b"x" * length for length in lengths})
    (check,) = check_cohort(cohort, {"odd": Odd()}, workers=0).values()
    assert {fact: asdict(spread) for fact, spread in check.numbers.items()} == {
        "length": {"min": 5.0, "mean": float(np.mean(lengths)), "max": 300.0}
    }


def test_the_phantom_has_only_its_intended_issues(phantom_cohort: Path) -> None:
    cohort = read_cohort(phantom_cohort)
    checks = check_cohort(cohort, default_modalities(), workers=0)
    codes = {(name, issue.code, issue.severity) for name, check in checks.items() for issue in check.issues}
    assert codes <= {("ecg", "missing-lead", "note"), ("report", "truncated", "warning")}
    headers = [study.sources["ecg"] for study in cohort.studies if "ecg" in study.sources]
    flagged = sum(int(path.read_text().split()[1]) == 11 for path in headers if isinstance(path, Path))
    assert flagged > 0
    (issue,) = checks["ecg"].issues
    assert issue.count == flagged
    for name, check in checks.items():
        assert check.readable == check.present == sum(name in study.sources for study in cohort.studies)
        assert check.duplicates == []


def test_a_plugin_is_fitted_on_a_training_sample_and_its_state_reaches_every_process(
    tmp_path: Path,
) -> None:
    contents = {f"S{index}": f"{'refuse' if index == 4 else 'text'}{index}".encode() for index in range(9)}
    contents["S4"] = b"refuse"
    cohort = _cohort(tmp_path, contents, S8=("P8", "test"))
    for workers in (0, 2):
        plugin = Learner()
        (check,) = check_cohort(cohort, {"odd": plugin}, workers=workers).values()
        assert plugin.learned == ["text0", "text3", "text6"]
        assert check.texts == {"learned": {"text0 text3 text6": 8}}
        assert [problem.studies for problem in check.unreadable] == [["S4"]]


def test_issues_are_counted_by_study_and_the_worst_of_each_kind_are_listed(tmp_path: Path) -> None:
    contents = {f"S{index:02}": b"warned" for index in range(25)} | {"T0": b"failed", "T1": b"rare", "T2": b"puzzling"}
    (check,) = check_cohort(_cohort(tmp_path, contents), {"odd": Odd()}, workers=0).values()
    assert [(issue.code, issue.severity, issue.count, len(issue.studies), issue.message) for issue in check.issues] == [
        ("failed", "error", 1, 1, "this"),
        ("warned", "warning", 25, 20, "this"),
        (
            "not-inspected",
            "warning",
            1,
            1,
            "RuntimeError while its header and content were inspected: their content is unknown",
        ),
        ("rare", "note", 1, 1, "this"),
    ]
    assert check.issues[1].studies == [f"S{index:02}" for index in range(20)]
    assert worst_of({"odd": check}) == "error"
    assert worst_sentence({"odd": check}) == "1 error, 2 warnings, 1 note; odd has the worst, failed, in 1 study"


def test_unreadable_sources_are_listed_among_the_worst(tmp_path: Path) -> None:
    contents = {"S1": b"refuse", "S2": b"refuse", "S3": b"warned", "S4": b"warned", "S5": b"warned", "S6": b"failed"}
    (check,) = check_cohort(_cohort(tmp_path, contents), {"odd": Odd()}, workers=0).values()
    assert worst_sentence({"odd": check}) == (
        "2 sources unreadable, 1 error, 1 warning; odd has the worst, unreadable, in 2 studies"
    )


def _labelled(folder: Path) -> Path:
    cells = ["pos,AP,40,", "neg,PA,>89,", "maybe,AP,,", "maybe,PA,61,", "of one,,50,", "neg,AP,55,1", "pos,PA,70,-1"]
    splits = ["train"] * 4 + ["val", "test", "test"]
    rows = [
        f"S{index},P{index},{split},words,{cell}" for index, (split, cell) in enumerate(zip(splits, cells, strict=True))
    ]
    (folder / "table.csv").write_text("\n".join(["id,who,part,note,edema,view,age,late", *rows]))
    path = folder / "cohort.yaml"
    path.write_text(
        "table: table.csv\nstudy_id: id\npatient_id: who\nsplit: part\nmodalities: {odd: {text: note}}\nlabels:\n"
        "  edema: {column: edema, values: {pos: 1, neg: 0}}\n  view: {column: view, classes: [AP, PA]}\n"
        '  age: {column: age, unit: years, values: {">89": 90}}\n  late: {column: late}\n'
    )
    return path


@pytest.mark.public_report(9)
def test_labels_are_counted_by_split_with_cells_that_values_does_not_name(tmp_path: Path) -> None:
    cohort = read_cohort(_labelled(tmp_path))
    checks = check_labels(cohort)
    counts = {
        name: [(counts.known, counts.positive, counts.uncertain, counts.unknown) for counts in check.splits.values()]
        for name, check in checks.items()
    }
    assert counts == {
        "edema": [(2, 1, 0, 2), (0, 0, 0, 1), (2, 1, 0, 0)],
        "view": [(4, None, 0, 0), (0, None, 0, 1), (2, None, 0, 0)],
        "age": [(3, None, 0, 1), (1, None, 0, 0), (2, None, 0, 0)],
        "late": [(0, 0, 0, 4), (0, 0, 0, 1), (1, 1, 1, 0)],
    }
    assert checks["edema"].unnamed == {"maybe": 2, "": 1}
    assert checks["view"].splits["train"].names == {"AP": 2, "PA": 2}
    assert checks["age"].splits["train"].range == (40.0, 90.0)
    assert [issue.code for check in checks.values() for issue in check.issues] == [
        "label-cells-not-named", "label-without-training-values",
    ]  # fmt: skip
    output = check_as_json(cohort, {})
    assert output["severity"] == "warning"
    assert output["labels"]["edema"]["unnamed"] == {"maybe": 2, "": 1}
    console = Console(record=True, width=200)
    print_check(cohort, {}, console)
    text = console.export_text()
    for message in ("2 / 0 / 2", "not named: 'maybe' (2), 1 others", "AP 2, PA 2", "40 to 90", "label late", "S0, S1"):
        assert message in text
    assert "of one" not in text
    assert worst_sentence(all_checks(cohort, {})) == (
        "2 warnings; label late has the worst, label-without-training-values, in 4 studies"
    )


def test_an_issue_of_more_than_the_tolerated_share_is_not_a_note(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, {"S1": b"rare", "S2": b"rare", "S3": b"fine"})
    (check,) = check_cohort(cohort, {"odd": Odd()}, workers=0).values()
    assert [(issue.code, issue.severity) for issue in check.issues] == [("rare", "warning")]


BYTES, WORDS = b"\x01" + b"x" * 200, b"word " * 50


@pytest.mark.parametrize(
    ("content", "of", "code", "severity"),
    [
        (BYTES, {"A": ("P", "train"), "B": ("Q", "test")}, "same-measurement-across-splits", "error"),
        (BYTES, {"A": ("P", "val"), "B": ("Q", "val")}, "same-measurement-of-two-patients", "warning"),
        (BYTES, {"A": ("P", "val"), "B": ("P", "val")}, "same-measurement-of-one-patient", "note"),
        (WORDS, {"A": ("P", "train"), "B": ("Q", "test")}, "same-text-across-splits", "warning"),
        (WORDS, {"A": ("P", "val"), "B": ("Q", "val")}, "same-text-of-two-patients", "note"),
        (WORDS, {"A": ("P", "val"), "B": ("P", "val")}, "same-text-of-one-patient", "note"),
        (WORDS.decode(), {"A": ("P", "train"), "B": ("Q", "test")}, "same-text-across-splits", "warning"),
    ],
)
def test_studies_with_equal_content_are_reported_by_patient_and_split(
    tmp_path: Path, content: bytes | str, of: dict[str, tuple[str, str]], code: str, severity: str
) -> None:
    cohort = _cohort(tmp_path, {"A": content, "other": b"\x01" + b"y" * 200, "B": content}, **of)
    (check,) = check_cohort(cohort, {"odd": Odd()}, workers=0).values()
    (duplicate,) = check.duplicates
    assert (duplicate.code, duplicate.severity, duplicate.studies) == (code, severity, ("A", "B"))
    assert duplicate.splits == tuple(sorted({split for _, split in of.values()}))
    assert not duplicate.one_file
    assert [(issue.code, issue.severity, issue.studies) for issue in check.issues] == [(code, severity, ["A", "B"])]


def test_short_texts_and_columns_are_not_duplicates(tmp_path: Path) -> None:
    short = {"A": b"\x01" * 199, "B": b"\x01" * 199, "C": "w" * 199, "D": "w" * 199}
    (check,) = check_cohort(_cohort(tmp_path, short), {"odd": Odd()}, workers=0).values()
    assert (check.readable, check.duplicates) == (4, [])
    cells = Task("odd", {"age": "50" * 200})
    with Readers({"odd": Odd()}, workers=0, seconds=1) as readers:
        assert [reading.content for reading in readers.each([cells])] == [None]


def test_rows_of_an_array_are_separate_studies_and_a_repeated_row_is_a_duplicate(tmp_path: Path) -> None:
    np.save(tmp_path / "all.npy", np.arange(300.0).reshape(3, 100))
    rows = {"A": 0, "B": 1, "C": 0, "D": 2}
    cohort = _cohort(tmp_path, dict.fromkeys(rows, "x"))
    studies = tuple(
        Study(
            study_id=study.study_id, patient_id=study.patient_id, split="train", labels=(), groups={},
            sources={"odd": ArrayRow(tmp_path / "all.npy", rows[study.study_id])},
        )
        for study in cohort.studies
    )  # fmt: skip
    cohort = Cohort(name="c", studies=studies, modalities=("odd",), targets=(), fingerprint="f")
    (check,) = check_cohort(cohort, {"odd": Rows()}, workers=0).values()
    assert [(duplicate.studies, duplicate.one_file) for duplicate in check.duplicates] == [(("A", "C"), True)]


class Rows(Odd):
    """Reads rows and reports no issues."""

    def issues(self, source: Source, raw: Any) -> Iterable[Issue]:
        return ()


def test_one_file_named_twice_is_distinguished_from_a_copy(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, {"A": BYTES, "B": BYTES})
    studies = tuple(
        Study(study_id=s.study_id, patient_id="P", split="val", sources=cohort.studies[0].sources, labels=(), groups={})
        for s in cohort.studies
    )
    cohort = Cohort(name="c", studies=studies, modalities=("odd",), targets=(), fingerprint="f")
    (check,) = check_cohort(cohort, {"odd": Odd()}, workers=0).values()
    assert check.duplicates[0].one_file


def test_a_text_fact_with_many_values_is_listed_in_part(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, {f"S{index}": f"w{index}" for index in range(40)})
    (check,) = check_cohort(cohort, {"odd": Wordy()}, workers=0).values()
    assert len(check.texts["words"]) == 31
    assert check.texts["words"]["others"] == 10


class Wordy(Odd):
    """Describes what it read."""

    def describe(self, raw: Any) -> Mapping[str, float | str]:
        return {"words": raw.decode()}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"workers": -1}, "got -1 workers, expected 0 or more; set `--workers`"),
        ({"seconds": 0}, "got 0 seconds for a source, expected more than 0; set `--seconds`"),
        ({"seconds": float("nan")}, "got nan seconds"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, how: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_cohort(_cohort(tmp_path, {"A": b"x"}), {"odd": Odd()}, **how)  # type: ignore[arg-type]


def test_processes_that_cannot_start_are_not_blamed_on_a_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a reading process ended at its start"):
        check_cohort(_cohort(tmp_path, {"A": b"x"}), {"odd": Unwilling()}, workers=1)
    assert multiprocessing.active_children() == []


def test_leaving_early_ends_the_processes(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, {"A": b"x", "B": b"hang"})
    with Readers({"odd": Odd()}, workers=1, seconds=60) as readers:
        readings = readers.each([Task("odd", study.sources["odd"]) for study in cohort.studies])
        assert next(readings).facts["length"] == 1.0
    assert multiprocessing.active_children() == []


def test_a_shared_index_reads_a_file_of_many_studies_once(tmp_path: Path) -> None:
    np.save(tmp_path / "all.npy", np.zeros((5, 100)))
    index = ContentIndex(workers=1)
    tasks = [Task("odd", ArrayRow(tmp_path / "all.npy", row)) for row in range(5)]
    with Readers({"odd": Rows()}, workers=0, seconds=1) as readers:
        digests = {reading.content.digest for reading in readers.each(tasks)}
    assert len(digests) == 5
    assert len(index.digests([tmp_path / "all.npy"] * 5)) == 1


@pytest.fixture
def copied(phantom_cohort: Path, tmp_path: Path) -> Path:
    """Copy the phantom cohort, to be damaged."""
    return Path(shutil.copytree(phantom_cohort.parent, tmp_path / "cohort")) / "cohort.yaml"


def _sources(cohort: Path, name: str) -> list[Path]:
    return [s.sources[name] for s in read_cohort(cohort).studies if isinstance(s.sources.get(name), Path)]  # type: ignore[misc]


def _drop_issues(cohort: Path, *codes: str) -> None:
    """Remove the sources with the few issues that a phantom may have from the table."""
    checks = check_cohort(read_cohort(cohort), default_modalities(), workers=0)
    table = pd.read_csv(cohort.parent / "cohort.csv")
    for name, check in checks.items():
        for issue in check.issues:
            assert issue.code in codes
            table.loc[table["study_id"].isin(issue.studies), name] = np.nan
    table.to_csv(cohort.parent / "cohort.csv", index=False)


def test_a_recording_under_another_name_is_found_although_its_header_differs(copied: Path) -> None:
    studies = [study for study in read_cohort(copied).studies if "ecg" in study.sources]
    changed, other = studies[0], next(study for study in studies if study.split != studies[0].split)
    source, copy = changed.sources["ecg"], other.sources["ecg"]
    assert isinstance(source, Path)
    assert isinstance(copy, Path)
    copy.write_text(source.read_text().replace(source.stem, copy.stem))
    shutil.copyfile(source.with_suffix(".dat"), copy.with_suffix(".dat"))
    check = check_cohort(read_cohort(copied), default_modalities(["ecg"]), workers=0)["ecg"]
    (duplicate,) = check.duplicates
    assert set(duplicate.studies) == {changed.study_id, other.study_id}
    assert duplicate.code == "same-measurement-across-splits"


def test_a_clean_cohort_passes_a_strict_check_and_is_reported_clean(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _drop_issues(copied, "missing-lead", "truncated")
    out = tmp_path / "new" / "check.json"
    words = ["cohort", "check", str(copied), "--strict", "true", "--workers", "0", "--json", str(out)]
    assert main(words) == 0
    *_, result, following = capsys.readouterr().out.splitlines()
    assert result == "found: nothing to review"
    assert following.startswith("next: polyclinic new heads")
    output = json.loads(out.read_text())
    assert output["severity"] == "none"
    assert output["fingerprint"] == read_cohort(copied).fingerprint
    assert output["modalities"]["xray"]["issues"] == []


def test_a_warning_passes_unless_strict(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _drop_issues(copied, "missing-lead", "truncated")
    report = _sources(copied, "report")[0]
    report.write_text("FINDINGS: no consolidation is seen. MRN 4711.\n")
    words = ["cohort", "check", str(copied), "--workers", "0"]
    assert main(words) == 0
    assert "found: 1 warning; report has the worst, identifiers, in 1 study" in capsys.readouterr().out
    assert main([*words, "--strict", "true"]) == 1
    assert "error: 1 warning; report has the worst, identifiers, in 1 study (see above)" in capsys.readouterr().err


def test_every_error_is_reported_with_its_studies_and_the_exit_code(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = {s.study_id: s for s in read_cohort(copied).studies if "xray" in s.sources}
    train = [s for s in studies.values() if s.split == "train"]
    test = next(s for s in studies.values() if s.split == "test")
    shutil.copyfile(train[0].sources["xray"], test.sources["xray"])  # type: ignore[arg-type]
    broken = [s for s in train[1:] if s.patient_id != train[0].patient_id][:25]
    for study in broken:
        path = study.sources["xray"]
        assert isinstance(path, Path)
        path.write_bytes(path.read_bytes()[:-9000])
    out = tmp_path / "check.json"
    assert main(["cohort", "check", str(copied), "--json", str(out), "--workers", "0"]) == 1
    message = capsys.readouterr()
    sentence = message.err.strip().splitlines()[-1]
    assert sentence.startswith("error: 25 sources unreadable, 1 error")
    assert "xray has the worst, unreadable, in 25 studies" in sentence
    output = json.loads(out.read_text())
    xray = output["modalities"]["xray"]
    assert output["severity"] == "error"
    assert xray["present"] - xray["readable"] == 25
    (unreadable,) = xray["unreadable"]
    assert unreadable["stored_as"] == "Explicit VR Little Endian (1.2.840.10008.1.2.1)"
    assert "cannot be decoded" in unreadable["reason"]
    assert unreadable["studies"] == [study.study_id for study in broken]
    (duplicate,) = xray["duplicates"]
    assert set(duplicate["studies"]) == {train[0].study_id, test.study_id}
    assert duplicate["splits"] == ["test", "train"]
    assert xray["numbers"]["rows"] == {"min": 224.0, "mean": 224.0, "max": 224.0}


def test_an_unwritable_place_is_refused_before_anything_is_read(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for path, message in ((tmp_path / "file" / "check.json", "below the file 'file'"), (tmp_path, "a folder")):
        assert main(["cohort", "check", str(copied), "--json", str(path)]) == 1
        output = capsys.readouterr()
        assert message in output.err
        assert "studies of" not in output.out


def _plant(cohort: Path) -> None:
    """Write the name to filenames, headers, comments, tags, cells, texts and broken files."""
    import pydicom  # noqa: PLC0415
    import soundfile  # noqa: PLC0415

    radiograph, other = _sources(cohort, "xray")[:2]
    dataset = pydicom.dcmread(radiograph)
    dataset.PatientName = dataset.PatientID = dataset.ImageComments = dataset.StudyDescription = SECRET
    dataset.save_as(radiograph)
    other.write_bytes(other.read_bytes()[:500] + SECRET.encode())
    heart, second = _sources(cohort, "ecg")[:2]
    second.write_text(second.read_text().replace(second.stem, f"../{SECRET}"))
    heart.write_text(heart.read_text() + f"# Name: {SECRET}\n# {SECRET}\n")
    report, damaged = _sources(cohort, "report")[:2]
    report.write_text(f"Name: {SECRET}\nFINDINGS: {SECRET} has no edema.")
    damaged.write_bytes(f"Name: {SECRET}".encode() + b"\0")
    sound, truncated = _sources(cohort, "audio")[:2]
    samples, rate = soundfile.read(sound)
    with soundfile.SoundFile(sound, "w", rate, 1) as file:
        file.title = file.comment = f"Patient name: {SECRET}"
        file.write(samples)
    truncated.write_bytes(truncated.read_bytes()[:100] + SECRET.encode())
    row, text = _sources(cohort, "tabular")[:2]
    row.write_text(row.read_text() + f"patient_name,{SECRET},\n")
    text.write_text(f"name,value,unit\nage,{SECRET},years\nsex,{SECRET},\n")


def test_a_name_planted_everywhere_is_found_and_never_printed(
    copied: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _plant(copied)
    table = pd.read_csv(copied.parent / "cohort.csv")
    for name in ("xray", "audio", "report", "tabular"):
        row = table[name].first_valid_index()
        path = copied.parent / str(table.loc[row, name])
        renamed = path.with_stem(SECRET)
        path.rename(renamed)
        table.loc[row, name] = renamed.relative_to(copied.parent).as_posix()
    table.to_csv(copied.parent / "cohort.csv", index=False)
    out = tmp_path / "check.json"
    for workers in ("0", "1"):
        assert main(["cohort", "check", str(copied), "--workers", workers, "--json", str(out)]) == 1
        message = capfd.readouterr()
        for text in (message.out, message.err, out.read_text()):
            assert "DOE" not in text
            assert "JOHN" not in text
    output = json.loads(out.read_text())["modalities"]
    issues = {name: {issue["code"] for issue in check["issues"]} for name, check in output.items()}
    assert {name for name, codes in issues.items() if codes & {"header-identifiers", "identifiers"}} == set(output)
    assert all(len(check["unreadable"]) == 1 for check in output.values())


def test_the_experiment_sets_how_sources_are_read(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"data": {"modalities": {"report": {"class_path": "Report", "init_args": {"max_tokens": 20}}}}}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(content))
    words = ["cohort", "check", str(copied), "--experiment", str(tmp_path / "e.yaml"), "--workers", "0"]
    assert main(words) == 0
    message = capsys.readouterr().out
    assert "truncated" in message
    assert "xray" not in message


def test_every_installed_plugin_checks_its_sources() -> None:
    assert [name for name, plugin in default_modalities().items() if not isinstance(plugin, Inspectable)] == []
