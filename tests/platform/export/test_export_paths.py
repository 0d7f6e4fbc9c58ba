"""Settings that name a file are refused on export; units that begin with a slash are not paths."""

import pytest

from polyclinic.export.architecture import _refuse_paths


@pytest.mark.parametrize("unit", ["/min", "/uL", "10^9/L", "mmol/L", "", "/\0", "/" + "x" * 10_000])
def test_units_are_no_paths(unit: str) -> None:
    _refuse_paths({"timeline": {"settings": {"unit": [unit]}, "state": {"unit": unit}}}, learned=False)
    _refuse_paths({"timeline": {"state": {"unit": "/min/m2"}}}, learned=False)


@pytest.mark.parametrize("path", ["/etc", "/hospital/vocabulary", "/home/jdoe/x.json"])
def test_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="names a file") as refused:
        _refuse_paths({"report": {"settings": {"pretrained": path}}}, learned=False)
    assert path not in str(refused.value)
    with pytest.raises(ValueError, match="names a file"):
        _refuse_paths({"report": {"state": {"folder": "/etc"}}}, learned=False)
