"""A scan as the pictures of an audit: what it holds is judged by all of its pictures, as if they had been run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.auditing import audit_model, load_snapshot
from inspector.auditing import scanned as module
from inspector.auditing.walk import AuditWalk
from inspector.model import Model, open_model
from inspector.model.annotate import annotate_model
from inspector.scanning import ScanOptions, scan_pictures
from tests.audit.policies import policy
from tests.conftest import MakeModel, require
from tests.foreign import Net

HELD = ("accuracy", "balanced-accuracy", "class-recall", "confusion", "calibration", "zero-fraction")
"""Checks that the scan answers alone."""


@pytest.fixture
def model(make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model whose scan of 40 pictures lies in `scan`; an audit of it runs ten of them."""
    require("pyarrow")

    def build(n: Net, x: str) -> str:
        # The first channel wakes on bright pictures only, the last on none.
        weight = n.const(np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]])[:, :, None, None])
        y = n("Relu", n("Conv", x, weight, n.const(np.float32([-0.8, -0.2, 0, -2]))), out="first")
        scores = np.float32([[3, 25, -25, 1], [0, -25, 25, 2]])
        return n("Gemm", n("Flatten", n("GlobalAveragePool", y)), n.const(scores), transB=1, out="scores")

    rng = np.random.default_rng(0)
    for number in range(40):
        low, high = (200, 256) if number == 7 else (0, 128)
        path = tmp_path / "set" / ("left", "right")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(low, high, (8, 8, 3), np.uint8)).save(path)
    annotate_model(open_model(make_model(build)), tmp_path / "unit.onnx", preprocess="unit", labels=("left", "right"))
    model = open_model(tmp_path / "unit.onnx")
    names = [layer.name for layer in model.layers if layer.kind == "activation"]
    scan_pictures(model, [tmp_path / "set"], tmp_path / "scan", ScanOptions(engine="plain", layers=names))
    monkeypatch.setattr(module, "MOST_RUN", 10)
    return model


def test_dead_channels_are_judged_by_all_pictures_of_a_scan(model: Model, tmp_path: Path) -> None:
    found = audit_model(model, policy("dead-channels", "finite-on-images"), data=tmp_path / "scan")
    assert found.pictures == 10
    assert "10 of the 40 pictures of the scan" in " ".join(found.notes)
    # By the ten alone two of four channels never wake.
    [name] = [layer.name for layer in model.layers if layer.kind == "activation"]
    assert found.check("dead-channels").details["dead_share"][name] == 0.25
    assert found.check("dead-channels").message.endswith("; 1 layer by 40 pictures of the scan")


def test_scans_of_archives_and_addresses_are_audited_as_those_of_folders(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [layer.name for layer in model.layers if layer.kind == "activation"]
    shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path, "set")
    shutil.make_archive(str(tmp_path / "set"), "tar", tmp_path, "set")
    given = policy("dead-channels", "finite-on-images", "pictures-readable", "blank-layers", "accuracy", "batches")
    whole = audit_model(model, given, data=tmp_path / "scan")
    for number, data in enumerate((tmp_path / "set.zip", tmp_path / "set.tar", f"file://{tmp_path}/set")):
        # The outermost folder of an archive is the class, and here that is the set itself.
        out = tmp_path / f"scan-{number}"
        scan_pictures(model, [data], out, ScanOptions(engine="plain", layers=names))
        found = audit_model(model, given, data=out)
        assert found.pictures == 10
        for name in ("dead-channels", "finite-on-images", "pictures-readable", "blank-layers", "batches"):
            assert (found.check(name).status, found.check(name).message) == (
                whole.check(name).status,
                whole.check(name).message,
            )
    # Where the scan holds all layers, nothing is run for their ranges.
    every = [layer.name for layer in model.layers]
    scan_pictures(model, [tmp_path / "set.zip"], tmp_path / "all", ScanOptions(engine="plain", layers=every))
    whole = audit_model(model, policy("dead-channels", "finite-on-images", "blank-layers"), data=tmp_path / "set")

    def fail(*_: object) -> None:
        raise AssertionError("a picture was run")

    monkeypatch.setattr(AuditWalk, "_run", fail)
    found = audit_model(model, policy("dead-channels", "finite-on-images", "blank-layers"), data=tmp_path / "all")
    assert [(x.status, x.details) for x in found.checks] == [(x.status, x.details) for x in whole.checks]
    assert all("; all layers by 40 pictures of the scan" in x.message for x in found.checks)


def test_what_a_scan_holds_is_not_run_again(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = audit_model(model, policy(*HELD), data=tmp_path / "set")
    assert 0.3 < (whole.check("accuracy").value or 0) < 0.7
    save = tmp_path / "model.snapshot"
    audit_model(model, policy(*HELD), data=tmp_path / "scan", save=save)
    assert len(load_snapshot(save).predictions) == 10
    assert load_snapshot(save).metrics["accuracy"] == whole.check("accuracy").value

    def fail(*_: object) -> None:
        raise AssertionError("a picture was run")

    monkeypatch.setattr(AuditWalk, "_run", fail)
    found = audit_model(model, policy(*HELD, "pictures-readable"), data=tmp_path / "scan")
    for name in HELD:
        one, other = found.check(name), whole.check(name)
        assert "40 pictures of the scan" in one.message, one.message
        assert (one.status, len(one.findings)) == (other.status, len(other.findings))
        for mine, theirs in list(zip(one.findings, other.findings, strict=True))[1:]:
            assert Path(mine.message.split(" is taken")[0]).name == Path(theirs.message.split(" is taken")[0]).name
        assert one.value == pytest.approx(other.value, abs=1e-6)
        if name not in ("calibration", "zero-fraction"):
            assert one.details == other.details
    assert found.check("pictures-readable").message == "0 of 40 pictures of the scan cannot be read"
