"""``polyclinic new``: write a commented configuration of a run for a cohort."""

from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Literal

import lightning.pytorch as L

from polyclinic.cli.fit_help import OPTIONS
from polyclinic.cli.known_classes import known_classes
from polyclinic.cli.settings_text import Line, render, setting_lines, summary, yaml_value
from polyclinic.cohort.schema import CohortSpec, read_spec
from polyclinic.data import CohortDataModule, LabelPolicy
from polyclinic.files.atomic import atomic_file
from polyclinic.files.results import refuse_unwritable
from polyclinic.modality import Modality, installed_modalities
from polyclinic.nn import SIZES
from polyclinic.objectives import Symile
from polyclinic.system.shell import command_line, print_next
from polyclinic.system.terminal import remark
from polyclinic.tasks import ContrastivePretraining, Downstream, MaskedPretraining
from polyclinic.tracking import RunLogger
from polyclinic.training.best_checkpoint import BestCheckpoint
from polyclinic.training.callbacks.average_weights import AverageWeights
from polyclinic.training.callbacks.reconstruction_grid import ReconstructionGrid
from polyclinic.training.checkpoints import LastCheckpoint
from polyclinic.training.restore import LINKED

_TASKS: dict[str, type[L.LightningModule]] = {
    "contrastive": ContrastivePretraining,
    "masked": MaskedPretraining,
    "heads": Downstream,
}
_COMMON = {
    "contrastive": ("size", "embedding", "subsets", "random_subsets", "hub", "lr"),
    "masked": ("size", "ratios", "whole", "lr"),
    "heads": ("size", "linear", "modality_dropout", "lr"),
}
"""Settings of a task that users often change."""
_COMMON_DATA = ("batch_size", "num_workers", "prepared", "labels")
_COMMON_OF_PLUGIN = 3
_TRAINER = {
    "max_epochs": OPTIONS["training"]["--trainer.max_epochs N"],
    "accelerator": OPTIONS["training"]["--trainer.accelerator NAME"],
    "devices": OPTIONS["training"]["--trainer.devices N"],
}
_RARE_TRAINER = {
    "precision": "such as bf16-mixed; 32-true unless set",
    "max_time": "longest time of a run, such as 00:12:00:00",
    "gradient_clip_val": "largest norm of the gradients; no limit unless set",
    "accumulate_grad_batches": "batches per step of the optimiser",
    "check_val_every_n_epoch": "epochs from one validation to the next",
    "log_every_n_steps": "steps from one logged value to the next; 50 unless set",
}
_CALLBACKS = {
    "best": BestCheckpoint, "last": LastCheckpoint, "average": AverageWeights, "pictures": ReconstructionGrid,
}  # fmt: skip
_PATHS = (
    "A setting right behind `#` has its default; remove the `#` to change it. Relative paths in this file start from "
    "the folder in which the command runs, those in a cohort.yaml from its own folder."
)


def new(
    kind: Literal["contrastive", "masked", "heads"], cohort: Path, out: Path | None = None, overwrite: bool = False
) -> None:
    """Write a commented configuration for a cohort: polyclinic new contrastive demo/cohort/cohort.yaml

    It lists every modality of the cohort with its plugin, and every setting with its default and the classes that it
    takes. `polyclinic fit -c` reads it as it is.

    Args:
        kind: contrastive, masked or heads.
        cohort: path of a cohort.yaml.
        out: file to write; `contrastive.yaml`, `masked.yaml` or `heads.yaml` unless set.
        overwrite: whether to replace an existing file.

    Raises:
        ValueError: the cohort is invalid or does not fit the kind, or the file exists or cannot be written.
    """
    path = Path(f"{kind}.yaml") if out is None else out
    refuse_unwritable(path, "--out")
    if path.exists() and not overwrite:
        raise ValueError(f"got file {path.name!r}, which exists; set `--overwrite`, or `--out` to another file")
    spec = read_spec(cohort)
    plugins = _plugins(spec, cohort)
    _refuse_unfit(kind, spec, plugins)
    with atomic_file(path) as partial:
        partial.write_text(configuration(kind, cohort, spec, plugins, written=path), encoding="utf-8")
    print_next("polyclinic", "fit", "-c", path)


def configuration(
    kind: str, cohort: Path, spec: CohortSpec, plugins: dict[str, type[Modality] | None], *, written: Path
) -> str:
    """Return the text of a configuration of one of the kinds.

    Args:
        kind: contrastive, masked or heads.
        cohort: path of the cohort file, as the configuration names it.
        spec: content of the cohort file.
        plugins: plugin of each modality, None where none has its name.
        written: file that the text is for.
    """
    lines = [
        Line(0, "", f"{summary(_TASKS[kind])}."),
        Line(0, f"#   {command_line('polyclinic', 'fit', '-c', written)}"),
        Line(0, "", _PATHS),
        Line(0, "seed_everything: 0", "seed of everything random"),
        *_model_lines(kind),
        *_data_lines(cohort, spec, plugins),
        *_trainer_lines(),
    ]
    for name, callback in _CALLBACKS.items():
        lines += [Line(0, f"{name}:", summary(callback), 0), *setting_lines(callback, 1, hidden=0)]
    return render(lines)


def _plugins(spec: CohortSpec, cohort: Path) -> dict[str, type[Modality] | None]:
    """Return the installed plugin of the name of each modality, and None with a remark for a name without one."""
    installed = installed_modalities()
    found = {name: installed.get(name) for name in spec.modalities}
    lacking = [name for name, plugin in found.items() if plugin is None]
    if len(lacking) == len(found):
        raise ValueError(
            f"got modalities {lacking} in {cohort.name}, expected names of installed plugins such as "
            f"{sorted(installed)}; rename one"
        )
    for name in lacking:
        remark(f"note: no plugin is called {name!r}; the file names no class for this modality")
    return found


def _refuse_unfit(kind: str, spec: CohortSpec, plugins: dict[str, type[Modality] | None]) -> None:
    usable = [name for name, plugin in plugins.items() if plugin is not None]
    if kind == "contrastive" and len(usable) < 2:
        raise ValueError(f"got a cohort with modality {usable[0]!r} alone, expected two or more; use `new masked`")
    if kind == "heads" and not spec.labels:
        raise ValueError("got a cohort without labels, expected some to train on; set `labels` in the cohort file")


def _model_lines(kind: str) -> Iterator[Line]:
    task = _TASKS[kind]
    others = [name for name in known_classes("model") if name != task.__name__]
    yield Line(0, "model:")
    yield Line(1, f"class_path: {task.__name__}", f"or {', '.join(others)}")
    yield Line(1, "init_args:")
    if kind == "contrastive":
        others = [name for name in known_classes("objective") if name != Symile.__name__]
        yield Line(2, "objective:", "contrastive loss with its scoring rule")
        yield Line(3, f"class_path: {Symile.__name__}", f"or {', '.join(others)}")
        yield Line(3, "init_args:")
        yield from setting_lines(Symile, 4, common=("negatives",))
    yield from setting_lines(task, 2, common=_COMMON[kind], skipped={*LINKED, "objective"}, more=_choices)


def _data_lines(cohort: Path, spec: CohortSpec, plugins: dict[str, type[Modality] | None]) -> Iterator[Line]:
    yield Line(0, "data:")
    yield Line(1, f"cohort: {yaml_value(str(cohort))}", "path of a cohort.yaml")
    yield Line(1, "modalities:", "the plugin of each modality; a modality that is left out is not used")
    for name, plugin in plugins.items():
        yield from _plugin_lines(name, plugin)

    def more(setting: str) -> str:
        return f"the cohort has {', '.join(spec.labels)}" if setting == "labels" and spec.labels else _choices(setting)

    skipped = {"seed", "label_policy"}  # linked to `seed_everything`; listed below with its settings
    yield from setting_lines(CohortDataModule, 1, common=_COMMON_DATA, skipped=skipped, more=more)
    yield Line(1, "label_policy:", summary(LabelPolicy), 1)
    yield from setting_lines(LabelPolicy, 2, hidden=1)


def _plugin_lines(name: str, plugin: type[Modality] | None) -> Iterator[Line]:
    key = f"{yaml_value(name)}:"
    if plugin is None:
        known = ", ".join(known_classes("modalities"))
        yield Line(2, f"{key} {{class_path: CLASS}}", f"no plugin has this name; set its class: {known}", 2)
        return
    settings = list(signature(plugin).parameters)
    yield Line(2, key)
    yield Line(3, f"class_path: {plugin.__name__}", summary(plugin))
    if settings:
        yield Line(3, "init_args:")
        yield from setting_lines(plugin, 4, common=settings[:_COMMON_OF_PLUGIN])


def _trainer_lines() -> Iterator[Line]:
    defaults = signature(L.Trainer).parameters
    yield Line(0, "trainer:")
    for names, hidden in ((_TRAINER, None), (_RARE_TRAINER, 1)):
        for name, comment in names.items():
            yield Line(1, f"{name}: {yaml_value(defaults[name].default)}", comment, hidden)
    yield Line(1, "callbacks: []", f"further callbacks, such as {', '.join(known_classes('callbacks')[:4])}", 1)
    others = [name for name in known_classes("logger") if not name.startswith("polyclinic")]
    yield Line(1, "logger:")
    yield Line(2, f"class_path: polyclinic.tracking.{RunLogger.__name__}", f"or {', '.join(others)}")
    yield Line(2, "init_args:")
    yield from setting_lines(RunLogger, 3, common=("experiment", "out", "run_name"))


def _choices(setting: str) -> str:
    """Return the names that a setting takes, where its comment has none."""
    if setting == "size":
        return f"one of {', '.join(SIZES)}"
    names = known_classes(setting) if setting in ("encoders", "fusion") else []
    return f"such as {', '.join(names)}" if names else ""
