"""A checkpoint is restored by a closed table of classes and typed settings; it imports nothing and runs no code."""

import resource
import sys
from datetime import date
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
import yaml
from experiments.symile_mimic import arrays, encoders  # noqa: F401 - as the program of the recipe imports them
from jsonargparse import ArgumentParser

import pulse_plugin
from cli_runs import write_config
from polyclinic.cli import main
from polyclinic.cli.fit import PolyclinicCLI
from polyclinic.data import CohortDataModule
from polyclinic.modality import Modality, installed_modalities
from polyclinic.models.build import largest_model
from polyclinic.models.class_table import ClassTable
from polyclinic.nn import Encoder, Tokenizer
from polyclinic.training import restore

ROOT = Path(__file__).parents[3]
MODELS = sorted(path for path in ROOT.glob("experiments/*/*.yaml") if "\nmodel:" in path.read_text())


def _resolved_config(path: Path) -> dict[str, Any]:
    """Return the configuration as `fit` writes it to its checkpoints."""
    installed_modalities()
    written = yaml.safe_load(path.read_text())
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(CohortDataModule, "data")
    parser.add_subclass_arguments(L.LightningModule, "model")
    parser.link_arguments("data.modalities", "model.init_args.modalities", apply_on="instantiate")
    parser.link_arguments("data.targets", "model.init_args.targets", apply_on="instantiate")
    config = parser.parse_object({"model": written["model"], "data": written["data"]})
    resolved: dict[str, Any] = yaml.safe_load(parser.dump(config, skip_unset=False))
    return resolved


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_configuration_of_every_experiment_is_accepted(path: Path) -> None:
    config = _resolved_config(path)
    builder = restore.builder()
    model = builder.plan(config["model"], L.LightningModule, "model", given=restore.LINKED)
    data = builder.plan_settings(CohortDataModule, config["data"], "data")
    assert f"{model.cls.__module__}".startswith("polyclinic.tasks")
    assert set(data.arguments["modalities"]) == set(config["data"]["modalities"])
    assert "antigravity" not in sys.modules


SCORED = {"modalities": ["first", "second"], "embedding": 8}
OBJECTIVES: list[dict[str, Any]] = [
    {"class_path": f"polyclinic.objectives.{name}"} for name in ("Clip", "Siglip", "Symile", "MixupContrast")
] + [
    {"class_path": "polyclinic.objectives.Cwcl", "init_args": {"teacher": "first"}},
    {"class_path": "polyclinic.objectives.clip.Clip", "init_args": {"weights": {"first+second": 1}, "max_scale": 50}},
    {
        "class_path": "polyclinic.objectives.ReliabilityGate",
        "init_args": {"objective": {"class_path": "polyclinic.objectives.Symile"}, **SCORED},
    },
    {
        "class_path": "polyclinic.objectives.WithTerms",
        "init_args": {
            "objective": {"class_path": "polyclinic.objectives.Symile", "init_args": {"triples": None}},
            "terms": {"a": {"class_path": "polyclinic.objectives.AlignmentUniformity", "init_args": {"weight": 0.1}}},
        },
    },
]
FUSIONS = ("ConcatenationFusion", "AttentionFusion", "SequentialFusion", "PromptPoolFusion")
TASKS: list[dict[str, Any]] = [
    *({"name": "ContrastivePretraining", "objective": objective, "embedding": 8} for objective in OBJECTIVES),
    *({"name": "Downstream", "fusion": {"class_path": f"polyclinic.nn.{fusion}"}} for fusion in FUSIONS),
    {
        "name": "Downstream",
        "fusion": "polyclinic.nn.PromptPoolFusion",
        "adapter": {"class_path": "polyclinic.nn.Frozen"},
    },
    {"name": "Downstream", "fusion": {"class_path": "polyclinic.nn.AttentionFusion", "init_args": {"width": 16}}},
]  # fmt: skip


def _config(cohort: Path, model: dict[str, Any]) -> dict[str, Any]:
    settings = {"size": "pico", **{key: value for key, value in model.items() if key != "name"}}
    modality = {"class_path": "pulse_plugin.Pulse", "init_args": {"noise": 0}}
    order = {"class_path": "polyclinic.data.Mixed", "init_args": {"by": "modalities"}}
    return {
        "model": {"class_path": f"polyclinic.tasks.{model['name']}", "init_args": settings},
        "data": {
            "cohort": str(cohort), "modalities": {"first": modality, "second": modality}, "order": order,
            "label_policy": {"uncertain": "zero"}, "prepared": None,
        },
    }  # fmt: skip


@pytest.mark.parametrize("model", TASKS, ids=lambda model: str(model.get("objective") or model.get("fusion")))
def test_every_task_is_built_from_the_table(model: dict[str, Any], pulse_cohort: Path) -> None:
    built = restore.build(_config(pulse_cohort, model))
    assert type(built.model).__name__ == model["name"]
    assert {type(plugin) for plugin in built.data.modalities.values()} == {pulse_plugin.Pulse}
    assert built.data.label_policy.uncertain == "zero"
    chosen = model.get("objective", model.get("fusion"))
    path = chosen if isinstance(chosen, str) else chosen["class_path"]
    part = built.model.objective if "objective" in model else built.model.fusion
    assert type(part).__name__ == path.rpartition(".")[2]


HOSTILE: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "module": (("model", "class_path"), "antigravity", "names class 'antigravity'"),
    "objective as text": (("model", "init_args", "objective"), "this.X", "names class 'this.X'"),
    "command": (("model", "class_path"), "polyclinic.cli.main", "names class 'polyclinic.cli.main'"),
    "trainer": (("model", "class_path"), "lightning.pytorch.Trainer", "names class"),
    "encoder": (("model", "init_args", "encoders"), {"first": "this.X"}, "names class 'this.X'"),
    "plugin": (("data", "modalities", "first"), {"class_path": "this.X"}, "names class 'this.X'"),
    "order": (("data", "order"), {"class_path": "turtledemo.main"}, "names class 'turtledemo.main'"),
    "policy": (("data", "label_policy"), {"class_path": "turtledemo.main"}, "names class"),
    "linked": (("model", "init_args", "modalities"), {}, "has no setting 'modalities'"),
    "workers": (("data", "num_workers"), 10**6, "expected at most 1024"),
    "batch": (("data", "batch_size"), "16", "expected int"),
    "share": (("data", "label_fraction"), float("nan"), "finite"),
    "date": (("data", "cohort"), date(2020, 1, 1), "holds a date"),
    "unknown": (("data", "loader"), "x", "has no setting 'loader'"),
    "kind": (("model", "class_path"), "polyclinic.data.Mixed", "not of kind LightningModule"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_checkpoint_that_names_anything_outside_the_table_is_refused(
    name: str, pulse_cohort: Path, tmp_path: Path
) -> None:
    place, value, message = HOSTILE[name]
    config = _config(pulse_cohort, TASKS[0])
    inside = config
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    record = {"Provenance": {"config": yaml.safe_dump(config)}}
    data = {"modalities": {"first": {}, "second": {}}, "labels": [], "fingerprint": "0"}
    torch.save({"state_dict": {}, "callbacks": record, "CohortDataModule": data}, tmp_path / "last.ckpt")
    before = {*sys.modules}
    with pytest.raises(ValueError, match=message):
        restore.restore(tmp_path / "last.ckpt")
    assert {*sys.modules} == before


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system ['true']", "&a [*a]", "[" * 5000, "- x", "1", "model: {}", "\0"],
)
def test_a_foreign_configuration_is_refused(text: str, tmp_path: Path) -> None:
    content = {"state_dict": {}, "callbacks": {"Provenance": {"config": text}}}
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"is not YAML|holds no `model`"):
        restore.restore(tmp_path / "last.ckpt")


def test_lightning_takes_no_class_from_hyperparameters(
    pulse_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = _config(pulse_cohort, TASKS[0])
    write_config(pulse_cohort, config["model"], config["data"]["modalities"])
    torch.save({"state_dict": {}, "hyper_parameters": {"_class_path": "antigravity.X"}}, "hostile.ckpt")
    monkeypatch.setattr(PolyclinicCLI, "instantiate_classes", _stop_after_parsing)
    assert main(["validate", "-c", "config.yaml", "--ckpt_path", "hostile.ckpt"]) == 1
    assert capsys.readouterr().err.endswith("ContrastivePretraining\n")
    assert "antigravity" not in sys.modules


def _stop_after_parsing(cli: PolyclinicCLI) -> None:
    """Stop once Lightning has read the command line and its checkpoint."""
    raise ValueError(cli.config.validate.model.class_path)


def test_a_third_party_plugin_declares_its_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ClassTable()
    with pytest.raises(ValueError, match=r"names class 'pulse_plugin\.Pulse'"):
        table.find("pulse_plugin.Pulse", Modality, "modalities.first")
    point = EntryPoint(name="pulse", value="pulse_plugin:Pulse", group="polyclinic.modalities")
    monkeypatch.setattr("polyclinic.models.class_table.entry_points", lambda group: [point])
    assert ClassTable().find("pulse_plugin.Pulse", Modality, "modalities.first") is pulse_plugin.Pulse
    assert ClassTable().find("pulse_plugin.PulseTokenizer", Tokenizer, "x") is pulse_plugin.PulseTokenizer
    with pytest.raises(ValueError, match="names class"):
        ClassTable().find("pulse_plugin.Path", Modality, "modalities.first")
    monkeypatch.setattr(pulse_plugin.Pulse, "encoders", ("experiments.symile_mimic.encoders.LabsEncoder",))
    with pytest.raises(ValueError, match="names class"):
        ClassTable().find("experiments.symile_mimic.encoders.LabsEncoder", Encoder, "x")


def test_modules_of_the_user_are_imported_only_for_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(restore.OWN_MODULES, "nowhere.at_all")
    with pytest.raises(ValueError, match=r"names module 'nowhere\.at_all', which cannot be imported"):
        restore.builder()
    monkeypatch.setenv(restore.OWN_MODULES, "experiments.symile_mimic.arrays, experiments.symile_mimic.encoders")
    assert restore.builder().table.find("experiments.symile_mimic.arrays.Arrays", Modality, "x") is arrays.Arrays
    with pytest.raises(ValueError, match="names class"):
        ClassTable().find("experiments.symile_mimic.arrays.Arrays", Modality, "x")


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_model_far_larger_than_its_weights_is_not_built(pulse_cohort: Path, deterministic: bool) -> None:
    torch.use_deterministic_algorithms(deterministic)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = _config(pulse_cohort, TASKS[0])
    config["model"]["init_args"] |= {"hidden": 1 << 16, "embedding": 1 << 16}
    with pytest.raises(ValueError, match="far larger than its 1000 stored weights"), largest_model(1000):
        restore.build(config)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 1_000_000, "its memory was written to"
