"""Transfer of encoders from one run to another, with an account of loaded, new and dropped weights."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from rich.console import Console
from rich.table import Table
from torch import Tensor

from polyclinic.cohort.leakage.overlap import TrainingExposure
from polyclinic.data import CohortDataModule
from polyclinic.files.digest import file_sha256
from polyclinic.models.build import first_line
from polyclinic.nn import Encoder, Frozen, MaskableEncoder, WeightAccount
from polyclinic.system.terminal import printable
from polyclinic.tasks.adapting import AdaptingTask
from polyclinic.training.checkpoint_file import exposure_of, load_checkpoint, provenance

_ENCODERS = "encoders."
_MAX_NAMED_WEIGHTS = 3


@dataclass(frozen=True, kw_only=True)
class Move:
    """A transfer of encoders from a checkpoint.

    Attributes:
        account: account of every weight of both sides.
        sha256: hash of the checkpoint.
        run_id: run that wrote the checkpoint.
        fingerprint: fingerprint of the cohort of that run.
        seen: training exposure of the checkpoint.
        changed: settings of moved modalities that differ, as ``modality.setting: then, now``.
    """

    account: WeightAccount
    sha256: str
    run_id: str | None
    fingerprint: str | None
    seen: TrainingExposure
    changed: tuple[str, ...]


def move_encoders(checkpoint: Path, task: L.LightningModule, data: CohortDataModule) -> Move:
    """Load the encoders that a task and a checkpoint share by name, and the fitted states of their modalities.

    Args:
        checkpoint: checkpoint of any task of ``polyclinic fit``.
        task: untrained task. Its shared encoders must match in every weight except the readout, which masked
            pretraining does not have.
        data: data module of the new run, before anything is fitted.

    Raises:
        ValueError: there is no encoder in common, or one has another architecture; nothing was moved then.
    """
    content = load_checkpoint(checkpoint)
    theirs, ours = content["state_dict"], task.state_dict()
    their_names, our_names = _encoder_names(theirs), _encoder_names(ours)
    shared = [name for name in our_names if name in their_names]
    if not shared:
        raise ValueError(
            f"{checkpoint.name} has encoders of {their_names}, the model of {our_names}: none in common; set "
            "`--weights` to a checkpoint of one of these modalities"
        )
    loaded = [key for name in shared for key in _matching(name, task, theirs, ours)]
    fitted = content.get(CohortDataModule.__name__, {})
    adopt_states(data, fitted, shared, checkpoint.name)
    task.load_state_dict({**ours, **{key: theirs[key] for key in loaded}}, strict=True)
    moved = set(loaded)
    account = WeightAccount(
        source=checkpoint.name,
        loaded=tuple(loaded),
        new=tuple(key for key in ours if key not in moved),
        dropped=tuple(key for key in theirs if key not in moved),
    )
    return Move(
        account=account,
        sha256=file_sha256(checkpoint),
        run_id=provenance(content).get("run_id"),
        fingerprint=fitted.get("fingerprint"),
        seen=exposure_of(content),
        changed=tuple(_changed(fitted.get("settings", {}), data, shared)),
    )


def adopt_states(data: CohortDataModule, fitted: Mapping[str, Any], names: Iterable[str], checkpoint: str) -> None:
    """Restore the fitted states of the modalities of a checkpoint in a data module.

    Args:
        data: data module.
        fitted: state of the data module of the checkpoint.
        names: modalities to restore; those without a state are skipped.
        checkpoint: name of the checkpoint, for messages.

    Raises:
        ValueError: a state does not fit its modality.
    """
    try:
        states = fitted.get("modalities", {})
        data.adopt({name: states[name] for name in names if name in states})
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"{checkpoint} holds states of modalities in another form ({type(error).__name__}: {first_line(error)}); "
            "use the version that wrote it"
        ) from None


def untrained_readouts(task: L.LightningModule, account: WeightAccount) -> list[str]:
    """Return the modalities whose encoder is completely frozen, with a readout that was not loaded."""
    adapters = task.adapters if isinstance(task, AdaptingTask) else {}
    frozen = [name for name, adapter in adapters.items() if isinstance(adapter, Frozen) and not adapter.readout]
    return [name for name in frozen if any(key.startswith(f"{_ENCODERS}{name}.") for key in account.new)]


def print_account(account: WeightAccount, console: Console, *, of: str = "the model") -> None:
    """Print how many weights of each part were loaded, are new, and were dropped."""
    counts = {kind: Counter(map(_part, getattr(account, kind))) for kind in ("loaded", "new", "dropped")}
    table = Table("weights", *counts, title=f"{of}, from {account.source}")
    for part in sorted(set().union(*counts.values())):
        table.add_row(part, *(str(counted[part] or "") for counted in counts.values()))
    console.print(table)


def _encoder_names(state: Mapping[str, Tensor]) -> list[str]:
    return list(dict.fromkeys(key.split(".")[1] for key in state if key.startswith(_ENCODERS)))


def _matching(
    name: str, task: L.LightningModule, theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]
) -> list[str]:
    """Return the weights of an encoder that both sides have.

    Raises:
        ValueError: a weight outside the readout is missing on one side, or has another shape.
    """
    prefix = f"{_ENCODERS}{name}."
    encoder = task.get_submodule(prefix[:-1])
    assert isinstance(encoder, Encoder)
    readout = f"{prefix}{encoder.readout}" if isinstance(encoder, MaskableEncoder) else None
    sides = [{key for key in state if key.startswith(prefix)} for state in (theirs, ours)]
    both = [key for key in ours if key in sides[0] & sides[1]]
    wrong = [key for key in sorted(sides[0] ^ sides[1]) if readout is None or not key.startswith(readout)]
    wrong += [
        f"{key} of {list(theirs[key].shape)} for {list(ours[key].shape)}"
        for key in both
        if theirs[key].shape != ours[key].shape
    ]
    if wrong:
        raise ValueError(
            f"the checkpoint's encoder of {name!r} is not the model's: {len(wrong)} weights differ (first "
            f"{', '.join(wrong[:_MAX_NAMED_WEIGHTS])}); set `model.size`, `model.encoders` and "
            f"`data.modalities.{name}` as they were when it was trained"
        )
    return both


def _changed(then: Mapping[str, Mapping[str, str]], data: CohortDataModule, names: Sequence[str]) -> list[str]:
    now = data.settings()
    return [
        printable(f"{name}.{key}: {then[name][key]}, {value}")
        for name in names
        for key, value in now[name].items()
        if name in then and then[name].get(key, value) != value
    ]


def _part(key: str) -> str:
    """Return the first part of the name of a weight, with the modality for encoders."""
    return ".".join(key.split(".")[: 2 if key.startswith(_ENCODERS) else 1])
