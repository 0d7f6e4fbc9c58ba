"""Simple models of one label, whose settings are chosen by cross-validation over patients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

FOLDS = 5
_FEWEST_PATIENTS = 2
PENALTIES = tuple(10.0**power for power in range(-3, 4))
_LEAVES = (3, 7, 15)
_QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class Simple:
    """A fitted simple model.

    Attributes:
        predict: function from features to log-odds, or to a quantity.
        out_of_fold: predictions for the training studies by models of the other folds; NaN without a label.
        setting: chosen setting, such as ``C=1``.
        penalty: chosen penalty of a linear model; None for trees.
        weights: weights of the features and intercept of a linear model; None for trees.
    """

    predict: Callable[[Any], Float[np.ndarray, " N"]]
    out_of_fold: Float[np.ndarray, " N"]
    setting: str
    penalty: float | None
    weights: tuple[Float[np.ndarray, " F"], float] | None


def fit_simple(
    features: Any,
    labels: Float[np.ndarray, " N"],
    patients: Sequence[str],
    *,
    binary: bool,
    trees: bool,
    seed: int,
    penalties: Sequence[float] = PENALTIES,
    folds: int = FOLDS,
) -> Simple | None:
    """Fit logistic or ridge regression, or gradient boosting; None where a class has a single patient.

    Args:
        features: features of the N training studies, dense or sparse.
        labels: 0 and 1, or a quantity; NaN where unknown.
        patients: patient of each study.
        binary: whether the label is a class.
        trees: whether to use gradient boosting.
        seed: seed of the folds.
        penalties: penalties of a linear model to choose from.
        folds: number of folds.
    """
    known = np.flatnonzero(~np.isnan(labels))
    truth, groups = labels[known], np.asarray(patients)[known]
    strata = truth if binary else np.searchsorted(np.quantile(truth, _QUARTERS), truth) if len(truth) else truth
    fewest = min((len(np.unique(groups[strata == value])) for value in np.unique(strata)), default=0)
    if fewest < _FEWEST_PATIENTS or (binary and len(np.unique(truth)) < 2):
        return None
    division = StratifiedGroupKFold(min(folds, fewest), shuffle=True, random_state=seed)
    splits = list(division.split(known, strata.astype(int), groups))
    rows = features[known]
    best: tuple[float, Any, np.ndarray] | None = None
    for candidate in _candidates(
        penalties, binary=binary, trees=trees, sparse_rows=sparse.issparse(features), seed=seed
    ):
        outputs = _out_of_fold(candidate, rows, truth, splits)
        quality = _quality(outputs, truth, splits, binary=binary)
        if best is None or quality > best[0]:
            best = quality, candidate, outputs
    assert best is not None
    model = clone(best[1]).fit(_without_empty(rows), truth)
    spread = np.full(len(labels), np.nan)
    spread[known] = best[2]
    return Simple(
        predict=lambda given: _outputs(model, given),
        out_of_fold=spread,
        setting=_setting(best[1]),
        penalty=_penalty(best[1]),
        weights=None if trees else (np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])),
    )


def _candidates(penalties: Sequence[float], *, binary: bool, trees: bool, sparse_rows: bool, seed: int) -> list[Any]:
    if trees:
        kind = HistGradientBoostingClassifier if binary else HistGradientBoostingRegressor
        return [
            kind(max_leaf_nodes=leaves, learning_rate=0.05, min_samples_leaf=10, random_state=seed)
            for leaves in _LEAVES
        ]
    if binary:
        # Of sparse rows, the dual problem at this tolerance gives the same order of studies in a tenth of the time.
        settings = {"dual": True, "tol": 1e-2} if sparse_rows else {}
        return [
            LogisticRegression(
                C=1 / penalty, class_weight="balanced", solver="liblinear", random_state=seed, **settings
            )
            for penalty in penalties
        ]
    return [Ridge(alpha=penalty) for penalty in penalties]


def _setting(model: Any) -> str:
    names = ("C", "alpha", "max_leaf_nodes")
    return ", ".join(f"{name}={value:g}" for name, value in model.get_params().items() if name in names)


def _penalty(model: Any) -> float | None:
    values = model.get_params()
    return 1 / values["C"] if "C" in values else values.get("alpha")


def _outputs(model: Any, rows: Any) -> Float[np.ndarray, " N"]:
    values = model.decision_function(rows) if hasattr(model, "decision_function") else model.predict(rows)
    return np.asarray(values, dtype=np.float64)


def _out_of_fold(
    candidate: Any, rows: Any, truth: Float[np.ndarray, " N"], splits: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Float[np.ndarray, " N"]:
    outputs = np.zeros(len(truth))
    for others, held_out in splits:
        outputs[held_out] = _outputs(clone(candidate).fit(_without_empty(rows[others]), truth[others]), rows[held_out])
    return outputs


def _without_empty(rows: Any) -> Any:
    """Return features with 0 in columns that have no value, of which trees could not find bins."""
    if sparse.issparse(rows) or not (empty := np.isnan(rows).all(axis=0)).any():
        return rows
    return np.where(empty, 0.0, rows)


def _quality(
    outputs: Float[np.ndarray, " N"],
    truth: Float[np.ndarray, " N"],
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    binary: bool,
) -> float:
    """Return the mean AUROC of the folds, or minus the mean squared error."""
    if not binary:
        return -float(np.square(outputs - truth).mean())
    values = [
        roc_auc_score(truth[held_out], outputs[held_out])
        for _, held_out in splits
        if len(np.unique(truth[held_out])) == 2  # grouping by patient may leave a fold without a class
    ]
    return float(np.mean(values)) if values else 0.5


class Scaled:
    """Standardises dense features, and rotates them to as many coordinates as there are training studies.

    Args:
        features: features of the training studies [N, F]; sparse ones remain as they are.
    """

    def __init__(self, features: Any) -> None:
        self._is_sparse = sparse.issparse(features)
        if not self._is_sparse:
            self._mean, self._scale = standardisation(features)
            self._axes = principal_axes((features - self._mean) * self._scale)

    def __call__(self, features: Any) -> Any:
        """Return the scaled features of other studies."""
        if self._is_sparse:
            return features.tocsr()
        centred = (features - self._mean) * self._scale
        return centred if self._axes is None else centred @ self._axes


def standardisation(features: Float[np.ndarray, "N F"]) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
    """Return the mean of each feature, and the factor by which to scale it; zero for a constant one.

    The squared length of a scaled study is about one, like that of a TF-IDF vector, so that the same penalties fit
    both.
    """
    deviation = features.std(axis=0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1.0), 0.0)
    return features.mean(axis=0), scale / np.sqrt(max(1, int((deviation > 0).sum())))


def principal_axes(rows: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "F R"] | None:
    """Return an orthonormal basis of the rows; None if they are not fewer than their features.

    A penalised linear model does not change under this rotation, and is fitted much faster.
    """
    if rows.shape[1] <= rows.shape[0]:
        return None
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > values.max(initial=0) * 1e-10
    axes: np.ndarray = rows.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    return axes
