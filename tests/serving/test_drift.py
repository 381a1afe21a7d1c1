"""Drift against a snapshot, and the frames that are kept."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.auditing.snapshot import LayerRecord, Snapshot, SnapshotError, save_snapshot
from inspector.errors import UsageError
from inspector.model import Model, open_model
from inspector.scanning import ScanError, ScanOptions, scan_pictures
from inspector.serving import record as recording
from inspector.serving.drift import DriftMeasure, DriftReading, DriftWatch, open_drift
from inspector.serving.frames import Frame
from inspector.serving.look import FrameFindings, Looker
from inspector.serving.record import FrameRecorder
from inspector.serving.views import Wanted
from tests.conftest import require

RNG = np.random.default_rng(0)


def make_pictures(shift: float, count: int = 16) -> list[np.ndarray]:
    noise = RNG.normal(120, 25, (count, 24, 24, 3))
    return [np.clip(one + shift, 0, 255).astype(np.uint8) for one in noise]


def take_snapshot(net: Model, path: Path) -> Path:
    """As `inspector audit --save-snapshot` does, of all layers with maps."""
    values = [net.activations(Image.fromarray(one)) for one in make_pictures(0)]
    layers = {}
    for name in values[0]:
        flat = [one[name][0].reshape(one[name].shape[1], -1) for one in values]
        joined = np.concatenate(flat, axis=1)
        samples = np.concatenate([one[:, RNG.integers(0, one.shape[1], 2)].T for one in flat])
        layers[name] = LayerRecord(joined.mean(axis=1), joined.std(axis=1), samples.astype(np.float32))
    tops = [net.predict(Image.fromarray(one))[0] for one in make_pictures(0)]
    answers = {f"{n:064x}": (top.index, top.probability) for n, top in enumerate(tops)}
    model = {"name": "net", "sha256": net.sha256, "digest": net.digest}
    return save_snapshot(Snapshot(model, None, {}, False, layers, tuple(answers), answers, {}), path)


def watch(net: Model, drift: DriftWatch, pictures: list[np.ndarray]) -> list[DriftReading]:
    looker = Looker(net)
    found = [looker.look(Frame(one, 0.0), Wanted(), drift.layers) for one in pictures]
    return [drift.measure(n * 0.5, one.values, one.answer.confidence) for n, one in enumerate(found)]


def test_the_same_pictures_are_no_drift_and_dark_ones_are(net: Model, tmp_path: Path) -> None:
    path = take_snapshot(net, tmp_path / "net.snapshot")
    drift = open_drift(net, path)
    assert len(drift.layers) == 6
    for reading in watch(net, drift, make_pictures(0)):
        assert reading.ratio < 1, reading
    assert drift.reading is not None
    assert drift.reading.frames == 16
    assert drift.reading.ratio < 1
    dark = watch(net, open_drift(net, path), make_pictures(-100))
    assert all(reading.ratio > 1 for reading in dark)
    assert dark[0].beyond[0] == max(dark[0].measures, key=lambda one: one.ratio)
    assert dark[0].tell()["measures"][0]["name"] == dark[0].measures[0].name


def test_a_shift_is_what_the_audit_calls_one(net: Model, tmp_path: Path) -> None:
    """Against the formula of the check drift-statistics, over the frames of the window."""
    from inspector.auditing.snapshot import load_snapshot

    path = take_snapshot(net, tmp_path / "net.snapshot")
    drift, pictures = open_drift(net, path), make_pictures(-40)
    watch(net, drift, pictures)
    name = drift.layers[0]
    before = load_snapshot(path).layers[name]
    joined = np.concatenate(
        [net.activations(Image.fromarray(x), name)[name][0].reshape(len(before.mean), -1) for x in pictures], 1
    )
    scale = np.maximum(before.std, 1e-6 + 1e-3 * before.std.mean())
    expected = np.median(np.abs(joined.mean(axis=1) - before.mean) / scale)
    assert drift.reading is not None
    [measure] = [one for one in drift.reading.measures if one.name.startswith(f"channels of {name},")]
    assert measure.value == pytest.approx(expected, rel=1e-3)


def test_the_window_moves_on(net: Model, tmp_path: Path) -> None:
    drift = open_drift(net, take_snapshot(net, tmp_path / "net.snapshot"))
    values = {name: np.zeros((len(known.mean), 4), np.float32) for name, known in drift._ranges.items()}
    for when in np.arange(0, 100, 0.5):
        assert drift.is_due(when)
        drift.measure(when, values, None)
        assert not drift.is_due(when + 0.4)
    assert drift.reading is not None
    assert drift.reading.frames == 61
    drift.measure(1.0, values, None)  # a file that begins again
    assert drift.reading.frames == 1
    assert not any("confidence" in one.name for one in drift.reading.measures)
    assert DriftMeasure("x", float("nan"), 1.0).ratio == float("inf")


def test_what_is_no_snapshot_of_the_model_is_told(net: Model, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="there is no file"):
        open_drift(net, tmp_path / "nothing")
    (tmp_path / "text").write_text("text")
    with pytest.raises(SnapshotError, match="is no snapshot"):
        open_drift(net, tmp_path / "text")
    some = np.zeros(3, np.float32)
    layers = {"another": LayerRecord(some, some, np.zeros((2, 3), np.float32))}
    other = save_snapshot(
        Snapshot({}, None, {}, False, layers, ("0" * 64,), {"0" * 64: (0, 0.5)}, {}), tmp_path / "other"
    )
    with pytest.raises(UsageError, match="no layer in common"):
        open_drift(net, other)


def test_a_scan_is_a_reference_as_a_snapshot_is(net: Model, tmp_path: Path) -> None:
    require("pyarrow")
    for number, pixels in enumerate(make_pictures(0, 30)):
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "set" / f"{number:02d}.png")
    scan_pictures(net, [tmp_path / "set"], tmp_path / "scan", ScanOptions(engine="plain", layers=["r1", "r2"]))
    drift = open_drift(net, tmp_path / "scan")
    assert drift.layers == ("c1.relu", "c2.relu")
    for reading in watch(net, drift, make_pictures(0)):
        assert reading.ratio < 1, reading
        assert sum("confidence" in one.name for one in reading.measures) == 1
    values = [
        net.activations(tmp_path / "set" / f"{n:02d}.png", ["c2.relu"])["c2.relu"][0].reshape(5, -1) for n in range(30)
    ]
    known, joined = drift._ranges["c2.relu"], np.concatenate(values, axis=1)
    np.testing.assert_allclose(known.mean, joined.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(known.scale, joined.std(axis=1), rtol=1e-3)
    assert known.zeros == pytest.approx((joined == 0).mean())
    spread = np.std([one.mean(axis=1) for one in values], axis=0)
    assert known.limit == pytest.approx(max(0.5, 2 * np.median(spread / joined.std(axis=1))), rel=1e-3)
    zeros = 3 * np.std([(one == 0).mean() for one in values])
    assert known.zero_limit == pytest.approx(max(0.05, zeros), rel=1e-3)
    assert all(reading.beyond for reading in watch(net, open_drift(net, tmp_path / "scan"), make_pictures(-100)))
    with pytest.raises(ScanError, match=r"set holds no finished scan; give a folder that `inspector scan` wrote"):
        open_drift(net, tmp_path / "set")
    (tmp_path / "other.onnx").write_bytes(net.path.read_bytes().replace(b"scores", b"SCORES"))
    with pytest.raises(ScanError, match=r"is a scan of another model than .*other.onnx: their digests are "):
        open_drift(open_model(tmp_path / "other.onnx"), tmp_path / "scan")


def find(net: Model, taken: float = 1_700_000_000.0) -> FrameFindings:
    return Looker(net).look(Frame(make_pictures(0, 1)[0], taken), Wanted())


def test_frames_are_kept_with_the_reason_and_the_oldest_go(
    net: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "PAUSE", 0.0)
    (tmp_path / "mine.jpg").write_bytes(b"x" * 10_000)
    recorder = FrameRecorder(tmp_path, 9_000, 1.0, {"source": "camera:0"})
    seen = find(net)
    picture = recorder.consider(seen, None)
    assert picture == tmp_path / "frame-20231114-221320-000.jpg"
    document = json.loads(picture.with_suffix(".json").read_text())
    assert document["why"] == [f"uncertain: {seen.answer.confidence:.3f} is below 1"]
    assert document["answer"] == json.loads(json.dumps(seen.answer.about))
    assert document["source"] == "camera:0"
    difference = np.asarray(Image.open(picture), int) - seen.frame.pixels
    assert np.abs(difference).mean() < 4
    again = recorder.consider(seen, None)
    assert again is not None
    assert again.name == "frame-20231114-221320-000-2.jpg"
    for number in range(8):
        recorder.consider(find(net, 1_700_000_001.0 + number), None)
    assert recorder.kept == 10
    names = sorted(path.name for path in tmp_path.glob("frame-*"))
    assert names[0] > "frame-20231114-221320-000-2.jpg"
    assert len(names) % 2 == 0
    assert sum(path.stat().st_size for path in tmp_path.glob("frame-*")) <= 9_000
    assert (tmp_path / "mine.jpg").exists()
    size = sum(path.stat().st_size for path in tmp_path.glob(f"{Path(names[-1]).stem}.*"))
    later = FrameRecorder(tmp_path, size + 100, 1.0, {})
    assert later.consider(seen, None) is not None
    assert len(list(tmp_path.glob("frame-*"))) == 2, "those of an earlier run count"


def test_a_frame_that_cannot_be_kept_is_said_and_costs_no_other(
    net: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "PAUSE", 0.0)
    recorder, seen = FrameRecorder(tmp_path, 9_000, 1.0, {}), find(net)
    recorder.consider(seen, None)
    before = sorted(tmp_path.iterdir())
    small = FrameRecorder(tmp_path, 1_000, 1.0, {})
    assert small.consider(seen, None) is None
    assert "a frame of 24 x 24 pixels cannot be kept: it takes 0.00" in small.trouble
    assert sorted(tmp_path.iterdir()) == before
    wide = replace(seen, picture=Image.new("RGB", (70_000, 10)))
    assert recorder.consider(wide, None) is None
    assert "a frame of 70000 x 10 pixels cannot be kept" in recorder.trouble
    assert recorder.consider(seen, None) is not None, "the next one may be"


def test_what_is_certain_and_in_its_range_is_not_kept(net: Model, tmp_path: Path) -> None:
    recorder = FrameRecorder(tmp_path / "kept", 10**6, 0.0, {})
    seen = find(net)
    assert recorder.consider(seen, None) is None
    assert recorder.consider(seen, DriftReading((DriftMeasure("channels of c1", 0.2, 0.5),), 1)) is None
    beyond = DriftReading((DriftMeasure("channels of c1", 0.7, 0.5), DriftMeasure("confidence", 0.1, 0.5)), 1)
    assert recorder.find_reasons(seen, beyond) == ["channels of c1: 0.7 is above 0.5"]
    assert recorder.consider(seen, beyond) is not None
    assert recorder.consider(seen, beyond) is None, "not two in a second"
    assert list((tmp_path / "kept").glob("*.json"))


def test_a_folder_that_is_gone_is_said_and_ends_nothing(
    net: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "PAUSE", 0.0)
    recorder = FrameRecorder(tmp_path / "kept", 10**6, 1.0, {})
    (tmp_path / "kept").rmdir()
    seen = find(net, time.time())
    assert recorder.consider(seen, None) is None
    assert "kept" in recorder.trouble
    assert "folder does not exist" in recorder.trouble
    (tmp_path / "kept").mkdir()
    assert recorder.consider(seen, None) is None
