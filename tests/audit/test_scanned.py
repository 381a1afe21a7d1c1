"""A scan as the pictures of an audit: what it holds is judged by all of its pictures, as if they had been run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.auditing import audit_model, load_snapshot
from inspector.auditing import scanned as module
from inspector.auditing.pictures import EntryReader, PictureEntry
from inspector.auditing.walk import AuditWalk
from inspector.model import Model, open_model
from inspector.model.annotate import annotate_model
from inspector.scanning import ScanOptions, scan_pictures
from inspector.scanning.listing import Listed
from inspector.scanning.sources import opening
from tests.audit.policies import policy
from tests.conftest import require
from tests.foreign import Net

HELD = ("accuracy", "balanced-accuracy", "class-recall", "confusion", "calibration", "zero-fraction")
"""Checks that the scan answers alone."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model `unit.onnx`, 40 pictures in `set`, and their scan in `scan`."""
    require("pyarrow")
    folder = tmp_path_factory.mktemp("scanned")
    n = Net()
    x = n.input("x", (1, 3, 8, 8))
    # The first channel wakes on bright pictures only, the last on none.
    weight = n.const(np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]])[:, :, None, None])
    y = n("Relu", n("Conv", x, weight, n.const(np.float32([-0.8, -0.2, 0, -2]))), out="first")
    means = np.float32([[3, 25, -25, 1], [0, -25, 25, 2]])
    scores = n("Gemm", n("Flatten", n("GlobalAveragePool", y)), n.const(means), transB=1, out="scores")
    (folder / "model.onnx").write_bytes(n.model(scores).SerializeToString())
    rng = np.random.default_rng(0)
    for number in range(40):
        low, high = (200, 256) if number == 7 else (0, 128)
        path = folder / "set" / ("left", "right")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(low, high, (8, 8, 3), np.uint8)).save(path)
    annotate_model(open_model(folder / "model.onnx"), folder / "unit.onnx", preprocess="unit", labels=("left", "right"))
    model = open_model(folder / "unit.onnx")
    names = [layer.name for layer in model.layers if layer.kind == "activation"]
    scan_pictures(model, [folder / "set"], folder / "scan", ScanOptions(engine="plain", layers=names))
    return folder


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The model; an audit of its scan runs ten of the pictures."""
    monkeypatch.setattr(module, "MOST_RUN", 10)
    return open_model(folder / "unit.onnx")


def test_dead_channels_are_judged_by_all_pictures_of_a_scan(model: Model, folder: Path) -> None:
    found = audit_model(model, policy("dead-channels", "finite-on-images"), data=folder / "scan")
    assert found.pictures == 10
    assert "10 of the 40 pictures of the scan" in " ".join(found.notes)
    # By the ten alone two of four channels never wake.
    [name] = [layer.name for layer in model.layers if layer.kind == "activation"]
    assert found.check("dead-channels").details["dead_share"][name] == 0.25
    assert found.check("dead-channels").message.endswith("; 1 layer by 40 pictures of the scan")


def test_scans_of_archives_and_addresses_are_audited_as_those_of_folders(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive is opened once for all of its pictures, each is read once, and it is closed at the end."""
    names = [layer.name for layer in model.layers if layer.kind == "activation"]
    shutil.make_archive(str(folder / "set"), "zip", folder, "set")
    scan_pictures(model, [folder / "set.zip"], folder / "zipped", ScanOptions(engine="plain", layers=names, top=1))
    given = policy("dead-channels", "finite-on-images", "pictures-readable", "blank-layers")
    opened: list[opening._Archive] = []
    read: list[str] = []
    real, read_member = opening._Archive.__init__, opening._Archive.read
    monkeypatch.setattr(opening._Archive, "__init__", lambda self, stream: opened.append(self) or real(self, stream))
    monkeypatch.setattr(opening._Archive, "read", lambda self, name: read.append(name) or read_member(self, name))
    whole = audit_model(model, given, data=folder / "scan")
    found = audit_model(model, given, data=folder / "zipped", save=folder / "zipped.snapshot")
    assert found.pictures == 10
    assert (len(opened), len(read), len(set(read))) == (1, 10, 10)
    assert opened[0].fp is None
    assert [(x.status, x.message) for x in found.checks] == [(x.status, x.message) for x in whole.checks]
    path = folder / "set" / "left" / "00.png"
    there = PictureEntry(path, "", "", None, held=Listed("left/00.png", f"file://{path}"))
    assert EntryReader().read(there) == path.read_bytes()


def test_a_reader_that_is_forked_opens_its_archives_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.make_archive(str(folder / "few"), "zip", folder, "set")
    entry = PictureEntry(folder, "", "", None, held=Listed("a", str(folder / "few.zip"), "set/left/00.png"))
    reader = EntryReader()
    before = reader.read(entry)
    kept, lock = reader._own()
    lock.acquire()  # by a thread that there is not in the child
    monkeypatch.setattr("inspector.auditing.pictures.os.getpid", lambda: -1)
    reader.close()
    assert reader.read(entry) == before
    assert reader._own()[0] is not kept
    kept.close()
    reader.close()


@pytest.mark.slow
def test_where_the_scan_holds_all_layers_nothing_is_run_for_their_ranges(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [layer.name for layer in model.layers]
    scan_pictures(model, [folder / "set"], folder / "all", ScanOptions(engine="plain", layers=every, top=1))
    given = policy("dead-channels", "finite-on-images", "blank-layers")
    whole = audit_model(model, given, data=folder / "set")

    def fail(*_: object) -> None:
        raise AssertionError("a picture was run")

    monkeypatch.setattr(AuditWalk, "_run", fail)
    found = audit_model(model, given, data=folder / "all")
    assert [(x.status, x.details) for x in found.checks] == [(x.status, x.details) for x in whole.checks]
    assert all("; all layers by 40 pictures of the scan" in x.message for x in found.checks)


def test_what_a_scan_holds_is_not_run_again(model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = audit_model(model, policy(*HELD), data=folder / "set")
    assert 0.3 < (whole.check("accuracy").value or 0) < 0.7
    save = folder / "model.snapshot"
    audit_model(model, policy(*HELD), data=folder / "scan", save=save)
    assert len(load_snapshot(save).predictions) == 10
    assert load_snapshot(save).metrics["accuracy"] == whole.check("accuracy").value

    def fail(*_: object) -> None:
        raise AssertionError("a picture was run")

    monkeypatch.setattr(AuditWalk, "_run", fail)
    found = audit_model(model, policy(*HELD, "pictures-readable"), data=folder / "scan")
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
