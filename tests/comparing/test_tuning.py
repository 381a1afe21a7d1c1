"""What a fine-tuning changed; large networks in pieces; the audit's drift by the same matches."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import inspector
from inspector.comparing import ComparedSides, Side, compare_sides, use_model
from inspector.model import open_model
from tests.audit.policies import policy
from tests.comparing import equals
from tests.comparing.test_compare import build, change
from tests.conftest import MakeModel


@pytest.fixture
def tuned(make_model: MakeModel, tmp_path: Path) -> tuple[Path, Path]:
    """A base, and a run in which the third convolution and the head were trained."""
    base = make_model(build, shape=(1, 3, 32, 32))
    model = onnx.load(str(base))
    rng = np.random.default_rng(5)
    for tensor in model.graph.initializer:
        if tensor.name in ("c3.weight", "fc.weight"):
            values = numpy_helper.to_array(tensor)
            moved = values + 0.5 * values.std() * rng.standard_normal(values.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), tensor.name))
    run = tmp_path / "run"
    run.mkdir()
    onnx.save(model, str(run / "model.onnx"))
    digest = hashlib.sha256((run / "model.onnx").read_bytes()).hexdigest()
    (run / "result.json").write_text(json.dumps({"sha256": digest}))
    return base, run


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(1)
    made = []
    for k in range(8):
        path = tmp_path / f"{k}.png"
        color = np.float32([1, 0.2, 0.2] if k % 2 else [0.1, 0.3, 1])
        Image.fromarray((rng.integers(0, 256, (32, 32, 3)) * color).astype(np.uint8)).save(path)
        made.append(path)
    return made


def test_what_was_trained_is_told_apart_from_what_was_frozen(tuned: tuple[Path, Path], pictures: list[Path]) -> None:
    base, run = tuned
    found = inspector.compare(base, run / "model.onnx", pictures, run=run)
    assert found.changes is not None
    by_name = {x.layer: x for x in found.changes.layers}
    assert by_name["c1"].frozen
    assert by_name["c1"].same
    assert by_name["c2"].frozen
    before, after = (onnx.load(str(path)) for path in (base, run / "model.onnx"))
    pair = [
        next(numpy_helper.to_array(t) for t in x.graph.initializer if t.name == "c3.weight") for x in (before, after)
    ]
    expected = np.linalg.norm(pair[1] - pair[0]) / np.linalg.norm(pair[0])
    assert by_name["c3"].weights == pytest.approx(expected, rel=1e-5)
    own = [np.linalg.norm(pair[1][c] - pair[0][c]) / np.linalg.norm(pair[0][c]) for c in range(8)]
    np.testing.assert_allclose(by_name["c3"].channels, own, rtol=1e-5)
    assert found.parted is not None
    assert found.parted.layer == "c3"
    for x in found.changes.channels:
        assert x.layer in ("c3", "add")
        names = {patch.image for patch in x.before}, {patch.image for patch in x.after}
        assert x.kept == len(names[0] & names[1])
    assert found.to_json()["changes"]["frozen"][:2] == ["c1", "r1"]
    tuned_net = open_model(run / "model.onnx")
    answers = [tuned_net.predict(path, 1)[0].label for path in pictures]
    assert len(set(answers)) > 1
    for x in found.changes.channels:
        values = [tuned_net.activations(path, x.layer)[x.layer][0, x.channel] for path in pictures]
        means = {
            label: np.mean([np.maximum(v, 0).mean() for v, said in zip(values, answers, strict=True) if said == label])
            for label in set(answers)
        }
        assert x.serves == max(means, key=lambda label: means[label])
        rest = np.mean([mean for label, mean in means.items() if label != x.serves])
        assert x.selectivity == pytest.approx((means[x.serves] - rest) / (means[x.serves] + rest), rel=1e-4)


def test_a_run_of_another_model_is_refused(tuned: tuple[Path, Path], pictures: list[Path]) -> None:
    base, run = tuned
    with pytest.raises(inspector.UsageError, match="is not what the run in"):
        inspector.compare(base, base, pictures, run=run)
    with pytest.raises(inspector.UsageError, match="a run is told of two files"):
        inspector.compare(run / "model.onnx", images=pictures, run=run, runtimes="basic")
    with pytest.raises(inspector.UsageError, match="holds no finished run"):
        inspector.compare(base, base, pictures, run=run.parent)


def test_a_network_in_pieces_gives_the_same(
    make_model: MakeModel, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make_model(build, shape=(1, 3, 32, 32))
    b = change(a, "c2.weight", tmp_path / "b.onnx")

    def find() -> list[dict[str, object]]:
        sides = ComparedSides(*(Side(open_model(x, threads=1), use_model, x.name) for x in (a, b)))
        return [row.to_json() for row in compare_sides(sides, [("photo", photo)]).layers]

    whole = find()
    monkeypatch.setattr("inspector.comparing.compare.STAGE_ELEMENTS", 1)
    monkeypatch.setattr("inspector.comparing.compare._MOST_STAGES", 100)
    for one, other in zip(whole, find(), strict=True):
        for key, value in one.items():
            assert other[key] == (pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) else value), key


def test_the_audit_finds_renamed_layers_in_other_layouts(make_model: MakeModel, tmp_path: Path, photo: Path) -> None:
    a = make_model(build, shape=(1, 3, 32, 32))
    other = equals.rename(equals.put_channels_last(onnx.load(str(a))))
    onnx.save(other, str(tmp_path / "b.onnx"))
    folder = tmp_path / "data"
    folder.mkdir()
    Image.open(photo).save(folder / "photo.png")
    found = inspector.audit(tmp_path / "b.onnx", policy=policy("drift-layers"), data=folder, against=a)
    assert found.check("drift-layers").status == "pass", found.check("drift-layers").message
