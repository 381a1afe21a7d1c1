"""Maps of a segmenter: the sum of a class's scores over its pixels or a region, by torch's autograd a second time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inspector
from inspector.errors import NotComputable
from tests.conftest import require

torch = require("torch")
nn, functional = torch.nn, torch.nn.functional

SIZE = (48, 64)
Array = np.ndarray


class Segmenter(nn.Module):
    """Two scales that are joined, classes, and an enlargement to the input."""

    def __init__(self, classes: int, end: str) -> None:
        super().__init__()
        self.classes, self.end = classes, end
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1)
        self.joined, self.last = nn.Conv2d(20, 10, 3, 1, 1), nn.Conv2d(10, classes, 3, 1, 1)

    def maps(self, x: Any) -> Any:
        a = self.first(x).relu()
        b = functional.interpolate(self.second(a).relu(), scale_factor=2, mode="bilinear", align_corners=False)
        return self.joined(torch.cat((a, b), 1)).relu()

    def scores(self, maps: Any) -> Any:
        return functional.interpolate(self.last(maps), size=SIZE, mode="bilinear", align_corners=True)

    def forward(self, x: Any) -> Any:
        scores = self.scores(self.maps(x))
        if self.end == "softmax":
            return scores.softmax(1)
        return scores.argmax(1) if self.end == "argmax" else scores.sigmoid() if self.end == "sigmoid" else scores


def make(tmp_path: Path, classes: int, end: str) -> tuple[Any, inspector.Model]:
    torch.manual_seed(1)
    net = Segmenter(classes, end).eval()
    path = tmp_path / f"{end}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.zeros(1, 3, *SIZE),), str(path), dynamo=False, opset_version=17, output_names=["seg_logits"]
        )
    return net, inspector.open_model(path)


@pytest.mark.parametrize(("classes", "end"), [(4, "none"), (4, "softmax"), (4, "argmax"), (1, "sigmoid")])
@pytest.mark.parametrize("region", [None, "10,5,20,30"])
def test_seg_gradcam_equals_autograd(classes: int, end: str, region: str | None, tmp_path: Path) -> None:
    net, model = make(tmp_path, classes, end)
    assert model.task == "segment"
    x = np.random.default_rng(2).standard_normal((1, 3, *SIZE)).astype(np.float32)
    found = model.cam(x, region=region)
    assert found
    maps = net.maps(torch.from_numpy(x)).detach().requires_grad_()
    scores = net.scores(maps)
    best = scores[0].argmax(0).numpy() if classes > 1 else (scores[0, 0] > 0).long().numpy()
    for one in found:
        index = one.target.index
        area = best == index
        if region is not None:
            area = np.zeros(SIZE, bool)
            area[5:35, 10:30] = True
        sign = -1 if classes == 1 and index == 0 else 1
        total = sign * (scores[0, index if classes > 1 else 0] * torch.from_numpy(area)).sum()
        assert one.target.score == pytest.approx(total.item(), rel=1e-3, abs=1e-2)
        [gradient] = torch.autograd.grad(total, maps, retain_graph=True)
        wanted = (gradient.mean((2, 3), keepdim=True) * maps).sum(1)[0].detach().numpy()
        assert one.raw.shape == wanted.shape
        assert np.abs(one.raw - wanted).max() < 1e-4 * np.abs(wanted).max()
        assert one.backend == "onnx"
    assert [one.target.index for one in model.cam(x, classes=[1])] == [1]


def test_the_largest_classes_come_first(tmp_path: Path) -> None:
    _, model = make(tmp_path, 4, "none")
    x = np.random.default_rng(2).standard_normal((1, 3, *SIZE)).astype(np.float32)
    best = model.run(x, ["seg_logits"])["seg_logits"][0].argmax(0)
    many = np.bincount(best.ravel(), minlength=4)
    found = [one.target.index for one in model.cam(x)]
    assert found == [int(i) for i in np.argsort(-many, kind="stable") if many[i]]
    assert len(model.cam(x, top=1)) == 1
    with pytest.raises(NotComputable, match="finds no boxes"):
        model.cam(x, box=0)
