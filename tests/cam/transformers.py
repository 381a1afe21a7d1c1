"""Small detectors as DETR and RT-DETR are, randomly initialised: boxes come from queries that look at all places."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tests.conftest import require

torch = require("torch")
nn = torch.nn

WIDTH = 16


class Attention(nn.Module):
    """Scaled dot products in two heads, written out as exporters see them."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Any, memory: Any) -> Any:
        def split(values: Any) -> Any:
            return values.reshape(1, -1, 2, WIDTH // 2).transpose(1, 2)

        q, k, v = split(self.q(x)), split(self.k(memory)), split(self.v(memory))
        shares = (q @ k.transpose(2, 3) / (WIDTH // 2) ** 0.5).softmax(-1)
        return self.out((shares @ v).transpose(1, 2).reshape(1, -1, WIDTH))


class Block(nn.Module):
    """Attention and two layers, each with a norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.first, self.second = Attention(), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)

    def forward(self, x: Any, memory: Any) -> Any:
        x = self.first(x + self.look(x, memory))
        return self.second(x + self.narrow(self.wide(x).relu()))


class Transformer(nn.Module):
    """kind: detr (learned queries, a class for no object) or rtdetr (the best places are the queries, sigmoids)."""

    def __init__(self, kind: str = "detr", classes: int = 4, queries: int = 100) -> None:
        super().__init__()
        self.kind, self.classes = kind, classes
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, WIDTH, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.encoder, self.decoder = Block(), Block()
        self.queries = nn.Parameter(torch.randn(1, queries, WIDTH))
        self.count = queries
        self.guess = nn.Linear(WIDTH, 1)
        self.scores, self.boxes = nn.Linear(WIDTH, classes + (kind == "detr")), nn.Linear(WIDTH, 4)
        nn.init.normal_(self.scores.weight)

    def logits(self, maps: Any) -> tuple[Any, Any]:
        """(logits of each query, boxes) from the maps of the trunk."""
        memory = maps.flatten(2).transpose(1, 2)
        memory = self.encoder(memory, memory)
        queries = self.queries
        if self.kind == "rtdetr":
            best = self.guess(memory)[..., 0].topk(self.count, dim=1)[1]
            queries = memory.gather(1, best.unsqueeze(-1).repeat(1, 1, WIDTH))
        found = self.decoder(queries, memory)
        return self.scores(found), self.boxes(found).sigmoid()

    def forward(self, x: Any) -> Any:
        scores, boxes = self.logits(self.trunk(x))
        return (scores, boxes) if self.kind == "detr" else torch.cat((boxes, scores.sigmoid()), -1)


def export(net: Any, path: Path, size: tuple[int, int]) -> Path:
    """The file, with outputs named as Hugging Face and Ultralytics name them."""
    names = ["logits", "pred_boxes"] if net.kind == "detr" else ["output0"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(), (torch.zeros(1, 3, *size),), str(path), dynamo=False, opset_version=17,
            input_names=["images"], output_names=names,
        )  # fmt: skip
    return path
