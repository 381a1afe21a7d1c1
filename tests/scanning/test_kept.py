"""The patches of a scan beside patterns: those that a pass over the pictures finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inspector.cli.app import run
from inspector.image import find_images
from inspector.model import Model, open_model
from inspector.receptive import find_patches
from inspector.scanning import ScanError
from inspector.scanning.kept import is_scan, read_scan_patches
from tests.conftest import MakeModel


def test_the_patches_of_a_scan_are_those_of_a_pass(
    model: Model,
    network: Path,
    pictures: Path,
    scanned: Path,
    make_model: MakeModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = scanned
    assert is_scan(folder)
    assert not is_scan(pictures)
    layers = [x for x in model.layers if x.kind == "activation"]
    kept, held = read_scan_patches(folder, model, layers, 3, [0, 2, 5])
    paths = find_images(pictures)
    passed = find_patches(
        open_model(network, threads=1), [(p.as_posix(), p) for p in paths], layers, k=3, channels=[0, 2, 5]
    )
    for name, found in passed.items():
        assert kept[name].patches == found.patches
        assert kept[name].seen == found.seen
    assert all(held[name] == Path(name).read_bytes() for name in held)
    command = ["filters", str(network), "--layer", layers[0].name, "--from-images", str(folder), "--patches-only"]
    assert run([*command, "-o", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert Path(document["patches"]).exists()
    assert [p["image"] for p in document["channels"][0]["patches"][:3]] == [
        p.image for p in passed[layers[0].name].patches[0]
    ]
    other = make_model(lambda n, x: n.conv(x, 3, 2, 3))
    with pytest.raises(ScanError, match="is a scan of another model than"):
        read_scan_patches(folder, open_model(other), layers, 3, None)
    fc = model.layers[-1]
    if fc.name not in {x["name"] for x in json.loads((folder / "plan.json").read_text())["layers"]}:
        with pytest.raises(ScanError, match=f"holds no patches of {fc.name}, but of .*; scan with --layer {fc.name}"):
            read_scan_patches(folder, model, [fc], 3, None)
