"""What reads a file with attached outputs: predict and cam take answers from there, the audit holds them to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

import inspector
from exporters.attaching import attach_outputs
from inspector.auditing import audit_model
from inspector.cam import class_activation_maps
from inspector.cli.app import app
from inspector.errors import NotComputable
from inspector.metadata import KEY
from inspector.model import open_model
from inspector.model.annotate import annotate_model
from tests.attaching.test_attach import pooled, run_file
from tests.attaching.test_calibration import write_pictures
from tests.audit.policies import policy
from tests.foreign import Net


def test_predict_cam_and_audit(make_model: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    source = open_model(make_model(pooled, shape=("N", 3, 8, 8)), provider="cpu")
    known = write_pictures(source, tmp_path / "pictures") / "known"
    made = attach_outputs(source, tmp_path / "made.onnx", cam="hirescam", calibrate=known, unknown=known).path
    picture = sorted(known.rglob("*.png"))[0]
    values = run_file(made, source.tensor(picture))
    [found] = inspector.predict(made, picture)
    assert found.attached["probability"] == "probability"
    assert found.probability == float(values["probability"].max())
    assert found.attached["unknown"]["value"] == float(values["unknown"][0])
    assert found.label == source.predict(picture)[0].label

    run = CliRunner().invoke(app, ["predict", str(made), str(picture), "--provider", "cpu", "--json"])
    [entry] = json.loads(run.stdout)["images"]
    assert entry["attached"]["unknown"]["output"] == "unknown"
    assert run.stderr.count("attached outputs: 'probability', 'unknown'") == 1
    told = entry["attached"]
    run = CliRunner().invoke(
        app, ["cam", str(made), str(picture), "--provider", "cpu", "--method", "hirescam", "--top", "2", "--json"]
    )
    [entry] = json.loads(run.stdout)["images"]
    assert [one["attached"] for one in entry["maps"]] == ["cam", "cam_classes"]
    assert entry["attached"] == told
    assert [one["reason"].split(";")[0] for one in entry["maps"]] == [
        f"the map is the file's own output {name!r}" for name in ("cam", "cam_classes")
    ]
    assert run.stderr.count("attached outputs: 'cam', 'cam_classes', 'probability', 'unknown'") == 1
    for one, said in zip(entry["maps"], (values["cam"][0], values["cam_classes"][0]), strict=True):
        index = one["class"]["index"]
        assert np.array_equal(np.load(one["heatmap"]), said if said.ndim == 2 else said[index])
        assert one["class"]["probability"] == float(values["probability"][0, index])
    # Another method or another backend is computed here; the probabilities are the file's whatever the map is.
    for method, backend in (("gradcam", "auto"), ("hirescam", "onnx")):
        [result] = class_activation_maps(
            open_model(made, provider="cpu"), picture, method=method, backend=backend, classes=3
        )
        assert result.attached is None
        assert result.target.probability == float(values["probability"][0, 3])
    [result] = class_activation_maps(open_model(made, provider="cpu"), picture, method="hirescam", classes=3)
    assert result.attached == "cam_classes"
    given = ["cam", str(made), str(picture), "--provider", "cpu", "--method", "hirescam", "--class", "3"]
    run = CliRunner().invoke(app, [*given, "-o", str(tmp_path / "named")])
    assert "attached outputs: 'cam_classes', 'probability', 'unknown'" in run.stderr  # not that of the top class

    def judge(path: Path) -> Any:
        return audit_model(path, policy("attached-outputs"), data=known, provider="cpu").check("attached-outputs")

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
    made = attach_outputs(
        make_model(pooled, shape=("N", 3, 8, 8)), tmp_path / "made.onnx", cam="cam", provider="cpu"
    ).path
    Image.new("RGB", (8, 8), (90, 10, 200)).save(tmp_path / "a.png")
    half = inspector.quantize(made, tmp_path / "half.onnx", [tmp_path / "a.png"], to="fp16")
    opened = open_model(half.path, provider="cpu")
    assert opened.attached is None
    assert "cam" not in opened.graph.outputs


@pytest.mark.parametrize("labels", [None, ["no", "yes"]])
def test_one_score_for_two_classes_has_calibrated_probabilities_too(
    labels: list[str] | None, make_model: Any, tmp_path: Path
) -> None:
    def binary(net: Net, x: str) -> str:
        y = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 3, 6))))
        return net("Gemm", y, net.const(np.linspace(-9, 9, 6, dtype=np.float32)[None]), transB=1)

    plain = make_model(binary, shape=("N", 3, 8, 8))
    source = open_model(
        annotate_model(plain, tmp_path / "two.onnx", activation="sigmoid", labels=labels).path, provider="cpu"
    )
    rng = np.random.default_rng(0)
    for number in range(40):
        picture = rng.integers(0, 256, (8, 8, 3), np.uint8)
        found = source.predict(picture)[0 if number % 5 else 1]
        folder = tmp_path / "two" / (found.label if labels else str(found.index))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    made = attach_outputs(source, tmp_path / "made.onnx", calibrate=tmp_path / "two").path
    for path in sorted((tmp_path / "two").rglob("*.png"))[::9]:
        second = float(run_file(made, source.tensor(path))["probability"][0, 0])
        [said] = inspector.predict(made, path, top=2)
        assert {one.index: one.probability for one in said.top} == {0: 1 - second, 1: second}
        assert said.label == source.predict(path)[0].label
        assert said.probability >= 0.5
    if labels:
        alone = annotate_model(plain, tmp_path / "one.onnx", activation="sigmoid", labels=["yes"])
        with pytest.raises(NotComputable, match="knows one class"):
            attach_outputs(alone, tmp_path / "other.onnx", calibrate=tmp_path / "two")


def test_metadata_that_says_too_little_is_left_out_with_a_word(make_model: Any, tmp_path: Path) -> None:
    made = attach_outputs(
        make_model(pooled, shape=("N", 3, 8, 8)), tmp_path / "made.onnx", cam="cam", provider="cpu"
    ).path
    changed = onnx.load(made)
    [entry] = [entry for entry in changed.metadata_props if entry.key == KEY]
    document = json.loads(entry.value)
    del document["attached"][0]["settings"]["method"]
    document["attached"].append({"name": "nowhere", "meaning": "unknown", "settings": {"threshold": "high"}})
    entry.value = json.dumps(document)
    onnx.save(changed, tmp_path / "changed.onnx")
    lines: list[str] = []
    opened = open_model(tmp_path / "changed.onnx", warn=lines.append, provider="cpu")
    assert opened.attached is not None
    assert [one.name for one in opened.attached.entries] == ["cam_classes"]
    assert opened.graph.outputs == open_model(made, provider="cpu").graph.outputs
    assert lines == [
        "the attached output 'cam' is left out: its metadata lacks method",
        "the metadata tells of an attached output 'nowhere', which the file does not have",
    ]
