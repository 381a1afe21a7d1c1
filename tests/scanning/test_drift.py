"""Two scans compared: the tests keep their level, and what has moved is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inspector
from inspector.cli.app import run
from inspector.model import Model
from inspector.scanning import ScanError, ScanOptions, scan_pictures
from inspector.scanning.drift import (
    chi_squared_tail,
    correct_by_holm,
    judge_counts,
    kolmogorov_tail,
    measure_drift,
    measure_energy_distance,
    measure_stability,
)
from tests.conftest import require


def test_tails_and_corrections_against_scipy() -> None:
    stats = require("scipy.stats")
    for x in (0.1, 0.5, 1.0, 1.6, 3.0):
        assert kolmogorov_tail(x) == pytest.approx(stats.kstwobign.sf(x), abs=1e-9)
        for freedom in (1, 2, 3, 8, 31):
            assert chi_squared_tail(x * 10, freedom) == pytest.approx(stats.chi2.sf(x * 10, freedom), rel=1e-9)
    rng = np.random.default_rng(0)
    chances = rng.random(20) ** 3
    expected, largest = np.zeros(20), 0.0
    for rank, k in enumerate(np.argsort(chances)):
        largest = max(largest, min(1.0, chances[k] * (20 - rank)))
        expected[k] = largest
    assert correct_by_holm(chances) == pytest.approx(expected)
    a, b = rng.integers(20, 90, 6), rng.integers(20, 90, 6)
    assert judge_counts(a.astype(float), b.astype(float)) == pytest.approx(stats.chi2_contingency([a, b]).pvalue)


def test_stability_is_zero_for_the_same_and_large_for_another() -> None:
    rng = np.random.default_rng(1)
    bins = [np.bincount(np.clip(rng.normal(m, 8, 5000), 0, 99).astype(int), minlength=100) for m in (50, 50, 60)]
    a, same, other = (x.astype(float) for x in bins)
    assert measure_stability(a, a) == 0
    assert measure_stability(a, same) < 0.02
    assert measure_stability(a, other) > 0.25


def test_the_energy_test_keeps_its_level() -> None:
    rng = np.random.default_rng(2)
    chances = [
        measure_energy_distance(rng.standard_normal((12, 3)), rng.standard_normal((15, 3)))[1] for _ in range(60)
    ]
    assert sum(p <= 0.1 for p in chances) <= 12
    distance, chance = measure_energy_distance(rng.standard_normal((12, 3)), rng.standard_normal((15, 3)) + 3)
    assert distance > 1
    assert chance == 0.001


def test_scans_of_brighter_pictures_have_moved(
    model: Model, pictures: Path, scanned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bright = tmp_path / "bright"
    for path in pictures.rglob("*.png"):
        (bright / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path)) // 3).save(bright / path.parent.name / path.name)
    scan_pictures(model, [bright], tmp_path / "b", ScanOptions(engine="plain", shard_size=21, top=1))
    same = measure_drift(scanned, scanned)
    assert not same.moved
    assert {x.stability for x in same.channels} == {0.0}
    found = inspector.compare_scans(scanned, tmp_path / "b", level=0.05)
    assert found.moved
    assert sum(x.moved for x in found.channels) > len(found.channels) / 3
    assert found.embedding_probability == 0.001
    file = tmp_path / "drift.json"
    assert run(["scan", "compare", str(scanned), str(tmp_path / "b"), "-o", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(file.read_text())
    assert [told["command"], told["model"]["sha256"], told["b_model"]] == ["scan compare", model.sha256, told["model"]]
    assert run(["scan", "compare", str(scanned), "-o", str(file)]) == 2
    assert "compare takes two scans, and 1 were given" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "b")
    with pytest.raises(ScanError, match="holds no finished scan"):
        measure_drift(scanned, tmp_path / "b")
