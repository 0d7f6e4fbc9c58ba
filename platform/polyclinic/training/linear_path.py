"""Fit the linear path of a supervised task, before its network is trained."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
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
    path: LinearPath, held_out: LinearPath, data: CohortDataModule, targets: Sequence[Target], *, seed: int
) -> dict[str, float]:
    """Fit penalised linear models of all findings, classes and quantities, with penalties from cross-validation.

    All modalities enter one model, in which a missing one adds nothing. Predictions for held-out patients calibrate
    each output (Platt 1999), so that they can be averaged with those of a network. Levels, and labels of which too
    few patients have each value, are left to the network.

    Of a few hundred studies every one counts, so that the model also learns from the validation studies. A second model
    of the training studies alone predicts these, because they choose the share of the network, the epoch and the
    thresholds; the penalties of findings and classes are those that it chose.

    Args:
        path: linear path, whose buffers are set.
        held_out: linear path for the validation studies, on the same features; its buffers are set.
        data: data module with fitted modalities.
        targets: label columns of the head.
        seed: seed of the folds.

    Returns:
        The mean AUROC of the findings and classes for held-out training patients, by name; empty without any.
    """
    for name in path.maps:
        path.features(name).fit(batch.inputs[name] for batch in _batches(path, data, "train") if name in batch.inputs)
    read = _read(path, data)
    aurocs, chosen = _fit(held_out, read.only(read.is_training), targets, seed, {})
    if read.is_training.all():
        path.load_state_dict(held_out.state_dict())
    else:
        _fit(path, read, targets, seed, chosen)
        _share_bias(path, held_out)
    for each in (path, held_out):
        if bool(each.fitted.any()):
            each.share.fill_(0.5)  # until validation studies choose one
    return {"linear/out_of_fold_auroc": float(np.mean(aurocs))} if aurocs else {}


def _fit(
    path: LinearPath, read: "_Read", targets: Sequence[Target], seed: int, chosen: Mapping[int, float]
) -> tuple[list[float], dict[int, float]]:
    """Fit a linear path to studies.

    Args:
        path: linear path, whose buffers are set.
        read: studies to learn from.
        targets: label columns of the head.
        seed: seed of the folds.
        chosen: penalties that are known, by output; the others are chosen by cross-validation.

    Returns:
        The AUROC of each finding and class for held-out patients, and the penalty of each of these outputs.
    """
    blocks, labels = read.blocks(), read.labels
    joined = _joined(blocks, len(labels)) if blocks else np.zeros((len(labels), 0))
    axes = None if sparse.issparse(joined) else principal_axes(joined)
    rows = joined if axes is None else joined @ axes
    aurocs: list[float] = []
    used: dict[int, float] = {}
    if not rows.shape[1]:  # no study has a modality, or all studies are alike
        return aurocs, used
    penalties = _PENALTIES if len(path.bias) <= _MANY_OUTPUTS else _PENALTIES[1:2]
    for columns in _outputs(targets, labels):
        places = range(columns.outputs.start, columns.outputs.stop)
        fits = [
            fit_simple(
                rows, truth, read.patients, binary=columns.binary, trees=False, seed=seed, folds=_FOLDS,
                penalties=(chosen[place],) if place in chosen else penalties,
            )
            for place, truth in zip(places, columns.truths, strict=True)
        ]  # fmt: skip
        if any(simple is None for simple in fits):
            continue
        for place, truth, simple in zip(places, columns.truths, fits, strict=True):
            assert simple is not None
            _set_output(path, place, blocks, axes, simple, truth, binary=columns.binary)
            if columns.binary:  # ridge regression takes no time to search again
                assert simple.penalty is not None
                used[place] = simple.penalty
                known = ~np.isnan(truth)
                aurocs.append(roc_auc_score(truth[known], simple.out_of_fold[known]))
    return aurocs, used


def _share_bias(path: LinearPath, held_out: LinearPath) -> None:
    """Give both paths one bias, which a head adds to the features of any study, and the outputs that both predict.

    The difference goes to the modalities in equal parts, so that a study with all of them has the same prediction.
    """
    both = path.fitted & held_out.fitted
    difference = torch.where(both, held_out.bias - path.bias, 0.0) / len(held_out.maps)
    for name in held_out.maps:
        linear: Any = held_out.maps[name]
        linear.offset += difference
    for each in (path, held_out):
        each.fitted.copy_(both)
    held_out.bias.copy_(path.bias)


def _max_studies(path: LinearPath) -> int:
    dense = [path.features(name).outputs for name in path.maps if not path.features(name).is_sparse]
    return _MAX_STUDIES_OF_MANY if max(dense, default=0) > _MANY_FEATURES else _MAX_STUDIES


def _batches(path: LinearPath, data: CohortDataModule, split: str) -> Iterator[Batch]:
    loader = data.plain_batches(split)
    return islice(iter(loader), -(-_max_studies(path) // (loader.batch_size or 1)))


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Features, labels and patients of N studies.

    Attributes:
        features: by modality, the rows of the studies that have it, and their features.
        labels: labels of every study; NaN where unknown.
        patients: patient of every study.
        is_training: whether a study is one of the training split; the others are of the validation split.
    """

    features: Mapping[str, tuple[Int[np.ndarray, " n"], Any]]
    labels: Float[np.ndarray, "N C"]
    patients: Sequence[str]
    is_training: Bool[np.ndarray, " N"]

    def only(self, chosen: Bool[np.ndarray, " N"]) -> "_Read":
        """Return some of the studies."""
        place = np.cumsum(chosen) - 1
        return _Read(
            features={name: (place[rows[chosen[rows]]], values[np.flatnonzero(chosen[rows])])
                      for name, (rows, values) in self.features.items()},
            labels=self.labels[chosen],
            patients=[patient for patient, keep in zip(self.patients, chosen, strict=True) if keep],
            is_training=self.is_training[chosen],
        )  # fmt: skip

    def blocks(self) -> list[_Block]:
        """Return the standardised features of each modality that a study has."""
        return [_block(name, rows, values) for name, (rows, values) in self.features.items() if len(rows)]


@torch.no_grad()
def _read(path: LinearPath, data: CohortDataModule) -> _Read:
    """Return the features of the training studies and, where these are few, of the validation studies."""
    parts: dict[str, list[Any]] = {name: [] for name in path.maps}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in path.maps}
    labels: list[np.ndarray] = []
    patients: list[str] = []
    training = 0
    for split in ("train", "val"):
        if len(patients) >= _max_studies(path):
            break
        for batch in _batches(path, data, split):
            for name in path.maps:
                if name in batch.inputs:
                    found = path.features(name)(batch.inputs[name]).double().numpy()
                    parts[name].append(sparse.csr_array(found) if path.features(name).is_sparse else found)
                    rows[name].append(len(patients) + np.flatnonzero(batch.present[name].numpy()))
            labels.append(batch.labels.double().numpy())
            patients += batch.patient_ids
        training = training or len(patients)
    features = {
        name: (np.concatenate(rows[name]), np.concatenate(found) if isinstance(found[0], np.ndarray)
               else sparse.vstack(found).tocsr())
        for name, found in parts.items() if found
    }  # fmt: skip
    return _Read(
        features=features, labels=np.concatenate(labels), patients=patients,
        is_training=np.arange(len(patients)) < training,
    )  # fmt: skip


def _block(name: str, rows: Int[np.ndarray, " n"], features: Any) -> _Block:
    if sparse.issparse(features):
        width = features.shape[1]
        return _Block(name=name, rows=rows, features=features, mean=np.zeros(width), scale=np.ones(width))
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
