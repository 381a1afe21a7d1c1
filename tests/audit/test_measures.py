"""The figures, each against a second way to work it out."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inspector.agreement import SignalToNoise, signal_to_noise, to_decibels
from inspector.auditing import audit_model
from inspector.auditing.checks.cost import parameters
from inspector.auditing.checks.representation.duplicate_channels import find_repeats
from inspector.auditing.forward_pass import LayerOutput
from inspector.auditing.probes.consistency import Blur, Brightness, Flip, Jpeg, Noise, Shift
from inspector.auditing.probes.predictions import LabelledPredictions, TopPrediction
from inspector.auditing.probes.samples import SIZE, Samples
from inspector.auditing.probes.zeros import find_upper_bound
from inspector.auditing.subject import Subject
from inspector.metrics import measure_calibration_error
from inspector.model import open_model
from inspector.model.multiply_adds import count_multiply_adds
from tests.audit.pictures import pngs
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net

rng = np.random.default_rng(11)


def pooled(net: Net, x: str) -> str:
    """A small classifier."""
    y = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 3, 4))))
    return net("Gemm", y, net.weight((3, 4)), transB=1)


# --- signal to noise --------------------------------------------------------------------------------------------------


def test_decibels() -> None:
    assert to_decibels(np.array([100.0, 1, 0, 1, 0]), np.array([1.0, 100, 0, 0, 1])).tolist() == [
        20,
        -20,
        100,
        100,
        -100,
    ]
    assert to_decibels(np.array([1.0, np.nan]), np.array([np.nan, 1.0])).tolist() == [-100, -100]
    assert to_decibels(np.array([np.inf]), np.array([1.0])).tolist() == [100]


def test_a_signal_with_known_noise() -> None:
    signal = rng.standard_normal((4, 5000)).astype(np.float32)
    noise = (0.01 * rng.standard_normal((4, 5000))).astype(np.float32)
    assert signal_to_noise(signal, signal + noise) == pytest.approx(40, abs=0.3)
    slow = 10 * np.log10((signal.astype(float) ** 2).sum() / (noise.astype(float) ** 2).sum())
    assert signal_to_noise(signal, signal + noise) == pytest.approx(slow, abs=0.02)
    # A uniform grid of 2^b steps over a uniform signal: 6.02 dB per bit.
    ramp = rng.uniform(-1, 1, (1, 100_000)).astype(np.float32)
    for bits in (4, 8):
        step = 2 / 2**bits
        assert signal_to_noise(ramp, np.rint(ramp / step) * np.float32(step)) == pytest.approx(6.02 * bits, abs=0.3)


def test_values_that_are_none_are_compared_without_a_warning() -> None:
    strange = np.array([[np.inf, -np.inf, np.nan, 3e38]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert signal_to_noise(strange, strange[:, ::-1].copy()) == -100
        assert signal_to_noise(np.float32([[3e38]]), np.float32([[-3e38]])) == -100


def test_sums_over_pictures_are_those_of_all_at_once() -> None:
    a, b = (rng.standard_normal((3, 4, 50)).astype(np.float32) for _ in range(2))
    sums = SignalToNoise()
    for x, y in zip(a, b, strict=True):
        sums.add(x, y)
    whole = SignalToNoise()
    whole.add(np.concatenate(list(a), axis=1), np.concatenate(list(b), axis=1))
    assert sums.channels_db() == pytest.approx(whole.channels_db(), abs=1e-4)
    assert sums.layer_db == pytest.approx(whole.layer_db, abs=1e-4)


def test_the_worst_channel_is_one_that_matters() -> None:
    first = np.ones((3, 10), np.float32) * np.array([[1], [2], [1e-3]], np.float32)
    second = first + np.array([[0.1], [0.1], [1]], np.float32)
    sums = SignalToNoise()
    sums.add(first, second)
    assert sums.worst_channel() == (0, pytest.approx(20, abs=1e-3))
    sums.add(first, np.full_like(second, np.nan))
    assert sums.worst_channel()[1] == -100


# --- behaviour --------------------------------------------------------------------------------------------------------


def slow_calibration_error(confidence: NDArray[Any], right: NDArray[Any], bins: int) -> float:
    """Guo et al. 2017, equation 3, written out."""
    total = 0.0
    for k in range(bins):
        members = [i for i, p in enumerate(confidence) if (k / bins < p <= (k + 1) / bins) or (k == 0 and p == 0)]
        if members:
            accuracy = sum(bool(right[i]) for i in members) / len(members)
            mean = sum(float(confidence[i]) for i in members) / len(members)
            total += len(members) / len(confidence) * abs(accuracy - mean)
    return total


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_error(bins: int) -> None:
    confidence = np.concatenate([rng.uniform(0, 1, 300), [0, 1, 0.2, 0.4]])
    right = rng.uniform(size=304) < confidence
    found, rows = measure_calibration_error(confidence, right, bins)
    assert found == pytest.approx(slow_calibration_error(confidence, right, bins), abs=1e-12)
    assert sum(row["pictures"] for row in rows) == 304
    assert measure_calibration_error(np.full(10, 0.8), np.arange(10) < 8, 10)[0] == pytest.approx(0)
    assert measure_calibration_error(np.ones(4), np.zeros(4, bool), 10)[0] == 1


def test_accuracy_and_recall_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, given = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    predictions = cast(Any, LabelledPredictions.__new__(LabelledPredictions))
    predictions.top = [TopPrediction("x", "", int(g), 0.5, int(k)) for k, g in zip(labels, given, strict=True)]
    assert predictions.accuracy == pytest.approx(metrics.accuracy_score(labels, given))
    assert predictions.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, given))
    assert list(predictions.recalls().values()) == pytest.approx(
        list(metrics.recall_score(labels, given, average=None))
    )


def test_balanced_accuracy_counts_classes_alike() -> None:
    predictions = cast(Any, LabelledPredictions.__new__(LabelledPredictions))
    predictions.top = [TopPrediction("x", "", 0, 0.5, 0)] * 9 + [TopPrediction("x", "", 0, 0.5, 1)]
    assert (predictions.accuracy, predictions.balanced_accuracy, predictions.recalls()) == (0.9, 0.5, {0: 1.0, 1: 0.0})


def changed(kind: type[Any], view: Image.Image, **limits: float) -> NDArray[Any]:
    probe = kind.__new__(kind)
    probe.limits = limits
    return np.asarray(probe.change(view, np.random.default_rng(0)))


def test_the_changes_of_consistency() -> None:
    pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
    view = Image.fromarray(pixels)
    assert (changed(Flip, view) == pixels[:, ::-1]).all()
    moved = changed(Shift, view, pixels=2)
    assert (moved[2:, 2:] == pixels[:-2, :-2]).all()
    assert (moved[0, 0] == pixels[0, 0]).all()
    for kind, limits in (
        (Jpeg, {"quality": 50}),
        (Blur, {"radius": 0.7}),
        (Noise, {"sigma": 4}),
        (Shift, {"pixels": 1}),
    ):
        out = changed(kind, view, **limits)
        assert out.shape == pixels.shape
        assert out.dtype == np.uint8
        assert (out != pixels).any()
    noise = changed(Noise, Image.new("RGB", (64, 64), (128, 128, 128)), sigma=4).astype(float)
    assert noise.std() == pytest.approx(4, abs=0.2)
    bright = changed(Brightness, Image.new("RGB", (4, 4), (100, 200, 250)), share=0.1)[0, 0].tolist()
    assert bright in ([110, 220, 255], [90, 180, 225])
    grey = Image.fromarray(pixels[:, :, 0])
    for kind, limits in ((Flip, {}), (Jpeg, {"quality": 50}), (Noise, {"sigma": 4}), (Shift, {"pixels": 1})):
        assert changed(kind, grey, **limits).shape == (20, 24)


# --- representation ---------------------------------------------------------------------------------------------------


def test_repeating_channels() -> None:
    rows = rng.standard_normal((100, 6)).astype(np.float32)
    rows[:, 3] = 2 * rows[:, 1] + 1
    rows[:, 4] = -rows[:, 0]
    rows[:, 5] = 7
    assert find_repeats(rows, 0.999).tolist() == [False, False, False, True, True, False]
    sparse = np.zeros((100, 3), np.float32)
    sparse[17] = 1  # all of them zero but for one and the same sample
    assert not find_repeats(sparse, 0.999).any()
    slow = np.abs(np.corrcoef(rows[:, :5].T))
    assert find_repeats(rows[:, :5], 0.5).tolist() == [(slow[i, :i] >= 0.5).any() if i else False for i in range(5)]


def test_the_reservoir_is_a_fair_sample() -> None:
    probe = cast(Any, Samples.__new__(Samples))
    probe.random, probe.kept, probe.seen = np.random.default_rng(0), {}, {}
    layer = cast(Any, SimpleNamespace(name="x"))
    for i in range(2000):
        probe.look(cast(Any, SimpleNamespace(layers={"x": LayerOutput(layer, np.full((2, 1, 1), i, np.float32))})))
    rows = probe.rows("x")
    assert rows.shape == (SIZE, 2)
    assert (rows[:, 0] == rows[:, 1]).all()
    # The mean of a fair sample of 0..1999 lies within three deviations of 999.5.
    assert abs(rows.mean() - 999.5) < 3 * 577 / np.sqrt(SIZE)


def test_dead_and_blank(make_model: MakeModel, tmp_path: Path) -> None:
    def half_dead(net: Net, x: str) -> str:
        weight = net.rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
        weight[2:] = 0
        y = net("Conv", x, net.const(weight), net.const([0.0, 0, -1, 2]), pads=[1] * 4, out="half")
        return net("Relu", y, out="after")

    model = make_model(half_dead, shape=(1, 3, 8, 8))
    found = audit_model(model, policy("dead-channels", "blank-layers", "zero-filters"), data=pngs(tmp_path / "p", 8))
    dead = found.check("dead-channels")
    assert (dead.status, dead.value) == ("fail", 0.5)
    assert dead.details["dead_share"] == {layer.name: 0.5 for layer in open_model(model).layers}
    assert found.check("blank-layers").status == "pass"
    assert found.check("zero-filters").value == 0.5
    few = audit_model(model, policy("dead-channels"), data=pngs(tmp_path / "few", 3))
    assert few.check("dead-channels").message == "not run: 3 pictures are too few; the policy asks for 8"

    def blank(net: Net, x: str) -> str:
        return net("Relu", net("Add", net.conv(x, 3, 4), net.const(np.float32(-1e6))))

    found = audit_model(
        make_model(blank, name="blank.onnx"), policy("blank-layers", "zero-fraction"), data=tmp_path / "p"
    )
    assert found.check("blank-layers").status == "fail"
    assert found.check("zero-fraction").value == 1
    assert found.check("zero-fraction").status == "fail"


def test_zeros_and_saturation(make_model: MakeModel, tmp_path: Path) -> None:
    def clipped(net: Net, x: str) -> str:
        y = net("Mul", net.conv(x, 3, 5), net.const(np.float32(100)))
        return net("Clip", y, net.const(np.float32(0)), net.const(np.float32(6)), out="clipped")

    path = make_model(clipped)
    model = open_model(path)
    data = pngs(tmp_path / "p", 9)
    found = audit_model(path, policy("zero-fraction", "saturated"), data=data)
    values = [next(iter(model.activations(p, ["clipped"]).values())) for p in sorted(data.iterdir())]
    assert found.check("zero-fraction").value == pytest.approx(np.mean([v == 0 for v in values]))
    assert found.check("saturated").value == pytest.approx(np.mean([v >= 5.94 for v in values]))
    subject = Subject(model, policy())
    assert find_upper_bound(subject, model.layers[-1].tensor) == 6


# --- cost -------------------------------------------------------------------------------------------------------------


def test_multiply_adds_and_parameters(make_model: MakeModel) -> None:
    def net(net: Net, x: str) -> str:
        y = net.conv(x, 3, 8, 3, stride=2)  # 8 x 8 x 8 outputs of 27 products
        y = net.conv(y, 8, 8, 3, group=8, bias=False)  # 512 outputs of 9
        y = net("ConvTranspose", y, net.weight((8, 4, 2, 2)), strides=[2, 2], kernel_shape=[2, 2])  # 512 inputs x 16
        y = net("Flatten", net("GlobalAveragePool", y))
        y = net("MatMul", y, net.weight((4, 5)))
        return net("Gemm", y, net.weight((6, 5)), net.const(np.zeros(6)), transB=1)

    def grouped(net: Net, x: str) -> str:  # as a trace of two pictures writes it
        return net("Flatten", net.conv(net("Reshape", net.conv(x, 3, 8, 3), net.const([2, 8, 16, 16])), 8, 4, 3))

    model = open_model(make_model(net, shape=("N", 3, 16, 16)))
    assert count_multiply_adds(model) == 512 * 27 + 512 * 9 + 512 * 16 + 20 + 30
    two = open_model(make_model(grouped, shape=(2, 3, 16, 16), name="two.onnx"))
    assert count_multiply_adds(two) == 8 * 256 * 27 + 4 * 256 * 72
    assert parameters.count_parameters(model) == 8 * 27 + 8 + 72 + 128 + 20 + 36


def test_multiply_adds_behind_a_shape_that_the_graph_computes(make_model: MakeModel) -> None:
    def net(net: Net, x: str) -> str:
        y = net.conv(x, 3, 8, 3, bias=False)  # 8 x 6 x 6 outputs of 27 products
        # The length of the last axis comes from the data's own shape, through what shape inference does not follow.
        total = net("Cast", net("ReduceProd", net("Cast", net("Shape", y), to=1), keepdims=1), to=7)
        rows = net(
            "Concat", net.const(np.array([1], np.int64)), net("Div", total, net.const(np.array([1], np.int64))), axis=0
        )
        y = net("Reshape", y, rows)
        return net("MatMul", y, net.weight((288, 5)))

    model = open_model(make_model(net, shape=("N", 3, 6, 6)))
    assert count_multiply_adds(model) == 288 * 27 + 288 * 5


def test_multiply_adds_of_fused_convolutions(make_model: MakeModel) -> None:
    """As onnxruntime's optimiser writes them."""

    def net(net: Net, x: str) -> str:
        y = net(
            "FusedConv", x, net.weight((8, 3, 3, 3)), domain="com.microsoft", kernel_shape=[3, 3], activation="Relu"
        )
        return net("GlobalAveragePool", y)

    model = open_model(make_model(net, com_microsoft=1))
    assert count_multiply_adds(model) == 8 * 6 * 6 * 27


def test_the_default_model_has_its_published_size(default_model: Path) -> None:
    """EfficientNet-Lite0: 407 million multiply-adds and 4.7 million parameters with the norms, by its authors."""
    model = open_model(default_model)
    assert count_multiply_adds(model) / 1e6 == pytest.approx(386, rel=0.01)
    assert parameters.count_parameters(model) == pytest.approx(4.631e6, rel=1e-3)


def test_latency_and_memory(default_model: Path) -> None:
    found = audit_model(
        default_model, policy("cost", checks={"latency": {"rounds": 5, "max_p50": 10, "max_p95": 20}}),
        against=default_model,
    )  # fmt: skip
    latency = found.check("latency")
    assert latency.status == "pass"
    assert 0.1 < latency.value < 10
    assert latency.details["p95_ms"] >= latency.details["p50_ms"] > 0
    memory = found.check("memory")
    assert memory.status == "pass"
    assert 30 < memory.details["peak_mb"] < 1000
    assert found.check("parameters").value == found.check("multiply-adds").value == 1
    slow = audit_model(default_model, policy("latency", checks={"latency": {"rounds": 5, "max_yardstick": 1e-6}}))
    assert slow.check("latency").status == "fail"
    assert "the yardstick" in slow.check("latency").message


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (-11, "was ended by SIGSEGV"), (-9, "was ended by SIGKILL"), (-250, "was ended by signal 250"),
        (1, "could not predict: MemoryError"), ("late", "did not predict within 300 s"),
    ],
)  # fmt: skip
def test_a_process_that_does_not_predict_is_a_finding(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, outcome: Any, message: str
) -> None:
    from inspector.auditing.checks.cost import memory

    def run(command: list[str], **options: Any) -> Any:
        if outcome == "late":
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return subprocess.CompletedProcess(command, outcome, "", "MemoryError")

    monkeypatch.setattr(memory.subprocess, "run", run)
    found = audit_model(make_model(pooled), policy("opset", "memory"))
    assert found.check("memory").status == "fail"
    assert message in found.check("memory").message
    assert not found.passed


def test_peak_memory_by_ratio(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from inspector.auditing.checks.cost import memory

    path, reference = make_model(pooled), make_model(pooled, name="reference.onnx")
    monkeypatch.setattr(memory, "_measure_peak", lambda model: 120.0 if model.path == path else 100.0)

    def judged(**limits: Any) -> tuple[str, float | None, float | None]:
        found = audit_model(path, policy("memory", checks={"memory": limits}), against=reference).check("memory")
        return found.status, found.value, found.limit

    assert judged(max_mb="none", max_ratio=1.5) == ("pass", 1.2, 1.5)
    assert judged(max_mb="none", max_ratio=1.1) == ("fail", 1.2, 1.1)
    assert judged(max_mb=200, max_ratio=1.5) == ("pass", 120, 200)
    assert judged(max_mb=110, max_ratio=1.5) == ("fail", 120, 110)
    assert judged(max_mb=200, max_ratio=1.1) == ("fail", 1.2, 1.1)
    assert judged(max_mb="none")[0] == "skipped"

    def broken(model: Any) -> float:
        if model.path != path:
            raise memory._NoPrediction("it was ended by SIGKILL")
        return 120.0

    monkeypatch.setattr(memory, "_measure_peak", broken)
    found = audit_model(path, policy("memory", checks={"memory": {"max_ratio": 2}}), against=reference).check("memory")
    assert found.message == "not run: the reference: it was ended by SIGKILL"


def test_a_machine_that_is_busy_for_a_moment_does_not_fail_it(
    default_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What exceeds its limit is measured again; what is slow each time still fails."""
    from inspector.auditing.checks.cost import latency

    calls: list[int] = []

    def clock(slow: Callable[[int], bool]) -> Callable[[object], float]:
        def measured(call: object) -> float:
            calls.append(1)
            # Model and reference take turns: the model comes first.
            return 3.0 if len(calls) % 2 and slow(len(calls)) else 1.0

        return measured

    chosen = policy("latency", checks={"latency": {"rounds": 5}})
    for slow, status, runs in ((lambda n: n <= 16, "pass", 32), (lambda n: True, "fail", 48)):
        calls.clear()
        monkeypatch.setattr(latency, "_clock", clock(slow))
        found = audit_model(default_model, chosen, against=default_model).check("latency")
        assert (found.status, len(calls)) == (status, runs)
        assert found.value == (1 if status == "pass" else 3)
