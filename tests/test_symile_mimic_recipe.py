"""The published Symile-MIMIC experiment, on a small release in the layout of the real one."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from benchmarks.published_symile import published_symile
from experiments.runner import run_command
from experiments.symile_mimic import run
from experiments.symile_mimic.arrays import Arrays
from experiments.symile_mimic.encoders import LabsEncoder, ResNetEncoder
from torch import Tensor, nn
from torchvision import models

from layouts.symile_mimic import write_symile_mimic
from polyclinic.data import Batch
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.modality import ArrayRow, UnreadableSource, settings
from polyclinic.modality.physiology import Patient
from polyclinic.training.restore import build, restore

FOLDER = Path(__file__).parent.parent / "experiments" / "symile_mimic"
SIDE, SAMPLES, WIDTH, BATCH = 32, 64, 16, 6
SMALL = [
    *("--data.modalities.xray.init_args.shape", f"[3, {SIDE}, {SIDE}]"),
    *("--data.modalities.ecg.init_args.shape", f"[1, {SAMPLES}, 12]"),
    *(f"--model.init_args.encoders.{name}.init_args.width={WIDTH}" for name in ("xray", "ecg", "tabular")),
    *("--data.batch_size", str(BATCH), "--data.num_workers", "0", "--trainer.accelerator", "cpu"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
]  # fmt: skip


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("physionet") / "symile-mimic-1.0.0"
    write_symile_mimic(root, side=SIDE, samples=SAMPLES)
    return root


@pytest.mark.filterwarnings("ignore:.*configure_optimizers` will be overridden by")
@pytest.mark.slow
def test_one_command_leads_from_the_release_to_accuracy_among_ten(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run.main([str(released), "--out", "out", *SMALL, "--trainer.max_epochs", "2"]) == 0
    report = json.loads(Path("out/report.json").read_text())["symile"]
    for split, queries in (("val", 10), ("test", 11)):
        record = report[split]
        assert (record["queries"], record["left_out"], record["given"]["candidates"]) == (queries, 0, 10.0)
        assert record["query"] == ["ecg", "tabular"]
        assert record["given"]["recall"]["1"]["value"] == pytest.approx(
            _published_accuracy(Path(report["checkpoint"]), split)
        )
    assert Path(report["checkpoint"]).name == "best.ckpt"
    assert Path(report["checkpoint"]).with_name("last.ckpt").is_file()
    with pytest.raises(SystemExit, match="from another folder than elsewhere; remove it, or set `--out`"):
        run.main(["elsewhere", "--out", "out"])


def _published_accuracy(checkpoint: Path, split: str) -> float:
    """Compute the published accuracy: how often the matching X-ray has the largest product of ten with ECG and labs."""
    restored = restore(checkpoint)
    restored.data.setup("predict")
    task: Any = restored.task
    with torch.inference_mode():
        batches = list(restored.data.loader(split))
        embedded = [task(batch) for batch in batches]
    rows = {study: row for row, study in enumerate(study for batch in batches for study in batch.study_ids)}
    xray, ecg, labs = (torch.cat([embeddings[name] for embeddings in embedded]) for name in ("xray", "ecg", "tabular"))
    folder = restored.data.cohort.studies[0].sources["xray"].file.parent.parent  # type: ignore[union-attr]
    name = "val_retrieval" if split == "val" else split
    admissions, query, label = (
        np.load(folder / name / f"{f}_{name}.npy") for f in ("hadm_id", "label_hadm_id", "label")
    )
    hits = []
    for study in admissions[label == 1]:
        others = admissions[(query == study) & (label == 0)]
        product = ecg[rows[str(study)]] * labs[rows[str(study)]]
        scores = torch.stack([xray[rows[str(admission)]] for admission in (study, *others)]) @ product
        hits.append(float(scores[0] == scores.max()))
    return float(np.mean(hits))


def test_a_step_of_the_recipe_equals_a_step_of_the_published_model(released: Path, tmp_path: Path) -> None:
    """Compares the loss, and every parameter after AdamW, with the architecture and formula written out here."""
    ours, batch = _task_and_batch(released, tmp_path)
    theirs = _Published(WIDTH).double()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), _in_order(ours.state_dict()), strict=True)))
    assert [p.shape for p in theirs.parameters()] == [p.shape for p in _parameters(ours)]
    loss = ours.objective({name: value.double() for name, value in ours(batch).items()})
    expected = theirs(*(batch.inputs[name]["values"] for name in ("xray", "ecg", "tabular")))
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    rates = yaml.safe_load((FOLDER / "symile.yaml").read_text())["optimizer"]["init_args"]
    assert rates == {"lr": 5e-4, "weight_decay": 0.2}
    for model, value in ((ours, loss), (theirs, expected)):
        optimizer = torch.optim.AdamW(model.parameters(), **rates)
        value.backward()
        optimizer.step()
    for parameter, expected_parameter in zip(_parameters(ours), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected_parameter, rtol=1e-7, atol=1e-9)


class _Published(nn.Module):
    """The published model: heads within the networks, LayerNorm, the logarithm of the scale from -7."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(-7.0))
        self.image = models.resnet50()
        self.image.fc = nn.Linear(2048, width)
        self.image_norm = nn.LayerNorm(width)
        self.signal = models.resnet18()
        self.signal.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.signal.fc = nn.Linear(512, width)
        self.signal_norm = nn.LayerNorm(width)
        self.first, self.second, self.third = nn.Linear(100, 256), nn.Linear(256, 1024), nn.Linear(1024, width)
        self.labs_norm = nn.LayerNorm(width)

    def forward(self, image: Tensor, signal: Tensor, labs: Tensor) -> Tensor:
        c = self.image_norm(self.image(image))
        e = self.signal_norm(self.signal(signal))
        b = self.labs_norm(self.third(F.gelu(self.second(F.gelu(self.first(labs))))))
        return published_symile(c, e, b, self.scale.exp())


def _task_and_batch(released: Path, tmp_path: Path) -> tuple[Any, Batch]:
    config = load_yaml((FOLDER / "symile.yaml").read_bytes(), name="symile.yaml")
    if not (tmp_path / "cohort").exists():
        run_command("cohort", "build", "symile-mimic-published", "--root", released, "--out", tmp_path / "cohort")
    config["data"] |= {"cohort": str(tmp_path / "cohort" / "cohort.yaml"), "batch_size": BATCH, "num_workers": 0}
    for name, shape in (("xray", [3, SIDE, SIDE]), ("ecg", [1, SAMPLES, 12])):
        config["data"]["modalities"][name]["init_args"]["shape"] = shape
    for entry in config["model"]["init_args"]["encoders"].values():
        entry["init_args"]["width"] = WIDTH
    torch.manual_seed(0)
    built = build({"model": config["model"], "data": config["data"]})
    built.data.setup("predict")
    batch = next(iter(built.data.loader("train")))
    for inputs in batch.inputs.values():
        inputs["values"] = inputs["values"].double()
    return built.model.double().train(), batch


def _parameters(task: Any) -> list[nn.Parameter]:
    return [task.objective.scale.log, *task.encoders.parameters()]


def _in_order(state: dict[str, Tensor]) -> list[Tensor]:
    """Return the scale, then image, signal and laboratory encoders, in the order of the recipe."""
    return [value for key, value in state.items() if key != "objective.draws"]


def test_the_published_settings_are_in_the_recipe() -> None:
    config = load_yaml((FOLDER / "symile.yaml").read_bytes(), name="symile.yaml")
    model, data = config["model"]["init_args"], config["data"]
    objective = model["objective"]["init_args"]
    assert math.log(objective["initial_scale"]) == pytest.approx(-7, abs=1e-12)
    assert (objective["negatives"], objective["normalize"]) == ("all", "none")
    assert {entry["init_args"]["width"] for entry in model["encoders"].values()} == {8192}
    assert (data["batch_size"], data["augment"], config["trainer"]["max_epochs"]) == (280, False, 80)
    shapes = {name: entry["init_args"]["shape"] for name, entry in data["modalities"].items()}
    assert shapes == {"xray": [3, 320, 320], "ecg": [1, 5000, 12], "tabular": [100]}
    baseline = yaml.safe_load((FOLDER / "clip.yaml").read_text())
    assert baseline["model"]["init_args"].pop("objective") == {"class_path": "Clip"}
    model.pop("objective")
    assert baseline["model"] == config["model"]
    assert baseline["data"] == config["data"]
    assert baseline["optimizer"] == config["optimizer"]


def test_a_row_is_read_unchanged(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 1, 4, 2)).astype(np.float32)
    np.save(tmp_path / "many.npy", values)
    modality, rng = Arrays(shape=[1, 4, 2]), np.random.default_rng(1)
    for row in range(3):
        np.testing.assert_array_equal(modality.read(ArrayRow(tmp_path / "many.npy", row)), values[row])
    np.save(tmp_path / "one.npy", values[1])
    np.testing.assert_array_equal(modality.read(tmp_path / "one.npy"), values[1])
    cells = {f"c{place}": str(number) for place, number in enumerate(values[2].ravel())}
    raw = modality.read(cells)
    np.testing.assert_array_equal(raw, values[2])
    item = modality.augment(modality.prepare(raw), rng)
    assert modality.collate([item, item])["values"].shape == (2, 1, 4, 2)
    raw[:] = 0
    np.testing.assert_array_equal(item["values"].numpy(), values[2])
    assert settings(modality) == {"shape": [1, 4, 2]}
    noise = modality.phantom(Patient(rng).visit(rng), rng, tmp_path / "noise")
    assert modality.read(noise).std() > 0.3


def test_unreadable_arrays_are_reported_without_their_path(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.zeros((2, 3), dtype=np.float32))
    np.save(tmp_path / "nan.npy", np.array([[1.0, np.nan, 2.0]]))
    np.save(tmp_path / "texts.npy", np.array([["a", "b", "c"]]))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "several.npz", a=np.zeros(3))
    (tmp_path / "empty.npy").touch()
    for source, message in (
        (ArrayRow(tmp_path / "good.npy", 2), "row 2 is not in an array of 2 rows, counted from 0"),
        (ArrayRow(tmp_path / "nan.npy", 0), "1 of 3 numbers are not finite"),
        (ArrayRow(tmp_path / "texts.npy", 0), "file holds <U1 in 2 dimensions, expected rows of numbers"),
        (ArrayRow(tmp_path / "objects.npy", 0), "file cannot be read as an array of numbers (ValueError)"),
        (ArrayRow(tmp_path / "several.npz", 0), "file cannot be read as an array of numbers (ValueError)"),
        (ArrayRow(tmp_path / "empty.npy", 0), "file cannot be read as an array of numbers (ValueError)"),
        (ArrayRow(tmp_path / "none.npy", 0), "file cannot be read as an array of numbers (FileNotFoundError)"),
        (tmp_path / "good.npy", "got numbers of shape [2, 3], expected [3]; set `shape`"),
        ({"a": "1", "b": "2"}, "got numbers of shape [2], expected [3]; set `shape`"),
        ({"a": "1", "b": "", "c": "3"}, "1 of 3 columns are blank, or hold text; expected numbers"),
        ("1 2 3", "got text, expected an array file or columns"),
    ):
        with pytest.raises(UnreadableSource, match=r"\w") as error:
            Arrays(shape=[3]).read(source)
        assert message in str(error.value)
        assert str(tmp_path) not in str(error.value)
    for shape in ([], [3, 0]):
        with pytest.raises(ValueError, match="expected sizes of at least 1; set `shape`"):
            Arrays(shape=shape)
    with pytest.raises(ValueError, match=r"set `model.encoders` for each of them"):
        Arrays(shape=[3]).default_encoder("nano")


def test_local_weights_fill_all_but_the_last_layer(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = models.resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    stored = network.state_dict()
    image = ResNetEncoder(name="resnet18", channels=3, width=4, weights=tmp_path / "resnet18.pth")
    signal = ResNetEncoder(name="resnet18", channels=1, width=4, weights=tmp_path / "resnet18.pth")
    for encoder, new in ((image, {"fc.weight", "fc.bias"}), (signal, {"fc.weight", "fc.bias", "conv1.weight"})):
        assert encoder.account is not None
        assert set(encoder.account.new) == set(encoder.account.dropped) == new
        for key, value in encoder.resnet.state_dict().items():
            assert key in new or torch.equal(value, stored[key])
    assert image({"values": torch.zeros(2, 3, 32, 32)}).pooled.shape == (2, 4)
    assert LabsEncoder(width=4)({"values": torch.zeros(2, 100)}).tokens.shape == (2, 1, 4)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "shape.pth")
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "names.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "pickle.pth")
    for name, message in (
        ("shape", "that cannot be loaded (RuntimeError), expected torchvision's own"),
        ("names", "with 1 others and without 102 of the network's"),
        ("pickle", "that cannot be loaded (UnpicklingError)"),
        ("none", "'none.pth', which is not a file; set `weights` to a local file"),
    ):
        with pytest.raises(ValueError, match=name) as error:
            ResNetEncoder(name="resnet18", width=4, weights=tmp_path / f"{name}.pth")
        assert message in str(error.value)
