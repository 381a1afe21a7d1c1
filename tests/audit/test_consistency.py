"""Answers that change with what should not matter: each check catches its own kind and leaves the others alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inspector.auditing import audit_model
from inspector.model import open_model
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net


def linear(weights: NDArray[np.float32], bias: float) -> Callable[[Net, str], str]:
    """Two classes: the picture times `weights` (3, 16, 16) plus a bias, and zero."""

    def build(net: Net, x: str) -> str:
        rows = np.stack([weights.reshape(-1), np.zeros(weights.size)]).astype(np.float32)
        flat = net("Flatten", x)
        return net("Gemm", flat, net.const(rows), net.const(np.array([bias, 0], np.float32)), transB=1, out="logits")

    return build


@pytest.mark.parametrize(
    ("id", "settings", "caught"),
    [
        ("consistent-flip", {}, "sides"),
        ("consistent-blur", {"radius": 3}, "texture"),
    ],
)
def test_an_answer_that_hangs_on_what_should_not_matter_is_caught(
    make_model: MakeModel, tmp_path: Path, id: str, settings: dict[str, float], caught: str
) -> None:
    columns, rows = np.meshgrid(np.arange(16), np.arange(16))
    board = (-1.0) ** (np.minimum(columns, 15 - columns) + rows)  # the same when flipped
    networks = {
        "sides": (np.where(columns < 8, 1.0, -1.0), 0.0),  # left brighter than right
        "texture": (board, -20.0),  # a fine chequered pattern
        "brightness": (np.ones((16, 16)), -20.0),  # neither
    }
    # Brighter on the left, and chequered: what each of the three networks looks for is there.
    pixels = np.clip(128 + 40 * np.where(columns < 8, 1, -1) + 80 * board, 0, 255).astype(np.uint8)
    for i in range(8):
        Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)).save(tmp_path / f"{i}.png")
    for name, (weights, bias) in networks.items():
        build = linear(np.repeat(weights[None], 3, axis=0).astype(np.float32), bias)
        model = open_model(make_model(build, shape=("N", 3, 16, 16), name=f"{name}.onnx"))
        found = audit_model(model, policy(id, checks={id: settings}), data=tmp_path).check(id)
        assert (found.status, found.value) == (("warn", 0.0) if name == caught else ("pass", 1.0)), name
