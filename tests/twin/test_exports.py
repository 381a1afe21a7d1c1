"""Networks exported from torch: the twin gives the same outputs and input gradients as the module it came from."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require

torch = require("torch")
torchvision = require("torchvision")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from inspector.graph import Graph, read_graph  # noqa: E402
from inspector.twin import Twin, build_twin, verify_twin  # noqa: E402


def _lively(module: Any) -> Any:
    """Random statistics, so that a batch norm does something and gradients do not die out."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
        if type(part).__name__ == "CNBlock":
            part.layer_scale.data.fill_(0.5)
    return module.eval()


def _export(module: Any, x: Any, path: Path, **options: Any) -> Graph:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' own
        torch.onnx.export(module, (x,), str(path), **options)
    return read_graph(path)


def _agree(module: Any, twin: Twin, x: Any, limit: float = 1e-4) -> None:
    """Outputs and input gradients of a random sum of the outputs agree to `limit` of their largest value."""
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, z = module(theirs), next(iter(twin(ours).values()))
    assert y.shape == z.shape
    assert (y - z).abs().max() <= limit * y.abs().max()
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (wanted,) = torch.autograd.grad((y * weights).sum(), theirs)
    (found,) = torch.autograd.grad((z * weights).sum(), ours)
    assert wanted.abs().max() > 0
    assert (found - wanted).abs().max() <= limit * wanted.abs().max()


def _dense() -> Any:
    """DenseNet with fewer and narrower layers: the exporter takes a quarter of a minute for 121."""
    return torchvision.models.DenseNet(12, (2, 3, 3, 2), 24, num_classes=10)


def _convnext() -> Any:
    """ConvNeXt with three short stages."""
    setting = torchvision.models.convnext.CNBlockConfig
    return torchvision.models.ConvNeXt([setting(24, 48, 2), setting(48, 96, 2), setting(96, None, 2)], num_classes=10)


@pytest.mark.parametrize(
    ("build", "optimize"),
    [
        (torchvision.models.resnet18, True), (torchvision.models.mobilenet_v3_small, True), (_dense, False),
        (_convnext, True),
    ],
    ids=["resnet18", "mobilenet_v3_small", "densenet", "convnext"],
)  # fmt: skip
def test_torchvision(build: Callable[[], Any], optimize: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = _lively(build())
    x = torch.randn(1, 3, 64, 64)
    graph = _export(module, x, tmp_path / "m.onnx", dynamo=True, external_data=False, verbose=False, optimize=optimize)
    twin = build_twin(graph, graph.outputs)
    verify_twin(twin, graph, {graph.inputs[0].name: x.numpy()})
    _agree(module, twin, x)
    # The file fixes one picture of 64 x 64; the twin takes others.
    _agree(module, twin, torch.randn(2, 3, 96, 80))


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_torchscript_exporter(opset: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = _lively(torchvision.models.mobilenet_v3_small(weights=None))
    x = torch.randn(2, 3, 64, 64)
    graph = _export(module, x, tmp_path / "m.onnx", dynamo=False, opset_version=opset)
    twin = build_twin(graph, graph.outputs)
    verify_twin(twin, graph, {graph.inputs[0].name: x.numpy()})
    _agree(module, twin, x)


class Pyramid(nn.Module):
    """What detectors and segmenters are made of: three scales, lateral and top-down paths, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.SiLU())
            for i, o in ((3, 8), (8, 16), (16, 24))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(c, 12, 1) for c in (8, 16, 24))
        self.spp = nn.MaxPool2d(5, 1, 2)
        self.boxes = nn.Conv2d(12, 3 * 7, 1)
        self.up = nn.ConvTranspose2d(12, 6, 4, 2, 1)
        self.mask = nn.Sequential(nn.GroupNorm(3, 6), nn.GELU(), nn.Conv2d(6, 2, 1))

    def forward(self, x: Any) -> Any:
        """(N, 3, H, W) -> (N, everything)."""
        size = x.shape[-2:]
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        fine, middle, coarse = (lateral(m) for lateral, m in zip(self.lateral, maps, strict=True))
        coarse = coarse + self.spp(coarse)
        middle = middle + F.interpolate(coarse, size=middle.shape[-2:], mode="nearest")
        fine = fine + F.interpolate(middle, scale_factor=2.0, mode="bilinear", align_corners=False)
        boxes = []
        for level in (fine, middle, coarse):
            n, _, h, w = level.shape
            found = self.boxes(level).reshape(n, 3, 7, h, w).permute(0, 1, 3, 4, 2)
            where, what = found.split([4, 3], dim=-1)
            boxes.append(torch.cat((where.sigmoid() * 2 - 0.5, what.softmax(-1)), -1).reshape(n, -1, 7))
        mask = F.interpolate(self.mask(self.up(fine)), size=size, mode="bicubic", align_corners=True)
        return torch.cat((torch.cat(boxes, 1).flatten(1), mask.flatten(1)), 1)


@pytest.mark.parametrize(
    "options",
    [
        {"dynamo": True, "external_data": False, "verbose": False, "dynamic_shapes": ({0: "n", 2: "h", 3: "w"},)},
        {"dynamo": False, "opset_version": 13, "input_names": ["x"], "dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}},
    ],
    ids=["dynamo", "torchscript"],
)
def test_pyramid(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = _lively(Pyramid())
    x = torch.randn(2, 3, 64, 48)
    if options["dynamo"]:
        eight = torch.export.Dim("a", min=2, max=64)
        options = {
            **options,
            "dynamic_shapes": ({0: torch.export.Dim("n"), 2: 8 * eight, 3: 8 * torch.export.Dim("b", min=2, max=64)},),
        }
    graph = _export(module, x, tmp_path / "m.onnx", **options)
    twin = build_twin(graph, graph.outputs)
    for size in ((64, 48), (32, 80)):
        x = torch.randn(2, 3, *size)
        verify_twin(twin, graph, {graph.inputs[0].name: x.numpy()})
        _agree(module, twin, x)


def test_recurrent_reader(tmp_path: Path) -> None:
    """Convolutions, then a bidirectional LSTM along the width, as in readers of text lines."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.PReLU(8), nn.AdaptiveAvgPool2d((1, None)))
            self.lstm = nn.LSTM(8, 5, bidirectional=True, batch_first=True)
            self.gru = nn.GRU(10, 4, batch_first=True)

        def forward(self, x: Any) -> Any:
            y = self.conv(x).squeeze(2).transpose(1, 2)
            return F.log_softmax(self.gru(self.lstm(y)[0])[0], -1)

    torch.manual_seed(0)
    module, x = Reader().eval(), torch.randn(2, 1, 8, 20)
    graph = _export(module, x, tmp_path / "m.onnx", dynamo=False, opset_version=17)
    twin = build_twin(graph, graph.outputs)
    verify_twin(twin, graph, {graph.inputs[0].name: x.numpy()})
    _agree(module, twin, x)


def test_fine_tuning_moves_both_alike(tmp_path: Path) -> None:
    """One step of gradient descent on the twin and on the module gives the same network."""
    torch.manual_seed(0)
    module: Any = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.Hardswish(),
                                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))  # fmt: skip
    x, label = torch.randn(4, 3, 12, 12), torch.tensor([0, 1, 2, 1])
    graph = _export(module, x, tmp_path / "m.onnx", dynamo=True, external_data=False, verbose=False)
    twin = build_twin(graph, graph.outputs, trainable=True)
    assert set(twin.state_dict()) == set(module.state_dict())
    calls: list[tuple[Any, Callable[[], Any]]] = [
        (module, lambda: module(x)),
        (twin, lambda: twin(x)[graph.outputs[0]]),
    ]
    for network, call in calls:
        optimiser = torch.optim.SGD(network.parameters(), 0.5)
        F.cross_entropy(call(), label).backward()
        optimiser.step()
    for name, value in module.state_dict().items():
        assert torch.allclose(value, twin.state_dict()[name], atol=1e-5), name


def test_a_twin_can_be_exported_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module: Any = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                nn.Linear(4, 3))  # fmt: skip
    x = torch.randn(2, 3, 12, 12)
    graph = _export(module, x, tmp_path / "m.onnx", dynamo=False, opset_version=17)
    twin = build_twin(graph, graph.outputs)
    before = twin(x)[graph.outputs[0]]
    again = _export(twin, x, tmp_path / "again.onnx", dynamo=True, external_data=False, verbose=False)
    assert torch.equal(twin(x)[graph.outputs[0]], before)  # torch.export swaps the parameters and puts them back
    _agree(module, build_twin(again, again.outputs), x)
