"""The command line, end to end on a small cohort: what it prints, writes and returns."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mlflow import MlflowClient

from polyclinic.cli import main
from polyclinic.cohort import read_cohort
from polyclinic.evaluation.embedding import embed_split
from polyclinic.training.restore import restore

CONFIG: dict[str, Any] = {
    "model": {
        "class_path": "ContrastivePretraining",
        "init_args": {"objective": {"class_path": "Symile"}, "embedding": 16, "lr": 0.003},
    },
    "data": {
        "batch_size": 16,
        "modalities": {"first": {"class_path": "pulse_plugin.Pulse"}, "second": {"class_path": "pulse_plugin.Pulse"}},
    },
    "trainer": {
        "accelerator": "cpu", "max_epochs": 2, "enable_progress_bar": False, "enable_model_summary": False,
        "log_every_n_steps": 1,
        "logger": {"class_path": "polyclinic.tracking.RunLogger", "init_args": {"experiment": "tests"}},
    },
}  # fmt: skip
PROMPTS = {
    "version": 1,
    "modality": "second",
    "score_rule": "difference",
    "templates": ["{}"],
    "findings": {"anemia": {"positive": ["100 37", "95 37"], "negative": ["60 37", "65 37"]}},
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulse_cohort: Path) -> Path:
    """Enter an empty folder with a configuration for the pulse cohort."""
    monkeypatch.chdir(tmp_path)
    CONFIG["data"]["cohort"] = str(pulse_cohort)
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    Path("prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    return tmp_path


def _fit(*words: str, config: str = "config.yaml") -> dict[str, Any]:
    assert main(["fit", "-c", config, "--json", "fit.json", *words]) == 0
    result: dict[str, Any] = json.loads(Path("fit.json").read_text())
    return result


def _client(result: dict[str, Any]) -> MlflowClient:
    return MlflowClient(result["tracking_uri"])


def test_fit_leaves_a_finished_run_that_can_be_repeated(workplace: Path) -> None:
    first = _fit()
    client = _client(first)
    run = client.get_run(first["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["data/broken_share"] == 0
    assert {"config.yaml", "environment.json", "cohort.json", "similarity.png"} <= {
        f.path for f in client.list_artifacts(run.info.run_id)
    }
    assert run.data.tags.keys() - {"mlflow.source.git.commit"} == {
        "mlflow.user", "mlflow.runName", "mlflow.source.name", "mlflow.source.type", "mlflow.note.content",
        "polyclinic.host", "polyclinic.pid", "polyclinic.process_start", "checkpoint.best", "checkpoint.last",
    }  # fmt: skip
    assert run.data.tags["mlflow.source.name"] == "polyclinic fit -c config.yaml"
    assert not [name for name in run.data.metrics if name.startswith("cohort/")]
    studies = read_cohort(Path(CONFIG["data"]["cohort"])).studies
    splits = json.dumps(sorted([study.study_id, study.split] for study in studies))
    cohort = json.loads(Path(client.download_artifacts(run.info.run_id, "cohort.json", str(workplace))).read_text())
    assert cohort["splits"] == hashlib.sha256(splits.encode()).hexdigest()
    assert 0.5 < cohort["present"]["first"] < 1
    downloaded = client.download_artifacts(run.info.run_id, "config.yaml", str(workplace / "."))
    second = _fit(config=downloaded)
    assert second["mlflow_run_id"] != first["mlflow_run_id"]
    curves = [[m.value for m in client.get_metric_history(r["mlflow_run_id"], "train/loss")] for r in (first, second)]
    assert len(curves[0]) >= 2
    assert curves[0] == curves[1]


def test_a_restored_checkpoint_embeds_as_the_trained_model_did(workplace: Path) -> None:
    result = _fit()
    restored = restore(Path(result["checkpoint"]))
    assert restored.run_id == result["mlflow_run_id"]
    studies = embed_split(restored, "test")
    batch = next(iter(restored.data.test_dataloader()))
    expected = restored.task(batch)["first"]
    torch.testing.assert_close(studies.embeddings["first"][: len(batch)], expected)
    assert sorted(studies.study_ids) == sorted(s.study_id for s in restored.data.cohort.split("test"))
    weights = torch.load(result["checkpoint"], weights_only=True)["state_dict"]
    assert set(weights) == set(restored.task.state_dict())


def test_zeroshot_and_retrieval_report_to_the_file_and_the_run(workplace: Path) -> None:
    result = _fit("--trainer.max_epochs", "30")
    words = [result["checkpoint"], "prompts.yaml", "--resamples", "50"]
    assert main(["evaluate", "zeroshot", *words, "--json", "z.json"]) == 0
    report = json.loads(Path("z.json").read_text())
    (finding,) = report["findings"]
    assert finding["name"] == "anemia"
    assert 0 < finding["n_positive"] < finding["n"]
    assert report["query"] == ["first"]
    words = [result["checkpoint"], "second", "--candidates", "5", "--resamples", "50", "--json", "r.json"]
    assert main(["evaluate", "retrieval", *words]) == 0
    retrieval = json.loads(Path("r.json").read_text())
    top1 = retrieval["sampled"]["recall"]["1"]
    assert top1["value"] > 2 * top1["chance"]
    client = _client(result)
    run = client.get_run(result["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/retrieval_recall_at_1"] == top1["value"]
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("Contrastive pretraining (Symile) on first and second. Cohort `cohort`: 120 studies of ")
    titles = ["Result", "Evaluation: zeroshot", "Evaluation: retrieval", "Next", "Repeat"]
    assert re.findall(r"^### (.+)$", note, re.MULTILINE) == titles
    low, high = top1["ci95"]["low"], top1["ci95"]["high"]
    assert f"- `test/retrieval_recall_at_1`: **{top1['value']:.4g}**, 95 % interval {low:.4g} to {high:.4g}\n" in note
    best = result["best"]
    assert f"\n\nBest `val/loss`: **{best['value']:.4g}**, after epoch {best['epoch']}.\n\n### Result\n" in note
    assert "30 epochs, 150 steps." in note
    assert f"- `best/val/loss`: **{best['value']:.4g}**\n" in note
    assert "Pictures among the artifacts: `similarity.png`, `curves.png`." in note
    assert "### Next\n\n```\npolyclinic evaluate linkage best.ckpt first second\n```" in note
    assert str(workplace) not in note
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id, "evaluation")}
    assert {"evaluation/zeroshot.json", "evaluation/retrieval.json", "evaluation/modality_gap.png"} <= artifacts


def test_training_that_never_validates_leaves_a_checkpoint(workplace: Path) -> None:
    result = _fit("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "5")
    assert Path(result["checkpoint"]).is_file()


def test_a_classifier_is_trained_and_evaluated(workplace: Path) -> None:
    model = {"class_path": "Downstream", "init_args": {}}
    Path("down.yaml").write_text(yaml.safe_dump(CONFIG | {"model": model}))
    result = _fit(config="down.yaml")
    assert main(["evaluate", "classifier", result["checkpoint"], "--resamples", "20", "--json", "c.json"]) == 0
    assert len(json.loads(Path("c.json").read_text())["findings"]) == 11
    assert main(["evaluate", "zeroshot", result["checkpoint"], "prompts.yaml"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fitt"], "got command 'fitt', expected perhaps fit"),
        (["--verison"], "got command '--verison', expected perhaps --version"),
        (
            ["evaluate", "zeroshto", "a"],
            "got command 'zeroshto', expected perhaps zeroshot (one of ['baseline', 'card', ",
        ),
        (["evaluate", "xyz"], "got command 'xyz', expected one of ['baseline', 'card', "),
        (["fit", "--model", "Downstrea"], "got class 'Downstrea' for `model`, expected perhaps Downstream (one of ["),
        (["fit", "--model", "Xyz"], "expected one of ['ContrastivePretraining', 'Downstream', 'MaskedPretraining']"),
        (
            ["fit", "-c", "config.yaml", "--model.init_args.objective", "Symil"],
            "got class 'Symil' for `objective`, expected perhaps Symile",
        ),
        (
            ["fit", "-c", "config.yaml", "--model.init_args.lrr", "3"],
            "got setting 'lrr' of ContrastivePretraining, expected perhaps lr",
        ),
        (["fit", "-c", "config.yaml", "--trainer.max-epoch", "3"], "expected perhaps --trainer.max_epochs"),
        (["fit", "-c", "config.yaml", "--data.label_policy.blankk", "zero"], "got setting 'blankk' of LabelPolicy"),
        (
            ["fit", "-c", "config.yaml", "--seed-everything", "1", "--seed_everything=2"],
            "--seed_everything twice",
        ),
        (["fit", "-c", "unknown.yaml"], "names plugin 'Xray', expected perhaps XRay"),
        (["fit", "--data.modalities.xray", "Xray"], "names plugin 'Xray', expected perhaps XRay"),
        (["fit", "--data.modalities.xray.class_path=Xray"], "command line: `data.modalities.xray` names plugin 'Xray'"),
        (["fit", "-c", "config.yaml", "--data.cohort", "no.yaml"], "cohort file 'no.yaml' does not exist"),
        (["fit", "-c", "config.yaml", "--model.init_args.colour", "red"], "colour"),
        (["fit", "-c", "config.yaml", "--model.init_args.same", "house"], "error: got same 'house' and micro_batch 0"),
        (["fit", "-c", "config.yaml", "--json", "."], "expected a file that can be written; set `--json` to another"),
        (
            ["fit", "-c", "config.yaml", "--data.batch_size", "x"],
            "got data.batch_size 'x', expected a whole number; set `d",
        ),
        (
            ["fit", "-c", "config.yaml", "--trainer.max_epochs", "x"],
            "got trainer.max_epochs 'x', expected a whole number",
        ),
        (["fit", "-c", "config.yaml", "--model.init_args.lr", "x"], "got lr 'x', expected a number; set `lr`"),
        (["fit", "-c", "config.yaml", "--trainer.logger", "x"], "error: got class 'x' for `trainer.logger`, expected"),
        (
            ["evaluate", "zeroshot", "a", "b", "--query", "first"],
            "got query 'first', expected a list, such as '[first]'",
        ),
        (
            ["evaluate", "zeroshot", "a", "b", "--complete=x"],
            "got complete 'x', expected true or false; set `complete`",
        ),
        (["evaluate", "retrieval", "a", "b", "--k", "3"], "got k '3', expected a list, such as '[3]'; set `k`"),
        (["fit", "-c", "config.yaml", "--json", "config.yaml/a.json"], "got 'a.json', below the file 'config.yaml'"),
        (
            ["fit", "-c", "config.yaml", "--data.order=StratifiedOrder", "--data.order.by=house"],
            "error: got stratum 'house', expected one of ['modalities', ",
        ),
        (
            ["fit", "-c", "config.yaml", "--data.order=LengthBucketOrder", "--data.order.modality=pet"],
            "got modality 'pet', expected one of ['first', 'second']; set `modality`",
        ),
        (
            ["fit", "-c", "config.yaml", "--data.order=ByLength", "--data.order.modality=pet"],
            "error: polyclinic.data.ByLength is now polyclinic.data.LengthBucketOrder; write the new name",
        ),
        (["cohort", "check", "no.yaml"], "does not exist"),
        (["cohort", "phantom", "out", "--modalities", "[xray, pet]"], "got plugin 'pet', expected one of ["),
        (["evaluate", "zeroshot", "no.ckpt", "prompts.yaml"], "checkpoint 'no.ckpt' does not exist"),
        (
            ["evaluate", "zeroshot", "config.yaml", "prompts.yaml"],
            "got 'config.yaml', which is a configuration of `polyclinic fit`, expected a checkpoint",
        ),
        (["modalities", "all"], "got 'all', expected options only; see polyclinic modalities --help"),
    ],
)
def test_bad_command_lines_get_one_sentence_and_exit_code_one(
    workplace: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    unknown = {"data": {"modalities": {"xray": {"class_path": "Xray"}}}}
    Path("unknown.yaml").write_text(yaml.safe_dump(unknown))
    assert main(words) == 1
    record = capfd.readouterr().err
    assert message in record
    assert "object at 0x" not in record
    assert not Path("runs").exists()
    assert not Path("out").exists()


def test_help_exits_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "evaluate        measure a checkpoint" in capsys.readouterr().out


def test_check_names_the_broken_study_and_fails(
    workplace: Path, pulse_cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["cohort", "check", str(pulse_cohort), "--experiment", "config.yaml", "--json", "check.json"]
    assert main(words) == 0
    report = json.loads(Path("check.json").read_text())
    assert report["modalities"]["first"]["texts"]["kind"]["vitals"] == report["modalities"]["first"]["readable"]
    table = pulse_cohort.parent / "cohort.csv"
    copy = workplace / "cohort"
    copy.mkdir()
    (copy / "broken.txt").write_text("x")
    lines = table.read_text().splitlines()
    header = lines[0].split(",")
    rows = [line.split(",") for line in lines[1:]]
    for row in rows:
        for name in ("first", "second"):
            column = header.index(name)
            row[column] = str(pulse_cohort.parent / row[column]) if row[column] else ""
    rows[0][header.index("first")] = "broken.txt"
    (copy / "cohort.csv").write_text("\n".join([lines[0], *(",".join(row) for row in rows)]))
    (copy / "cohort.yaml").write_text(pulse_cohort.read_text())
    assert main(["cohort", "check", str(copy / "cohort.yaml"), "--experiment", "config.yaml"]) == 1
    text = capsys.readouterr()
    record = " ".join(word for word in text.out.split() if word != "│")
    assert "expected two numbers" in record
    assert "S000000" in record
    assert "1 source unreadable" in text.err


def test_a_run_with_too_many_broken_files_fails_and_lists_them(workplace: Path) -> None:
    folder = workplace / "cohort"
    folder.mkdir()
    rows = ["study_id,patient_id,split,note,other"]
    rows += [
        f"S{i},P{i},{'val' if i % 5 == 0 else 'train'},{'bad' if i % 3 == 0 else '70 37'},80 37" for i in range(80)
    ]
    (folder / "t.csv").write_text("\n".join(rows))
    spec = {
        "table": "t.csv", "study_id": "study_id", "patient_id": "patient_id", "split": "split",
        "modalities": {"first": {"text": "note"}, "second": {"text": "other"}},
    }  # fmt: skip
    (folder / "cohort.yaml").write_text(yaml.safe_dump(spec))
    assert main(["fit", "-c", "config.yaml", "--data.cohort", "cohort/cohort.yaml"]) == 1
    client = MlflowClient(f"sqlite:///{workplace}/runs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert run.info.status == "FAILED"
    listed = json.loads(Path(client.download_artifacts(run.info.run_id, "quarantine.json", str(workplace))).read_text())
    assert {entry["study_id"] for entry in listed} <= {f"S{i}" for i in range(0, 80, 3)}
    assert len(listed) > 3
    result = _fit("--data.cohort", "cohort/cohort.yaml", "--data.max_broken_share", "0.5")
    metrics = client.get_run(result["mlflow_run_id"]).data.metrics
    assert 0.1 < metrics["data/broken_share"] < 0.25
