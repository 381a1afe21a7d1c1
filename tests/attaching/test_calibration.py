"""Temperatures and numbers for the unknown: against closed forms, other people's packages, and the files themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exporters.attaching import AttachError, attach_outputs
from exporters.attaching.calibration import fit_temperature, measure_temperature
from inspector.errors import ImageError, UsageError
from inspector.metrics.separation import fit_centers, measure_energy, measure_separation
from inspector.model import Model, open_model
from tests.attaching.test_attach import pooled, run_file
from tests.conftest import require

Array = Any


@pytest.fixture(scope="module")
def drawn() -> tuple[Array, Array]:
    """Scores three times too sure, and classes that were drawn by the true probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 5)) * 1.5
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return logits * 3, np.array([rng.choice(5, p=row) for row in p])


def test_the_temperature_is_the_likeliest_and_the_true_one(drawn: Any) -> None:
    scores, labels = drawn
    found = fit_temperature(scores, labels)
    assert abs(found - 3) < 0.15

    def loss(t: float) -> float:
        z = scores / t
        return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]).mean())

    # By golden section, which knows nothing of slopes.
    low, high, ratio = 0.1, 30.0, (5**0.5 - 1) / 2
    while high - low > 1e-7:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    assert abs(found - low) < 1e-4 * found
    assert abs(fit_temperature(scores * 7, labels) / found - 7) < 1e-9
    figures = measure_temperature(scores, labels)[1]
    assert figures["ece_after"]["value"] < 0.02 < figures["ece_before"]["low"]
    assert figures["ece_change"]["high"] < 0


def test_there_is_no_temperature_where_nothing_or_everything_is_right(drawn: Any) -> None:
    scores, _ = drawn
    with pytest.raises(AttachError, match="all 4000 pictures are right"):
        fit_temperature(scores, scores.argmax(axis=1))
    with pytest.raises(AttachError, match="say nothing about the classes"):
        fit_temperature(scores, scores.argmin(axis=1))


def test_numbers_for_the_unknown_by_hand() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    features = rng.standard_normal((300, 4)) @ rng.standard_normal((4, 4)) + np.eye(3, 4)[labels] * 5
    probe = rng.standard_normal((20, 4)) * 3
    means = [features[labels == k].mean(axis=0) for k in range(3)]
    left = features - np.array(means)[labels]
    inverse = np.linalg.inv(left.T @ left / 300)
    wanted = [min(float((x - m) @ inverse @ (x - m)) for m in means) for x in probe]
    assert np.allclose(fit_centers(features, labels, True).measure(probe), wanted, rtol=1e-9)
    wanted = [min(float(np.square(x - m).sum()) for m in means) for x in probe]
    assert np.allclose(fit_centers(features, labels, False).measure(probe), wanted, rtol=1e-9)
    assert np.allclose(measure_energy(probe), -np.log(np.exp(probe).sum(axis=1)))
    few = fit_centers(features[:7], labels[:7], True)
    assert 0 < few.shrunk <= 1
    known, strange = rng.standard_normal(40), rng.standard_normal(30) + 1
    pairs = (strange[:, None] > known).mean()
    area, alarms = measure_separation(known, strange)
    assert area == pytest.approx(pairs)
    assert alarms == (known >= np.sort(strange)[::-1][28]).mean()


@pytest.mark.slow
def test_the_same_as_pytorch_ood(drawn: Any) -> None:
    scores, labels = drawn
    torch, ood = require("torch"), pytest.importorskip("pytorch_ood")
    rng = np.random.default_rng(1)
    features = rng.standard_normal((500, 6)) + np.eye(5, 6)[labels[:500]] * 4
    probe = rng.standard_normal((50, 6)) * 2
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # which it makes its means and covariance in
    try:
        theirs = ood.detector.Mahalanobis(None).fit_features(torch.tensor(features), torch.tensor(labels[:500]))
        found = theirs.predict_features(torch.tensor(probe)).numpy()
    finally:
        torch.set_default_dtype(before)
    # It is half the squared distance, and its covariance the sum over the pictures, not their mean.
    assert np.allclose(found * 2 * 500, fit_centers(features, labels[:500], True).measure(probe), rtol=1e-5)
    energy = ood.detector.EnergyBased.score(torch.tensor(scores)).numpy()
    assert np.allclose(energy, measure_energy(scores), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what netcal is made of
def test_the_same_as_netcal(drawn: Any) -> None:
    scores, labels = drawn
    scaling = pytest.importorskip("netcal.scaling").TemperatureScaling()
    require("torch").manual_seed(0)  # it starts anywhere
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    scaling.fit(p, labels)
    # What it calls the temperature is what the scores are multiplied by.
    assert 1 / scaling.temperature[0] == pytest.approx(fit_temperature(scores, labels), rel=1e-5)


def write_pictures(source: Model, root: Path) -> Path:
    """Pictures of noise in folders that are named as the network says, two in five times; and of stark noise."""
    rng = np.random.default_rng(0)
    noises, drawn = rng.integers(60, 200, (60, 8, 8, 3), np.uint8), rng.integers(0, 7, 60)
    right = source.scores(np.concatenate([source.tensor(noise) for noise in noises])).argmax(axis=1)
    for n, noise in enumerate(noises):
        folder = root / "known" / str(right[n] if n % 5 < 2 else drawn[n])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(folder / f"{n}.png")
    (root / "strange").mkdir()
    for n in range(12):
        Image.fromarray(rng.integers(0, 2, (8, 8, 3), np.uint8) * 255).save(root / "strange" / f"{n}.png")
    return root


def test_files_with_both_outputs(make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(pooled, shape=("N", 3, 8, 8)), provider="cpu")
    folders = write_pictures(source, tmp_path / "pictures")
    known, strange = folders / "known", folders / "strange"
    made = attach_outputs(source, tmp_path / "made.onnx", calibrate=known, unknown=known, outliers=strange)
    assert [o.name for o in made.outputs] == ["probability", "unknown"]
    figures = made.to_json()
    paths = sorted((folders / "known").rglob("*.png"))
    tensor = np.concatenate([source.tensor(path) for path in paths])
    values = run_file(made.path, tensor)
    scaled = source.scores(tensor) / figures["calibration"]["temperature"]
    p = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
    assert np.abs(values["probability"] - p).max() < 1e-5
    assert np.array_equal(values["probability"].argmax(axis=1), source.scores(tensor).argmax(axis=1))
    assert values["unknown"].shape == (60,)
    assert ((values["unknown"] >= 0) & (values["unknown"] <= 1)).all()
    unknown = figures["unknown"]
    assert (values["unknown"] > unknown["threshold"]).mean() <= 0.15
    assert unknown["against"] == "outliers"
    assert set(unknown["tried"]) == {"energy", "mahalanobis", "nearest-mean"}
    others = np.concatenate([source.tensor(path) for path in sorted(strange.iterdir())])
    assert np.median(run_file(made.path, others)["unknown"]) > np.median(values["unknown"])
    assert all(row.ok for row in made.parity)


def test_what_pictures_cannot_do(make_model: Any, tmp_path: Path) -> None:
    source, out = open_model(make_model(pooled, shape=("N", 3, 8, 8)), provider="cpu"), tmp_path / "made.onnx"
    folders = write_pictures(source, tmp_path / "pictures")
    with pytest.raises(ImageError, match=r"no folder in .*is named after a class"):
        attach_outputs(source, out, calibrate=folders)
    with pytest.raises(AttachError, match="12 pictures are too few"):
        attach_outputs(source, out, unknown=folders / "strange")
    with pytest.raises(UsageError, match="--outliers does nothing without --unknown"):
        attach_outputs(source, out, cam="cam", outliers=folders / "strange")
    with pytest.raises(UsageError, match="not between 0 and 1"):
        attach_outputs(source, out, unknown=folders / "known", false_alarms=1.0)
    assert not out.exists()
