"""What reads a file with attached outputs: predict and cam take answers from there, the audit holds them to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image
from typer.testing import CliRunner

import inspector
from exporters.attaching import attach_outputs
from inspector.auditing import audit_model
from inspector.cam import class_activation_maps
from inspector.cli.app import app
from inspector.metadata import KEY
from inspector.model import open_model
from tests.attaching.test_attach import pooled, run_file
from tests.attaching.test_calibration import write_pictures
from tests.audit.policies import policy


def test_predict_cam_and_audit(make_model: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    source = open_model(make_model(pooled, shape=("N", 3, 8, 8)))
    known = write_pictures(source, tmp_path / "pictures") / "known"
    made = attach_outputs(source, tmp_path / "made.onnx", cam="hirescam", calibrate=known, unknown=known).path
    picture = sorted(known.rglob("*.png"))[0]
    values = run_file(made, source.tensor(picture))
    [found] = inspector.predict(made, picture)
    assert found.attached["probability"] == "probability"
    assert found.probability == float(values["probability"].max())
    assert found.attached["unknown"]["value"] == float(values["unknown"][0])
    assert found.label == source.predict(picture)[0].label

    run = CliRunner().invoke(app, ["predict", str(made), str(picture), "--json"])
    [entry] = json.loads(run.stdout)["images"]
    assert entry["attached"]["unknown"]["output"] == "unknown"
    assert run.stderr.count("attached outputs: 'probability', 'unknown'") == 1
    run = CliRunner().invoke(app, ["cam", str(made), str(picture), "--method", "hirescam", "--json"])
    [one] = json.loads(run.stdout)["images"][0]["maps"]
    assert one["attached"] == "cam"
    assert "is the file's own output 'cam'" in run.stderr
    assert np.array_equal(np.load(one["heatmap"]), values["cam"][0])
    # Another method, another class or another backend is computed here.
    assert all(
        result.attached is None
        for options in (
            {"method": "gradcam"},
            {"method": "hirescam", "classes": 3},
            {"method": "hirescam", "backend": "onnx"},
        )
        for result in class_activation_maps(open_model(made), picture, **options)
    )

    def judge(path: Path) -> Any:
        return audit_model(path, policy("attached-outputs"), data=known).check("attached-outputs")

    assert judge(made).status == "pass"
    changed = onnx.load(made)
    properties = {entry.key: entry for entry in changed.metadata_props}
    document = json.loads(properties[KEY].value)
    document["attached"][2]["settings"]["temperature"] *= 1.5
    properties[KEY].value = json.dumps(document)
    onnx.save(changed, tmp_path / "changed.onnx")
    found = judge(tmp_path / "changed.onnx")
    assert found.status == "fail"
    assert "'probability' differs" in found.message


def test_other_files_made_from_it_do_not_claim_what_they_lack(make_model: Any, tmp_path: Path) -> None:
    made = attach_outputs(make_model(pooled, shape=("N", 3, 8, 8)), tmp_path / "made.onnx", cam="cam").path
    Image.new("RGB", (8, 8), (90, 10, 200)).save(tmp_path / "a.png")
    half = inspector.quantize(made, tmp_path / "half.onnx", [tmp_path / "a.png"], to="fp16")
    opened = open_model(half.path)
    assert opened.attached is None
    assert "cam" not in opened.graph.outputs
