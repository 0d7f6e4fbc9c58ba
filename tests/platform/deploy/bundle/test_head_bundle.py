"""A bundle of a trained head: it scores as its checkpoint does, and every inconsistency is refused in one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.hostile_configs import fuzz
from safetensors.torch import load_file, save_file

from bundle_checksums import write_checksums
from polyclinic.cli import main
from polyclinic.deploy.bundle import load_bundle
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.evaluation.scorers import TrainedScorer
from polyclinic.evaluation.supervised import predict_split
from polyclinic.training.restore import restore

ROOT = Path(__file__).parents[4]
FINDINGS = ["anemia", "rhythm=sinus", "rhythm=AF", "rhythm=paced"]


def test_the_bundle_predicts_every_study_as_its_checkpoint_does_whichever_modality_is_missing(head_made: Path) -> None:
    restored, bundle = restore(head_made / "run.ckpt"), load_bundle(head_made / "bundle")
    predicted = predict_split(restored, "test", bundle.query)
    columns = [*bundle.findings, *(label.name for label in bundle.estimated)]
    assert columns == [*FINDINGS, "age", "hemoglobin"]
    test = TrainedScorer(restored).read("test")
    assert not all(bool(rows.all()) for rows in test.present.values()), "some study is meant to lack a modality"
    scorer = StudyScorer(bundle)
    outputs = np.concatenate([scorer.outputs(batch.inputs, batch.present).numpy() for batch in test.batches])
    places = [restored.task.targets.columns.index(name) for name in columns]
    np.testing.assert_allclose(outputs, predicted.outputs[:, places].double().numpy(), rtol=1e-5, atol=1e-5)


def test_a_bundle_of_the_previous_release_is_read_and_would_be_written_with_the_same_bytes() -> None:
    folder = ROOT / "tests" / "golden" / "release_0_2" / "bundle"
    bundle = load_bundle(folder)
    assert bundle.content.head is None
    assert bundle.estimated == []
    assert bundle.content.as_bytes() == (folder / "bundle.json").read_bytes()


def test_verify_and_the_model_card_describe_the_head(head_made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", str(head_made / "bundle")]) == 0
    assert "4 findings and 2 estimates from ecg, tabular" in capsys.readouterr().out
    card = (head_made / "bundle" / "MODEL_CARD.md").read_text()
    for message in (
        "A classifier trained on labels, from any of ecg, tabular", "| rhythm | class | sinus, AF, paced |",
        "| hemoglobin | quantity | g/dL |", "| rhythm=AF |", "| hemoglobin | g/dL |", "error of a constant guess",
        "fusion polyclinic.nn.fusion.ConcatenationFusion",
    ):  # fmt: skip
        assert message in card, message
    assert "prompt" not in card


def test_prompts_for_a_head_are_refused(
    head_made: Path, made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    prompts = str(made / "prompts.yaml")
    file = next((head_made / "cohort" / "tabular").iterdir())
    assert main(["score", str(head_made / "bundle"), "--tabular", str(file), "--prompts", prompts]) == 1
    assert "got prompts for a trained head, whose findings are" in capsys.readouterr().err
    words = [str(head_made / "run.ckpt"), "--prompts", prompts, "--out", str(tmp_path / "b")]
    assert main(["bundle", "export", *words]) == 1
    assert "got prompts for a trained head, whose labels are" in capsys.readouterr().err
    assert main(["bundle", "export", str(made / "run.ckpt"), "--out", str(tmp_path / "b")]) == 1
    assert "got a contrastive checkpoint without prompts; set `--prompts`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def _edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    change(content)
    (folder / "bundle.json").write_text(json.dumps(content))
    write_checksums(folder)


def _label(content: dict[str, Any], name: str) -> dict[str, Any]:
    label: dict[str, Any] = next(label for label in content["head"]["labels"] if label["name"] == name)
    return label


def _rule(content: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = content["head"]["estimates"]["tabular"]["hemoglobin"]
    return rule


def _fusion(content: dict[str, Any]) -> dict[str, Any]:
    fusion: dict[str, Any] = content["architecture"]["fusion"]
    return fusion


PROMPTS = {
    "modality": "tabular", "score_rule": "softmax", "sha256": "0" * 64, "templates": ["{}"],
    "findings": {"anemia": {"positive": ["a"], "negative": ["b"]}},
}  # fmt: skip
OBJECTIVE = {"class_path": "polyclinic.objectives.Clip", "init_args": {}}
HARMS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "prompts as well": (lambda one: one.update(prompts=PROMPTS), "expected one of the two"),
    "neither": (lambda one: one.pop("head"), "expected one of the two"),
    "unknown kind": (lambda one: _label(one, "anemia").update(kind="finding "), "head.labels.0.kind"),
    "another kind": (lambda one: _label(one, "anemia").update(kind="quantity"), "not of the findings"),
    "level as quantity": (lambda one: _label(one, "age").update(kind="quantity"), "has names, expected none"),
    "fewer classes": (lambda one: _label(one, "rhythm").update(names=["sinus", "AF"]), "not of the findings"),
    "more levels": (lambda one: _label(one, "age").update(names=["a", "b", "c", "d"]), "does not fit the architecture"),
    "one level": (lambda one: _label(one, "age").update(names=["a"]), "expected two or more different ones"),
    "levels twice": (lambda one: _label(one, "age").update(names=["a", "a", "b"]), "two or more different ones"),
    "finding with names": (lambda one: _label(one, "anemia").update(names=["a", "b"]), "has names, expected none"),
    "finding with a unit": (lambda one: _label(one, "anemia").update(unit="g"), "has a unit, center or scale"),
    "no label": (lambda one: one["head"].update(labels=[]), "head.labels"),
    "label twice": (lambda one: one["head"]["labels"].append(_label(one, "anemia")), "names two outputs"),
    "one label more": (lambda one: one["head"]["labels"].append({**_label(one, "anemia"), "name": "b"}), "findings"),
    "center NaN": (lambda one: _label(one, "hemoglobin").update(center=float("nan")), "center"),
    "scale NaN": (lambda one: _label(one, "hemoglobin").update(scale=float("nan")), "scale"),
    "scale infinite": (lambda one: _label(one, "hemoglobin").update(scale=float("inf")), "scale"),
    "scale 0": (lambda one: _label(one, "hemoglobin").update(scale=0.0), "scale: Input should be greater"),
    "another center": (lambda one: _label(one, "hemoglobin").update(center=3.0), "another 'targets.center' than"),
    "another scale": (lambda one: _label(one, "hemoglobin").update(scale=3.0), "another 'targets.scale' than"),
    "name that escapes": (lambda one: _label(one, "hemoglobin").update(unit="\x1b[31m"), "not printed safely"),
    "no fusion": (lambda one: one["architecture"].pop("fusion"), "a head needs a fusion"),
    "an objective": (lambda one: one["architecture"].update(objective=OBJECTIVE), "a head needs a fusion"),
    "an embedding": (lambda one: one["architecture"].update(embedding=8), "a head needs a fusion"),
    "unknown fusion": (lambda one: _fusion(one).update(class_path="polyclinic.nn.NoFusion"), "names class"),
    "module as fusion": (lambda one: _fusion(one).update(class_path="antigravity"), "names class 'antigravity'"),
    "foreign class": (lambda one: _fusion(one).update(class_path="subprocess.Popen"), "runs no other code"),
    "class of another kind": (lambda one: _fusion(one).update(class_path="polyclinic.nn.Frozen"), "not of kind Fusion"),
    "abstract fusion": (lambda one: _fusion(one).update(class_path="polyclinic.nn.Fusion"), "names class"),
    "another fusion": (lambda one: _fusion(one).update(class_path="polyclinic.nn.SequentialFusion"), "cannot be|fit"),
    "fusion with outputs": (lambda one: _fusion(one)["init_args"].update(outputs=9), "has no setting 'outputs'"),
    "fusion with widths": (lambda one: _fusion(one)["init_args"].update(widths={"ecg": 9}), "no setting 'widths'"),
    "hidden as text": (lambda one: _fusion(one)["init_args"].update(hidden="128"), "expected int"),
    "negative hidden": (lambda one: _fusion(one)["init_args"].update(hidden=-3), "cannot be built|not give a model"),
    "another hidden": (lambda one: _fusion(one)["init_args"].update(hidden=7), "does not fit the architecture"),
    "foreign adapter": (
        lambda one: one["architecture"].update(adapter={"class_path": "os.system"}), "runs no other code"
    ),
    "adapter that was not there": (
        lambda one: one["architecture"].update(adapter={"class_path": "polyclinic.nn.lora.Lora"}), "does not fit"
    ),
    "adapter of nothing": (
        lambda one: one["architecture"].update(
            adapter={"class_path": "polyclinic.nn.lora.Lora", "init_args": {"modules": ["none"]}}
        ),
        "expected names of linear maps",
    ),
    "rules of a subset": (lambda one: one["head"]["estimates"].pop("tabular"), "not all subsets"),
    "rule of a label": (lambda one: one["head"]["estimates"]["tabular"].pop("age"), "levels and quantities"),
    "error of a label": (lambda one: one["head"]["errors"].pop("age"), "levels and quantities"),
    "negative half-width": (lambda one: _rule(one).update(half_width=-1.0), "half_width: Input should be greater"),
    "half-width NaN": (lambda one: _rule(one).update(half_width=float("nan")), "half_width"),
    "error without studies": (lambda one: _rule(one).update(studies=0, patients=0), "one of studies and their errors"),
    "more patients": (lambda one: _rule(one).update(patients=10**6), "patients of"),
    "error turned round": (lambda one: _rule(one).update(error=[1.0, 2.0, 0.5]), "ends before it begins"),
    "worse than a guess": (lambda one: _rule(one).update(guess=0.0, problem=None), "expected a problem"),
    "third key": (lambda one: one["head"].update(code="x"), "head.code"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMS)
def test_a_head_that_cannot_predict_is_refused(name: str, head_made: Path, tmp_path: Path) -> None:
    change, message = HARMS[name]
    shutil.copytree(head_made / "bundle", folder := tmp_path / "bundle")
    _edited(folder, change)
    with pytest.raises(ValueError, match=message) as refused:
        load_bundle(folder)
    assert "\x1b" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one.update({"fusion.predict.0.weight": torch.zeros(1, 1)}), "does not fit"),
        (lambda one: one.pop("targets.center"), "does not fit"),
        (lambda one: one["targets.scale"].mul_(2), "another 'targets.scale' than"),
        (lambda one: one["targets.steps.2"].fill_(torch.nan), "that are not finite"),
        (lambda one: one.update({"prompts.embeddings": torch.zeros(2, 8)}), "does not belong"),
        (lambda one: one.update({"objective.scale": torch.zeros(1)}), "does not fit"),
        (lambda one: one.update({"calibration.draws": torch.zeros(3, 2, 5, 2)}), "of shape"),
    ],
)
def test_weights_that_do_not_fit_the_head_are_refused(
    change: Callable[[dict[str, torch.Tensor]], object], message: str, head_made: Path, tmp_path: Path
) -> None:
    shutil.copytree(head_made / "bundle", folder := tmp_path / "bundle")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    write_checksums(folder)
    with pytest.raises(ValueError, match=message):
        load_bundle(folder)
    assert main(["bundle", "verify", str(folder)]) == 1


def test_altered_heads_import_nothing_and_raise_only_refusals(head_made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(head_made)
    outcome = fuzz(head_made / "bundle", head_made / "run.ckpt", mutations=80, seed=1)
    assert outcome.imports == []
    assert outcome.tracebacks == []
    assert outcome.ends["refused"] > 40
