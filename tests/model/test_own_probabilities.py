"""Where a file gives probabilities itself, everything tells those, from the one run that it makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import inspector
from inspector.auditing.snapshot import load_snapshot
from inspector.cam.faithfulness import deletion
from inspector.pages.report import write_report
from inspector.runtime.sessions import Session
from inspector.serving.frames import Frame
from inspector.serving.look import Looker
from inspector.serving.views import Wanted
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net
from tests.foreign.compared import run_alone

K = 6


def rounds(n: Net, x: str) -> str:
    """A softmax whose probabilities are rounded to 1/50, and then moved to one picture as a Reshape may be written."""
    y = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(x, 3, 8, out="c"), out="r")))
    p = n("Softmax", n("Gemm", y, n.weight((K, 8)), transB=1, out="scores"), axis=1)
    scale, zero = n.const(np.float32(0.02)), n.const(np.array(0, np.uint8))
    p = n("DequantizeLinear", n("QuantizeLinear", p, scale, zero), scale, zero)
    return n("Reshape", p, n.const(np.array([1, K])), out="p")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    path = tmp_path / "pictures" / "a.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return path


def test_every_command_tells_the_probabilities_of_the_file(
    make_model: MakeModel, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model(rounds, opset=13)
    model = inspector.open_model(path, threads=1)
    tensor = model.tensor(picture)
    given = run_alone(onnx.load(path), path.parent, {"x": tensor}, ["p"])[0][0].astype(np.float64)
    apart = np.abs(model.probabilities(model.scores(tensor))[0] - given)
    best = int(np.argmax(given))
    assert apart[best] > 1e-3
    runs: list[int] = []
    monkeypatch.setattr(Session, "run", lambda self, feeds, real=Session.run: runs.append(1) or real(self, feeds))

    def check(told: dict[int, float]) -> None:
        for index, probability in told.items():
            assert probability == pytest.approx(given[index], abs=1e-6)
        assert best in told

    [answer] = inspector.predict(model, picture, top=K)
    check({p.index: p.probability for p in answer.top})
    [gallery] = inspector.draw_activations(model, picture, tmp_path / "a")
    check({p.index: p.probability for p in gallery.top})
    frame = Frame(np.asarray(Image.open(picture)), 0.0)
    check({p["index"]: p["probability"] for p in Looker(model).look(frame, Wanted()).answer.about["top"]})
    assert len(runs) == 3
    [drawn, *_] = inspector.draw_maps(model, picture, tmp_path / "c")
    check({m.result.target.index: m.result.target.probability for m in drawn.maps})
    assert deletion(model, picture, drawn.maps[0].result, steps=2).probability[0] == pytest.approx(
        given[best], abs=1e-6
    )
    [part] = write_report(model, [picture], tmp_path / "r.html", methods=["gradcam"]).pictures
    check({p["index"]: p["probability"] for p in part.top})
    made = tmp_path / "snapshot.json"
    inspector.audit(
        model, data=picture.parent, policy=policy("finite-activations", "classes-predicted"), save_snapshot=made
    )
    [(index, probability)] = load_snapshot(made).predictions.values()
    check({index: probability})
    # What has scores alone goes on as it did.
    alone = {p.index: p.probability for p in model.top(model.scores(tensor)[0], K)}
    np.testing.assert_allclose([alone[k] for k in range(K)], model.probabilities(model.scores(tensor))[0])


def test_several_pictures_run_though_the_file_moves_its_probabilities_to_one(make_model: MakeModel) -> None:
    model = inspector.open_model(make_model(rounds, opset=13, shape=("N", 3, 8, 8)))
    tensor = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    found = model.run_classes(tensor)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities * 50, np.rint(found.probabilities * 50), atol=1e-4)
    assert found.scores.shape == (3, K)


@pytest.mark.parametrize(("bias", "first"), [(0.001, 1), (-0.001, 0)])
def test_where_a_file_rounds_a_sigmoid_to_one_half_the_score_decides(
    bias: float, first: int, make_model: MakeModel
) -> None:
    def build(n: Net, x: str) -> str:
        y = n("Flatten", n("GlobalAveragePool", n("Mul", n.conv(x, 3, 1), n.const(np.float32(0)))))
        p = n("Sigmoid", n("Add", y, n.const(np.float32([bias]))))
        scale, zero = n.const(np.float32(0.02)), n.const(np.array(0, np.uint8))
        return n("DequantizeLinear", n("QuantizeLinear", p, scale, zero), scale, zero, out="p")

    model = inspector.open_model(make_model(build, opset=13))
    told = model.predict(np.zeros((8, 8, 3), np.uint8), top=2)
    assert [p.index for p in told] == [first, 1 - first]
    assert [p.probability for p in told] == pytest.approx([0.5, 0.5], abs=1e-6)
