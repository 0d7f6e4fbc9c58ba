"""A plugin's capabilities are found by its methods, and its statistics are stored or refused."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from polyclinic.cohort import default_modalities
from polyclinic.modality import (
    Cleaned,
    Deidentifiable,
    Explainable,
    Identity,
    Imputable,
    Inspectable,
    Redactable,
    Source,
    Viewable,
)
from polyclinic.testing import ModalityConformance
from polyclinic_xray import XRay
from pulse_plugin import Pulse

CAPABILITIES = (Imputable, Explainable, Viewable, Inspectable, Deidentifiable, Redactable)


def test_a_plugin_has_the_capabilities_whose_methods_it_defines() -> None:
    class Clean(Pulse):
        def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
            return Cleaned(source=source, removed={})

    assert [kind for kind in CAPABILITIES if isinstance(Pulse(), kind)] == []
    assert [kind for kind in CAPABILITIES if isinstance(Clean(), kind)] == [Deidentifiable]
    assert list(Clean().names("72 37.1")) == []
    for name, plugin in default_modalities().items():
        capabilities = [kind for kind in CAPABILITIES if isinstance(plugin, kind)]
        assert capabilities == [kind for kind in CAPABILITIES if kind is not Redactable or name == "xray"], name


def test_half_a_capability_fails_the_conformance_suite() -> None:
    class Drawn(Pulse):
        def write_synthetic(self, study: Any, path: Path) -> Path:
            return path

    class Conformance(ModalityConformance):
        def modality(self) -> Drawn:
            return Drawn()

    with pytest.raises(AssertionError, match=r"Drawn has \['write_synthetic'\], but Imputable needs"):
        Conformance().test_each_capability_is_defined_completely_or_not_at_all()


def test_statistics_that_a_checkpoint_would_lose_are_refused() -> None:
    with pytest.raises(TypeError, match="Forgetful defines fit, expected all of fit, state and load_state or none"):

        class Forgetful(XRay):
            def fit(self, raws: Iterable[Any]) -> None:
                list(raws)

    plain = XRay()
    plain.fit(iter(()))
    plain.load_state(plain.state())
    assert plain.state() == {}


def test_items_are_stacked_unless_the_plugin_pads_them() -> None:
    items = [{"vitals": torch.tensor([1.0, 2.0])}, {"vitals": torch.tensor([3.0, 4.0])}]
    assert {name: value.tolist() for name, value in Pulse().collate(items).items()} == {"vitals": [[1, 2], [3, 4]]}
