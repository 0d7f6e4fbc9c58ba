"""``polyclinic fit | validate | test | predict``: the Lightning CLI over tasks and cohorts."""

import inspect
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from polyclinic import objectives, tasks
from polyclinic.callbacks import CohortRecord, Provenance
from polyclinic.data import CohortDataModule
from polyclinic.modality import Modality, installed_modalities
from polyclinic.tracking import RunLogger, RunRecord

__all__ = ["PolyclinicCLI", "main", "objectives", "tasks"]


class PolyclinicCLI(LightningCLI):
    """Lightning's CLI with our data module, tracking by default, and modalities configured in one place."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Hand the model the very plugin objects that the data module fits."""
        parser.link_arguments("data.modalities", "model.init_args.modalities", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def after_fit(self) -> None:
        """Say where the result is and what to run next."""
        checkpoint = self.trainer.checkpoint_callback
        path = checkpoint.best_model_path if isinstance(checkpoint, ModelCheckpoint) else ""
        if self.trainer.is_global_zero and path:
            shown = Path(path)
            shown = shown.relative_to(Path.cwd()) if shown.is_relative_to(Path.cwd()) else shown
            print(f"checkpoint: {shown}")  # noqa: T201
            print(f"next: polyclinic evaluate zeroshot --checkpoint {shown} --prompts ...")  # noqa: T201


def main(argv: Sequence[str]) -> None:
    """Parse and run one of the Lightning subcommands."""
    load_plugins(argv)
    PolyclinicCLI(
        L.LightningModule,
        CohortDataModule,
        subclass_mode_model=True,
        save_config_callback=RunRecord,
        seed_everything_default=0,
        trainer_defaults={
            "logger": {"class_path": f"{RunLogger.__module__}.{RunLogger.__qualname__}"},
            "callbacks": [
                ModelCheckpoint(filename="last", save_top_k=1, enable_version_counter=False),
                CohortRecord(),
                Provenance(),
            ],
            "use_distributed_sampler": False,
            "deterministic": True,
        },
        parser_kwargs={"exit_on_error": False},
        args=list(argv),
    )


def load_plugins(argv: Sequence[str]) -> None:
    """Import every installed plugin, so that its short class name can be used, and check those that are named.

    Raises:
        ValueError: a configuration file names a plugin that nobody provides.
    """
    installed = installed_modalities()
    known = {cls.__name__ for cls in [*installed.values(), *Modality.__subclasses__()] if not inspect.isabstract(cls)}
    for path in _config_files(argv):
        for name, entry in _configured_modalities(path).items():
            plugin = entry.get("class_path") if isinstance(entry, dict) else entry
            if isinstance(plugin, str) and "." not in plugin and plugin not in known:
                raise ValueError(
                    f"{path.name}: `data.modalities.{name}` names plugin {plugin!r}; the known ones are {sorted(known)}"
                )


def _config_files(argv: Sequence[str]) -> list[Path]:
    flags = ("-c", "--config")
    given = [value for flag, value in pairwise(argv) if flag in flags]
    given += [value.split("=", 1)[1] for value in argv if value.startswith("--config=")]
    return [Path(value) for value in given if Path(value).is_file()]


def _configured_modalities(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not YAML: {error}") from None
    if not isinstance(config, dict):
        return {}
    config = config.get("fit", config)
    modalities = (config.get("data") or {}).get("modalities") if isinstance(config.get("data"), dict) else None
    return modalities if isinstance(modalities, dict) else {}
