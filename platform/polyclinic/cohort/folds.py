"""Folds of patients that are alike in their labels and groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

MAX_FOLDS = 100
MAX_CATEGORIES = 10
"""Values of a group up to which folds are balanced over it."""

_QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class Folds:
    """Setting ``split`` of a cohort for cross-validation: each fold is once the test split.

    Attributes:
        number: number of folds; 0 with ``leave_out``.
        leave_out: group whose values are the folds, such as ``site``; empty for random folds.
        val: share of the other patients that are the validation split.
        seed: seed of the assignment.
    """

    number: int = 0
    leave_out: str = ""
    val: float = 0.15
    seed: int = 0


def fold_splits(
    patients: Sequence[str], categories: Bool[np.ndarray, "N C"], folds: Folds, fold: int, sites: Sequence[str] = ()
) -> tuple[list[str], int]:
    """Return the split of each study, and the number of folds.

    Args:
        patients: patient of each study.
        categories: values of labels and groups by study; see ``category_columns``.
        folds: setting of the cohort.
        fold: number of the test fold, from 0.
        sites: value of the group ``leave_out`` by study.

    Raises:
        ValueError: there are fewer patients than folds, a patient has studies in several values of the group, or there
            is no such fold.
    """
    names, of_study = np.unique(np.asarray(patients), return_inverse=True)
    counts = np.zeros((len(names), categories.shape[1]))
    np.add.at(counts, of_study, categories)
    rng = np.random.default_rng(folds.seed)
    if folds.leave_out:
        part, number = _sites(of_study, sites, folds.leave_out)
    else:
        number = folds.number
        if len(names) < number:
            raise ValueError(f"got {number} folds for {len(names)} patients; set `split.folds` to fewer")
        part = alike_parts(counts, np.full(number, 1 / number), rng)
    if not 0 <= fold < number:
        raise ValueError(f"got fold {fold}, expected 0 to {number - 1}; set `data.fold`")
    rest = np.flatnonzero(part != fold)
    held_out = alike_parts(
        counts[rest], np.array([folds.val, 1 - folds.val]), np.random.default_rng([folds.seed, fold])
    )
    split = np.full(len(names), "test", dtype=object)
    split[rest] = np.where(held_out == 0, "val", "train")
    return split[of_study].tolist(), number


def alike_parts(
    counts: Float[np.ndarray, "P C"], shares: Float[np.ndarray, " K"], rng: np.random.Generator
) -> Int64[np.ndarray, " P"]:
    """Assign patients to parts that hold equal shares of each category (Sechidis et al. 2011, algorithm 1).

    Patients with the rarest category that is left are assigned first, each to the part that lacks most of it.

    Args:
        counts: studies of each patient by category.
        shares: share of each part; they sum to 1.
        rng: generator that decides between equal parts.
    """
    # The last column makes parts alike in their number of patients, too.
    wanted = np.concatenate([counts, np.ones((len(counts), 1))], axis=1)
    lacking = shares[:, None] * wanted.sum(axis=0)
    part = np.full(len(counts), -1)
    while (left := np.flatnonzero(part < 0)).size:
        remaining = wanted[left, :-1].sum(axis=0)
        rarest = int(np.argmin(np.where(remaining > 0, remaining, np.inf))) if (remaining > 0).any() else -1
        members = left[wanted[left, rarest] > 0]
        for patient in rng.permutation(members):
            ties = rng.random(len(shares))
            part[patient] = np.lexsort((ties, -lacking[:, -1], -lacking[:, rarest]))[0]
            lacking[part[patient]] -= wanted[patient]
    return part


def category_columns(
    labels: Mapping[str, tuple[str, Sequence[float]]], groups: Mapping[str, Sequence[str]]
) -> Bool[np.ndarray, "N C"]:
    """Return the categories of each study by which folds are balanced.

    These are the values of findings, classes and levels, the quarters of quantities, and the values of groups with few
    of them.

    Args:
        labels: kind and values of each label, NaN where unknown.
        groups: values of each group.
    """
    columns: list[np.ndarray] = []
    for kind, cells in labels.values():
        values = np.asarray(cells, dtype=float)
        known = ~np.isnan(values)
        if kind == "quantity" and known.any():
            quarters = np.searchsorted(np.quantile(values[known], _QUARTERS), values)
            values = np.where(known, quarters, np.nan)
        columns += [values == value for value in np.unique(values[known])]
    for texts in groups.values():
        distinct = sorted(set(texts))
        if len(distinct) <= MAX_CATEGORIES:
            columns += [np.array([text == each for text in texts]) for each in distinct]
    studies = max([len(cells) for _, cells in labels.values()] + [len(texts) for texts in groups.values()], default=0)
    return np.stack(columns, axis=1).astype(bool) if columns else np.zeros((studies, 0), dtype=bool)


def _sites(of_study: np.ndarray, sites: Sequence[str], group: str) -> tuple[Int64[np.ndarray, " P"], int]:
    if blank := sum(not site for site in sites):
        raise ValueError(
            f"{blank} studies have no {group}, by which `split.leave_out` makes folds; fill in the column, or remove "
            "them by `where`"
        )
    distinct, numbers = np.unique(np.asarray(sites, dtype=str), return_inverse=True)
    if not 2 <= len(distinct) <= MAX_FOLDS:
        raise ValueError(
            f"column {group!r} has {len(distinct)} values, expected 2 to {MAX_FOLDS}; set `split.leave_out`"
        )
    part = np.full(of_study.max() + 1, -1)
    part[of_study] = numbers
    if shared := len(np.unique(of_study[part[of_study] != numbers])):
        raise ValueError(
            f"{shared} patients have studies in several values of {group}, which would be in training and test; "
            "remove their studies by `where`, or set `split.folds`"
        )
    return part, len(distinct)
