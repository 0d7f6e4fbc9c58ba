"""Retrieval with variations, linkage and probes through the command line, on a small cohort."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from cli_runs import fit, write_config
from polyclinic.cli import main
from polyclinic.cli.evaluate import linkage as linkage_command
from polyclinic.cohort import read_cohort
from polyclinic.evaluation.embedding import embed_split
from polyclinic.evaluation.retrieval.variations import embed_variations
from polyclinic.tasks import ContrastivePretraining
from polyclinic.training.restore import restore
from pulse_plugin import Pulse

CONTRASTIVE = {
    "class_path": "ContrastivePretraining",
    "init_args": {"objective": {"class_path": "Symile"}, "embedding": 16, "lr": 0.003},
}
PULSES = {"first": {"class_path": "pulse_plugin.Pulse"}, "second": {"class_path": "pulse_plugin.Pulse"}}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, pulse_cohort: Path) -> str:
    """Return the checkpoint of a short contrastive run over two modalities that both hold the heart rate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_config(pulse_cohort, CONTRASTIVE, PULSES, epochs=15)
        result = fit()
        return str(Path(result["checkpoint"]).resolve())


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def evaluated(*words: str) -> dict[str, Any]:
    assert main(["evaluate", *words, "--resamples", "20", "--json", "report.json"]) == 0
    report: dict[str, Any] = json.loads(Path("report.json").read_text())
    return report


def test_retrieval_is_measured_at_any_k_and_over_variations_of_the_query(checkpoint: str) -> None:
    words = ["retrieval", checkpoint, "second", "--candidates", "5"]
    plain = evaluated(*words, "--k", "[1, 2, 5]")
    assert plain["texts"] is None
    assert set(plain["sampled"]["recall"]) == {"1", "2", "5"}
    assert plain["sampled"]["recall"]["5"] is None
    assert plain["all"]["recall"]["5"]["value"] >= plain["all"]["recall"]["2"]["value"] > 0
    report = evaluated(*words, "--texts", "3")
    spread = report["texts"]
    assert (spread["modality"], spread["texts"], spread["studies"]) == ("first", 3, report["queries"])
    assert spread["rank"] > 0
    assert 0 < spread["normalised"] < 1
    assert spread["rank_ci95"]["low"] <= spread["rank"] <= spread["rank_ci95"]["high"]
    assert evaluated(*words, "--texts", "3")["texts"] == spread
    assert evaluated(*words, "--texts", "3", "--seed", "1")["texts"]["rank"] != spread["rank"]


def test_retrieval_among_given_candidates_is_stored_beside_plain_retrieval(checkpoint: str, pulse_cohort: Path) -> None:
    """Scores are those of the checkpoint's objective, compared only within a set."""
    restored = restore(Path(checkpoint))
    embedded = embed_split(restored, "test")
    complete = (embedded.present["first"] & embedded.present["second"]).nonzero()[:, 0].tolist()
    lacking = [name for name, row in zip(embedded.study_ids, embedded.present["second"], strict=True) if not row]
    ids = [embedded.study_ids[row] for row in complete]
    sets = {query: (ids[index - 1], ids[index - 2]) for index, query in enumerate(ids)}
    lines = [
        f"test,{query},{candidate},{int(candidate == query)}"
        for query, distractors in sets.items()
        for candidate in (query, *distractors)
    ]
    extra = [f"test,{ids[0]},{lacking[0]},0"] if lacking else []
    Path("sets.csv").write_text("\n".join(["split,query_study,candidate_study,label", *lines, *extra]))
    words = ["retrieval", checkpoint, "second", "--query", "[first]", "--candidate_sets", "sets.csv", "--k", "[1]"]
    report = evaluated(*words)
    objective = restored.task_of(ContrastivePretraining).objective
    with torch.inference_mode():
        scores = objective.score({"first": embedded.embeddings["first"]}, embedded.embeddings["second"])
    row = {name: index for index, name in enumerate(embedded.study_ids)}
    scored = ids[len(extra) :]
    ranked_first = [
        float(scores[row[query], row[query]] > max(scores[row[query], row[candidate]] for candidate in sets[query]))
        for query in scored
    ]
    assert report["given"]["recall"]["1"]["value"] == pytest.approx(np.mean(ranked_first))
    assert (report["queries"], report["left_out"]) == (len(scored), len(extra))
    assert report["given"]["candidates"] == 3.0
    assert restored.run_id is not None
    client = MlflowClient(restored.tracking_uri)
    artifacts = {file.path for file in client.list_artifacts(restored.run_id, "evaluation")}
    assert "evaluation/candidate_sets.json" in artifacts
    metrics = client.get_run(restored.run_id).data.metrics
    assert metrics["test/candidate_sets_recall_at_1"] == pytest.approx(np.mean(ranked_first))
    assert main(["evaluate", *words[:-2], "--texts", "2"]) == 1


def test_variations_are_those_of_the_plugin_and_depend_on_the_study_alone(checkpoint: str) -> None:
    restored = restore(Path(checkpoint))
    restored.data.setup("predict")
    plugin = restored.data.modalities["first"]
    assert isinstance(plugin, Pulse)
    studies = [study for study in restored.data.cohort.split("test") if "first" in study.sources]
    batched = embed_variations(restored, "first", studies, texts=2, seed=3)
    alone = embed_variations(restored, "first", studies[4:5], texts=2, seed=3)
    torch.testing.assert_close(alone[:, 0], batched[:, 4])
    assert not torch.allclose(batched[0], batched[1])
    plugin.noise = 0.0
    unvaried = embed_variations(restored, "first", studies, texts=2, seed=3)
    split = embed_split(restored, "test")
    torch.testing.assert_close(unvaried, split.embeddings["first"][split.present["first"]].expand(2, -1, -1))


def test_linkage_finds_more_than_chance_and_writes_what_it_asserts(checkpoint: str, pulse_cohort: Path) -> None:
    words = ["linkage", checkpoint, "first", "second", "--pairs", "out/pairs.csv"]
    report = evaluated(*words)
    quality = report["by_patient"]
    assert report["first_files"] == report["second_files"] == quality["pairs"]
    assert report["curve"]["precision"][-1] > 2 * quality["chance"]
    assert quality["right"] >= report["by_study"]["right"]
    with Path("out/pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["first_study_id", "second_study_id", "score"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= report["threshold"]
    assert len(rows) == report["asserted"]
    patient = {study.study_id: study.patient_id for study in read_cohort(pulse_cohort).split("test")}
    right = [patient[row["first_study_id"]] == patient[row["second_study_id"]] for row in rows]
    assert sum(right) == quality["right"]
    assert len({row["second_study_id"] for row in rows}) == len(rows)
    precise = evaluated(*words, "--precision", "0.05")
    assert precise["asserted"] >= report["asserted"]


def test_linkage_with_unpaired_files_is_logged_to_the_run(checkpoint: str) -> None:
    report = evaluated("linkage", checkpoint, "first", "second", "--unpaired", "0.4")
    assert report["second_files"] == report["first_files"] - round(0.4 * report["first_files"])
    assert report["by_study"]["pairs"] == report["second_files"]
    restored = restore(Path(checkpoint))
    assert restored.run_id is not None
    client = MlflowClient(restored.tracking_uri)
    artifacts = {file.path for file in client.list_artifacts(restored.run_id, "evaluation")}
    assert {"evaluation/linkage_first-second.json", "evaluation/linkage_first-second.png"} <= artifacts
    metrics = client.get_run(restored.run_id).data.metrics
    assert metrics["test/linkage_f1/first-second"] == pytest.approx(report["by_patient"]["f1"])


def test_uninformative_scores_link_nothing_beyond_chance(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties must not be broken by the order of the files, which is that of the studies."""

    def uninformative(*record: Any) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = len(record[1].study_ids), len(record[-1])
        return torch.zeros(first, second), torch.zeros(second, first)

    monkeypatch.setattr(linkage_command, "_scores_both_ways", uninformative)
    shares = [
        evaluated("linkage", checkpoint, "first", "second", "--seed", str(seed))["curve"]["precision"][-1]
        for seed in range(4)
    ]
    assert np.mean(shares) < 0.3


def test_probes_may_use_a_fraction_of_the_patients_with_both_methods(
    checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", checkpoint, "first", "--findings", "[anemia]", "--cache", "kept"]
    linear = evaluated(*words)
    assert capsys.readouterr().out.count("embedded, and saved in the cache") == 6
    assert len(list(Path("kept").iterdir())) == 6
    assert linear["method"] == "linear"
    part = evaluated(*words, "--method", "neighbours", "--fraction", "0.5")
    record = capsys.readouterr().out
    assert record.count("read from the cache") == 6
    assert "Nearest neighbours of first" in record
    assert part["method"] == "neighbours"
    assert part["training"]["patients"] == -(-linear["training"]["patients"] // 2)
    assert len(list(Path("kept").iterdir())) == 6
    assert evaluated("probe", checkpoint, "first", "--findings", "[anemia]")["trained"] == linear["trained"]
    evaluated(*words, "--deviation", "true")
    assert len(list(Path("kept").iterdir())) == 12
    evaluated(*words, "--seed", "1")
    assert len(list(Path("kept").iterdir())) == 15


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["retrieval", "second", "--k", "[0, 5]"], "got k [0, 5], expected numbers of at least 1; set `k`"),
        (["retrieval", "second", "--texts", "1"], "got texts 1 with vary None, expected at least 2"),
        (["retrieval", "second", "--vary", "first"], "got texts 0 with vary 'first', expected at least 2"),
        (
            ["retrieval", "second", "--texts", "2", "--vary", "second"],
            "got query modality 'second', expected one of ['first']",
        ),
        (["linkage", "first", "pet"], "got modality 'pet', expected one of ['first', 'second']"),
        (["linkage", "first", "first"], "got modality 'first' twice, expected two different ones"),
        (
            ["linkage", "first", "second", "--split", "val"],
            "on which the threshold is selected; set `--split` to another",
        ),
        (["linkage", "first", "second", "--split", "testing"], "got split 'testing', expected perhaps test"),
        (["linkage", "first", "second", "--unpaired", "1"], "got unpaired 1.0, expected a share from 0 to below 1"),
        (["linkage", "first", "second", "--precision", "0"], "got precision 0.0, expected a share above 0"),
        (["probe", "first", "--fraction", "0"], "got fraction 0.0, expected a share above 0 and at most 1"),
        (["probe", "first", "--fraction", "1.5"], "got fraction 1.5, expected a share above 0 and at most 1"),
        (["probe", "first", "--method", "forest"], "method"),
    ],
)
def test_bad_requests_get_one_sentence(
    checkpoint: str, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["evaluate", words[0], checkpoint, *words[1:]]) == 1
    assert message in capfd.readouterr().err


def test_a_split_without_a_study_of_both_modalities_is_named(
    checkpoint: str, pulse_cohort: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = ["study_id,patient_id,split,note,other"]
    rows += [f"S{i},P{i},train,70 37,80 37" for i in range(4)]
    rows += [f"V{i},W{i},val,7{i} 37,8{i} 37" for i in range(4)]
    rows += [f"T{i},U{i},test,{'70 37,' if i % 2 else ',70 37'}" for i in range(4)]
    Path("t.csv").write_text("\n".join(rows))
    Path("cohort.yaml").write_text(
        "table: t.csv\nstudy_id: study_id\npatient_id: patient_id\nsplit: split\n"
        "modalities: {first: {text: note}, second: {text: other}}\n"
    )
    words = ["evaluate", "linkage", checkpoint, "first", "second", "--cohort", "cohort.yaml"]
    assert main(words) == 1
    assert "no study of split 'test' has both 'first' and 'second'; set two others" in capfd.readouterr().err
