"""The checks of the file, on small models that each break one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from inspector.auditing import CheckResult, audit_model
from inspector.image import Preprocess
from inspector.metadata import KEY, LayerEntry, Metadata
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net

GOOD = Metadata(
    preprocess=replace(Preprocess.named("imagenet"), size=(16, 16)),
    labels=("cat", "dog", "fox"),
    layers=(LayerEntry("first", "first", "activation"),),
    cam_layer="first",
    output="logits",
)


def network(net: Net, x: str) -> str:
    x = net("Relu", net.conv(x, 3, 6, 3), out="first")
    x = net("Flatten", net("GlobalAveragePool", x))
    return net("Gemm", x, net.weight((3, 6)), net.const(np.zeros(3)), transB=1, out="logits")


def checked(
    make_model: MakeModel, id: str, build: Any = network, metadata: Metadata | None = GOOD, **more: Any
) -> CheckResult:
    settings = {"shape": ("N", 3, 16, 16), **more}
    chosen = policy(id, checks=settings.pop("checks", {}))
    if metadata is not None:
        settings["metadata"] = {KEY: metadata.dumps()}
    return audit_model(make_model(build, **settings), chosen).check(id)


def test_a_good_file_passes_all(make_model: MakeModel) -> None:
    path = make_model(network, shape=("N", 3, 16, 16), metadata={KEY: GOOD.dumps()})
    found = audit_model(path, policy("file"))
    assert found.passed
    # 72 bytes of weights are too few to look for repetitions in.
    assert {c.id for c in found.checks if c.status != "pass"} == {"weights-duplicate"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.with_(labels=("cat", "dog")), "2 labels for 3 classes"),
        (lambda m: m.with_(labels=("cat", "cat", "fox")), "1 labels are there more than once: 'cat'"),
        (lambda m: m.with_(labels=("cat", " ", "fox")), "1 labels are empty"),
        (lambda m: m.with_(layers=(*m.layers, LayerEntry("gone", "gone", "conv"))), "layer gone names tensor 'gone'"),
        (lambda m: m.with_(layers=m.layers * 2), "2 layers are called first"),
        (lambda m: m.with_(output="gone"), "the output 'gone' is not there"),
        (lambda m: m.with_(cam_layer="gone"), "cam_layer: there is no layer 'gone'"),
        (lambda m: m.with_(preprocess=replace(m.preprocess, size=(32, 32))), "makes 32x32, the input takes 16x16"),
        (lambda m: m.with_(preprocess=replace(m.preprocess, layout="NHWC")), "makes NHWC, the input takes NCHW"),
        (lambda m: m.with_(preprocess=replace(m.preprocess, dtype="uint8")), "makes uint8, the input takes float32"),
        (lambda m: m.with_(preprocess=replace(m.preprocess, mean=(123.7, 116.3, 103.5))), "lies outside of the pixels"),
        (lambda m: m.with_(preprocess=replace(m.preprocess, scale=1.0)), "are for pixels from 0 to 1"),
    ],
)
def test_metadata_that_does_not_fit(
    make_model: MakeModel, change: Callable[[Metadata], Metadata], message: str
) -> None:
    found = checked(make_model, "metadata-consistent", metadata=change(GOOD))
    assert found.status == "fail"
    assert message in found.findings[0].message


@pytest.mark.parametrize("name", ["imagenet", "unit", "signed", "caffe", "raw"])
def test_every_named_preprocess_makes_sense(make_model: MakeModel, name: str) -> None:
    metadata = GOOD.with_(preprocess=replace(Preprocess.named(name), size=(16, 16)))
    assert checked(make_model, "metadata-consistent", metadata=metadata).status == "pass"


def test_metadata_that_is_not_there(make_model: MakeModel) -> None:
    found = checked(make_model, "metadata-present", metadata=None)
    assert (found.status, found.severity, found.counts) == ("warn", "warning", "warn")
    assert found.message.startswith(
        "the metadata lacks preprocess, labels; `inspector annotate` writes it; assumed: preprocess imagenet"
    )
    assert found.message.endswith("; ".join(found.details["assumed"]))
    strict = policy("metadata-present", checks={"metadata-present": {"severity": "error"}})
    assert audit_model(make_model(network), strict).check("metadata-present").status == "fail"
    assert checked(make_model, "metadata-consistent", metadata=None).status == "skipped"
    off = {"metadata-present": {"preprocess": False, "labels": False}}
    path = make_model(network)
    assert audit_model(path, policy("metadata-present", checks=off)).check("metadata-present").status == "skipped"


@pytest.mark.parametrize(("opset", "status"), [(13, "pass"), (7, "pass"), (6, "fail")])
def test_operator_sets(make_model: MakeModel, opset: int, status: str) -> None:
    assert checked(make_model, "opset", opset=opset).status == status


def test_operators_that_do_not_exist_or_are_deprecated(make_model: MakeModel) -> None:
    def unknown(net: Net, x: str) -> str:
        return net("Frobnicate", net.conv(x, 3, 4))

    found = checked(make_model, "operators", unknown, None)
    assert found.findings[0].message == "the operator Frobnicate does not exist in version 17 of ai.onnx"

    def old(net: Net, x: str) -> str:
        return net("Upsample", net.conv(x, 3, 4), net.const([1.0, 1, 2, 2]))

    assert (
        "the operator Upsample is deprecated in version 17"
        in checked(make_model, "operators", old, None).findings[0].message
    )


def test_operators_of_other_domains(make_model: MakeModel) -> None:
    def contrib(net: Net, x: str) -> str:
        return net("QuickGelu", net.conv(x, 3, 4), domain="com.microsoft")

    options = {"com_microsoft": 1}
    found = checked(make_model, "custom-domains", contrib, None, **options)
    assert (found.status, found.value) == ("warn", 1)
    assert found.findings[0].message == "1 nodes are com.microsoft:QuickGelu"
    allowed = audit_model(
        make_model(contrib, **options),
        policy("custom-domains", checks={"custom-domains": {"allowed": ["com.microsoft"]}}),
    )
    assert allowed.check("custom-domains").status == "pass"


def test_weights_that_nothing_reads(make_model: MakeModel) -> None:
    def wasteful(net: Net, x: str) -> str:
        net.weight((100, 100), "left.over")
        y = net.conv(x, 3, 4)
        net("MatMul", y, net.weight((16, 500), "dead.end"))
        return net("Relu", y)

    found = checked(make_model, "weights-unused", wasteful, None)
    assert (found.status, found.value) == ("warn", pytest.approx(72.0))
    assert [f.message for f in found.findings] == [
        "40.0 KB of 'left.over' are not used by any output", "32.0 KB of 'dead.end' are not used by any output",
    ]  # fmt: skip


def test_weights_that_are_there_twice(make_model: MakeModel) -> None:
    def copied(net: Net, x: str) -> str:
        value = net.rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
        y = net.conv(x, 3, 64)
        for name in ("a.weight", "b.weight"):
            y = net("Conv", y, net.const(value, name), pads=[1] * 4)
        zeros = net.const(np.zeros((1000, 4), np.float32)), net.const(np.zeros((1000, 4), np.float32))
        return net("Add", y, net("ReduceSum", net("Add", *zeros), keepdims=0))

    found = checked(make_model, "weights-duplicate", copied, None)
    assert found.status == "warn"
    assert found.findings[0].message == "'b.weight' repeats 'a.weight'"
    assert found.value == pytest.approx(64 * 64 * 9 * 4 / 1e3)


def test_infinite_constants_of_one_number_are_no_weights(make_model: MakeModel) -> None:
    def clipped(net: Net, x: str) -> str:
        return net("Clip", net.conv(x, 3, 4), net.const(np.float32(0)), net.const(np.float32(np.inf)))

    assert checked(make_model, "weights-finite", clipped, None).status == "pass"


def test_a_file_without_weights_is_not_called_finite(make_model: MakeModel) -> None:
    found = checked(make_model, "weights-finite", lambda net, x: net("Relu", x), None)
    assert found.message == "not run: the file has no floating-point weights"


def test_paths_of_the_exporting_machine(make_model: MakeModel) -> None:
    proto = onnx.load(make_model(network))
    entry = proto.graph.node[0].metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.stack_trace", 'File "/home/ada/net.py", line 3, in forward'
    found = checked(make_model, "private-paths", proto, None)
    assert found.status == "warn"
    assert "such as /home/ada/net.py" in found.message
    assert checked(make_model, "private-paths").status == "pass"


def test_external_data(make_model: MakeModel, tmp_path: Path) -> None:
    proto = onnx.load(make_model(network))
    path = tmp_path / "outside.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="outside.bin", size_threshold=0)
    found = audit_model(path, policy("external-data", "size", "weights-finite")).check("external-data")
    assert (found.status, found.value) == ("pass", 1)
    assert "outside.bin" in found.message
    one_file = policy("external-data", checks={"external-data": {"allowed": False}})
    assert audit_model(path, one_file).check("external-data").status == "fail"
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere.bin")
    (tmp_path / "outside.bin").rename(elsewhere)
    (tmp_path / "outside.bin").symlink_to(elsewhere)
    refused = audit_model(path, policy("external-data"))
    assert not refused.passed
    assert "is behind a symbolic link" in refused.verdict


def test_the_size_budget(make_model: MakeModel) -> None:
    found = checked(make_model, "size", checks={"size": {"max_mb": 0.0001}})
    assert found.status == "fail"
    assert found.unit == "MB"


def test_padding_in_blocks_of_the_runtime_is_no_filter_of_zeros(make_model: MakeModel, tmp_path: Path) -> None:
    """onnxruntime lays weights out in blocks of 8 or 16 channels and fills them up with zeros."""
    import onnxruntime

    def odd(net: Net, x: str) -> str:
        x = net("Relu", net.conv(x, 3, 72, 3))
        x = net("Relu", net.conv(x, 72, 40, 1))
        x = net("Relu", net.conv(x, 40, 240, 1))
        x = net("Flatten", net("GlobalAveragePool", x))
        return net("Gemm", x, net.weight((3, 240)), net.const(np.zeros(3)), transB=1)

    path = make_model(odd, shape=(1, 3, 16, 16))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "blocked.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    if not any(node.domain == "com.microsoft.nchwc" for node in onnx.load(tmp_path / "blocked.onnx").graph.node):
        pytest.skip("onnxruntime makes no blocks on this processor")
    found = audit_model(tmp_path / "blocked.onnx", policy("opset", "zero-filters")).check("zero-filters")
    assert (found.status, found.value) == ("pass", 0)
