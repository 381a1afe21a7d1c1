"""Channel axis and values of every layer, held against the hooks of the torch module, family by family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.layers.families import compare

torch = require("torch")
tv = require("torchvision").models
timm = require("timm")


def named(name: str, **options: Any) -> Callable[[], Any]:
    return lambda: tv.get_model(name, weights=None, num_classes=5, **options)


def timed(name: str, **options: Any) -> Callable[[], Any]:
    return lambda: timm.create_model(name, pretrained=False, num_classes=5, **options)


def swin(version: str) -> Callable[[], Any]:
    def make() -> Any:
        module = tv.swin_transformer
        more = {"block": module.SwinTransformerBlockV2, "downsample_layer": module.PatchMergingV2} if version else {}
        return module.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=5, **more)

    return make


def maxvit() -> Any:
    return tv.MaxVit(
        input_size=(64, 64), stem_channels=16, partition_size=4, block_channels=[16, 32], block_layers=[1, 1],
        head_dim=8, stochastic_depth_prob=0.0, num_classes=5,
    )  # fmt: skip


def convnext() -> Any:
    block = tv.convnext.CNBlockConfig
    return tv.ConvNeXt([block(16, 32, 2), block(32, None, 1)], num_classes=5)


def without_head(name: str) -> Callable[[], Any]:
    """Whose first linear layer would be most of the file."""

    def make() -> Any:
        net = tv.get_model(name, weights=None)
        net.avgpool, net.classifier = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(net.features[-3].out_channels, 5)
        return net

    return make


QUICK: dict[str, tuple[Callable[[], Any], int]] = {
    "convnext": (convnext, 32),
    "swin": (swin(""), 64),
    "timm edgenext": (timed("edgenext_xx_small", depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), heads=(2, 2, 2, 2)), 64),
}
SLOW: dict[str, tuple[Callable[[], Any], int]] = {
    "alexnet": (without_head("alexnet"), 64),
    "densenet": (lambda: tv.DenseNet(8, (2, 2, 2), 16, num_classes=5), 32),
    "efficientnet": (named("efficientnet_b0"), 32),
    "googlenet": (named("googlenet", init_weights=False, aux_logits=False), 64),
    "inception": (named("inception_v3", init_weights=False, aux_logits=False), 96),
    "maxvit": (maxvit, 64),
    "mnasnet": (named("mnasnet0_5"), 32),
    "mobilenet v2": (named("mobilenet_v2"), 32),
    "mobilenet v3": (named("mobilenet_v3_small"), 32),
    "regnet": (named("regnet_y_400mf"), 32),
    "resnet": (named("resnet18"), 32),
    "resnext": (named("resnext50_32x4d"), 32),
    "shufflenet": (named("shufflenet_v2_x0_5"), 32),
    "squeezenet": (named("squeezenet1_1"), 64),
    "swin v2": (swin("2"), 64),
    "vgg": (without_head("vgg11"), 32),
    "vit": (lambda: tv.VisionTransformer(32, 8, 2, 2, 24, 48, num_classes=5), 32),
    "timm beit": (timed("beit_base_patch16_224", img_size=64, embed_dim=24, depth=2, num_heads=2), 64),
    "timm coatnet": (timed("coatnet_nano_rw_224", img_size=64), 64),
    "timm convformer": (timed("caformer_s18"), 64),
    "timm focalnet": (timed("focalnet_tiny_srf"), 64),
    "timm levit": (timed("levit_128s", img_size=64), 64),
    "timm maxvit": (timed("maxvit_nano_rw_256", img_size=64), 64),
    "timm mixer": (timed("mixer_s32_224", img_size=64), 64),
    "timm mobilevit": (timed("mobilevit_xxs"), 64),
    "timm mvit": (timed("mvitv2_tiny", img_size=64), 64),
    "timm nest": (timed("nest_tiny", img_size=64), 64),
    "timm poolformer": (timed("poolformer_s12"), 64),
    "timm pvt": (timed("pvt_v2_b0"), 64),
    "timm swin": (
        timed("swin_tiny_patch4_window7_224", img_size=56, depths=(2, 2), embed_dim=24, num_heads=(2, 4)),
        56,
    ),
    "timm swin v2": (
        timed("swinv2_tiny_window8_256", img_size=64, depths=(2, 2), embed_dim=24, num_heads=(2, 4)),
        64,
    ),
    "timm twins": (timed("twins_pcpvt_small", img_size=64), 64),
    "timm vit with registers": (
        timed("vit_small_patch14_reg4_dinov2", img_size=56, embed_dim=24, depth=2, num_heads=2),
        56,
    ),
    "timm xcit": (timed("xcit_nano_12_p16_224", img_size=64, depth=2), 64),
}


def check(family: str, tmp_path: Path, dynamo: bool = False) -> None:
    torch.manual_seed(0)
    make, size = {**QUICK, **SLOW}[family]
    found = compare(make(), size, tmp_path / "m.onnx", dynamo)
    assert not found.wrong, "\n".join(found.wrong)
    assert found.compared >= 8, f"only {found.compared} layers go by the name of a module"


@pytest.mark.parametrize("family", QUICK)
def test_layouts_are_those_of_the_torch_module(family: str, tmp_path: Path) -> None:
    check(family, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", SLOW)
def test_layouts_of_every_family(family: str, tmp_path: Path) -> None:
    check(family, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["swin", "timm edgenext", "timm vit with registers"])
def test_layouts_as_the_newer_exporter_writes_them(family: str, tmp_path: Path) -> None:
    check(family, tmp_path, dynamo=True)
