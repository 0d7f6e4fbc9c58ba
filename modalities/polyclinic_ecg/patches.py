"""What stretches of an electrocardiogram hide from a masked autoencoder (compare Na et al. 2024, "ST-MEM")."""

from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn import PatchReconstruction, sine_positions
from polyclinic_ecg.recording import LEADS
from polyclinic_ecg.rooted import SPREAD, millivolts, rooted

Masking: TypeAlias = Literal["random", "time", "lead"]
_RATIO = 0.75
LEAD_SPREAD = 0.5
"""Initial deviation of what tells the lead: of the size of the positions in time."""


def unrecorded(mask: Bool[Tensor, "B L N"], *, patch: int, by_lead: bool) -> Bool[Tensor, "B T"]:
    """Which tokens stand for a stretch without a single recorded sample."""
    stretches = mask.unflatten(2, (-1, patch)).any(dim=3)
    return ~(stretches.flatten(1) if by_lead else stretches.any(dim=1))


class SignalReconstruction(PatchReconstruction):
    """Rooted millivolts, in deviations, of each stretch of time, of all leads together or of each lead by itself.

    Args:
        width: of the decoder, W.
        length: samples per study.
        patch: samples per stretch.
        by_lead: one token per lead and stretch, lead after lead, instead of one per stretch.
        masking: what is hidden together: nothing (``random``), a stretch of all leads (``time``), a whole lead.
        normalised: remove each patch's mean and deviation from its target.

    Raises:
        ValueError: leads are to be hidden where a token holds all of them.
    """

    positions: Float[Tensor, "1 S W"]

    def __init__(
        self, *, width: int, length: int, patch: int, by_lead: bool, masking: Masking, normalised: bool
    ) -> None:
        values = patch if by_lead else patch * len(LEADS)
        super().__init__(width=width, values=values, ratio=_RATIO, normalised=normalised)
        if masking == "lead" and not by_lead:
            raise ValueError("got masking 'lead' with tokens of all leads; set `stem: lead`, or `masking: time`")
        self._stretches, self._patch, self._by_lead, self._masking = length // patch, patch, by_lead, masking
        positions = sine_positions(self._stretches, width, slowest=self._stretches)[None]
        self.register_buffer("positions", positions, persistent=False)
        self.leads = nn.Parameter(torch.randn(len(LEADS), 1, width) * LEAD_SPREAD) if by_lead else None

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """By the pattern of the mask; what was not recorded hides nothing."""
        mask = inputs["sample_mask"]
        time = torch.arange(self._stretches, device=mask.device)
        number = self._unit_numbers(time, torch.arange(len(LEADS), device=mask.device)[:, None])
        absent = unrecorded(mask, patch=self._patch, by_lead=self._by_lead)
        return number.expand_as(absent).masked_fill(absent, -1)

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Positions in time, and the lead."""
        if self.leads is None:
            return self.positions
        return (self.positions + self.leads).flatten(0, 1)[None]

    def cut(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B T P"]:
        """Rooted millivolts in deviations, NaN where not recorded."""
        return self._patches((rooted(inputs["signal"]) / SPREAD).masked_fill(~inputs["sample_mask"], torch.nan))

    def join(self, patches: Float[Tensor, "B T P"], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put the stretches back together, in millivolts; 0 where not recorded."""
        signal = millivolts(self._samples(patches) * SPREAD)
        return {**inputs, "signal": signal.masked_fill(~inputs["sample_mask"], 0.0)}

    def silent(self, count: int) -> dict[str, Tensor]:
        """Twelve leads of zero millivolts, all recorded."""
        signal = self.positions.new_zeros(count, len(LEADS), self._stretches * self._patch)
        return {
            "signal": signal,
            "sample_mask": torch.ones_like(signal, dtype=torch.bool),
            "lead_mask": torch.ones(signal.shape[:2], dtype=torch.bool, device=signal.device),
        }

    def alternatives(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Float[Tensor, "n P"]]:
        """Straight lines in millivolts between what is visible of a lead."""
        gaps = self._samples(hidden[:, :, None].expand(*hidden.shape, self.head.out_features))
        lines = rooted(_interpolated(inputs["signal"], inputs["sample_mask"] & ~gaps)) / SPREAD
        return {"linear interpolation": self.relative(self._patches(lines)[hidden], self.cut(inputs)[hidden])}

    def _unit_numbers(self, time: Int[Tensor, " S"], lead: Int[Tensor, "L 1"]) -> Int[Tensor, " T"]:
        if not self._by_lead:
            return time
        numbers = {"random": lead * self._stretches + time, "time": time, "lead": lead}
        return numbers[self._masking].expand(len(LEADS), self._stretches).flatten()

    def _patches(self, signal: Float[Tensor, "B L N"]) -> Float[Tensor, "B T P"]:
        stretches = signal.unflatten(2, (self._stretches, self._patch))
        return stretches.flatten(1, 2) if self._by_lead else stretches.transpose(1, 2).flatten(2)

    def _samples(self, patches: Tensor) -> Tensor:
        """[B, T, P] as [B, L, N], the inverse of ``_patches``."""
        if self._by_lead:
            return patches.unflatten(1, (len(LEADS), self._stretches)).flatten(2)
        return patches.unflatten(2, (len(LEADS), self._patch)).transpose(1, 2).flatten(2)


def _interpolated(signal: Float[Tensor, "B L N"], known: Bool[Tensor, "B L N"]) -> Float[Tensor, "B L N"]:
    """Straight lines between known samples, level beyond the outermost, zeros for a lead without any."""
    filled, places = np.zeros(signal.shape, dtype=np.float32), np.arange(signal.shape[2])
    values, there = signal.detach().cpu().numpy(), known.cpu().numpy()
    for study, lead in np.argwhere(there.any(axis=2)):
        at = there[study, lead]
        filled[study, lead] = np.interp(places, places[at], values[study, lead, at])
    return torch.from_numpy(filled).to(signal)
