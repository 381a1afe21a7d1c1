"""Where two files part: matched by name, structure and values, measured layer by layer, on each other's values."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import inspector
from inspector.cli.app import run
from inspector.comparing.axes import find_turn
from inspector.comparing.likeness import LinearCka
from inspector.comparing.matching import find_common_order
from tests.conftest import MakeModel
from tests.foreign import Net


def build(net: Net, x: str, prefix: str = "", last: bool = False) -> str:
    """Three convolutions, the last two with norms; `last`: channels on the last axis from the second on."""
    a = net("Relu", net.conv(x, 3, 8, w=f"{prefix}c1.weight", name=f"/{prefix}c1/Conv"), name=f"/{prefix}r1/Relu")
    if last:
        a = net("Transpose", net("Transpose", a, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    b = net(
        "Relu", net.bn(net.conv(a, 8, 8, w=f"{prefix}c2.weight", name=f"/{prefix}c2/Conv"), 8), name=f"/{prefix}r2/Relu"
    )
    c = net("Add", a, net.conv(b, 8, 8, w=f"{prefix}c3.weight", name=f"/{prefix}c3/Conv"), name=f"/{prefix}add/Add")
    pooled = net("Flatten", net("GlobalAveragePool", c))
    return net("Gemm", pooled, net.weight((5, 8), f"{prefix}fc.weight"), transB=1)


def change(path: Path, name: str, to: Path, factor: float = 1.5) -> Path:
    """The same file with one number of one weight changed."""
    model = onnx.load(str(path))
    [tensor] = [x for x in model.graph.initializer if x.name == name]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[3] = values.flat[3] * factor + 0.1
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, str(to))
    return to


def run_command(capsys: pytest.CaptureFixture[str], *args: Any) -> tuple[int, dict[str, Any]]:
    code = run(["compare", *map(str, args), "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def test_the_layer_of_a_changed_weight_is_named(
    make_model: MakeModel, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = make_model(build, shape=(1, 3, 32, 32))
    b = change(a, "c2.weight", tmp_path / "b.onnx")
    code, document = run_command(capsys, a, b, photo)
    assert code == 0
    by_name = {row["layer"]: row for row in document["layers"]}
    assert document["parted"]["layer"] == "c2" == document["parted"]["b_layer"]
    assert by_name["c1"]["sqnr_db"] == 100
    assert by_name["c2"]["began"] == pytest.approx(1)
    assert [name for name, row in by_name.items() if row["parted"]] == ["c2"]
    later = [row for name, row in by_name.items() if name not in ("c1", "c2", "r1")]
    assert all(row["sqnr_db"] < 100 for row in later)
    assert all(row["own_db"] == 100 for row in later)
    assert run_command(capsys, a, b, photo, "--fail-below", 99)[0] == 1


def test_a_renamed_file_is_matched_by_its_weights(make_model: MakeModel, tmp_path: Path, photo: Path) -> None:
    a = make_model(build, shape=(1, 3, 32, 32))
    b = make_model(lambda net, x: build(net, x, "m_"), shape=(1, 3, 32, 32), name="b.onnx")
    found = inspector.compare(a, b, photo)
    assert found.parted is None
    assert len(found.layers) == len(inspector.list_layers(a))
    worse = inspector.compare(a, change(b, "m_c3.weight", tmp_path / "c.onnx"), photo)
    assert worse.parted is not None
    assert (worse.parted.layer, worse.parted.b_layer) == ("c3", "m_c3")


def test_a_fused_activation_goes_to_the_layer_that_equals_it(make_model: MakeModel, photo: Path) -> None:
    def fused(net: Net, x: str) -> str:
        weight, bias = net.weight((8, 3, 3, 3), "c1.weight"), net.const(net.rng.standard_normal(8) * 0.1)
        a = net("FusedConv", x, weight, bias, domain="com.microsoft", activation="Relu", pads=[1] * 4)
        return net.conv(a, 8, 8, w="c2.weight")

    def plain(net: Net, x: str) -> str:
        return net.conv(net("Relu", net.conv(x, 3, 8, w="c1.weight"), name="/r1/Relu"), 8, 8, w="c2.weight")

    a = make_model(plain, shape=(1, 3, 32, 32))
    b = make_model(fused, shape=(1, 3, 32, 32), name="b.onnx", com_microsoft=1)
    found = inspector.compare(b, a, photo)
    assert found.parted is None
    assert next((x.layer, x.b_layer, x.matched) for x in found.layers) == ("fusedconv2", "r1", "values")
    assert found.runs[0].only_b == ("conv2",)


def test_the_order_of_axes_is_found() -> None:
    rng = np.random.default_rng(0)
    value = rng.standard_normal((1, 6, 6, 6)).astype(np.float32)
    for order in ((0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 3, 2)):
        other = np.ascontiguousarray(value.transpose(order))
        found = find_turn(value, other)
        assert found is not None
        turned = found[0].to_a(other, value.shape)
        assert turned is not None
        np.testing.assert_array_equal(turned, value)
        np.testing.assert_array_equal(found[0].to_b(value, other.shape), other)
    assert find_turn(value, value[:, :5]) is None


def test_cka_is_the_formula_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 7)), rng.standard_normal((40, 5))
    y[:, :3] += x[:, :3]
    sums = LinearCka()
    for a, b in zip(x, y, strict=True):
        sums.add(a, b)
    # Kornblith et al. 2019, by way of HSIC with linear kernels and the centering matrix.
    center = np.eye(40) - 1 / 40
    k, m = center @ x @ x.T @ center, center @ y @ y.T @ center
    expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert sums.value == pytest.approx(expected)
    turned = LinearCka()
    rotation, _ = np.linalg.qr(rng.standard_normal((7, 7)))
    for a in x:
        turned.add(a, 3 * a @ rotation)
    assert turned.value == pytest.approx(1)


def test_the_common_order_is_the_longest() -> None:
    first, second = "abcbdab", "bdcaba"
    found = find_common_order(first, second)
    assert len(found) == 4
    assert all(first[i] == second[j] for i, j in found)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(found))


def test_runtimes_of_one_file(make_model: MakeModel, photo: Path) -> None:
    path = make_model(build, shape=(1, 3, 32, 32))
    names = ["cpu", "basic", "disabled", "threads:1", "reference"]
    found = inspector.compare(path, images=photo, runtimes=names)
    assert len(found.runs) == 4
    assert found.parted is None
    with pytest.raises(inspector.UsageError, match="there is no runtime 'abacus'"):
        inspector.compare(path, images=photo, runtimes="abacus")
    with pytest.raises(inspector.UsageError, match="nothing to compare with"):
        inspector.compare(path, images=photo)


def test_values_that_are_not_finite_hide_nothing(make_model: MakeModel, photo: Path) -> None:
    def logs(more: float, positive: bool = True) -> Any:
        def make(net: Net, x: str) -> str:
            y = net.conv(x, 3, 6, w="c1.weight")
            y = net("Log", net("Relu", y) if positive else y, name="/log/Log")
            return net("Add", y, net.const(np.float32(more), "more"), name="/add/Add")

        return make

    files = [make_model(logs(k), shape=(1, 3, 16, 16), name=f"{k}.onnx") for k in (1, 3)]
    found = inspector.compare(*files, photo)
    assert found.parted is not None
    assert found.parted.max_abs == pytest.approx(2, abs=1e-4)
    path = make_model(logs(1, positive=False), shape=(1, 3, 16, 16), name="negative.onnx")
    assert inspector.compare(path, images=photo, runtimes=["basic", "reference"]).parted is None


@pytest.mark.parametrize("limit", ["nan", "-101", "1e3"])
def test_a_limit_that_no_layer_can_have_is_refused(capsys: pytest.CaptureFixture[str], limit: str) -> None:
    assert run(["compare", "any.onnx", "--runtime", "basic", "--fail-below", limit]) == 2
    assert "is not between -100 and 100" in capsys.readouterr().err


def test_a_broken_picture_is_told_once(make_model: MakeModel, photo: Path, tmp_path: Path) -> None:
    path = make_model(build, shape=(1, 3, 16, 16))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    found = inspector.compare(path, images=[photo, broken], runtimes=["cpu", "basic", "disabled"])
    assert len(found.skipped) == 1
