"""A run whose weights saw a patient of its test split is refused unless the user allows it, which MLflow records."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from cli_runs import fit, write_config
from overlapping_cohorts import PULSES, Row, rows, write
from polyclinic.cli import main
from polyclinic.training.checkpoint_file import exposure_of, load_checkpoint

CONTRAST: dict[str, Any] = {
    "class_path": "ContrastivePretraining",
    "init_args": {"objective": {"class_path": "Clip"}, "embedding": 4, "size": "pico"},
}
HEAD: dict[str, Any] = {"class_path": "Downstream", "init_args": {"size": "pico"}}
A, B = rows("a"), rows("b", 500)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a checkpoint on cohort ``a``, which is in the same folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("pretrained"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_config(write(Path("a").absolute(), A, population="ward"), CONTRAST, PULSES)
        return Path(fit()["checkpoint"]).resolve()


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _cohort(name: str, table: list[Row], **spec: Any) -> Path:
    return write(Path(name).absolute(), table, **{"population": "ward"} | spec)


def _rows_with(table: list[Row], changed_row: int, **changes: Any) -> list[Row]:
    return [row._replace(**changes) if index == changed_row else row for index, row in enumerate(table)]


def _logged(run: dict[str, Any], name: str = "overlap.json") -> dict[str, Any]:
    """Return the overlap that a run of MLflow holds."""
    client = MlflowClient(run["tracking_uri"])
    record: dict[str, Any] = json.loads(Path(client.download_artifacts(run["mlflow_run_id"], name)).read_text())
    return record.get("overlap", record)


def _description(run: dict[str, Any]) -> str:
    tags = MlflowClient(run["tracking_uri"]).get_run(run["mlflow_run_id"]).data.tags
    return str(tags["mlflow.note.content"])


def _files() -> set[str]:
    return {path.as_posix() for path in Path.cwd().rglob("*")}


@pytest.mark.parametrize(
    ("changes", "record"),
    [
        ({"patient": "Pa0"}, "1 of 12 studies of split val and test were seen before (b35): 1 patient;"),
        ({"content": 0}, "were seen before (b35): equal contents, 1 of first, 1 of second;"),
    ],
)
def test_weights_trained_on_a_test_study_are_refused_before_anything_is_written(
    pretrained: Path, capfd: pytest.CaptureFixture[str], changes: dict[str, Any], record: str
) -> None:
    write_config(_cohort("b", _rows_with(B, 35, **changes)), HEAD, PULSES)
    before = _files()
    assert main(["fit", "-c", "config.yaml", "--json", "fit.json", "--weights", str(pretrained)]) == 1
    error = capfd.readouterr().err
    assert record in error
    assert "set `--allow_overlap true`" in error
    assert "Pa0" not in error
    assert _files() == before


def test_an_allowed_overlap_is_recorded_in_mlflow_and_carried_on(
    pretrained: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_config(_cohort("b", _rows_with(_rows_with(B, 35, patient="Pa0"), 24, content=1)), HEAD, PULSES)
    result = fit("--weights", str(pretrained), "--allow_overlap", "true")
    assert (
        "warning: 2 of 12 studies of split val and test were seen before (b24, b35): 1 patient and equal"
        in capfd.readouterr().out
    )
    (exposure,) = exposure_of(load_checkpoint(pretrained)).cohorts
    client = MlflowClient(result["tracking_uri"])
    record = _logged(result)
    assert (record["patients"], record["allowed"], record["against"]) == (1, True, [str(exposure)])
    assert sum(record["contents"].values()) == 2
    assert "**Warning:** 2 of 12 studies of split val and test were seen before" in _description(result)
    assert record["shared"] == ["b24", "b35"]
    assert record["patients_compared"] == 12
    assert json.loads(
        Path(client.download_artifacts(result["mlflow_run_id"], "weights.json", str(tmp_path))).read_text()
    )
    assert "Pa0" not in json.dumps(record)


def test_a_run_without_overlap_is_recorded_too(pretrained: Path) -> None:
    write_config(_cohort("b", B), HEAD, PULSES)
    scratch = fit()
    assert (_logged(scratch)["shared"], _logged(scratch)["against"]) == ([], [])
    transferred = _logged(fit("--weights", str(pretrained)))
    assert (transferred["patients"], set(transferred["contents"].values())) == (0, {0})
    assert transferred["against"][0].startswith("a ")
    write_config(pretrained.parents[4] / "a" / "cohort.yaml", HEAD, PULSES)
    same = fit("--weights", str(pretrained))
    assert _logged(same)["shared"] == []
    (exposure,) = exposure_of(load_checkpoint(Path(same["checkpoint"]))).cohorts
    assert (len(exposure.trained.patients), len(exposure.selected.patients)) == (24, 6)


def test_training_exposure_is_inherited_over_two_generations(
    pretrained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_config(_cohort("b", B), CONTRAST, PULSES)
    child = fit("--weights", str(pretrained))["checkpoint"]
    assert [cohort.name for cohort in exposure_of(load_checkpoint(Path(child))).cohorts] == ["b", "a"]
    shared = _cohort("c", _rows_with(rows("c", 900), 35, patient="Pa3"))
    write_config(shared, HEAD, PULSES)
    assert main(["fit", "-c", "config.yaml", "--weights", child]) == 1
    assert "1 of 12 studies of split val and test were seen before (c35): 1 patient;" in capfd.readouterr().err
    write_config(_cohort("d", rows("d", 900)), HEAD, PULSES)
    grandchild = fit("--weights", child)["checkpoint"]
    assert main(["evaluate", "classifier", grandchild, "--cohort", str(shared), "--resamples", "20"]) == 1
    assert "1 of 6 studies of split test were seen before (c35): 1 patient;" in capfd.readouterr().err
    assert main(["cohort", "overlap", grandchild, str(shared)]) == 1
    assert "1 of 6 studies are shared (first ['c35'])" in capfd.readouterr().err


def test_an_evaluation_on_training_studies_is_refused_or_records_it(
    pretrained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = _cohort("b", _rows_with(_rows_with(B, 35, patient="Pa0"), 34, patient="Pa24"))
    words = ["evaluate", "retrieval", str(pretrained), "second", "--cohort", str(other), "--json", "report.json"]
    words += ["--resamples", "20", "--candidates", "3", "--k", "[1]"]
    before = _files()
    assert main(words) == 1
    # One study trained the weights, the other selected the checkpoint.
    assert "2 of 6 studies of split test were seen before (b34, b35): 2 patients;" in capfd.readouterr().err
    assert _files() == before
    assert main([*words, "--allow_overlap", "true"]) == 0
    assert "warning: 2 of 6 studies" in capfd.readouterr().out
    report = json.loads(Path("report.json").read_text())
    assert report["overlap"]["shared"] == ["b34", "b35"]
    assert report["overlap"]["allowed"] is True
    provenance = load_checkpoint(pretrained)["callbacks"]["Provenance"]
    run = {"tracking_uri": provenance["tracking_uri"], "mlflow_run_id": provenance["run_id"]}
    record = _logged(run, "evaluation/retrieval.json")
    assert (record["patients"], set(record["contents"].values()), record["allowed"]) == (2, {0}, True)
    assert "**Warning:** 2 of 6 studies" in _description(run)
    options = [word for word in words if word not in ("--cohort", str(other))]
    assert main(options) == 0
    report = json.loads(Path("report.json").read_text())
    assert (report["overlap"]["shared"], report["overlap"]["against"]) == ([], record["against"])
    assert _logged(run, "evaluation/retrieval.json")["patients"] == 0
    assert "Warning" not in _description(run)
    assert main([*options, "--split", "train"]) == 0
    # A split that selects may select again: b24 to b29 are new, and validation studies of a may be used.
    assert main([*words, "--split", "val"]) == 0


def test_the_exposure_of_an_older_checkpoint_is_unknown_for_all_its_successors(
    pretrained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = load_checkpoint(pretrained)
    del content["callbacks"]["SeenRecord"]
    torch.save(content, "old.ckpt")
    record = "whether studies were seen before is unknown: the checkpoint of run "
    write_config(_cohort("b", B), HEAD, PULSES)
    child = fit("--weights", "old.ckpt")
    assert f"warning: {record}" in capfd.readouterr().out
    assert (_logged(child)["patients"], _logged(child)["against"]) == (0, [])
    assert f"**Warning:** {record}" in _description(child)
    words = ["--resamples", "20", "--json", "report.json"]
    assert main(["evaluate", "classifier", child["checkpoint"], *words]) == 0
    assert record in capfd.readouterr().out
    assert record in json.loads(Path("report.json").read_text())["overlap"]["statements"][0]
    assert record in _logged(child, "evaluation/classifier.json")["statements"][0]
    assert main(["evaluate", "retrieval", "old.ckpt", "second", "--candidates", "3", "--k", "[1]", *words]) == 0
    assert record in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning")
@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
def test_a_resumed_run_continues_unless_its_split_changed(pretrained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = _cohort("b", B)
    write_config(path, HEAD, PULSES)
    first = fit("--weights", str(pretrained))
    continued = ("--trainer.logger.init_args.run_id", first["mlflow_run_id"], "--trainer.max_epochs", "2")
    resumed = fit("--ckpt_path", first["last"], *continued)["last"]
    content = load_checkpoint(Path(resumed))
    assert content["epoch"] == 1
    assert [cohort.name for cohort in exposure_of(content).cohorts] == ["b", "a"]
    table = path.parent / "table.csv"
    table.write_text(table.read_text().replace("b0,Pb0,train", "b0,Pb0,test"))
    runs = len(MlflowClient(f"sqlite:///{Path('runs/mlflow.db').absolute()}").search_runs(["1"]))
    for words in (["fit", "--trainer.max_epochs", "3"], ["test"]):
        assert main([words[0], "-c", "config.yaml", "--ckpt_path", resumed, *words[1:]]) == 1
        assert "were seen before (b0): 1 patient and equal contents, 1 of first, 1 of second;" in capfd.readouterr().err
    assert len(MlflowClient(f"sqlite:///{Path('runs/mlflow.db').absolute()}").search_runs(["1"])) == runs
    assert main(["validate", "-c", "config.yaml", "--ckpt_path", resumed]) == 0


def test_only_patients_whose_labels_were_used_count_as_trained_on(pretrained: Path) -> None:
    write_config(_cohort("b", B), HEAD, PULSES)
    (exposure,) = exposure_of(load_checkpoint(Path(fit("--data.label_fraction", "0.25")["checkpoint"]))).cohorts
    assert (len(exposure.trained.patients), len(exposure.trained.contents)) == (6, 12)
    assert len(exposure.selected.patients) == 6


def test_a_checkpoint_holds_keys_and_no_patient_ids(pretrained: Path) -> None:
    state = load_checkpoint(pretrained)["callbacks"]["SeenRecord"]
    (cohort,) = state["cohorts"]
    assert cohort["population"] == "ward"
    for use, patients in (("trained", 24), ("selected", 6)):
        assert cohort[use]["patients"].dtype == torch.int64
        assert (len(cohort[use]["patients"]), len(cohort[use]["contents"])) == (patients, 2 * patients)
    assert b"Pa0" not in pretrained.read_bytes()


def test_hashes_are_stored_with_the_prepared_items(pretrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(Path("cache").absolute()))
    write_config(_cohort("b", B), HEAD, PULSES)
    fit("--data.prepared", "prepared")
    assert Path("prepared/content.sqlite").is_file()
    fit()
    assert not Path("cache").exists()


@pytest.mark.parametrize(
    ("command", "words", "split"),
    [
        ("probe", ["{}", "first"], "val and test"),
        ("linkage", ["{}", "first", "second"], "val and test"),
        ("zeroshot", ["{}", "prompts.yaml"], "test"),
    ],
)
def test_every_evaluation_checks_for_overlap_first(
    pretrained: Path, capfd: pytest.CaptureFixture[str], command: str, words: list[str], split: str
) -> None:
    Path("prompts.yaml").write_text(
        "version: 1\nmodality: second\nscore_rule: softmax\ntemplates: ['{}']\n"
        "findings: {sick: {positive: ['90 37'], negative: ['60 37']}}\n"
    )
    other = _cohort("b", _rows_with(B, 35, patient="Pa0"))
    words = [word.format(pretrained) for word in words]
    assert main(["evaluate", command, *words, "--cohort", str(other)]) == 1
    assert f"studies of split {split} were seen before (b35): 1 patient;" in capfd.readouterr().err


def test_a_card_begins_with_the_overlap(pretrained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_config(pretrained.parents[4] / "a" / "cohort.yaml", HEAD, PULSES)
    head = fit()["checkpoint"]
    other = _cohort("b", _rows_with(rows("b", 500, val=30, test=30), 83, patient="Pa0"))
    words = ["evaluate", "card", head, "--cohort", str(other), "--out", "card", "--resamples", "20"]
    assert main(words) == 1
    record = "1 of 60 studies of split val and test were seen before (b83): 1 patient"
    assert record in capfd.readouterr().err
    assert not Path("card").exists()
    assert main([*words, "--allow_overlap", "true", "--explained", "0"]) == 0
    card = json.loads(Path("card/card.json").read_text())
    assert card["notes"][0] == record
    assert card["overlap"]["shared"] == ["b83"]
    assert record in Path("card/card.html").read_text()
    # The other run of a comparison is checked as well.
    write_config(_cohort("c", rows("c", 900)), HEAD, PULSES)
    disjoint = fit()["checkpoint"]
    words[2], words[6] = disjoint, "second"
    assert main([*words, "--against", head]) == 1
    assert "1 of 30 studies of split test were seen before (b83): 1 patient;" in capfd.readouterr().err
