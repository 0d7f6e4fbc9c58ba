"""``polyclinic predict``: write the predictions of a checkpoint for the studies of a split."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from polyclinic.cli.report import check_overlap
from polyclinic.data import Batch
from polyclinic.evaluation.embedding import split_batches
from polyclinic.files.atomic import atomic_folder
from polyclinic.files.results import refuse_used_folder
from polyclinic.modality import Imputable
from polyclinic.system.names import refuse_unknown
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tasks import ContrastivePretraining, Downstream, MaskedPretraining
from polyclinic.training.restore import Restored, restore

_UNSAFE_CHARACTERS = re.compile(r"[^\w-]")
_NOTE = "Predicted by a model from other modalities, never recorded. Not for diagnosis."


def predict(
    checkpoint: Path,
    out: Path,
    cohort: Path | None = None,
    split: str = "test",
    modalities: list[str] | None = None,
    allow_overlap: bool = False,
) -> None:
    """Write predictions of a checkpoint: polyclinic predict last.ckpt imputed --split test

    A masked checkpoint imputes missing modalities of studies that have another one: each file has the format and
    units of its modality and is marked as synthetic, and ``synthetic.json`` lists the modalities it was predicted
    from. A contrastive checkpoint writes embeddings, a downstream one logits, as Parquet. ``overlap.json`` lists
    studies from training.

    Args:
        checkpoint: checkpoint of ``polyclinic fit``.
        out: new or empty folder.
        cohort: cohort.yaml to use instead of the training cohort.
        split: split whose studies to predict.
        modalities: modalities that a masked checkpoint imputes; all that it can impute unless set.
        allow_overlap: whether to include studies from training, and report the overlap.

    Raises:
        ValueError: the folder is not empty, studies overlap with training, or there is nothing to predict.
    """
    refuse_used_folder(out, "out")
    restored = restore(checkpoint, cohort=cohort)
    overlap = check_overlap(restored, split, allowed=allow_overlap)
    console = Console()
    with atomic_folder(out) as partial:
        if isinstance(restored.task, MaskedPretraining):
            summary = _write_synthetic(restored, restored.task, split, modalities, checkpoint.name, partial, console)
        else:
            summary = _write_table(restored, split, partial)
        (partial / "overlap.json").write_text(json.dumps(overlap.as_record(), indent=1), encoding="utf-8")
    console.print(f"{summary}: {out}", soft_wrap=True, markup=False)
    print_next("polyclinic", "evaluate", "--help")


def _write_synthetic(
    restored: Restored,
    task: MaskedPretraining,
    split: str,
    modalities: Sequence[str] | None,
    checkpoint: str,
    out: Path,
    console: Console,
) -> str:
    """Write one file per study and missing modality, and ``synthetic.json`` with their origins."""
    wanted = _predictable(restored, modalities, console)
    entries = list(_impute(restored, task, split_batches(restored, split), wanted, out))
    if not entries:
        raise ValueError(f"no study of split {split!r} lacks one of {wanted} and has another; set `--split`")
    content = {"note": _NOTE, "checkpoint": checkpoint, "files": entries}
    (out / "synthetic.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return f"{len(entries)} synthetic files and synthetic.json"


def _write_table(restored: Restored, split: str, out: Path) -> str:
    table = _table(restored, split, split_batches(restored, split))
    table.to_parquet(out / "predictions.parquet", index=False)
    return f"{len(table)} studies in predictions.parquet"


def _predictable(restored: Restored, given: Sequence[str] | None, console: Console) -> list[str]:
    """Return the modalities that the model can impute.

    Raises:
        ValueError: a requested modality cannot be imputed, or none can.
    """
    task = restored.task
    assert isinstance(task, MaskedPretraining)
    available = list(restored.data.modalities)
    refuse_unknown("modality", given or (), available, "set `--modalities`")
    possible = []
    for name in available if given is None else given:
        try:
            task.decoders.reconstruction(name).blank(1)
        except ValueError as reason:
            if given is not None:
                raise ValueError(f"{name}: {reason}") from None
            console.print(f"{name} is left out: {reason}", soft_wrap=True)
        else:
            possible.append(name)
    if not possible:
        raise ValueError("got a checkpoint that cannot impute any modality; see the reasons above")
    return possible


def _impute(
    restored: Restored, task: MaskedPretraining, batches: Sequence[Batch], wanted: Sequence[str], out: Path
) -> Iterator[dict[str, Any]]:
    for batch in batches:
        absent = task.decoders.absent_studies(batch.present)
        for name, inputs in task.impute(batch, wanted).items():
            modality = restored.data.modalities[name]
            assert isinstance(modality, Imputable)
            for row, index in enumerate(absent[name].nonzero()[:, 0].tolist()):
                study = batch.study_ids[index]
                path = out / f"{_file_name(study)}.{name}.synthetic"
                written = modality.write_synthetic({key: value[row] for key, value in inputs.items()}, path)
                inputs_used = [other for other, present in batch.present.items() if present[index]]
                yield {
                    "study_id": study, "modality": name, "file": written.name, "predicted_from": inputs_used,
                    "synthetic": True,
                }  # fmt: skip


def _file_name(study_id: str) -> str:
    """Return the study id if it is a safe file name, otherwise its safe characters and a hash of the id."""
    safe = _UNSAFE_CHARACTERS.sub("_", study_id)
    return safe if safe == study_id else f"{safe}-{hashlib.sha256(study_id.encode()).hexdigest()[:8]}"


@torch.inference_mode()
def _table(restored: Restored, split: str, batches: Sequence[Batch]) -> pd.DataFrame:
    """Return one row per study: its id, and the logits by finding or the embeddings by modality."""
    task = restored.task
    if isinstance(task, Downstream):
        columns = task.targets.columns
        features = ((task.features(batch, held_out=split == "val"), batch.present) for batch in batches)
        parts = [pd.DataFrame(task.fuse(*each).numpy(), columns=columns) for each in features]
    elif isinstance(task, ContrastivePretraining):
        parts = [pd.DataFrame(_embeddings(task(batch), batch)) for batch in batches]
    else:
        raise ValueError(f"got a checkpoint of {type(task).__name__}, which has no predictions; use another")
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "study_id", [study for batch in batches for study in batch.study_ids])
    return table


def _embeddings(embedded: dict[str, Tensor], batch: Batch) -> dict[str, list[list[float] | None]]:
    """Return embeddings as lists of numbers, None if a study lacks the modality."""
    return {
        name: [
            row if present else None for row, present in zip(rows.tolist(), batch.present[name].tolist(), strict=True)
        ]
        for name, rows in embedded.items()
    }
