"""The layer that an export writes for class activation maps is the one that a file without metadata would give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from exporters.exporting import export_onnx
from exporters.sources import Source
from inspector import open_model
from inspector.cam import prepare
from inspector.image import Preprocess


class _Attention(nn.Module):
    """Maps, then attention of places to places, whose logits (N, heads, L, L) only look like maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, 8)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.query = nn.Linear(8, 24)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.conv(x))).flatten(2).transpose(1, 2)
        n, places, _ = x.shape
        q, k, v = self.query(x).reshape(n, places, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.relu(q @ k.transpose(-1, -2)).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(n, places, 8)
        return self.head((x + y).mean(1))


class _Branches(nn.Module):
    """Two branches that are pooled apart: the last of them is only one of two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.left = nn.Sequential(nn.Conv2d(6, 4, 3, 1, 1), nn.ReLU())
        self.right = nn.Sequential(nn.Conv2d(6, 4, 3, 1, 1), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(torch.cat([self.left(x).mean((2, 3)), self.right(x).mean((2, 3))], 1))


class _ConvolutionAsClassifier(nn.Module):
    """SqueezeNet's end: the classifier is a convolution, and its maps are the scores before pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.classifier = nn.Sequential(nn.Conv2d(6, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x)).flatten(1)


@pytest.mark.parametrize(
    ("network", "wanted"),
    [(_Attention, "add"), (_Branches, "stem.1"), (_ConvolutionAsClassifier, "features.1")],
)
def test_export_writes_the_layer_that_is_chosen_without_metadata(
    network: type[nn.Module], wanted: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    source = Source(network().eval(), "mine", Preprocess(size=(32, 32)), tuple("abcde"), {"spec": "mine"}, {}, None)
    made = export_onnx(source, tmp_path / "m.onnx")
    assert made.metadata.cam_layer == wanted
    named, bare = (open_model(tmp_path / "m.onnx", metadata=given) for given in (True, False))
    layers = [prepare(model, "gradcam").layers[0].tensor for model in (named, bare)]
    assert layers[0] == layers[1]
