"""Reconstruction errors of a masked autoencoder, compared with simple baselines."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.evaluation.metrics.intervals import Interval, patient_resamples, percentile_interval
from polyclinic.nn import Reconstruction
from polyclinic.tasks import MaskedPretraining

MODEL, MEAN_FILL = "model", "mean fill"
FROM_OTHERS, FROM_NOTHING = "from the others", "from nothing"


@dataclass(frozen=True, kw_only=True)
class Error:
    """Mean loss of the hidden tokens, and its reduction relative to the mean fill.

    Attributes:
        value: mean over all hidden tokens, in the loss of the modality.
        ci95: 95 % interval over resamples of patients.
        against_mean_fill: relative reduction of the loss compared with the mean fill; negative if the loss is larger.
        against_ci95: 95 % interval of this share over resamples of patients.
    """

    value: float
    ci95: Interval
    against_mean_fill: float
    against_ci95: Interval


@dataclass(frozen=True, kw_only=True)
class ReconstructionResult:
    """Reconstruction errors of one modality under one kind of mask.

    Attributes:
        name: name of the modality.
        mask: ``masked`` as in training, or ``absent``: every token hidden, in studies that have another modality.
        errors: error by method.
        studies: number of measured studies.
        tokens: number of hidden tokens.
    """

    name: str
    mask: str
    errors: Mapping[str, Error]
    studies: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class ReconstructionReport:
    """Reconstruction errors of all modalities under all masks."""

    results: tuple[ReconstructionResult, ...]
    resamples: int
    seed: int


class _Sums:
    """Accumulated losses by method and study, and numbers of hidden tokens by study."""

    def __init__(self) -> None:
        self.patients: list[str] = []
        self.counts: list[float] = []
        self.losses: dict[str, list[float]] = defaultdict(list)

    def add(
        self, patients: Sequence[str], hidden: Bool[Tensor, "b T"], losses: Mapping[str, Float[Tensor, " n"]]
    ) -> None:
        """Add the losses of each study; the losses of hidden tokens are ordered by study."""
        numbers = hidden.sum(dim=1).tolist()
        self.patients += patients
        self.counts += numbers
        for method, values in losses.items():
            self.losses[method] += [float(part.sum()) for part in values.double().split(numbers)]


@torch.inference_mode()
def mean_fills(task: MaskedPretraining, batches: Iterable[Batch]) -> dict[str, Float[Tensor, "T P"]]:
    """Compute the best constant prediction of each modality at each token position from training studies."""
    total: dict[str, Tensor] = {}
    count: dict[str, Tensor] = {}
    for batch in batches:
        for name, inputs in batch.inputs.items():
            reconstruction = task.decoders.reconstruction(name)
            known = _maskable(reconstruction, inputs)
            targets = reconstruction.targets(inputs, known)
            places = known.nonzero()[:, 1]
            sums = targets.new_zeros(known.shape[1], targets.shape[1])
            sums, observed = (
                sums.index_add(0, places, targets.nan_to_num()),
                sums.index_add(0, places, (~targets.isnan()).to(sums.dtype)),
            )
            total[name] = _added(total.get(name), sums)
            count[name] = _added(count.get(name), observed)
    return {name: task.decoders.reconstruction(name).constant(total[name], count[name]) for name in total}


@torch.inference_mode()
def reconstruction_report(
    task: MaskedPretraining,
    batches: Iterable[Batch],
    fills: Mapping[str, Float[Tensor, "_ _"]],
    *,
    resamples: int,
    seed: int,
) -> ReconstructionReport:
    """Measure errors under the masks of evaluation, and for completely hidden modalities.

    Args:
        task: trained task.
        batches: batches of the studies to measure.
        fills: mean fills from ``mean_fills``.
        resamples: number of resamples of patients.
        seed: seed of the resamples.

    Raises:
        ValueError: a modality is absent from all training studies.
    """
    if lacking := [name for name in task.encoders if name not in fills]:
        raise ValueError(f"no training study has modality {lacking[0]!r}, so its mean is undefined; set `--cohort`")
    sums: dict[tuple[str, str], _Sums] = defaultdict(_Sums)
    for batch in batches:
        _measure_masked(task, batch, fills, sums)
        if len(task.encoders) > 1:
            _measure_absent(task, batch, fills, sums)
    results = [
        ReconstructionResult(
            name=name,
            mask=mask,
            errors=dict(_errors(part, resamples, seed)),
            studies=len(part.patients),
            tokens=int(sum(part.counts)),
        )
        for (mask, name), part in sorted(sums.items(), key=lambda entry: (entry[0][0] != "masked", entry[0]))
        if sum(part.counts)
    ]
    return ReconstructionReport(results=tuple(results), resamples=resamples, seed=seed)


def _measure_masked(
    task: MaskedPretraining,
    batch: Batch,
    fills: Mapping[str, Float[Tensor, "_ _"]],
    sums: dict[tuple[str, str], _Sums],
) -> None:
    hidden = task.draw_masks(batch)
    for name, predicted in task(batch, hidden).items():
        reconstruction, inputs = task.decoders.reconstruction(name), batch.inputs[name]
        guesses = {
            MODEL: predicted,
            MEAN_FILL: _at(fills[name], hidden[name]),
            **reconstruction.alternatives(inputs, hidden[name]),
        }
        sums["masked", name].add(
            _patients(batch, batch.present[name]), hidden[name], _losses(reconstruction, inputs, hidden[name], guesses)
        )


def _measure_absent(
    task: MaskedPretraining,
    batch: Batch,
    fills: Mapping[str, Float[Tensor, "_ _"]],
    sums: dict[tuple[str, str], _Sums],
) -> None:
    """Hide each modality completely, once with all others visible and once without any other."""
    several = torch.stack(list(batch.present.values())).sum(dim=0) > 1
    for name in batch.inputs:
        rows = several & batch.present[name]
        if not bool(rows.any()):
            continue
        part = batch.select(rows)
        reconstruction, inputs = task.decoders.reconstruction(name), part.inputs[name]
        hidden = _maskable(reconstruction, inputs)
        visible = {other: torch.zeros_like(_maskable(task.decoders.reconstruction(other), values))
                   for other, values in part.inputs.items()}  # fmt: skip
        alone = replace(
            part,
            inputs={name: inputs},
            present={key: mask if key == name else torch.zeros_like(mask) for key, mask in part.present.items()},
        )
        guesses = {
            FROM_OTHERS: task(part, {**visible, name: hidden})[name],
            FROM_NOTHING: task(alone, {name: hidden})[name],
            MEAN_FILL: _at(fills[name], hidden),
        }
        sums["absent", name].add(
            _patients(part, part.present[name]), hidden, _losses(reconstruction, inputs, hidden, guesses)
        )


def _losses(
    reconstruction: Reconstruction,
    inputs: dict[str, Tensor],
    hidden: Bool[Tensor, "b T"],
    guesses: Mapping[str, Float[Tensor, "n P"]],
) -> dict[str, Float[Tensor, " n"]]:
    targets = reconstruction.targets(inputs, hidden)
    return {method: reconstruction.loss(guess, targets) for method, guess in guesses.items()}


def _errors(sums: _Sums, resamples: int, seed: int) -> Iterator[tuple[str, Error]]:
    weights = patient_resamples(sums.patients, resamples, seed).astype(np.float64)
    counts = np.array(sums.counts)
    filled = np.array(sums.losses[MEAN_FILL])
    for method, losses in sums.losses.items():
        total = np.array(losses)
        resampled = weights @ total
        yield (
            method,
            Error(
                value=float(total.sum() / counts.sum()),
                ci95=percentile_interval(resampled / (weights @ counts)),
                against_mean_fill=float(1 - total.sum() / filled.sum()),
                against_ci95=percentile_interval(1 - resampled / (weights @ filled)),
            ),
        )


def _maskable(reconstruction: Reconstruction, inputs: dict[str, Tensor]) -> Bool[Tensor, "b T"]:
    size = len(next(iter(inputs.values())))
    return reconstruction.units(inputs).expand(size, -1) >= 0


def _at(fill: Float[Tensor, "T P"], hidden: Bool[Tensor, "b t"]) -> Float[Tensor, "n P"]:
    """Return the constant prediction of every hidden token; positions beyond training get that of the last one."""
    return fill[hidden.nonzero()[:, 1].clamp_max(len(fill) - 1)]


def _added(total: Float[Tensor, "T P"] | None, addend: Float[Tensor, "t P"]) -> Float[Tensor, "_ P"]:
    """Add two tables of different lengths, the shorter one padded with zeros."""
    if total is None:
        return addend
    longer, shorter = (total, addend) if len(total) >= len(addend) else (addend, total)
    return torch.cat([longer[: len(shorter)] + shorter, longer[len(shorter) :]])


def _patients(batch: Batch, rows: Bool[Tensor, " B"]) -> list[str]:
    return [patient for patient, present in zip(batch.patient_ids, rows.tolist(), strict=True) if present]
