"""Where torch computes, and how exactly; what needs a GPU is skipped without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector import open_model
from inspector.errors import UsageError
from tests.conftest import require

torch = require("torch")

from inspector.ascent import FilterOptions, dream, settle_filters  # noqa: E402
from inspector.ascent.filters import find_patterns  # noqa: E402
from inspector.twin import build_twin, verify_twin  # noqa: E402
from inspector.twin.devices import choose_device, compute_exactly, find_device  # noqa: E402

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")


def read_switches() -> list[object]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if not hasattr(cudnn, "conv"):
        return [cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32]
    return [cudnn.deterministic, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, matmul.fp32_precision]


def test_float32_is_float32_inside_and_what_it_was_outside() -> None:
    before = read_switches()
    with compute_exactly():
        inside = read_switches()
    assert read_switches() == before
    assert inside[0] is True
    assert not {"tf32", True} & set(inside[1:])
    torch.set_float32_matmul_precision("high")  # what a program may have asked for
    try:
        with compute_exactly():
            assert torch.get_float32_matmul_precision() == "highest"
            assert read_switches()[-1] != "tf32"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    if hasattr(torch.backends.cudnn, "conv"):
        matmul = torch.backends.cuda.matmul
        kept, matmul.fp32_precision = matmul.fp32_precision, "tf32"  # the same by the newer name
        try:
            with compute_exactly():
                assert read_switches()[-1] == "ieee"
            assert read_switches()[-1] == "tf32"
        finally:
            matmul.fp32_precision = kept


def test_the_device_of_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, wanted in ((True, ["cuda", "cuda", "cuda", "cpu", "cpu"]), (False, ["cpu"] * 5)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert [find_device(name) for name in ("auto", "cuda", "tensorrt", "cpu", "openvino")] == wanted
        assert choose_device("auto") == wanted[0]
    with pytest.raises(UsageError, match="torch finds no CUDA device here"):
        choose_device("cuda")


@on_gpu
def test_the_twin_agrees_with_onnxruntime_on_a_gpu(default_model: Path, photo: Path) -> None:
    """Without TensorFloat-32, with which most layers are off by more than a thousandth."""
    model = open_model(default_model, provider="cpu")
    tensors = [layer.tensor for layer in model.layers]
    twin = build_twin(model.graph, tensors, device="cuda")
    found = verify_twin(twin, model.graph, {model.input.name: model.tensor(photo)}, tolerance=1e-4)
    assert len(found) == len(tensors)


@on_gpu
def test_the_same_seed_makes_the_same_picture_on_a_gpu(default_model: Path, photo: Path) -> None:
    model = open_model(default_model, provider="cpu")
    spec = settle_filters(model, model.layer("blocks.5.swish"), FilterOptions(channels=range(8), device="cuda"))
    first, second = (
        [x.pictures[0].pixels for x in find_patterns(model, spec)],
        [x.pictures[0].pixels for x in find_patterns(model, spec)],
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    dreams = [dream(model, photo, ["blocks.3"], steps=3, octaves=2, provider="cuda", frames_every=2) for _ in range(2)]
    assert np.array_equal(*(np.array(x.picture) for x in dreams))
    assert dreams[0].activation > dreams[0].activation_start


@on_gpu
@pytest.mark.parametrize("layer", ["swish_1", "blocks.3"])
def test_maps_through_the_twin_are_those_of_the_processor(default_model: Path, photo: Path, layer: str) -> None:
    def draw(provider: str) -> np.ndarray:
        [found] = open_model(default_model, provider=provider).cam(photo, layer=layer, backend="twin")
        return found.heatmap

    assert np.abs(draw("cpu") - draw("cuda")).max() < 1e-3
