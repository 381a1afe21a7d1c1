"""The map of the pictures: UMAP where it is installed, and what is left without it."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from inspector.pages.scan import write_scan_page
from inspector.scanning.analysis import maps
from inspector.scanning.analysis.maps import draw_map


def test_umap_is_taken_where_it_is_installed_with_a_fixed_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal((130, 4)).astype(np.float32)
    told: list[dict[str, Any]] = []

    class Stub:
        def __init__(self, **given: Any) -> None:
            told.append(given)

        def fit_transform(self, rows: np.ndarray) -> np.ndarray:
            return rows[:, 2:4]

        transform = fit_transform

    module = ModuleType("umap")
    module.__dict__.update(UMAP=Stub, __version__="9", __spec__=ModuleSpec("umap", None))
    monkeypatch.setitem(sys.modules, "umap", module)
    monkeypatch.setattr(maps, "MOST_FITTED", 101)
    found = draw_map(values)
    assert found.about == {"method": "umap", "version": "9", "neighbours": 15, "fitted": 101}
    assert (found.values == values[:, 2:4]).all()
    assert (told[0]["random_state"], told[0]["n_jobs"], told[0]["init"].shape) == (0, 1, (101, 2))
    # Of few pictures, or where the package of that name is another one, it is that of principal components.
    assert draw_map(values[:99]).about == {"method": "pca"}
    del module.UMAP  # type: ignore[attr-defined]
    found = draw_map(values)
    assert found.about == {"method": "pca"}
    assert (found.values == values[:, :2]).all()


def test_the_page_says_which_map_it_is(scanned: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(scanned, tmp_path / "scan")
    document = json.loads((folder / "scan.json").read_text())
    assert document["map"] == {"method": "pca"}
    assert "The two strongest principal components of the embedding." in write_scan_page(folder).read_text()
    (folder / "scan.json").write_text(json.dumps({**document, "map": {"method": "umap"}}))
    assert "UMAP (McInnes et al. 2018) of the principal components" in write_scan_page(folder).read_text()


@pytest.mark.slow
def test_umap_keeps_groups_together_and_gives_the_same_map_twice() -> None:
    pytest.importorskip("umap")
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.standard_normal((50, 6)) + 8 * rng.standard_normal(6) for _ in range(4)])
    found = draw_map(values.astype(np.float32))
    assert found.about["method"] == "umap"
    assert (found.values == draw_map(values.astype(np.float32)).values).all()
    far = np.linalg.norm(found.values[:, None] - found.values[None], axis=2)
    np.fill_diagonal(far, np.inf)
    assert (far.argmin(axis=1) // 50 == np.arange(200) // 50).mean() > 0.99
