"""Small detectors with heads as YOLOv8, 11 and 26 have them, randomly initialised, as torch modules and as files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tests.conftest import require

torch = require("torch")
nn, functional = torch.nn, torch.nn.functional

WIDTHS = (12, 16, 20)
STRIDES = (8, 16, 32)


def conv(cin: int, cout: int, k: int = 1, s: int = 1, g: int = 1) -> Any:
    """Convolution, batch norm, SiLU."""
    norm = nn.BatchNorm2d(cout)
    nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return nn.Sequential(nn.Conv2d(cin, cout, k, s, k // 2, groups=g, bias=False), norm, nn.SiLU())


class Pyramid(nn.Module):
    """Maps of three strides, each of which depends on the ones before it, as behind a path aggregation network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, 3, 2), conv(8, 8, 3, 2))
        self.steps = nn.ModuleList(conv(a, b, 3, 2) for a, b in zip((8, *WIDTHS), WIDTHS, strict=False))
        self.out = nn.ModuleList(conv(w, w, 3) for w in WIDTHS)

    def forward(self, x: Any) -> list[Any]:
        x, found = self.stem(x), []
        for step, out in zip(self.steps, self.out, strict=True):
            x = out(step(x))
            found.append(x)
        return found


def box_branch(width: int, numbers: int) -> Any:
    return nn.Sequential(conv(width, 16, 3), conv(16, 16, 3), nn.Conv2d(16, numbers, 1))


def class_branch(width: int, classes: int, separable: bool) -> Any:
    if not separable:
        return nn.Sequential(conv(width, 14, 3), conv(14, 14, 3), nn.Conv2d(14, classes, 1))
    return nn.Sequential(
        conv(width, width, 3, g=width), conv(width, 14), conv(14, 14, 3, g=14), conv(14, 14), nn.Conv2d(14, classes, 1)
    )


class Detector(nn.Module):
    """style: v8, or 11 with separable class branches, or 26 with neither bins nor suppression to do."""

    def __init__(self, style: str = "v8", classes: int = 5, bins: int = 16) -> None:
        super().__init__()
        self.style, self.classes, self.bins = style, classes, 1 if style == "v26" else bins
        self.trunk = Pyramid()
        self.boxes = nn.ModuleList(box_branch(w, 4 * self.bins) for w in WIDTHS)
        self.scores = nn.ModuleList(class_branch(w, classes, style != "v8") for w in WIDTHS)
        for branch in self.scores:
            nn.init.constant_(branch[-1].bias, -1.0)

    def features(self, x: Any) -> list[Any]:
        return self.trunk(x)

    def logits(self, maps: list[Any]) -> list[Any]:
        """(1, K, h, w) for each stride."""
        return [branch(m) for branch, m in zip(self.scores, maps, strict=True)]

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x))

    def head(self, maps: list[Any]) -> Any:
        """Boxes and scores of all places."""
        n = maps[0].shape[0]
        both = [torch.cat((b(m), s), 1) for b, m, s in zip(self.boxes, maps, self.logits(maps), strict=True)]
        flat = torch.cat([one.reshape(n, 4 * self.bins + self.classes, -1) for one in both], 2)
        sides, scores = flat.split((4 * self.bins, self.classes), 1)
        if self.bins > 1:
            shares = sides.reshape(n, 4, self.bins, -1).softmax(2)
            sides = (shares * torch.arange(self.bins, dtype=torch.float32).reshape(1, 1, -1, 1)).sum(2)
        else:
            sides = functional.softplus(sides) + 1
        centres, steps = [], []
        for m, stride in zip(maps, STRIDES, strict=True):
            h, w = m.shape[-2:]
            ys, xs = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            centres.append(torch.stack((xs, ys), -1).reshape(-1, 2))
            steps.append(torch.full((h * w, 1), float(stride)))
        centre, step = torch.cat(centres).T[None], torch.cat(steps).T[None]
        low, high = centre - sides[:, :2], centre + sides[:, 2:]
        if self.style != "v26":
            box = torch.cat(((low + high) / 2, high - low), 1) * step
            return torch.cat((box, scores.sigmoid()), 1)
        box = (torch.cat((low, high), 1) * step).transpose(1, 2)
        return best_rows(box, scores.sigmoid().transpose(1, 2), 300)


def best_rows(box: Any, scores: Any, most: int) -> Any:
    """The best places, then the best of all their classes: (1, most, 6), as heads without suppression give them."""
    anchors = scores.amax(-1).topk(most)[1].unsqueeze(-1)
    box = box.gather(1, anchors.repeat(1, 1, 4))
    scores = scores.gather(1, anchors.repeat(1, 1, scores.shape[-1]))
    best, index = scores.flatten(1).topk(most)
    rows = torch.div(index, scores.shape[-1], rounding_mode="floor")
    kept = box.gather(1, rows.unsqueeze(-1).repeat(1, 1, 4))
    classes = (index % scores.shape[-1]).unsqueeze(-1).to(best.dtype)
    return torch.cat((kept, best.unsqueeze(-1), classes), -1)


def export(net: Any, path: Path, size: tuple[int, int] = (160, 192), **options: Any) -> Path:
    """The file, with the metadata that says how many classes there are."""
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the old exporter says that it is old, and the tracer what it takes as constant
        torch.onnx.export(
            net.eval(), (torch.zeros(1, 3, *size),), str(path), dynamo=False, opset_version=17,
            input_names=["images"], output_names=["output0"], **options,
        )  # fmt: skip
    proto = onnx.load(path)
    names = repr({i: f"thing {i}" for i in range(net.classes)})
    known = {"task": "detect", "names": names, "imgsz": str([*size]), "stride": "32"}
    onnx.helper.set_model_props(proto, known)
    onnx.save(proto, path)
    return path
