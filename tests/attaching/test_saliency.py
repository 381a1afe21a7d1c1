"""Input gradients as an output of the file: against the numpy gradients, the twin, and what integrals add up to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from exporters.attaching import attach_outputs
from inspector.errors import NotComputable, UsageError
from inspector.model import open_model
from tests.attaching.test_attach import flattened, gated, pooled, run_file
from tests.foreign import Net


def strided(net: Net, x: str) -> str:
    """Strides that leave rows over, groups, a residual, overlapping pools, a norm."""
    y = net("MaxPool", net.conv(x, 3, 8, 3, stride=2, pads=1), kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    y = net("Add", net("Relu", net.conv(y, 8, 8, 3, group=8, pads=1)), y)
    y = net("AveragePool", net("Sigmoid", net.conv(y, 8, 6, 2, stride=2)), kernel_shape=[2, 2], pads=[1, 1, 0, 0])
    return net("Gemm", net("Flatten", net("GlobalAveragePool", y)), net.weight((7, 6)), transB=1)


def differences(path: Path, tensor: Any, step: float = 1e-3) -> Any:
    """The slope of the top score along a random direction, by central differences."""
    way = np.random.default_rng(0).standard_normal(tensor.shape).astype(np.float32)
    source = open_model(path, provider="cpu")
    top = int(source.scores(tensor)[0].argmax())
    up, down = (source.scores(tensor + sign * step * way)[0, top] for sign in (1, -1))
    return (up - down) / (2 * step), way


@pytest.mark.parametrize(
    "build", [gated, strided, *(pytest.param(build, marks=pytest.mark.slow) for build in (pooled, flattened))]
)
def test_gradients(build: Any, make_model: Any, tmp_path: Path) -> None:
    source = make_model(build, shape=("N", 3, 8, 8))
    made = attach_outputs(source, tmp_path / "made.onnx", saliency="gradient")
    onnx.checker.check_model(str(made.path), full_check=True)
    tensor = np.random.default_rng(4).random((2, 3, 8, 8), np.float32)
    both = run_file(made.path, tensor)["saliency"]
    one = run_file(made.path, tensor[1:])["saliency"]
    assert both.shape == tensor.shape
    assert np.abs(both[1:] - one).max() <= 1e-5 * np.abs(one).max()
    slope, way = differences(source, tensor[:1])
    assert float((both[:1] * way).sum()) == pytest.approx(float(slope), rel=0.1)
    assert made.parity[-1].layer == "saliency"
    assert made.parity[-1].ok


def test_integrated_gradients_add_up_and_noise_is_the_same_every_time(make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(strided, shape=("N", 3, 8, 8)), provider="cpu")
    tensor = np.random.default_rng(4).random((3, 3, 8, 8), np.float32)
    made = attach_outputs(source, tmp_path / "made.onnx", saliency="integrated:64", cam="gradcam")
    assert [o.name for o in made.outputs] == ["cam", "cam_classes", "saliency"]
    values = run_file(made.path, tensor)["saliency"]
    scores, blank = source.scores(tensor), source.scores(np.zeros_like(tensor[:1]))
    for number, row in enumerate(scores):
        wanted = row.max() - blank[0, row.argmax()]
        assert values[number].sum() == pytest.approx(wanted, abs=0.02 * float(np.abs(scores).max()))
    again = attach_outputs(source, tmp_path / "again.onnx", saliency="smoothgrad:4")
    assert np.array_equal(*(run_file(again.path, tensor)["saliency"] for _ in range(2)))
    assert open_model(again.path, provider="cpu").layers == source.layers


def test_what_is_refused(make_model: Any, tmp_path: Path) -> None:
    out = tmp_path / "made.onnx"
    for text in ("grad", "gradient:3", "integrated:0", "smoothgrad:9999"):
        with pytest.raises(UsageError, match="there is no saliency"):
            attach_outputs(make_model(pooled), out, saliency=text)
    with pytest.raises(NotComputable, match="takes 1 picture"):
        attach_outputs(make_model(pooled), out, saliency="integrated")

    def odd(net: Net, x: str) -> str:
        y = net("GlobalAveragePool", net("Tile", net.conv(x, 3, 6), net.const([1, 1, 2, 2])))
        return net("Gemm", net("Flatten", y), net.weight((7, 6)), transB=1)

    with pytest.raises(NotComputable, match="needs the gradient of Tile"):
        attach_outputs(make_model(odd, name="odd.onnx"), out, saliency="gradient")
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [True, False])
def test_the_default_model_equals_the_twin(
    smooth: bool, default_model: Path, photo: Path, torch: Any, tmp_path: Path
) -> None:
    """Every pixel is the twin's where both take the same side of each bend: the file's, which rounding alone parts."""
    from inspector.twin import build_twin

    proto = onnx.load(default_model)
    if smooth:
        for node in proto.graph.node:
            if node.op_type == "Clip":
                node.op_type = "Gelu"
                del node.input[1:]
        onnx.save(proto, tmp_path / "smooth.onnx")
    source = open_model(tmp_path / "smooth.onnx" if smooth else default_model, provider="cpu")
    made = attach_outputs(source, tmp_path / "made.onnx", saliency="gradient")
    assert source.classifier is not None
    scores = source.classifier.scores
    bends = [(node.input[0], node.output[0]) for node in source.graph.nodes if node.op_type == "Clip"]
    twin = build_twin(source.graph, outputs=[scores, *(name for name, _ in bends)])
    # In the second picture two of six million units lie on another side, 1e-6 from the bend.
    for box in ((60, 20, 300, 260), (0, 0, 300, 250)):
        with Image.open(photo) as picture:
            tensor = source.tensor(picture.crop(box))
        values, left = run_file(made.path, tensor), []
        x = torch.tensor(tensor, requires_grad=True)
        out = twin(x)
        for before, after in bends:
            theirs, own = out[before].detach(), torch.from_numpy((values[after] > 0) & (values[after] < 6))
            other = ((theirs > 0) & (theirs < 6)) != own
            assert (torch.minimum(theirs.abs(), (theirs - 6).abs())[other] < 1e-5).all()
            left.append(own)

        def pass_by_the_file(gradient: Any, natural: Any, x: Any, dead: Any, left: list[Any] = left) -> Any:
            return gradient * left.pop()  # the way back meets the last one first

        with twin.modified_backward(pass_by_the_file):
            row = twin(x)[scores].reshape(-1)
            row[row.argmax()].backward()
        assert not left
        wanted = x.grad.numpy()
        assert np.abs(values["saliency"] - wanted).max() <= (1e-4 if smooth else 1e-5) * np.abs(wanted).max()


def test_one_score_that_says_no(make_model: Any, tmp_path: Path) -> None:
    def binary(net: Net, x: str) -> str:
        y = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 3, 6))))
        return net("Sigmoid", net("Gemm", y, net.const(-np.ones((1, 6), np.float32)), transB=1))

    made = attach_outputs(
        make_model(binary, shape=("N", 3, 8, 8)), tmp_path / "made.onnx", saliency="gradient", provider="cpu"
    )
    assert made.parity[-1].ok
