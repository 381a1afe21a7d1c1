"""Snapshots: small, without pictures, the same bytes for the same model, and never trusted."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.auditing import Subject, audit_model, load_snapshot
from inspector.auditing.checks.drift.drift_layers import uses_integers
from inspector.auditing.snapshot import (
    PLACES,
    Snapshot,
    SnapshotError,
    choose_places,
    is_snapshot,
    save_snapshot,
)
from inspector.errors import UsageError
from inspector.metadata import KEY, Metadata
from inspector.model import Model, open_model
from tests.audit import broken
from tests.audit.networks import small
from tests.audit.policies import OTHER_TASKS, policy
from tests.conftest import MakeModel
from tests.foreign import Net

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
    from inspector.image import digest_image

    digest = digest_image(pictures[0])
    row = snapshot.sampled.index(digest)
    expected = values[0][:, choose_places("blocks.2", digest, values[0].shape[1])].T
    assert shot.samples[row * PLACES : (row + 1) * PLACES] == pytest.approx(expected, abs=1e-2)


def test_no_picture_is_in_it(saved: Path) -> None:
    """Fewer numbers of each layer than a picture of 20 x 20 pixels has, and no name of a file."""
    snapshot = load_snapshot(saved)
    assert all(shot.samples.shape[0] <= 16 * PLACES for shot in snapshot.layers.values())
    with zipfile.ZipFile(saved) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b".jpg" not in everything


def test_one_that_holds_nothing_can_be_read(tmp_path: Path) -> None:
    empty = Snapshot({"name": "net"}, None, {}, False, {}, (), {}, {})
    found = load_snapshot(save_snapshot(empty, tmp_path / "empty.npz"))
    assert (found.layers, found.predictions, found.sampled) == ({}, {}, ())


def test_the_same_model_does_not_drift(saved: Path, default_model: Path, cats: Path) -> None:
    found = audit_model(default_model, DRIFT, data=cats, against=saved)
    assert found.passed
    assert found.check("drift-layers").value > 60  # stored in half precision
    assert found.check("drift-agreement").value == 1
    assert found.check("drift-accuracy").value == 0
    assert found.check("drift-statistics").value < 0.01
    assert all(c.status == "pass" for c in found.checks if c.id not in OTHER_TASKS)


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


def sorted_by_answer(path: Path, model: Model, names: list[str], wrong: bool = False) -> Path:
    """Pictures in the folders of the classes that the model gives them, or of other ones."""
    for name in names:
        pixels = np.random.default_rng(int(name)).integers(0, 256, (16, 16, 3), np.uint8)
        index = (model.predict(pixels)[0].index + wrong) % 3
        folder = path / ("cat", "dog", "fox")[index]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return path


@pytest.fixture
def tiny(make_model: MakeModel) -> Model:
    metadata = Metadata(labels=("cat", "dog", "fox")).dumps()
    return open_model(make_model(small, shape=("N", 3, 16, 16), metadata={KEY: metadata}))


def test_accuracy_is_compared_on_the_same_pictures(tiny: Model, tmp_path: Path) -> None:
    chosen = policy("drift-accuracy", "drift-agreement", "drift-layers", "drift-channels")
    first = sorted_by_answer(tmp_path / "first", tiny, [str(i) for i in range(10)])
    audit_model(tiny, policy("opset"), data=first, save=tmp_path / "s.npz")
    # Six of the snapshot's pictures, and six that the model gets wrong.
    now = sorted_by_answer(tmp_path / "now", tiny, [str(i) for i in range(6)])
    sorted_by_answer(now, tiny, [str(i) for i in range(20, 26)], wrong=True)
    found = audit_model(tiny, chosen, data=now, against=tmp_path / "s.npz")
    accuracy = found.check("drift-accuracy")
    assert (accuracy.status, accuracy.value) == ("pass", 0)
    assert accuracy.message == "accuracy was 100.0% and is 100.0% on 6 pictures"
    assert found.passed
    # The labels are today's: wrong ones make both wrong.
    other = sorted_by_answer(tmp_path / "other", tiny, [str(i) for i in range(6)], wrong=True)
    relabelled = audit_model(tiny, chosen, data=other, against=tmp_path / "s.npz").check("drift-accuracy")
    assert relabelled.details["accuracy"] == [0, 0]


def test_one_picture_in_common_is_no_comparison(tiny: Model, tmp_path: Path) -> None:
    drift = ("drift-accuracy", "drift-agreement", "drift-layers", "drift-channels")
    first = sorted_by_answer(tmp_path / "first", tiny, [str(i) for i in range(10)])
    audit_model(tiny, policy("opset"), data=first, save=tmp_path / "s.npz")
    now = sorted_by_answer(tmp_path / "now", tiny, ["0", *(str(i) for i in range(20, 30))])
    found = audit_model(tiny, policy("opset", *drift), data=now, against=tmp_path / "s.npz")
    assert {found.check(id).status for id in drift} == {"skipped"}
    assert found.check("drift-layers").message == (
        "not run: 1 pictures that the snapshot sampled are too few to compare; the policy asks for 5"
    )
    assert (found.check("drift-layers").counts, found.check("drift-agreement").counts) == ("fail", "fail")
    assert not found.passed
    asked = policy("opset", *drift, checks={id: {"min_pictures": 1} for id in drift})
    assert audit_model(tiny, asked, data=now, against=tmp_path / "s.npz").passed
    # All of what there is will do.
    few = sorted_by_answer(tmp_path / "few", tiny, ["0", "1"])
    assert audit_model(tiny, policy(*drift), data=few, against=tmp_path / "s.npz").passed
    assert audit_model(tiny, policy(*drift, images={"sample": 2}), data=now, against=tiny).passed


@pytest.mark.parametrize(("before", "now", "found"), [(0, 0, False), (0, 1, True), (1, 0, True), (1, 1, True)])
def test_the_limit_of_integers_where_either_has_them(
    make_model: MakeModel, saved: Path, before: bool, now: bool, found: bool
) -> None:
    def build(quantised: bool, name: str) -> Model:
        def net(net: Net, x: str) -> str:
            grid = [net.const(np.float32(0.1)), net.const(np.uint8(128))]
            y = net("DequantizeLinear", net("QuantizeLinear", x, *grid), *grid) if quantised else x
            return net("Relu", net.conv(y, 3, 4))

        return open_model(make_model(net, name=name))

    model, reference = build(now, "now.onnx"), build(before, "before.onnx")
    snapshot = replace(load_snapshot(saved), integers=bool(before))
    assert uses_integers(Subject(model, policy(), snapshot=snapshot)) is found
    assert uses_integers(Subject(model, policy(), reference=reference)) is found


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


def widened(make_model: MakeModel, channels: int, name: str) -> Model:
    def net(net: Net, x: str) -> str:
        x = net("Relu", net.conv(x, 3, channels, 3), out="first")
        x = net("Flatten", net("GlobalAveragePool", x))
        return net("Gemm", x, net.weight((3, channels)), net.const(np.zeros(3)), transB=1, out="logits")

    return open_model(make_model(net, shape=("N", 3, 16, 16), name=name))


def test_cost_is_judged_against_a_snapshot(make_model: MakeModel, tmp_path: Path) -> None:
    small, large = widened(make_model, 8, "small.onnx"), widened(make_model, 20, "large.onnx")
    data = sorted_by_answer(tmp_path / "data", small, ["0", "1"])
    audit_model(small, policy("opset"), data=data, save=tmp_path / "s.npz")
    counted = {"multiply_adds": 256 * 27 * 8 + 24, "parameters": 8 * 27 + 8 + 24 + 3, "bytes": small.graph.size}
    assert load_snapshot(tmp_path / "s.npz").costs == counted
    chosen = policy("multiply-adds", "parameters", "size", checks={"size": {"max_ratio": 1.1}})
    found = audit_model(large, chosen, against=tmp_path / "s.npz")
    assert {c.id: c.status for c in found.checks} == dict.fromkeys(("multiply-adds", "parameters", "size"), "fail")
    assert found.check("multiply-adds").value == pytest.approx((256 * 27 * 20 + 60) / counted["multiply_adds"])
    assert "the reference has" in found.check("size").message
    assert audit_model(small, chosen, against=tmp_path / "s.npz").passed


def test_a_limit_that_cannot_be_judged_counts_as_the_policy_says(make_model: MakeModel, tmp_path: Path) -> None:
    model = widened(make_model, 8, "small.onnx")
    data = sorted_by_answer(tmp_path / "data", model, ["0", "1"])
    audit_model(model, policy("opset"), data=data, save=tmp_path / "s.npz")
    old = replace(load_snapshot(tmp_path / "s.npz"), costs={})
    for could_not_run, counts in (("skip", "skipped"), ("warn", "warn"), ("fail", "fail")):
        chosen = policy("multiply-adds", "opset", "latency", could_not_run=could_not_run)
        found = audit_model(model, chosen, against=old).check("multiply-adds")
        assert (found.status, found.counts) == ("skipped", counts)
        assert found.message.endswith("max_ratio is not judged: the snapshot holds no multiply adds; save it again")
        late = audit_model(model, chosen, against=old).check("latency")
        assert late.counts == counts
        assert "max_p50 and max_p95 are not judged" in late.message
    alone = audit_model(model, policy("opset", "multiply-adds")).check("multiply-adds")
    assert "there is nothing to compare with" in alone.message


@pytest.mark.parametrize(("peak", "status"), [(105.0, "pass"), (150.0, "fail")])
def test_peak_memory_is_kept_where_a_ratio_is_asked_for(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peak: float, status: str
) -> None:
    from inspector.auditing.checks.cost import memory

    model = widened(make_model, 8, "small.onnx")
    data = sorted_by_answer(tmp_path / "data", model, ["0", "1"])
    asked = policy("opset", "memory", checks={"memory": {"max_ratio": 1.2}})
    monkeypatch.setattr(memory, "_measure_peak", lambda model: 100.0)
    audit_model(model, asked, data=data, save=tmp_path / "s.npz")
    monkeypatch.setattr(memory, "_measure_peak", lambda model: peak)
    assert audit_model(model, asked, against=tmp_path / "s.npz").check("memory").status == status
