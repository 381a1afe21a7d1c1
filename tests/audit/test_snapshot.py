"""Snapshots: small, without pictures, the same bytes for the same model, and never trusted."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from inspector.audit import audit_model, load_snapshot
from inspector.audit.snapshot import PLACES, SnapshotError, is_snapshot, places
from inspector.errors import UsageError
from inspector.model import open_model
from tests.audit import broken
from tests.audit.policies import policy

DRIFT = policy("drift")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, default_model: Path, cats: Path) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / "healthy.npz"
    audit_model(default_model, policy("opset"), data=cats, save=path)
    return path


def test_what_is_in_it(saved: Path, default_model: Path, cats: Path) -> None:
    snapshot = load_snapshot(saved)
    model = open_model(default_model)
    assert snapshot.model["sha256"] == model.sha256
    assert snapshot.labels == model.labels
    assert list(snapshot.layers) == [layer.name for layer in model.layers]
    assert len(snapshot.sampled) == 10
    assert len(snapshot.predictions) == 10
    assert snapshot.metrics == {"accuracy": 1.0, "balanced_accuracy": 1.0}
    assert {index for index, _ in snapshot.predictions.values()} == {285}
    shot = snapshot.layers["blocks.2"]
    assert shot.mean.shape == shot.std.shape == (24,)
    assert shot.samples.shape == (10 * PLACES, 24)
    assert saved.stat().st_size < 3_000_000

    # The samples are values of the layer, the means those of the layer over the sampled pictures.
    pictures = sorted((cats / "Egyptian_cat").iterdir())
    values = [model.activations(p, ["blocks.2"])["blocks.2"][0].reshape(24, -1) for p in pictures]
    assert shot.mean == pytest.approx(np.mean([v.mean(axis=1) for v in values], axis=0), abs=1e-3)
    from inspector.image import image_digest

    digest = image_digest(pictures[0])
    row = snapshot.sampled.index(digest)
    expected = values[0][:, places("blocks.2", digest, values[0].shape[1])].T
    assert shot.samples[row * PLACES : (row + 1) * PLACES] == pytest.approx(expected, abs=1e-2)


def test_no_picture_is_in_it(saved: Path) -> None:
    """Fewer numbers of each layer than a picture of 20 x 20 pixels has, and no name of a file."""
    snapshot = load_snapshot(saved)
    assert all(shot.samples.shape[0] <= 16 * PLACES for shot in snapshot.layers.values())
    with zipfile.ZipFile(saved) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b".jpg" not in everything


def test_the_same_model_does_not_drift(saved: Path, default_model: Path, cats: Path) -> None:
    found = audit_model(default_model, DRIFT, data=cats, against=saved)
    assert found.passed
    assert found.check("drift-layers").value > 60  # stored in half precision
    assert found.check("drift-agreement").value == 1
    assert found.check("drift-accuracy").value == 0
    assert found.check("drift-statistics").value < 0.01
    assert all(c.status == "pass" for c in found.checks)


def test_a_changed_model_does(saved: Path, cats: Path, tmp_path: Path) -> None:
    sick = broken.badly_quantised(tmp_path / "rough.onnx")
    found = audit_model(sick, DRIFT, data=cats, against=saved)
    assert found.check("drift-layers").status == "fail"
    by_layer = {row["layer"]: row["sqnr_db"] for row in found.check("drift-layers").details["layers"]}
    assert by_layer["blocks.6.expand_conv"] < 30 < 60 < by_layer["blocks.5.project_conv"]
    wrong = audit_model(broken.wrong_mean_and_std(tmp_path / "w.onnx"), DRIFT, data=cats, against=saved)
    assert wrong.check("drift-preprocess").status == "fail"
    assert wrong.check("drift-layers").status == "fail"
    assert wrong.check("drift-statistics").status == "warn"
    swapped = audit_model(broken.labels_swapped(tmp_path / "s.onnx"), DRIFT, data=cats, against=saved)
    assert swapped.check("drift-labels").status == "fail"
    assert swapped.check("drift-agreement").value == 0
    assert swapped.check("drift-agreement").details["flipped"][0]["before"] == "Egyptian cat"


def test_other_pictures_cannot_be_compared_value_by_value(saved: Path, default_model: Path, tmp_path: Path) -> None:
    from tests.audit import pictures

    others = pictures.cats(tmp_path / "others", 9, seed=77)
    found = audit_model(default_model, DRIFT, data=others, against=saved)
    assert found.check("drift-layers").message == (
        "not run: none of the 10 pictures that the snapshot sampled is among the pictures"
    )
    assert found.check("drift-layers").counts == "fail"  # it was asked for
    assert found.check("drift-statistics").status == "pass"
    assert not found.passed


def test_the_same_bytes_again(saved: Path, default_model: Path, cats: Path, tmp_path: Path) -> None:
    audit_model(default_model, policy("opset"), data=cats, save=tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_it_needs_pictures(default_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no snapshot can be saved: no pictures were given"):
        audit_model(default_model, policy("opset"), save=tmp_path / "s.npz")
    assert not (tmp_path / "s.npz").exists()


def archive(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def document(**content: object) -> np.ndarray:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 and no more", "no snapshot, or is damaged"),
        (archive(x=np.zeros(3)), "no snapshot, or is damaged: KeyError"),
        (archive(document=document(kind="other")), "is no snapshot"),
        (archive(document=document(kind="inspector snapshot", schema=2)), "has schema 2; this version reads 1"),
        (archive(document=document(kind="inspector snapshot", schema=1)), "is damaged: KeyError"),
        (archive(document=np.array([{}], object)), "is damaged: ValueError"),  # a pickle, which is not loaded
    ],
)
def test_damaged_and_hostile_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "s.npz"
    path.write_bytes(content)
    assert is_snapshot(path)
    with pytest.raises(SnapshotError, match=message):
        load_snapshot(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb, bomb.open("document.npy", "w") as entry:
        for _ in range(300):
            entry.write(bytes(1 << 20))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(SnapshotError, match="more than 256 MB"):
        load_snapshot(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    assert not is_snapshot(tmp_path / "none")
    with pytest.raises(SnapshotError, match="there is no file"):
        load_snapshot(tmp_path / "none")
