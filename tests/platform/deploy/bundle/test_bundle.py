"""A bundle holds everything that its checkpoint scores with, and nothing else; every alteration is reported."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.hostile_configs import fuzz
from safetensors.torch import load_file, save_file

from bundle_checksums import write_checksums
from polyclinic.cli import main
from polyclinic.deploy.bundle import Bundle, load_bundle
from polyclinic.deploy.bundle import format as content_module
from polyclinic.deploy.bundle.files import FILES, SUMS, WEIGHT_DTYPES, pack, unpack
from polyclinic.deploy.bundle.format import SCHEMA, schema_text
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.deploy.service.workers import model_worker as computing
from polyclinic.evaluation.scorers import ZeroShotScorer
from polyclinic.models.zero_shot import ZeroShotModel
from polyclinic.prompts import load_prompts
from polyclinic.training.checkpoint_file import load_checkpoint
from polyclinic.training.restore import restore


def _copy(bundle: Path, to: Path) -> Path:
    shutil.copytree(bundle, to)
    return to


def test_the_bundle_scores_every_study_as_its_checkpoint_does_whichever_modality_is_missing(made: Path) -> None:
    scorer = ZeroShotScorer(restore(made / "run.ckpt"), load_prompts(made / "prompts.yaml"))
    bundle = StudyScorer(load_bundle(made / "bundle"))
    test = scorer.read("test")
    record = np.concatenate([bundle.log_odds(batch.inputs, batch.present).numpy() for batch in test.batches])
    assert len(record) > 20
    assert not all(bool(rows.all()) for rows in test.present.values()), "some study is meant to lack a modality"
    np.testing.assert_allclose(record, scorer.scores(test, scorer.modalities), atol=1e-5 * np.ptp(record))


def test_a_bundle_stands_alone_and_runs_no_code_reads_no_pickle_opens_no_socket(
    bundle_folder: Path, study_files: dict[str, Path], tmp_path: Path
) -> None:
    copy = _copy(bundle_folder, tmp_path / "elsewhere")
    xray = shutil.copy(study_files["xray"], tmp_path)
    script = f"""
import sys
events = []
def hook(event, arguments):
    watched = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "pickle.", "subprocess.", "os.system")
    inside = event in ("exec", "compile", "import") and {str(copy)!r} in str(arguments)
    if event.startswith(watched) or inside:
        events.append((event, str(arguments)))
from pathlib import Path
import numpy, torch, jsonargparse
from polyclinic.deploy.bundle import load_bundle
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.deploy.scoring.reading import read_study
sys.addaudithook(hook)
bundle = load_bundle(Path({str(copy)!r}))
study = read_study(bundle, {{"xray": Path({str(xray)!r})}})
print(StudyScorer(bundle).score([study.items])[0].findings[0].score)
assert not events, events
heavy = [name for name in ("lightning", "mlflow", "sklearn", "monai", "transformers") if name in sys.modules]
assert not heavy, heavy
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    items = load_bundle(bundle_folder).modalities["xray"]
    study = {"xray": items.prepare(items.read(study_files["xray"]))}
    expected = StudyScorer(load_bundle(bundle_folder)).score([study])[0].findings[0].score
    assert float(process.stdout) == pytest.approx(expected, abs=1e-12)


def test_a_bundle_holds_no_patient_no_study_and_no_path(made: Path) -> None:
    keys = load_checkpoint(made / "run.ckpt")["callbacks"]["SeenRecord"]
    inside = b"".join((made / "bundle" / name).read_bytes() for name in FILES)
    assert keys
    for secret in ("P000", "S000", str(made), "SeenRecord", "run.ckpt"):
        assert secret.encode() not in inside, secret
    tensors = load_file(made / "bundle" / "model.safetensors")
    assert {key.split(".")[0] for key in tensors} == {
        "encoders", "heads", "objective", "prompts", "calibration", "familiar",
    }  # fmt: skip


def test_the_model_card_states_what_a_hospital_needs(bundle_folder: Path) -> None:
    card = (bundle_folder / "MODEL_CARD.md").read_text()
    for message in (
        "research software and not a medical device", "## Intended use", "## Performance", "### By subgroup",
        "| cardiomegaly |", "site:", "the scorer abstains", "population phantom-3",
    ):  # fmt: skip
        assert message in card, message
    licences = (bundle_folder / "LICENCES.md").read_text()
    assert "| torch |" in licences
    assert "| polyclinic |" in licences


@pytest.mark.parametrize("name", [*FILES, SUMS])
def test_a_flipped_bit_anywhere_is_reported(name: str, bundle_folder: Path, tmp_path: Path) -> None:
    folder = _copy(bundle_folder, tmp_path / "bundle")
    content = bytearray((folder / name).read_bytes())
    for position in np.random.default_rng(0).integers(len(content), size=12):
        changed = bytearray(content)
        changed[position] ^= 4
        (folder / name).write_bytes(changed)
        with pytest.raises(ValueError, match=r"does not match|missing| lists? |has a line that is not"):
            load_bundle(folder)


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    write_checksums(folder)


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    write_checksums(folder)


def _less(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(key for key in tensors if key.startswith("heads")))
    save_file(tensors, folder / "model.safetensors")
    write_checksums(folder)


def _without_texts(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {key: value for key, value in tensors.items() if not key.startswith("prompts")}, folder / "model.safetensors"
    )
    write_checksums(folder)


def _edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edited(folder: Path) -> None:
        content = json.loads((folder / "bundle.json").read_text())
        change(content)
        (folder / "bundle.json").write_text(json.dumps(content))
        write_checksums(folder)

    return edited


def _plugin(content: dict[str, Any], name: str) -> dict[str, Any]:
    entry: dict[str, Any] = content["architecture"]["modalities"][name]
    return entry


def _xray(content: dict[str, Any]) -> dict[str, Any]:
    return _plugin(content, "xray")


def _foreign(content: dict[str, Any]) -> None:
    content["architecture"]["encoders"]["report"]["class_path"] = "antigravity.Popen"


def _foreign_inside(content: dict[str, Any]) -> None:
    content["architecture"]["objective"]["init_args"]["objective"]["class_path"] = "subprocess.Popen"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "MODEL_CARD.md").unlink(), "MODEL_CARD.md is missing"),
        (lambda folder: (folder / SUMS).unlink(), "without SHA256SUMS"),
        (lambda folder: (folder / "more.py").write_text("print(1)"), "'more.py' in the bundle"),
        (lambda folder: (folder / "deep").mkdir(), "'deep' in the bundle"),
        (lambda folder: (folder / SUMS).write_text("../../etc/passwd"), "has a line that is not"),
        (_truncate, "cannot be read"),
        (_pickle, "cannot be read"),
        (_less, "does not fit the architecture"),
        (_without_texts, "lacks 'prompts.embeddings'"),
        (_edit(lambda content: content.update(format=2)), "format 2, expected 1"),
        (_edit(lambda content: content.pop("alpha")), "alpha: Field required"),
        (_edit(lambda content: content.update(code="import os")), "code: Unexpected"),
        (_edit(lambda content: content["rules"].pop("xray")), "not all"),
        (_edit(lambda content: content["rules"]["xray"].pop("anemia")), "are not of the findings"),
        (_edit(lambda content: content["rules"]["xray"]["anemia"].pop("slope")), "slope: Field required"),
        (_edit(lambda content: content["rules"]["xray"]["anemia"].update(slope="1")), "slope: Input should be"),
        (_edit(lambda content: _xray(content).update(plugin="mri")), "needs plugin 'mri'"),
        (_edit(lambda content: _xray(content)["settings"].update(a=1)), "cannot be built"),
        (_edit(_foreign), "runs no other code"),
        (_edit(_foreign_inside), "runs no other code"),
        (lambda folder: (folder / "bundle.json").write_text("{") and write_checksums(folder), "Invalid JSON"),
    ],
)  # fmt: skip
def test_removed_and_added_files_are_reported(
    harm: Callable[[Path], object],
    message: str,
    bundle_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = _copy(bundle_folder, tmp_path / "bundle")
    harm(folder)
    with pytest.raises(ValueError, match=message):
        load_bundle(folder)
    assert "antigravity" not in sys.modules
    assert main(["bundle", "verify", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_link_in_place_of_a_file_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    folder = _copy(bundle_folder, tmp_path / "bundle")
    (folder / "bundle.json").rename(tmp_path / "bundle.json")
    (folder / "bundle.json").symlink_to(tmp_path / "bundle.json")
    with pytest.raises(ValueError, match=r"'bundle\.json' in the bundle"):
        load_bundle(folder)


def test_verify_describes_the_bundle(bundle_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", str(bundle_folder)]) == 0
    message = capsys.readouterr().out
    assert "2 findings from ecg, tabular, xray" in message
    assert load_bundle(bundle_folder).digest in message


def test_prompts_can_add_a_finding_and_the_same_prompts_score_the_same(
    bundle_folder: Path, made: Path, study_files: dict[str, Path], tmp_path: Path
) -> None:
    bundle = load_bundle(bundle_folder)
    plugin = bundle.modalities["xray"]
    study = {"xray": plugin.prepare(plugin.read(study_files["xray"]))}
    prompted = bundle.with_prompts(load_prompts(made / "prompts.yaml"))
    torch.testing.assert_close(prompted.texts, bundle.texts, atol=1e-5, rtol=1e-5)
    text = (made / "prompts.yaml").read_text().replace("cardiomegaly:", "enlarged_heart:")
    (tmp_path / "new.yaml").write_text(text)
    record = StudyScorer(bundle.with_prompts(load_prompts(tmp_path / "new.yaml"))).score([study])[0].findings[0]
    finding = StudyScorer(bundle).score([study])[0].findings[0]
    assert (record.name, record.probability, record.interval, record.decision) == ("enlarged_heart", None, None, None)
    assert record.score == pytest.approx(finding.score, abs=1e-4)
    assert record.abstained
    assert "added by prompts" in str(record.reason)


def _export(made: Path, out: Path, *words: str) -> Bundle:
    paths = [made / "run.ckpt", "--prompts", made / "prompts.yaml", "--out", out]
    assert main(["bundle", "export", *map(str, paths), "--resamples", "10", *words]) == 0
    return load_bundle(out)


def test_a_bundle_without_the_text_encoder_is_smaller_scores_the_same_and_takes_no_prompts(
    made: Path, study_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    bundle = _export(made, tmp_path / "small", "--text_encoder", "false")
    full = load_bundle(made / "bundle")
    assert "report" not in bundle.modalities
    small, large = ((folder / "model.safetensors").stat().st_size for folder in (tmp_path / "small", made / "bundle"))
    assert small < large - 4 * sum(value.numel() for value in full.model.encoders["report"].parameters()) / 2
    plugin = bundle.modalities["ecg"]
    study = {"ecg": plugin.prepare(plugin.read(study_files["ecg"]))}
    scores = [StudyScorer(model).score([study])[0].findings[0].score for model in (bundle, full)]
    assert scores[0] == scores[1]
    with pytest.raises(ValueError, match="holds no text encoder"):
        bundle.with_prompts(load_prompts(made / "prompts.yaml"))


def test_int8_weights_take_a_fraction_of_the_bytes_and_nearly_keep_the_scores(
    made: Path, study_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setattr("polyclinic.export.precision.MAX_AUROC_LOSS", 1.0)
    bundle = _export(made, tmp_path / "small", "--dtype", "int8")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "small", made / "bundle")]
    assert sizes[0] < 0.45 * sizes[1]
    plugin = bundle.modalities["xray"]
    study = {"xray": plugin.prepare(plugin.read(study_files["xray"]))}
    scores = [
        StudyScorer(model).score([study])[0].findings[0].score for model in (bundle, load_bundle(made / "bundle"))
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.3)
    assert scores[0] != scores[1]


def test_int8_weights_that_lose_too_much_auroc_are_refused_and_nothing_is_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setattr("polyclinic.export.precision.MAX_AUROC_LOSS", -1.0)
    words = ["run.ckpt", "--prompts", "prompts.yaml", "--out", str(tmp_path / "b"), "--dtype", "int8"]
    assert main(["bundle", "export", *words]) == 1
    assert "set `--weights float32`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "val"), "from which thresholds and calibration come"),
        (("--split", "nowhere"), "split"),
        (("--query", "[report]"), "expected one of"),
        (("--dtype", "int4"), "expected one of"),
        (("--alpha", "2"), "between 0 and 1"),
        (("--prompts", "run.ckpt"), "which is a checkpoint, expected a prompt file"),
    ],
)
def test_a_checkpoint_that_cannot_be_exported_is_reported_and_nothing_is_written(
    words: tuple[str, ...],
    message: str,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(made)
    record = ["run.ckpt", "--out", str(tmp_path / "b"), "--resamples", "5"]
    if "--prompts" not in words:
        record += ["--prompts", "prompts.yaml"]
    assert main(["bundle", "export", *record, *words]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_never_written_to(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    (tmp_path / "mine.txt").write_text("mine")
    words = ["run.ckpt", "--prompts", "prompts.yaml", "--out", str(tmp_path)]
    assert main(["bundle", "export", *words]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("weights", WEIGHT_DTYPES)
def test_packed_weights_are_restored_within_their_precision(weights: str) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        "large": torch.randn(64, 4, 8, generator=generator) * torch.logspace(-6, 3, 64)[:, None, None],
        "zero": torch.zeros(64, 64),
        "small": torch.randn(3, 3, generator=generator),
        "bias": torch.randn(5000, generator=generator),
        "count": torch.tensor(7),
    }
    back = unpack(pack(state, weights))
    assert set(back) == set(state)
    for name in ("small", "bias", "count", "zero"):
        torch.testing.assert_close(back[name], state[name], atol=0, rtol=0)
    allowed = {"float32": 0.0, "bfloat16": 2.0**-8, "int8": 0.5001 / 127}[weights]
    largest_error = (back["large"] - state["large"]).flatten(1).abs().amax(dim=1)
    assert bool((largest_error <= allowed * state["large"].flatten(1).abs().amax(dim=1)).all())
    assert back["large"].dtype == torch.float32


def _rule(content: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = content["rules"]["xray"]["anemia"]
    return rule


def _objective(content: dict[str, Any]) -> dict[str, Any]:
    objective: dict[str, Any] = content["architecture"]["objective"]
    return objective


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        write_checksums(folder)

    return changed


def _fill(key: str, value: float) -> Callable[[Path], None]:
    return _tensors(lambda tensors: tensors[next(name for name in tensors if name.startswith(key))].fill_(value))


def _unlisted(name: str, *, listed: bool) -> Callable[[Path], None]:
    def added(folder: Path) -> None:
        (folder / name).write_text("print(1)")
        if listed:
            write_checksums(folder)

    return added


HARMS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "module as text": (lambda one: _objective(one)["init_args"].update(objective="this.X"), "names class 'this.X'"),
    "bare word": (lambda one: _objective(one)["init_args"].update(objective="antigravity"), "names class 'anti"),
    "function of ours": (lambda one: _objective(one).update(class_path="polyclinic.cli.main"), "names class"),
    "class of another kind": (lambda one: _objective(one).update(class_path="polyclinic.nn.Frozen"), "not of kind Obj"),
    "abstract class": (lambda one: _objective(one).update(class_path="polyclinic.objectives.Objective"), "names class"),
    "task in a bundle": (lambda one: _objective(one).update(class_path="polyclinic.tasks.Downstream"), "names class"),
    "imported module": (lambda one: _objective(one).update(class_path="torch.nn.Linear"), "names class"),
    "not a mapping": (lambda one: one["architecture"].update(objective="this.X"), "objective: Input should be"),
    "wrong type": (lambda one: _objective(one)["init_args"].update(embedding="16"), "expected int"),
    "boolean for a number": (lambda one: _objective(one)["init_args"].update(embedding=True), "expected int"),
    "too large": (lambda one: _objective(one)["init_args"].update(embedding=10**9), "expected at most"),
    "huge": (lambda one: _objective(one)["init_args"].update(embedding=10**400), "finite|expected"),
    "unknown setting": (lambda one: _objective(one)["init_args"].update(call="x"), "has no setting 'call'"),
    "third key": (lambda one: _objective(one).update(dict_kwargs={}), "objective.dict_kwargs"),
    "settings as a list": (lambda one: _objective(one).update(init_args=[]), "expected a mapping"),
    "too deep": (lambda one: _objective(one)["init_args"].update(objective=_nested(40)), "too deep"),
    "a file": (lambda one: _plugin(one, "report")["settings"].update(pretrained="/etc"), "names a file"),
    "an encoding": (lambda one: _plugin(one, "tabular")["settings"].update(encoding="zip"), "text encod"),
    "huge picture": (lambda one: _xray(one)["settings"].update(size=1 << 20), "expected at most"),
    "not a number": (lambda one: _xray(one)["settings"].update(noise=float("nan")), "finite|valid"),
    "state": (lambda one: _plugin(one, "report").update(state={"tokenizer": "{}"}), "state does not fit"),
    "long state": (lambda one: _plugin(one, "tabular")["state"].update(numeric=[0.5] * 1000), "state does not fit"),
    "threshold": (lambda one: _rule(one).update(threshold=1.5), "threshold: Input should be less"),
    "alpha": (lambda one: one.update(alpha=-0.1), "alpha: Input should be greater"),
    "negative count": (lambda one: _rule(one).update(positives=-1), "positives: Input should be greater"),
    "infinite slope": (lambda one: _rule(one).update(slope=float("inf")), "slope"),
    "slope alone": (lambda one: _rule(one).update(slope=1.0, intercept=None), "both or neither"),
    "AUROC above 1": (lambda one: _rule(one).update(auroc=[0.9, 0.8, 1.1]), "auroc"),
    "AUROC turned round": (lambda one: _rule(one).update(auroc=[0.9, 0.95, 0.2]), "ends before it begins"),
    "limit": (lambda one: one["limits"].update(xray=-1.0), "limits.xray"),
    "measured": (lambda one: one["performance"]["anemia"].update(n=1, n_positive=2), "performance.anemia"),
    "no negative prompt": (lambda one: one["prompts"]["findings"]["anemia"].update(negative=[]), "negative"),
    "no prompts": (lambda one: one["prompts"]["findings"]["anemia"].pop("negative"), "findings.anemia"),
    "template": (lambda one: one["prompts"].update(templates=["x"]), "template 'x'"),
    "width": (lambda one: one["architecture"].update(embedding=8), "does not fit|of shape"),
    "size": (lambda one: one["architecture"].update(size="this"), "size 'this'"),
    "query twice": (lambda one: one.update(query=["xray", "xray"]), "does not fit modalities"),
    "escape": (lambda one: one.update(name="\x1b[31mred"), "characters that are not printed"),
    "direction": (lambda one: one["origin"].update(cohort="a\u202eb"), "characters that are not printed"),
}  # fmt: skip


def _nested(levels: int) -> Any:
    return {"class_path": "polyclinic.objectives.WithTerms", "init_args": {"a": _nested(levels - 1)}} if levels else 1


@pytest.mark.parametrize("name", HARMS)
def test_a_configuration_that_cannot_score_is_refused(name: str, bundle_folder: Path, tmp_path: Path) -> None:
    change, message = HARMS[name]
    folder = _copy(bundle_folder, tmp_path / "bundle")
    before = {*sys.modules}
    _edit(change)(folder)
    with pytest.raises(ValueError, match=message) as refused:
        load_bundle(folder)
    assert "\x1b" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert {module for module in {*sys.modules} - before if not module.startswith("polyclinic")} == set()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_unlisted("more.py", listed=True), "'more.py' in the bundle"),
        (_unlisted(".hidden", listed=True), "'.hidden' in the bundle"),
        (_unlisted("model.pkl", listed=False), "'model.pkl' in the bundle"),
        (lambda folder: (folder / SUMS).write_text((folder / SUMS).read_text() + f"{'0' * 64}  ../x\n"), "lists '../"),
        (lambda folder: (folder / SUMS).write_text((folder / SUMS).read_text() * 2), "has a line that is not"),
        (_fill("encoders.xray", float("nan")), "that are not finite"),
        (_fill("prompts.embeddings", float("inf")), "that are not finite"),
        (_fill("calibration.draws", float("inf")), "that are not finite"),
        (_tensors(lambda one: one.update(more=torch.tensor([1e300], dtype=torch.float64))), "that are not finite"),
        (_tensors(lambda one: one.update({"prompts.embeddings": torch.zeros(3, 16)})), "of shape"),
        (_tensors(lambda one: one.update({"calibration.draws": torch.zeros(7, 2, 0, 3)})), "of shape"),
        (_tensors(lambda one: one.update({"familiar.xray.mean": torch.zeros(1)})), "of shape"),
        (_tensors(lambda one: one.update({"more": torch.zeros(1)})), "does not belong"),
        (_tensors(lambda one: one.update({"heads.x.scale": torch.zeros(1, dtype=torch.complex64)})), "of type"),
    ],
)  # fmt: skip
def test_files_and_weights_that_do_not_match_the_configuration_are_refused(
    harm: Callable[[Path], object], message: str, bundle_folder: Path, tmp_path: Path
) -> None:
    folder = _copy(bundle_folder, tmp_path / "bundle")
    harm(folder)
    with pytest.raises(ValueError, match=message):
        load_bundle(folder)


def test_the_published_schema_matches_the_models() -> None:
    published = Path(content_module.__file__).with_name(SCHEMA).read_text()
    assert published == schema_text(), "write it anew: print(schema_text(), end='')"
    assert json.loads(published)["properties"]["alpha"] == {
        "maximum": 1, "minimum": 0, "title": "Alpha", "type": "number",
    }  # fmt: skip


def _overflowing(model: ZeroShotModel, name: str, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    pooled = model.encoder(name)(inputs).pooled
    return pooled, model.heads[name](pooled) * float("nan")


def test_a_bundle_whose_scores_are_not_finite_is_not_verified(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _copy(bundle_folder, tmp_path / "bundle")
    monkeypatch.setattr(ZeroShotModel, "forward", _overflowing)
    monkeypatch.chdir(tmp_path)
    for words in (["bundle", "verify", "bundle"], ["bundle", "register", "bundle"]):
        assert main(words) == 1
        assert "not finite" in capsys.readouterr().err
    assert not Path("runs").exists()
    monkeypatch.setattr(computing, "loaded", lambda: load_bundle(folder))
    monkeypatch.setattr(computing, "ignore_signals", lambda: None)
    # If the bundle were accepted, this would fail; the real worker would wait for requests.
    monkeypatch.setattr(computing, "_ModelWorker", None)
    front, back = Pipe()
    with front, back:
        computing.main(back, 1)
        assert b"not finite" in front.recv_bytes()
        assert not front.poll(), "the service starts without it"


def test_altered_configurations_import_nothing_and_raise_only_refusals(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    outcome = fuzz(made / "bundle", made / "run.ckpt", mutations=120, seed=1)
    assert outcome.imports == []
    assert outcome.tracebacks == []
    assert outcome.ends["refused"] > 60
