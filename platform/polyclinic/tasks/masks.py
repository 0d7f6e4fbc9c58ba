"""Masks of hidden tokens, which are the same for a study in any batch and on any rank."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from polyclinic.nn import hide_one, hide_units, keep_by_budget, keep_by_ratio


class Masks:
    """Draws the hidden tokens of each study.

    Args:
        ratios: share of the tokens to hide, by modality, in (0, 1).
        budget: visible tokens per study, divided among its modalities by Dirichlet draws; 0 to use only the ratios.
        concentration: concentration of the draws; larger values stay closer to the ratios.
        whole: share of the steps in which each study instead hides one modality completely and no other token.
        seed: seed of the draws.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self, *, ratios: Mapping[str, float], budget: int, concentration: float, whole: float, seed: int
    ) -> None:
        if wrong := {name: ratio for name, ratio in ratios.items() if not 0 < ratio < 1}:
            raise ValueError(f"got mask ratios {wrong}, expected shares between 0 and 1; set `model.ratios`")
        if budget and budget < len(ratios):
            raise ValueError(
                f"got a budget of {budget} visible tokens for {len(ratios)} modalities, expected at least one each, or "
                "0 to use only the ratios; set `model.budget`"
            )
        if concentration <= 0 or not 0 <= whole <= 1:
            raise ValueError(
                f"got concentration {concentration} and whole {whole}, expected above 0 and a share from 0 to 1; "
                "set `model.concentration` and `model.whole`"
            )
        self._ratios, self._budget, self._concentration = dict(ratios), budget, concentration
        self._whole, self._seed = whole, seed

    def draw(
        self,
        units: Mapping[str, Int[Tensor, "_ _"]],
        present: Mapping[str, Bool[Tensor, " B"]],
        study_ids: Sequence[str],
        step: int,
    ) -> dict[str, Bool[Tensor, "_ _"]]:
        """Draw the mask of hidden tokens of every modality.

        Args:
            units: units of the tokens per modality, for the studies that have it; -1 is never hidden.
            present: mask per modality of those studies among the B.
            study_ids: ids of the B studies.
            step: number of the step, which selects the random numbers.
        """
        keys = [_number(study) for study in study_ids]
        visible = self._visible_counts(units, present, keys, step)
        hidden = {}
        for column, name in enumerate(self._ratios):
            if name in units:
                rows = present[name].cpu().numpy()
                row_keys = [key for key, has_modality in zip(keys, rows, strict=True) if has_modality]
                width, device = units[name].shape[1], units[name].device
                unit = units[name].expand(len(row_keys), -1)
                # One draw per token in order, so that padding at the end does not change the draws of a study.
                noise = np.stack([self._rng(step, key, 1 + column).random(width, dtype=np.float32) for key in row_keys])
                keep = torch.from_numpy(visible[rows, column])
                hidden[name] = hide_units(unit, keep.to(device), torch.from_numpy(noise).to(device))
        return hidden

    def _visible_counts(
        self,
        units: Mapping[str, Int[Tensor, "_ _"]],
        present: Mapping[str, Bool[Tensor, " B"]],
        keys: Sequence[int],
        step: int,
    ) -> Int[np.ndarray, "B M"]:
        """Return the number of tokens of each study and modality that remain visible."""
        counts = np.zeros((len(keys), len(self._ratios)), dtype=np.int64)
        for column, name in enumerate(self._ratios):
            if name in units:
                counts[present[name].cpu().numpy(), column] = (units[name] >= 0).sum(dim=1).cpu().numpy()
        ratios, rngs = list(self._ratios.values()), [self._rng(step, key, 0) for key in keys]
        if self._budget:
            visible = keep_by_budget(counts, ratios, budget=self._budget, concentration=self._concentration, rngs=rngs)
        else:
            visible = keep_by_ratio(counts, ratios)
        # The draw depends only on the step, so that it is the same for all studies of all ranks.
        if step and np.random.default_rng([self._seed, step]).random() < self._whole:
            several = (counts > 0).sum(axis=1) > 1
            return np.where(several[:, None], hide_one(counts, rngs), visible)
        return visible

    def _rng(self, step: int, key: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, step, key, purpose])


def _number(study_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(study_id.encode(), digest_size=8).digest())


def by_modality(defaults: Mapping[str, float], given: Mapping[str, float] | None, setting: str) -> dict[str, float]:
    """Return the defaults of a setting, updated with the given values.

    Raises:
        ValueError: a modality is not configured, or a value is below 0.
    """
    given = given or {}
    if wrong := {name: value for name, value in given.items() if name not in defaults or value < 0}:
        raise ValueError(f"got `model.{setting}` {wrong}, expected values of 0 or more for some of {list(defaults)}")
    return {**defaults, **given}
