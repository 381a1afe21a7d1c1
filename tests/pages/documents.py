"""Documents of other commands, as they write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def write_audit(folder: Path, sha256: str, passed: bool = False) -> Path:
    checks = [
        {"id": "file.opset", "status": "pass", "severity": "error", "value": 20, "limit": 7, "message": "opset 20"},
        {"id": "x", "status": "fail", "severity": "error", "value": 3, "limit": 0, "message": "3 <dead> channels"},
    ]
    document = {"schema": 1, "command": "audit", "model": {"sha256": sha256}, "passed": passed, "checks": checks}
    path = folder / "audit.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


def write_filters(folder: Path, sha256: str, layer: str, photo: Path) -> Path:
    pattern = folder / "pattern.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)).save(pattern)
    patch = {"image": str(photo), "value": 2.5, "position": [3, 4], "box": [10, 10, 90, 80]}
    channels = [
        {"channel": 17, "image": str(pattern), "stuck": False, "patches": [patch] * 5},
        {"channel": 18, "image": str(pattern), "stuck": True},
    ]
    head = {"schema": 1, "command": "filters", "model": {"sha256": sha256}}
    document = {**head, "layer": layer, "recipe": "clear", "seed": 0, "channels": channels}
    path = folder / "filters.json"
    path.write_text(json.dumps(document), "utf-8")
    return path
