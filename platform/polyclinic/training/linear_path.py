"""Fit the linear path of a supervised task to the training studies, before its network is trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score

from polyclinic.data import Batch, CohortDataModule, Target
from polyclinic.nn import LinearPath
from polyclinic.training.simple_models import Simple, fit_simple, principal_axes, standardisation

_MAX_STUDIES, _MAX_STUDIES_OF_MANY = 20_000, 2_000
"""Training studies from which the linear model learns, and those where dense features are many, whose fits take the
cube of their number. With more studies it is the network that gains from them."""

_MANY_FEATURES, _MANY_OUTPUTS = 1_000, 30
_MAX_DENSE_VALUES = 50_000_000
"""Features of all studies, 400 MB, up to which sparse ones beside dense ones are written out: of few studies, a fit on
principal axes takes a fraction of one on thousands of features."""

_PENALTIES, _FOLDS = (0.01, 0.1, 1.0, 10.0), 3
"""Fewer than for a baseline: with many labels, their fits would take longer than the network."""

_WEAK_PENALTY = 1e6


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Features of one modality: of the ``rows`` that have it, with the mean and factor that standardise them."""

    name: str
    rows: Int[np.ndarray, " n"]
    features: Any
    mean: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Outputs of a head that one label gives, with the truth of each; NaN where unknown."""

    outputs: slice
    truths: tuple[Float[np.ndarray, " N"], ...]
    binary: bool


def fit_linear_path(
    path: LinearPath, data: CohortDataModule, targets: Sequence[Target], *, seed: int
) -> dict[str, float]:
    """Fit penalised linear models of all findings, classes and quantities, with penalties from cross-validation.

    All modalities enter one model, in which a missing one adds nothing. Predictions for held-out patients calibrate
    each output (Platt 1999), so that they can be averaged with those of a network. Levels, and labels of which too
    few patients have each value, are left to the network.

    Args:
        path: linear path, whose buffers are set.
        data: data module with fitted modalities.
        targets: label columns of the head.
        seed: seed of the folds.

    Returns:
        The mean AUROC of the findings and classes for held-out patients, by name; empty without any.
    """
    for name in path.maps:
        path.features(name).fit(batch.inputs[name] for batch in _batches(path, data) if name in batch.inputs)
    blocks, labels, patients = _read(path, data)
    joined = _joined(blocks, len(labels)) if blocks else np.zeros((len(labels), 0))
    axes = None if sparse.issparse(joined) else principal_axes(joined)
    rows = joined if axes is None else joined @ axes
    if not rows.shape[1]:  # no study has a modality, or all studies are alike
        return {}
    penalties = _PENALTIES if len(path.bias) <= _MANY_OUTPUTS else _PENALTIES[1:2]
    aurocs = []
    for columns in _outputs(targets, labels):
        fits = [
            fit_simple(
                rows, truth, patients, binary=columns.binary, trees=False, seed=seed, penalties=penalties, folds=_FOLDS
            )
            for truth in columns.truths
        ]
        if any(simple is None for simple in fits):
            continue
        places = range(columns.outputs.start, columns.outputs.stop)
        for place, truth, simple in zip(places, columns.truths, fits, strict=True):
            assert simple is not None
            _set_output(path, place, blocks, axes, simple, truth, binary=columns.binary)
            if columns.binary:
                known = ~np.isnan(truth)
                aurocs.append(roc_auc_score(truth[known], simple.out_of_fold[known]))
    path.share.fill_(0.5)  # until validation studies choose one
    return {"linear/out_of_fold_auroc": float(np.mean(aurocs))} if aurocs else {}


def _batches(path: LinearPath, data: CohortDataModule) -> Iterator[Batch]:
    dense = [path.features(name).outputs for name in path.maps if not path.features(name).is_sparse]
    studies = _MAX_STUDIES_OF_MANY if max(dense, default=0) > _MANY_FEATURES else _MAX_STUDIES
    loader = data.plain_training_batches()
    return islice(iter(loader), -(-studies // (loader.batch_size or 1)))


@torch.no_grad()
def _read(path: LinearPath, data: CohortDataModule) -> tuple[list[_Block], Float[np.ndarray, "N C"], list[str]]:
    """Return the features by modality, the labels and the patients of the training studies."""
    parts: dict[str, list[Any]] = {name: [] for name in path.maps}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in path.maps}
    labels: list[np.ndarray] = []
    patients: list[str] = []
    for batch in _batches(path, data):
        for name in path.maps:
            if name in batch.inputs:
                found = path.features(name)(batch.inputs[name]).double().numpy()
                parts[name].append(sparse.csr_array(found) if path.features(name).is_sparse else found)
                rows[name].append(len(patients) + np.flatnonzero(batch.present[name].numpy()))
        labels.append(batch.labels.double().numpy())
        patients += batch.patient_ids
    blocks = [_block(name, np.concatenate(rows[name]), parts[name]) for name in path.maps if parts[name]]
    return blocks, np.concatenate(labels), patients


def _block(name: str, rows: Int[np.ndarray, " n"], parts: Sequence[Any]) -> _Block:
    if sparse.issparse(parts[0]):
        features: Any = sparse.vstack(parts).tocsr()
        width = features.shape[1]
        return _Block(name=name, rows=rows, features=features, mean=np.zeros(width), scale=np.ones(width))
    features = np.concatenate(parts)
    mean, scale = standardisation(features)
    return _Block(name=name, rows=rows, features=(features - mean) * scale, mean=mean, scale=scale)


def _joined(blocks: Sequence[_Block], count: int) -> Any:
    """Return the scaled features of all modalities side by side; zeros where a study lacks a modality."""
    are_sparse = [sparse.issparse(block.features) for block in blocks]
    values = count * sum(len(block.mean) for block in blocks)
    if not any(are_sparse) or (not all(are_sparse) and values <= _MAX_DENSE_VALUES):
        joined = [np.zeros((count, len(block.mean))) for block in blocks]
        for block, part, is_sparse in zip(blocks, joined, are_sparse, strict=True):
            part[block.rows] = block.features.toarray() if is_sparse else block.features
        return np.concatenate(joined, axis=1)
    joined = sparse.hstack([_placed(block, count) for block in blocks]).tocsr()
    # scikit-learn refuses indices of 64 bits, which ``hstack`` may give.
    joined.indices, joined.indptr = joined.indices.astype(np.int32), joined.indptr.astype(np.int32)
    return joined


def _placed(block: _Block, count: int) -> Any:
    """Return the features as sparse rows of ``count`` studies."""
    found = len(block.rows)
    places = sparse.csr_array((np.ones(found), (block.rows, np.arange(found))), shape=(count, found))
    return places @ sparse.csr_array(block.features)


def _outputs(targets: Sequence[Target], labels: Float[np.ndarray, "N C"]) -> Iterator[_Columns]:
    """Yield the outputs of each label that a linear model can predict."""
    start = 0
    for target, values in zip(targets, labels.T, strict=True):
        count = len(target.names) if target.kind == "class" else 1
        place = slice(start, start + count)
        start += count
        if target.kind == "class":
            known = np.isfinite(values)
            truths = tuple(np.where(known, values == number, np.nan) for number in range(count))
            yield _Columns(outputs=place, truths=truths, binary=True)
        elif target.kind == "finding":
            certain = np.where(np.isin(values, (0, 1)), values, np.nan)
            yield _Columns(outputs=place, truths=(certain,), binary=True)
        elif target.kind == "quantity":
            yield _Columns(outputs=place, truths=((values - target.center) / target.scale,), binary=False)


def _set_output(
    path: LinearPath,
    place: int,
    blocks: Sequence[_Block],
    axes: Float[np.ndarray, "F R"] | None,
    simple: Simple,
    truth: Float[np.ndarray, " N"],
    *,
    binary: bool,
) -> None:
    """Write one output of a fitted model into the path, calibrated by its predictions for held-out patients."""
    assert simple.weights is not None
    slope, shift = _calibration(simple.out_of_fold, truth, binary=binary)
    weights, intercept = simple.weights
    rotated = slope * (weights if axes is None else axes @ weights)
    splits = np.cumsum([len(block.mean) for block in blocks])[:-1]
    for block, part in zip(blocks, np.split(rotated, splits), strict=True):
        linear: Any = path.maps[block.name]
        linear.weight[:, place] = torch.from_numpy(part * block.scale)
        linear.offset[place] = -float(block.mean @ (part * block.scale))
    path.bias[place] = slope * intercept + shift
    path.fitted[place] = True


def _calibration(
    outputs: Float[np.ndarray, " N"], truth: Float[np.ndarray, " N"], *, binary: bool
) -> tuple[float, float]:
    """Return the slope, which is never negative, and the intercept that fit predictions for held-out patients."""
    known = ~np.isnan(truth) & ~np.isnan(outputs)
    values, labels = outputs[known, None], truth[known]
    spread = max(float(values.std()), 1e-12)
    kind = LogisticRegression(C=_WEAK_PENALTY) if binary else LinearRegression()
    fitted = kind.fit(values / spread, labels)
    slope = float(np.ravel(fitted.coef_)[0]) / spread
    if slope > 0:
        return slope, float(np.ravel(fitted.intercept_)[0])
    mean = float(labels.mean())
    return 0.0, float(np.log(mean / (1 - mean))) if binary else mean
