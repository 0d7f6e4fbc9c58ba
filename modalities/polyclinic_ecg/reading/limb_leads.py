"""Compute the limb leads that follow from I and II (Einthoven 1912, Goldberger 1942)."""

from collections.abc import Sequence

import numpy as np

from polyclinic_ecg.recording import LEADS, Channel, millivolts_per, standard_leads

_FIRST, _SECOND = 0, 1
_DERIVED = range(2, 6)


def with_limb_leads(channels: Sequence[Channel]) -> tuple[list[Channel], int]:
    """Add III, aVR, aVL and aVF to channels that have I and II, and none of the four.

    III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2 and aVF = II - I / 2. Nothing is computed from a constant lead,
    whose electrode was off.

    Args:
        channels: channels with standard leads.

    Returns:
        All channels, and the number of those that were computed: 0 or 4.

    Raises:
        UnreadableSource: a lead is stored twice, or I or II has an unknown unit.
    """
    leads = standard_leads(channels)
    if any(index in leads for index in _DERIVED) or not {_FIRST, _SECOND} <= leads.keys():
        return list(channels), 0
    unit = leads[_FIRST].unit
    first = leads[_FIRST].values
    second = leads[_SECOND].values * (millivolts_per(leads[_SECOND].unit) / millivolts_per(unit))
    if len(first) != len(second) or _is_constant(first) or _is_constant(second):
        return list(channels), 0
    values = (second - first, -(first + second) / 2, first - second / 2, second - first / 2)
    computed = [Channel(LEADS[index], unit, row) for index, row in zip(_DERIVED, values, strict=True)]
    return [*channels, *computed], len(computed)


def _is_constant(values: np.ndarray) -> bool:
    recorded = values[~np.isnan(values)]
    return not len(recorded) or bool(recorded.min() == recorded.max())
