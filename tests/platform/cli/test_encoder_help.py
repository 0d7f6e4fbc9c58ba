"""`polyclinic fit --help` lists the encoders that a configuration may name."""

import re

import pytest

from polyclinic.cli import main
from polyclinic.cli.encoder_help import encoder_help
from polyclinic.modality import Modality, installed_modalities
from polyclinic.models.class_table import ClassTable, declared_encoders
from polyclinic.nn import Encoder
from pulse_plugin import Pulse


def test_the_help_of_fit_ends_with_the_encoders_of_every_modality(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["fit", "--help-all"])
    assert end.value.code == 0
    text = capsys.readouterr().out.partition("\nencoders:\n")[2]
    for name, plugin in installed_modalities().items():
        assert re.search(rf"^  {name}: by default .+transformer", text, re.MULTILINE)
        for path in declared_encoders(plugin):
            assert f"    {path}: " in text
            assert issubclass(ClassTable().find(path, Encoder, "encoders"), Encoder)
    assert "polyclinic_xray.timm_encoder.TimmEncoder: A timm backbone for one-channel radiographs." in text
    assert "          xray: {class_path: polyclinic_xray.timm_encoder.TimmEncoder, init_args: {name: resnet50}}" in text


def test_a_plugin_in_one_module_and_an_encoder_that_is_not_installed_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other(Pulse):
        encoders = ("no_such_package.Absent", "pulse_plugin.Absent")

    assert issubclass(Other, Modality)
    monkeypatch.setattr(Other, "__module__", Pulse.__module__)
    text = encoder_help({"pulse": Other})
    assert "  pulse: by default the shared transformer over this modality's tokens\n" in text
    assert "    no_such_package.Absent: cannot be read; see `polyclinic doctor`" in text
