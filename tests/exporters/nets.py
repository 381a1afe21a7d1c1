"""Small networks for the tests of the exporter; each is also a factory that `module:factory` can name."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Residual block with functional ReLUs and one activation module called twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        y = self.act(self.bn1(self.conv1(x)))
        return self.act(self.conv2(y) + x)


class Tiny(nn.Module):
    """Every kind of layer in a few thousand weights."""

    def __init__(self, channels: int = 3, classes: int = 5, scores=lambda x: x) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(2))
        self.block = Block(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, classes)
        self.scores = scores

    def forward(self, x):
        x = self.block(self.stem(x))
        x = torch.cat([F.relu(x), F.relu(-x)], 1)
        return self.scores(self.head(self.drop(x.mean((2, 3)))))


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random statistics in the norms, which are the identity when new and would hide a mix-up."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
            part.weight.data.uniform_(0.7, 1.3, generator=generator)
            part.bias.data.normal_(0, 0.1, generator=generator)
    return module


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return lively(Tiny())


def grey() -> nn.Module:
    torch.manual_seed(0)
    return lively(Tiny(channels=1))


def softmax() -> nn.Module:
    torch.manual_seed(0)
    return lively(Tiny(scores=lambda x: x.softmax(1)))


def one_score() -> nn.Module:
    torch.manual_seed(0)
    return lively(Tiny(classes=1, scores=torch.sigmoid))


def many_labels() -> nn.Module:
    torch.manual_seed(0)
    return lively(Tiny(classes=4, scores=torch.sigmoid))


def in_a_dict() -> nn.Module:
    torch.manual_seed(0)
    return lively(Tiny(scores=lambda x: {"features": x.exp(), "logits": x}))


def in_a_tuple() -> nn.Module:
    torch.manual_seed(0)
    return lively(Tiny(scores=lambda x: (x[:, :, None, None].relu(), x, None)))


def restless() -> nn.Module:
    """Drops also in evaluation mode."""
    return Tiny(scores=lambda x: F.dropout(x, 0.5, training=True))


def barely_restless() -> nn.Module:
    """Random by so little that two runs hardly differ."""
    return Tiny(scores=lambda x: x + 1e-6 * torch.rand_like(x))


class Stubborn(Tiny):
    """Keeps its norm in training mode, as some fine-tuning code does."""

    def train(self, mode: bool = True):
        super().train(mode)
        self.stem[1].training = True
        return self


def batch_bound() -> nn.Module:
    """Norms that use the statistics of the batch also in evaluation mode."""
    net = Tiny()
    net.stem[1] = nn.BatchNorm2d(8, track_running_stats=False)
    return net


def grouped() -> nn.Module:
    """A group norm, which opset 20 writes as five nodes."""
    torch.manual_seed(0)
    net = Tiny()
    net.stem[1] = nn.GroupNorm(2, 8)
    return net


def densenet() -> nn.Module:
    """DenseNet with three layers a block: DenseNet-121 has the same in 58, and takes ten times as long to trace."""
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=32, block_config=(3, 3, 3, 3), num_init_features=64)


def vgg16() -> nn.Module:
    """VGG16 of an eighth of the channels, for pictures of 64x64: half a gigabyte of head would tell no more."""
    from torchvision.models.vgg import VGG, make_layers

    with torch.device("meta"):
        net = VGG(make_layers([8, 8, "M", 16, 16, "M", *[32] * 3, "M", *[64] * 3, "M", *[64] * 3, "M"]))
        net.avgpool = nn.AdaptiveAvgPool2d(2)
        sizes = (64 * 2 * 2, 32, 32, 1000)
        for place, (inside, outside) in zip((0, 3, 6), pairwise(sizes), strict=True):
            net.classifier[place] = nn.Linear(inside, outside)
    net.to_empty(device="cpu")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    return net


def convnext() -> nn.Module:
    """ConvNeXt with four stages of one and two blocks."""
    from torchvision.models import ConvNeXt
    from torchvision.models.convnext import CNBlockConfig

    stages = [CNBlockConfig(24, 48, 1), CNBlockConfig(48, 64, 1), CNBlockConfig(64, 96, 2), CNBlockConfig(96, None, 1)]
    return ConvNeXt(stages)


def broken() -> nn.Module:
    raise ValueError("no such checkpoint\nand a second line")


not_a_module = dict
