"""One scan by several ways: the same bytes. What the tables hold, against loops over single pictures."""

from __future__ import annotations

import json
import logging
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inspector
from inspector.cli.app import run
from inspector.model import Model, open_model
from inspector.scanning import ScanError, ScanOptions, merge_parts, scan_pictures
from tests.conftest import require
from tests.scanning.conftest import CLASSES, read_results


def read_table(path: Path) -> list[dict[str, Any]]:
    return require("pyarrow.parquet").read_table(path).to_pylist()


def test_seven_parts_in_any_order_and_another_size_of_shards(
    model: Model, pictures: Path, scanned: Path, tmp_path: Path
) -> None:
    parts = []
    for part in (4, 1, 7, 2, 6, 3, 5):
        options = ScanOptions(engine="plain", shard=(part, 7), shard_size=3, top=4)
        made = scan_pictures(model, [pictures], tmp_path / f"part-{part}", options)
        assert not made.finished
        parts.append(made.folder)
    # Into one of the parts, with a part given twice; into a new folder below, on the command line.
    merge_parts([parts[3], *parts, parts[0]], parts[0])
    assert read_results(parts[0]) == read_results(scanned)
    with pytest.raises(ScanError, match=r"^4 shards of 14 are in none of the parts: 1, 4, 8, 11; give all parts; one"):
        merge_parts(parts[2:], tmp_path / "less")
    assert not (tmp_path / "less").exists()


@pytest.mark.slow
def test_local_processes_give_the_same(model: Model, pictures: Path, scanned: Path, tmp_path: Path) -> None:
    scan_pictures(model, [pictures], tmp_path / "local", ScanOptions(workers=2, shard_size=21, top=4))
    assert read_results(tmp_path / "local") == read_results(scanned)
    assert run(["scan", "merge", str(tmp_path / "local"), "-o", str(tmp_path / "whole"), "-q"]) == 0
    results = read_results(tmp_path / "whole")
    assert results.pop("report.html").startswith(b"<!doctype html>")
    assert results == read_results(scanned)


def test_channels_against_single_pictures(network: Path, pictures: Path, scanned: Path) -> None:
    model = open_model(network, threads=1)
    rows = read_table(scanned / "channels.parquet")
    names = {row["picture"]: row for row in read_table(scanned / "pictures.parquet")}
    # Nothing is kept of a picture that was opened; here 41 and more have been.
    assert len(logging.getLogger("PIL").handlers) <= 1
    layers = [(x.name, x.channels) for x in model.layers if any(x.name == row["layer"] for row in rows)]
    assert [(row["layer"], row["channel"]) for row in rows] == [
        (n, c) for n, count in layers for c in range(count or 0)
    ]
    maps = {number: model.activations(row["path"], [n for n, _ in layers]) for number, row in names.items()}
    for row in rows:
        own = {number: found[row["layer"]][0, row["channel"]] for number, found in maps.items()}
        assert row["mean"] == pytest.approx(np.mean([m.mean(dtype=np.float64) for m in own.values()]), rel=1e-5)
        every = np.concatenate([m.reshape(-1).astype(np.float64) for m in own.values()])
        assert row["std"] == pytest.approx(every.std(), rel=1e-4, abs=1e-6)
        assert row["mean_spread"] == pytest.approx(np.std([m.mean() for m in own.values()]), rel=1e-3, abs=1e-6)
        assert (row["minimum"], row["maximum"]) == (every.min(), every.max())
        assert row["zero_fraction"] == (every == 0).mean()
        assert row["dead"] == all(m.min() == m.max() for m in own.values())
        assert sum(row["histogram"]) == 40
        moving = {number: m for number, m in own.items() if m.min() < m.max()}
        best = sorted(moving, key=lambda number: (-moving[number].max(), number))[:4]
        assert row["top_pictures"] == best
        for number, value, y, x in zip(best, row["top_values"], row["top_rows"], row["top_columns"], strict=True):
            assert own[number][y, x] == value == own[number].max()
        means = {k: np.mean([own[n].mean() for n in own if names[n]["label"] == k]) for k in CLASSES}
        assert row["classes"][0] == max(means, key=lambda label: means[label])
        top, rest = max(means.values()), (sum(means.values()) - max(means.values())) / 2
        if row["selectivity"] is not None:
            assert row["selectivity"] == pytest.approx((top - rest) / (top + rest), abs=1e-4)


def test_pictures_against_predict(network: Path, scanned: Path) -> None:
    model = open_model(network, threads=1)
    rows = read_table(scanned / "pictures.parquet")
    assert [row["picture"] for row in rows] == [k for k in range(41) if k != 40]
    for row in rows[::7]:
        first = model.predict(row["path"], 3)
        assert row["predicted"] == first[0].label
        assert row["confidence"] == pytest.approx(first[0].probability, abs=1e-6)
        assert row["label"] == Path(row["path"]).parent.name
        assert row["label_probability"] == pytest.approx(
            next(p.probability for p in first if p.label == row["label"]), abs=1e-6
        )
    document = json.loads((scanned / "scan.json").read_text())
    assert document["pictures"] == 40
    assert [one["path"].endswith("red/broken.jpg") for one in document["skipped"]] == [True]


@pytest.mark.slow
def test_every_kind_of_data_gives_the_same_pictures(
    model: Model, pictures: Path, scanned: Path, tmp_path: Path
) -> None:
    files = sorted(p for p in pictures.rglob("*") if p.is_file())
    with tarfile.open(tmp_path / "set.tar", "w") as tar, zipfile.ZipFile(tmp_path / "set.zip", "w") as zipped:
        for number, path in enumerate(files):
            (tmp_path / "label.cls").write_text(path.parent.name)
            tar.add(path, f"{number:04d}{path.suffix}")
            tar.add(tmp_path / "label.cls", f"{number:04d}.cls")
            zipped.write(path, path.relative_to(pictures))
    lines = [f"{path},{path.parent.name}" for path in files]
    (tmp_path / "set.csv").write_text("\n".join(["image,label", *lines]))
    arrow = require("pyarrow")
    table = arrow.table({"path": [str(p) for p in files], "label": [p.parent.name for p in files]})
    require("pyarrow.parquet").write_table(table, tmp_path / "set.parquet")
    given = ["set.tar", "set.zip", "set.csv", "set.parquet", f"file://{pictures}", f"file://{tmp_path}/set.tar"]
    kept = ("label", "predicted", "confidence", "sha256")
    wanted = sorted([str(row[k]) for k in kept] for row in read_table(scanned / "pictures.parquet"))
    for number, data in enumerate(given):
        out = tmp_path / f"out-{number}"
        made = scan_pictures(
            model, [data if "://" in data else tmp_path / data], out, ScanOptions(engine="plain", top=4)
        )  # fmt: skip
        assert made.pictures == 40
        assert len(made.skipped) == 1
        assert sorted([str(row[k]) for k in kept] for row in read_table(out / "pictures.parquet")) == wanted, data


def test_what_cannot_be_scanned_is_told(model: Model, pictures: Path, scanned: Path, tmp_path: Path) -> None:
    options = ScanOptions(engine="plain", shard_size=7, top=4)
    with pytest.raises(ScanError, match="holds a scan already; go on with --resume, or choose another folder"):
        scan_pictures(model, [pictures], scanned, options)
    with pytest.raises(ScanError, match="is another one: the model, the layers, the pictures or --top differ"):
        scan_pictures(model, [pictures / "red"], scanned, ScanOptions(engine="plain", resume=True, top=4))
    with pytest.raises(inspector.UsageError, match=r"lies in the folder of the pictures, .*; give -o a folder"):
        scan_pictures(model, [pictures], pictures / "scan", options)
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.tar.gz").write_bytes(b"")
    with pytest.raises(ScanError, match="no pictures were found"):
        scan_pictures(model, [tmp_path / "empty"], tmp_path / "out", options)
    with pytest.raises(ScanError, match="is compressed as a whole"):
        scan_pictures(model, [tmp_path / "x.tar.gz"], tmp_path / "out", options)
    with pytest.raises(inspector.ImageError, match="none of 1 pictures could be used; the first: "):
        scan_pictures(model, [pictures / "red" / "broken.jpg"], tmp_path / "out", options)
