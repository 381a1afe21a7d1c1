"""A scan as the pictures of an audit: a channel that sleeps on the pictures that are run is not called dead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.auditing import audit_model
from inspector.auditing import scanned as module
from inspector.model import open_model
from inspector.scanning import ScanOptions, scan_pictures
from tests.audit.policies import policy
from tests.conftest import MakeModel, require
from tests.foreign import Net


def test_dead_channels_are_judged_by_all_pictures_of_a_scan(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("pyarrow")

    def build(n: Net, x: str) -> str:
        # The first channel wakes on bright pictures only, the last on none.
        weight = n.const(np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]])[:, :, None, None])
        y = n("Relu", n("Conv", x, weight, n.const(np.float32([-0.8, 0, 0, -2]))), out="first")
        return n("Gemm", n("Flatten", n("GlobalAveragePool", y)), n.weight((2, 4)), transB=1, out="scores")

    rng = np.random.default_rng(0)
    for number in range(40):
        low, high = (200, 256) if number == 7 else (0, 128)
        path = tmp_path / "set" / f"class {number % 2}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(low, high, (8, 8, 3), np.uint8)).save(path)
    from inspector.model.annotate import annotate_model

    annotate_model(open_model(make_model(build)), tmp_path / "unit.onnx", preprocess="unit")
    model = open_model(tmp_path / "unit.onnx")
    scan_pictures(model, [tmp_path / "set"], tmp_path / "scan", ScanOptions(engine="plain", layers=["first"]))
    monkeypatch.setattr(module, "MOST_RUN", 10)
    found = audit_model(model, policy("dead-channels"), data=tmp_path / "scan")
    assert found.pictures == 10
    assert "10 of the 40 pictures of the scan" in " ".join(found.notes)
    # By the ten alone two of four channels never wake.
    assert found.check("dead-channels").details["dead_share"]["first"] == 0.25
