"""Which tokens of a batch are hidden: the same for a study in any batch, on any rank."""

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
        ratios: share of each modality's tokens to hide, in (0, 1).
        budget: visible tokens of a study, shared out by Dirichlet draws; 0 keeps to the ratios.
        concentration: of the draws; the larger, the closer shares are to those that the ratios would leave.
        whole: share of the steps in which, instead, each study hides one of its modalities whole and shows all else.
        seed: of the draws.

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(
        self, *, ratios: Mapping[str, float], budget: int, concentration: float, whole: float, seed: int
    ) -> None:
        if wrong := {name: ratio for name, ratio in ratios.items() if not 0 < ratio < 1}:
            raise ValueError(f"got mask ratios {wrong}, expected shares between 0 and 1; set `model.ratios`")
        if budget and budget < len(ratios):
            raise ValueError(
                f"got a budget of {budget} visible tokens for {len(ratios)} modalities, expected at least one each, or "
                "0 to keep to the ratios; set `model.budget`"
            )
        if concentration <= 0 or not 0 <= whole <= 1:
            raise ValueError(
                f"got concentration {concentration} and whole {whole}, expected more than 0 and a share from 0 to 1; "
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
        """Hide tokens of every modality.

        Args:
            units: per modality, of the studies that have it; -1 is never hidden.
            present: which of the B studies these are.
            study_ids: of the B studies.
            step: another step hides other tokens.
        """
        keys = [_number(study) for study in study_ids]
        kept = self._kept(units, present, keys, step)
        hidden = {}
        for place, name in enumerate(self._ratios):
            if name in units:
                rows = present[name].cpu().numpy()
                chosen = [key for key, there in zip(keys, rows, strict=True) if there]
                width, device = units[name].shape[1], units[name].device
                unit = units[name].expand(len(chosen), -1)
                # Uniform numbers in order of places: how far a batch pads a study does not change its own.
                noise = np.stack([self._rng(step, key, 1 + place).random(width, dtype=np.float32) for key in chosen])
                keep = torch.from_numpy(kept[rows, place])
                hidden[name] = hide_units(unit, keep.to(device), torch.from_numpy(noise).to(device))
        return hidden

    def _kept(
        self,
        units: Mapping[str, Int[Tensor, "_ _"]],
        present: Mapping[str, Bool[Tensor, " B"]],
        keys: Sequence[int],
        step: int,
    ) -> Int[np.ndarray, "B M"]:
        """How many tokens of each study and modality of the run stay visible."""
        counts = np.zeros((len(keys), len(self._ratios)), dtype=np.int64)
        for place, name in enumerate(self._ratios):
            if name in units:
                counts[present[name].cpu().numpy(), place] = (units[name] >= 0).sum(dim=1).cpu().numpy()
        ratios, rngs = list(self._ratios.values()), [self._rng(step, key, 0) for key in keys]
        if self._budget:
            kept = keep_by_budget(counts, ratios, budget=self._budget, concentration=self._concentration, rngs=rngs)
        else:
            kept = keep_by_ratio(counts, ratios)
        # Of the step alone, so that all studies of all ranks do the same; evaluation is step 0.
        if step and np.random.default_rng([self._seed, step]).random() < self._whole:
            several = (counts > 0).sum(axis=1) > 1
            return np.where(several[:, None], hide_one(counts, rngs), kept)
        return kept

    def _rng(self, step: int, key: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, step, key, purpose])


def _number(study_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(study_id.encode(), digest_size=8).digest())


def by_modality(usual: Mapping[str, float], given: Mapping[str, float] | None, setting: str) -> dict[str, float]:
    """The usual values with the given ones in their place.

    Raises:
        ValueError: a modality that is not configured, or a value below 0.
    """
    given = given or {}
    if wrong := {name: value for name, value in given.items() if name not in usual or value < 0}:
        raise ValueError(f"got `model.{setting}` {wrong}, expected values of 0 or more for some of {list(usual)}")
    return {**usual, **given}
