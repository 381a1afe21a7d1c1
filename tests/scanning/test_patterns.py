"""Patterns that `inspector filters` wrote, beside the patches of a scan."""

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
from inspector.pages.scan import find_drawn_patterns, write_scan_page
from inspector.scanning import ScanError


def write_patterns(folder: Path, digest: str, layer: str, colors: dict[int, int], stuck: tuple[int, ...] = ()) -> None:
    """What `inspector filters` leaves of a layer: a record, and a picture of one grey for each channel."""
    own = folder / f"filters-{layer}"
    own.mkdir(parents=True)
    channels = []
    for channel, grey in colors.items():
        name = f"clear-{channel:04d}.png"
        Image.fromarray(np.full((20, 20, 3), grey, np.uint8)).save(own / name)
        channels.append({"channel": channel, "image": name, "stuck": channel in stuck})
    record = {"provenance": {"model": digest, "layer": layer}, "channels": channels}
    (own / "clear.json").write_text(json.dumps(record))


def test_patterns_stand_beside_the_patches_of_their_channels(model: Model, scanned: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(scanned, tmp_path / "scan")
    plan = json.loads((folder / "plan.json").read_text())
    layers = [(x["name"], x["channels"]) for x in plan["layers"]]
    name, count = layers[1]
    write_patterns(tmp_path / "drawn", model.digest, name, {0: 40, 2: 120, 3: 200, 4: 250}, stuck=(3,))
    (tmp_path / "drawn" / f"filters-{name}" / "clear-0004.png").write_bytes(b"cut off")
    write_scan_page(folder, find_drawn_patterns(tmp_path / "drawn", model.digest))
    page = (folder / "report.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    rows = [row[-1] for row in data["channels"]]
    first = layers[0][1]
    # What is stuck, broken or not drawn is not there.
    assert {k: place for k, place in enumerate(rows) if place} == {first: [0, 0], first + 2: [0, 1]}
    assert count > 4
    sprite = np.asarray(Image.open(folder / data["patterns"][0]))
    assert [int(sprite[64, 64, 0]), int(sprite[192, 64, 0])] == [40, 120]


def test_patterns_of_another_model_or_none_are_refused_before_the_scan(
    model: Model, network: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_patterns(tmp_path / "other", "f" * 64, "first", {0: 1})
    command = ["scan", str(network), str(pictures), "-o", str(tmp_path / "out"), "--patterns", str(tmp_path / "other")]
    assert run(command) == 2
    assert "are of another model: its digest is ffffffffffff, and that of the" in capsys.readouterr().err
    with pytest.raises(ScanError, match=r"holds no patterns; give --patterns the folder that `inspector filters -o`"):
        inspector.scan(model, pictures, tmp_path / "out", patterns=pictures)
    with pytest.raises(inspector.UsageError, match="a part has no page that could show patterns; give them to the me"):
        inspector.scan(model, pictures, tmp_path / "out", patterns=tmp_path / "other", shard=(1, 2))
    assert not (tmp_path / "out").exists()
