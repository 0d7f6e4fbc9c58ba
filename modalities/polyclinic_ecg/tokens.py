"""Tokenize time patches of all leads together or of each lead (Dosovitskiy et al. 2021, in one dimension)."""

from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn import PatchReconstruction, Tokenizer, Tokens, sine_positions, stem_strides
from polyclinic_ecg.recording import LEADS
from polyclinic_ecg.signed_sqrt import SPREAD, millivolts, signed_sqrt

Masking: TypeAlias = Literal["random", "time", "lead"]
_RATIO = 0.75
LEAD_SPREAD = 0.5
"""Initial deviation of the lead embedding, similar to that of the positions in time."""


def unrecorded(mask: Bool[Tensor, "B L N"], *, patch: int, by_lead: bool) -> Bool[Tensor, "B T"]:
    """Return True for tokens of a stretch without any recorded sample."""
    stretches = mask.unflatten(2, (-1, patch)).any(dim=3)
    return ~(stretches.flatten(1) if by_lead else stretches.any(dim=1))


class SignalReconstruction(PatchReconstruction):
    """Reconstruction of stretches of time, of all leads together or of each lead, in deviations of the signed root.

    Args:
        width: width W of the decoder.
        length: samples per study.
        patch: samples per stretch.
        by_lead: one token per lead and stretch, lead after lead, instead of one token per stretch.
        masking: unit of masking: a token (``random``), a stretch of all leads (``time``), or a complete ``lead``.
        normalised: standardise each patch of the target by its mean and deviation.

    Raises:
        ValueError: ``masking`` is ``lead`` but a token holds all leads.
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
        """Number the units of masking; -1 for tokens without a recorded sample, which are never hidden."""
        mask = inputs["sample_mask"]
        time = torch.arange(self._stretches, device=mask.device)
        number = self._unit_numbers(time, torch.arange(len(LEADS), device=mask.device)[:, None])
        absent = unrecorded(mask, patch=self._patch, by_lead=self._by_lead)
        return number.expand_as(absent).masked_fill(absent, -1)

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Return the positions in time, with the embedding of the lead if there is one."""
        if self.leads is None:
            return self.positions
        return (self.positions + self.leads).flatten(0, 1)[None]

    def cut(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B T P"]:
        """Cut the scaled signal into patches, NaN where nothing was recorded."""
        return self._patches((signed_sqrt(inputs["signal"]) / SPREAD).masked_fill(~inputs["sample_mask"], torch.nan))

    def join(self, patches: Float[Tensor, "B T P"], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Join the stretches and convert them to mV; 0 where nothing was recorded."""
        signal = millivolts(self._samples(patches) * SPREAD)
        return {**inputs, "signal": signal.masked_fill(~inputs["sample_mask"], 0.0)}

    def zero_inputs(self, count: int) -> dict[str, Tensor]:
        """Return twelve recorded leads of 0 mV."""
        signal = self.positions.new_zeros(count, len(LEADS), self._stretches * self._patch)
        return {
            "signal": signal,
            "sample_mask": torch.ones_like(signal, dtype=torch.bool),
            "lead_mask": torch.ones(signal.shape[:2], dtype=torch.bool, device=signal.device),
        }

    def alternatives(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Float[Tensor, "n P"]]:
        """Interpolate the visible samples of each lead linearly, as a baseline."""
        gaps = self._samples(hidden[:, :, None].expand(*hidden.shape, self.head.out_features))
        lines = signed_sqrt(_interpolated(inputs["signal"], inputs["sample_mask"] & ~gaps)) / SPREAD
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
        """Invert ``_patches``."""
        if self._by_lead:
            return patches.unflatten(1, (len(LEADS), self._stretches)).flatten(2)
        return patches.unflatten(2, (len(LEADS), self._patch)).transpose(1, 2).flatten(2)


def _interpolated(signal: Float[Tensor, "B L N"], visible: Bool[Tensor, "B L N"]) -> Float[Tensor, "B L N"]:
    """Interpolate visible samples linearly, constant beyond the outermost; leads without any are zero."""
    filled, times = np.zeros(signal.shape, dtype=np.float32), np.arange(signal.shape[2])
    values, masks = signal.detach().cpu().numpy(), visible.cpu().numpy()
    for study, lead in np.argwhere(masks.any(axis=2)):
        mask = masks[study, lead]
        filled[study, lead] = np.interp(times, times[mask], values[study, lead, mask])
    return torch.from_numpy(filled).to(signal)


Stem: TypeAlias = Literal["linear", "lead", "conv"]
_GROUPS = 4
_KERNEL = 7


class PatchTokenizer(Tokenizer):
    """One token per stretch of time, of all leads or of one lead with their masks, with fixed positions in time.

    Args:
        length: samples per study.
        patch: samples per token; divides ``length``.
        width: token width D; a multiple of 16 for the convolutional stem.
        stem: ``linear`` embeds each patch of all leads separately; ``lead`` embeds each patch of each lead, which are
            twelve times as many tokens, so that leads can be hidden; ``conv`` uses strided convolutions (Xiao et al.
            2021, in one dimension) and learns faster from few records, but its patches overlap, so that they cannot
            be masked.
        masking: unit of masking in masked pretraining; see ``SignalReconstruction``.
        normalised_targets: standardise each patch of the target in masked pretraining.

    Raises:
        ValueError: the stem is unknown, or ``patch`` has a prime factor above 7, which a convolution cannot stride over
            without gaps.
    """

    positions: Float[Tensor, "1 S D"]

    def __init__(
        self,
        *,
        length: int,
        patch: int,
        width: int,
        stem: Stem = "linear",
        masking: Masking = "random",
        normalised_targets: bool = False,
    ) -> None:
        super().__init__()
        if stem not in ("linear", "lead", "conv"):
            raise ValueError(f"got stem {stem!r}, expected 'linear', 'lead' or 'conv'; set `stem`")
        self.patch, self._length, self._stem = patch, length, stem
        self._masking, self._normalised = masking, normalised_targets
        by_lead = stem == "lead"
        # Convolutional stems normalise their input. A linear map does not, so that the positions would dominate a
        # signal that is not scaled to unit deviation.
        self._spread = 1.0 if stem == "conv" else SPREAD
        channels = 2 if by_lead else 2 * len(LEADS)
        self.embed = _conv_stem(channels, patch, width) if stem == "conv" else nn.Conv1d(channels, width, patch, patch)
        self.leads = nn.Parameter(torch.randn(len(LEADS), 1, width) * LEAD_SPREAD) if by_lead else None
        stretches = length // patch
        positions = sine_positions(stretches, width, **({} if stem == "conv" else {"slowest": stretches}))
        self.register_buffer("positions", positions[None], persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``signal`` [B, 12, L] in millivolts with ``sample_mask`` [B, 12, L], True where recorded."""
        mask = inputs["sample_mask"]
        channels = torch.stack([signed_sqrt(inputs["signal"]) / self._spread, mask.to(inputs["signal"].dtype)], dim=1)
        padding = unrecorded(mask, patch=self.patch, by_lead=self.leads is not None)
        if self.leads is None:
            return Tokens(self.embed(channels.flatten(1, 2)).transpose(1, 2), self.positions, padding)
        embedded = self.embed(channels.transpose(1, 2).flatten(0, 1)).transpose(1, 2)
        values = embedded.unflatten(0, (len(mask), len(LEADS))).flatten(1, 2)
        return Tokens(values, (self.positions + self.leads).flatten(0, 1)[None], padding)

    def reconstruction(self, width: int) -> SignalReconstruction:
        """Build the reconstruction for masked pretraining with a decoder of a given width.

        Raises:
            ValueError: the patches overlap, or ``masking`` is ``lead`` but a token holds all leads.
        """
        if self._stem == "conv":
            raise ValueError("got stem 'conv', whose patches show each other; set `stem: linear` or `stem: lead`")
        return SignalReconstruction(
            width=width,
            length=self._length,
            patch=self.patch,
            by_lead=self.leads is not None,
            masking=self._masking,
            normalised=self._normalised,
        )


def _conv_stem(channels: int, patch: int, width: int) -> nn.Sequential:
    """Build convolutions whose strides multiply to ``patch`` and whose channels double up to ``width``.

    GroupNorm replaces the paper's BatchNorm, so that the tokens of a study do not depend on its batch.
    """
    layers: list[nn.Module] = []
    strides = stem_strides(patch, (2, 3, 5, 7))
    for stage, stride in enumerate(strides):
        wider = max(width >> (len(strides) - 1 - stage), 4 * _GROUPS)
        convolution = nn.Conv1d(channels, wider, _KERNEL, stride, _KERNEL // 2, bias=False)
        layers += [convolution, nn.GroupNorm(_GROUPS, wider), nn.GELU()]
        channels = wider
    return nn.Sequential(*layers, nn.Conv1d(channels, width, 1))
