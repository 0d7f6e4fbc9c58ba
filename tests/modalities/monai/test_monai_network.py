"""Networks of MONAI as encoders of images and volumes, with random or local weights and no network access."""

import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from polyclinic.models.class_table import ClassTable
from polyclinic.nn import Encoder
from polyclinic_monai.network import NETWORKS, MonaiNetwork
from polyclinic_volume.drawing import grid_of
from polyclinic_volume.monai_encoder import MonaiEncoder as VolumeEncoder
from polyclinic_xray.monai_encoder import MonaiEncoder as ImageEncoder

FAST = ("DenseNet121", "ResNet10", "SegResEncoder")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.parametrize("name", NETWORKS)
def test_images_become_tokens_of_the_stated_width(name: str) -> None:
    torch.manual_seed(0)
    encoder, images = ImageEncoder(name=name).eval(), torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        together, alone = encoder({"image": images}), encoder({"image": images[1:]})
    assert together.tokens.shape[2] == together.pooled.shape[1] == encoder.width
    assert not together.padding.any()
    torch.testing.assert_close(together.pooled[1:], alone.pooled, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.tokens.mean(dim=1), together.pooled)


@pytest.mark.parametrize("name", FAST)
def test_volumes_become_tokens_of_a_grid_and_every_weight_learns(name: str) -> None:
    size = (32, 48, 32)
    encoder = VolumeEncoder(name=name, channels=3)
    encoded = encoder({"volume": torch.randn(2, 3, *size)})
    assert encoded.pooled.shape == (2, encoder.width)
    assert len(grid_of(encoded.tokens.shape[1], size=size, patch=8)) == 3
    encoded.pooled.square().sum().backward()
    unused = [key for key, value in encoder.named_parameters() if value.grad is None]
    assert not unused, unused


def test_weights_load_from_local_files_only(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, volumes = MonaiNetwork(name="ResNet10", dimensions=3, channels=1).eval(), torch.randn(1, 1, 32, 32, 32)
    stored = {**first.backbone.state_dict(), "fc.weight": torch.zeros(3, 512)}
    save_file(stored, tmp_path / "weights.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in stored.items()}}, tmp_path / "weights.pth")
    for file in ("weights.safetensors", "weights.pth"):
        torch.manual_seed(1)
        second = VolumeEncoder(name="ResNet10", channels=1, weights=tmp_path / file).eval()
        with torch.no_grad():
            torch.testing.assert_close(second({"volume": volumes}).pooled, first(volumes).pooled, rtol=0, atol=0)
        assert second.account is not None
        assert second.account.dropped == ("fc.weight",)
    assert VolumeEncoder.portable({"name": "ResNet10", "weights": "a"}) == {"name": "ResNet10", "weights": None}


def test_wrong_names_and_weights_are_refused_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of DenseNet121"):
        ImageEncoder(name="os.system")
    with pytest.raises(ValueError, match="which is not a file"):
        ImageEncoder(name="ResNet10", weights=tmp_path / "gone.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="that cannot be read"):
        ImageEncoder(name="ResNet10", weights=tmp_path / "bad.safetensors")
    save_file({"conv1.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="of the parameters of 'ResNet10'"):
        ImageEncoder(name="ResNet10", weights=tmp_path / "other.safetensors")


def test_bundles_may_name_the_encoder_of_radiographs() -> None:
    found = ClassTable().find("polyclinic_xray.monai_encoder.MonaiEncoder", Encoder, "encoders.xray")  # type: ignore[type-abstract]
    assert found is ImageEncoder
