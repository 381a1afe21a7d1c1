"""Inputs of every type and layout that a graph may want: the page feeds them as our own code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from inspector import open_model
from inspector.pages.live import write_live_page
from tests.foreign import FLOAT, FLOAT16, UINT8, Net
from tests.foreign.compared import run_alone
from tests.model.test_own_probabilities import rounds
from tests.pages.browser import needs_chromium, opened

pytestmark = [needs_chromium, pytest.mark.slow]

ASK = """async (kind) => Array.from((await inspector.ask(kind, { slot: 0, layer: 0, channels: [] })).scores)"""


@pytest.mark.parametrize(("dtype", "last"), [(FLOAT, True), (FLOAT16, False), (UINT8, False)])
def test_the_scores_are_ours(browser: Any, picture: Path, tmp_path: Path, dtype: int, last: bool) -> None:
    net = Net(seed=1)
    x = net.input("x", (1, 24, 24, 3) if last else (1, 3, 24, 24), dtype)
    x = net("Transpose", x, perm=[0, 3, 1, 2]) if last else x
    x = x if dtype == FLOAT else net("Cast", x, to=FLOAT)
    flat = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 3, 6, 3))))
    onnx.save(net.model(net("Gemm", flat, net.weight((6, 4)))), tmp_path / "net.onnx")
    model = open_model(tmp_path / "net.onnx")
    tab = opened(browser, write_live_page(model, [picture], tmp_path / "live.html").path)
    expected = model.scores(model.tensor(picture))[0]
    # The whole network, and the rest of it behind a layer.
    for kind in ("tensor", "off"):
        np.testing.assert_allclose(tab.page.evaluate(ASK, kind), expected, rtol=1e-5, atol=1e-5)
    assert tab.complaints == []
    tab.page.context.close()


def test_probabilities_that_the_file_rounds(browser: Any, picture: Path, tmp_path: Path) -> None:
    """To 1/50: of the whole network, and of the rest of it behind a layer, they are the file's own."""
    onnx.save(build_rounds(), tmp_path / "net.onnx")
    model = open_model(tmp_path / "net.onnx")
    tensor = model.tensor(picture)
    [expected] = run_alone(onnx.load(tmp_path / "net.onnx"), tmp_path, {"x": tensor}, ["p"])
    assert np.abs(model.probabilities(model.scores(tensor)) - expected).max() > 1e-3
    tab = opened(browser, write_live_page(model, [picture], tmp_path / "live.html").path)
    behind = tab.page.evaluate(ASK.replace(".scores", ".probabilities"), "off")
    np.testing.assert_allclose(behind, expected[0], atol=1e-6)
    assert tab.page.evaluate("inspector.images[0].top[0].probability") == pytest.approx(expected.max(), abs=1e-6)
    assert tab.complaints == []
    tab.page.context.close()


def build_rounds() -> onnx.ModelProto:
    net = Net(opset=13)
    return net.model(rounds(net, net.input("x", (1, 3, 8, 8))))
