"""A name planted in every file, column and filename: no command prints or writes it, and the output is free of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from cli_runs import write_config
from names_corpus import leaks, leaks_name, plant
from polyclinic.cli import COMMANDS, main
from service_process import serving
from ward_files import write_records

MODALITIES: dict[str, Any] = {
    "xray": {"class_path": "XRay", "init_args": {"size": 32, "patch": 8, "normalised_targets": False}},
    "ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20, "shift": 0.5}},
    "report": {"class_path": "Report", "init_args": {"vocabulary_size": 300, "max_tokens": 512, "section": "findings"}},
    "audio": {"class_path": "Audio", "init_args": {"seconds": 2, "patch": 10}},
    "tabular": {"class_path": "Tabular"},
}
CONTRASTIVE = {
    "class_path": "ContrastivePretraining",
    "init_args": {"objective": {"class_path": "Symile"}, "embedding": 8, "size": "pico"},
}
MASKED = {"class_path": "MaskedPretraining", "init_args": {"size": "pico", "joint_width": 16, "decoder_width": 16}}
HEADS = {"class_path": "Downstream", "init_args": {"size": "pico"}}
PROMPTS = """
version: 1
modality: report
score_rule: softmax
templates: ["{}"]
findings:
  anemia: {positive: [anemia], negative: [no anemia]}
"""

# Exit codes and command lines, in the order in which they run; COHORT, OTHER and so on are filled in. A new command
# gets its line here, or the last test fails.
LINES: list[tuple[int, str]] = [
    (0, "modalities"),
    (0, "doctor"),
    (1, "cohort check COHORT --workers 0 --json check.json"),
    (1, "cohort check COHORT --workers 1 --strict true"),
    (0, "new masked COHORT --out new.yaml"),
    (1, "cohort overlap COHORT COHORT --second_splits [train] --json overlap.json"),
    (0, "fit -c contrastive.yaml --json fit.json --data.prepared prepared"),
    (1, "fit -c contrastive.yaml --data.max_broken_share 0"),
    (0, "validate -c contrastive.yaml --ckpt_path CONTRASTIVE"),
    (0, "evaluate zeroshot CONTRASTIVE prompts.yaml --resamples 5 --json z.json"),
    (0, "evaluate retrieval CONTRASTIVE xray --candidates 3 --resamples 5 --json r.json"),
    (0, "evaluate linkage CONTRASTIVE xray ecg --resamples 5 --json l.json"),
    (0, "evaluate probe CONTRASTIVE ecg --resamples 5 --json p.json --cache embeddings"),
    (0, "evaluate card CONTRASTIVE --prompts prompts.yaml --out card --resamples 5"),
    (1, "evaluate zeroshot CONTRASTIVE COHORT"),
    (0, "predict CONTRASTIVE embedded"),
    (1, "test -c contrastive.yaml --ckpt_path CONTRASTIVE"),
    (1, "test -c masked.yaml --ckpt_path COHORT"),
    (0, "bundle export CONTRASTIVE --prompts prompts.yaml --out bundle --resamples 5"),
    (0, "bundle verify bundle"),
    (1, "bundle verify COHORT"),
    (0, "bundle register bundle"),
    (0, "score bundle --cohort COHORT --json scores.json"),
    (1, "score bundle --cohort prompts.yaml"),
    (1, "score bundle --xray prompts.yaml"),
    (0, "fit -c masked.yaml --json masked.json --pictures.every 1"),
    (0, "test -c masked.yaml --ckpt_path MASKED"),
    (0, "evaluate reconstruction MASKED --resamples 5 --json rec.json"),
    (0, "predict MASKED imputed --split train --allow_overlap true"),
    (1, "predict MASKED imputed"),
    (0, "fit -c heads.yaml --json heads.json"),
    (0, "evaluate classifier HEADS --resamples 5 --json c.json"),
    (0, "evaluate baseline HEADS --resamples 5 --json b.json"),
    (1, "crossval -c heads.yaml"),
    (0, "crossval -c heads.yaml --data.cohort FOLDS --resamples 5 --predictions oof.parquet --json cv.json"),
    (0, "sweep --space space.yaml --trials 1 --json sweep.json -c heads.yaml"),
    (0, "tracking send runs"),
    (1, "runs --run missing --no-browser"),
    (1, "deidentify COHORT outside"),
    (1, "deidentify COHORT outside --key missing"),
    (1, "deidentify COHORT outside --key key --workers 0 --max-refused 0"),
    (0, "deidentify COHORT outside --key key --workers 2 --max-refused 0.1 --json deidentified.json"),
    (1, "deidentify COHORT outside --key key"),
    (0, "cohort check outside/cohort.yaml --workers 0 --json clean.json"),
    (0, "fit -c outside.yaml --json outside.json"),
]

SERVED = {"serve", "audit", "completion", "demo", "cohort phantom", "cohort build", "cohort scan", "cohort add"}
SERVED |= {"cohort ward", "cohort events"}
"""Commands that read no patients, and those that separate tests run: one runs until it is stopped, and four write
paths, ids and texts as they are into a cohort or dataset that stays on the machine."""

IDENTIFYING = {"identifiers", "header-identifiers", "header-numbers", "burned-in-text"}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    planted = plant(phantom_cohort, folder / "planted", broken=True)
    spec = yaml.safe_load(planted.read_text())
    planted.with_name("folds.yaml").write_text(yaml.safe_dump(spec | {"split": {"folds": 2}, "labels": ["anemia"]}))
    return planted


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cohorts: Path) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name, model in (("contrastive", CONTRASTIVE), ("masked", MASKED), ("heads", HEADS)):
        write_config(cohorts, model, MODALITIES)
        Path("config.yaml").rename(f"{name}.yaml")
    write_config(Path("outside/cohort.yaml"), CONTRASTIVE, MODALITIES)
    Path("config.yaml").rename("outside.yaml")
    Path("prompts.yaml").write_text(PROMPTS)
    Path("space.yaml").write_text(yaml.safe_dump({"model.init_args.lr": {"low": 1e-4, "high": 1e-3}}))
    Path("key").write_text("0123456789abcdef" * 2)
    Path("key").chmod(0o600)
    return tmp_path


def _words_of(line: str, cohort: Path) -> list[str]:
    paths = {"COHORT": str(cohort), "FOLDS": str(cohort.with_name("folds.yaml"))}
    for name, file in (("CONTRASTIVE", "fit.json"), ("MASKED", "masked.json"), ("HEADS", "heads.json")):
        if Path(file).is_file():
            paths[name] = json.loads(Path(file).read_text())["checkpoint"]
    return [paths.get(word, word) for word in line.split()]


QUICK = ("cohort check COHORT --workers 0", "fit -c contrastive.yaml --json", "bundle", "score", "deidentify")
"""Prefixes of the lines that are always run; `make soak` runs all of them."""


def test_the_commands_that_lead_to_a_hospital_print_and_write_no_planted_name(
    workplace: Path, cohorts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _run([entry for entry in LINES if entry[1].startswith(QUICK)], workplace, cohorts, capfd)
    assert json.loads(Path("scores.json").read_text())["studies"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_command_prints_or_writes_a_planted_name(
    workplace: Path, cohorts: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    _run(LINES, workplace, cohorts, capfd)
    _serve(workplace, cohorts)
    assert not leaks_name(caplog.text)
    assert (workplace / "runs/mlflow.db").is_file()
    report = json.loads(Path("deidentified.json").read_text())
    assert {entry["modality"] for entry in report["refused"]} == set(MODALITIES)
    assert all(len(entry["studies"]) == 1 for entry in report["refused"])
    assert report["columns"]["dropped"] == ["patient_name", "comment"]
    assert report["columns"]["dropped_unnamed"] == 1
    checked = json.loads(Path("clean.json").read_text())["modalities"].values()
    assert not {issue["code"] for check in checked for issue in check["issues"]} & IDENTIFYING


def _run(lines: list[tuple[int, str]], workplace: Path, cohorts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for code, line in lines:
        exit_code = main(_words_of(line, cohorts))
        message = capfd.readouterr()
        assert exit_code == code, f"{line}: {message.err[-2000:]}"
        assert not leaks_name(message.out + message.err), line
        assert leaks(workplace) == [], line


def _serve(workplace: Path, cohorts: Path) -> None:
    """Upload every kind of file under its planted name, including a broken one, and check everything that results."""
    study = {name: sorted(cohorts.parent.glob(f"*{name}/*"))[0] for name in MODALITIES}
    study["ecg"] = study["ecg"].with_suffix(".hea")
    broken = {"xray": study["tabular"], "ecg": study["xray"]}
    with serving(Path("bundle"), workplace / "served") as service:
        signal = [study["ecg"], study["ecg"].with_suffix(".dat")]
        answers = [
            service.score({**study, "ecg": signal}, views="true", explain="anemia"),
            service.score(broken),
            service.score({"files": [study["xray"], *signal]}),
            service.get(f"/{study['xray'].name}"),
        ]
        report = [answer.text for answer in answers]
    assert [answer.status_code for answer in answers] == [200, 422, 200, 404]
    # The page shows users the report that they uploaded; nobody else sees it, and it is not stored.
    assert json.loads(report[0])["views"].pop("report")
    assert not leaks_name(json.dumps({key: value for key, value in json.loads(report[0]).items() if key != "views"}))
    assert not any(leaks_name(message) for message in report[1:])
    assert main(["audit", str(service.audit), "--find", str(study["xray"])]) == 0
    assert leaks(workplace) == []


def test_a_scan_and_a_join_print_no_planted_name(
    tmp_path: Path, cohorts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cohort = tmp_path / "scanned" / "cohort.yaml"
    assert main(["cohort", "scan", str(cohorts.parent), "--out", str(cohort.parent)]) == 0
    assert main(["cohort", "scan", str(cohorts.parent), "--out", str(cohort.parent)]) == 1
    names = pd.read_csv(cohort.with_name("studies.csv"), dtype=str, keep_default_na=False)[["study_id"]]
    names.assign(nurse="DOE^JOHN", ill="0").to_csv(tmp_path / "labels.csv", index=False)
    for code in (0, 1):
        assert main(["cohort", "add", str(cohort), str(tmp_path / "labels.csv"), "--on", "study_id"]) == code
    message = capfd.readouterr()
    assert "left out" in message.out
    assert not leaks_name(message.out + message.err)


def test_a_ward_prints_no_planted_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records = write_records(tmp_path / "records")
    assert main(["cohort", "ward", str(records), "--out", str(tmp_path / "ward")]) == 0
    assert main(["cohort", "ward", str(records), "--out", str(tmp_path / "ward")]) == 1
    message = capfd.readouterr()
    assert "left out" in message.out
    assert not leaks_name(message.out + message.err)
    written = [file.read_text() for file in (tmp_path / "ward").glob("*.*")]
    assert not any(leaks_name(text.replace("DOE_JOHN.json", "")) for text in written)


def test_every_command_has_a_line_with_planted_names() -> None:
    covered = {name for name in COMMANDS if any(line.startswith(f"{name} ") or line == name for _, line in LINES)}
    assert covered == set(COMMANDS) - SERVED
