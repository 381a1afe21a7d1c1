"""The checks of the arithmetic, on models that each break one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from inspector.auditing import CheckResult, audit_model
from tests.audit.pictures import pngs
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net


def checked(make_model: MakeModel, id: str, build: Any, **more: Any) -> CheckResult:
    return audit_model(make_model(build, **{"shape": ("N", 3, 8, 8), **more}), policy(id)).check(id)


def head(net: Net, y: str, channels: int) -> str:
    y = net("Flatten", net("GlobalAveragePool", y))
    return net("Gemm", y, net.weight((3, channels)), transB=1, out="logits")


def mixes_its_batch(net: Net, x: str) -> str:
    y = net("Relu", net.conv(x, 3, 4), out="before")
    y = net("Add", y, net("ReduceMean", y, axes=[0], keepdims=1), out="mixed")
    return head(net, y, 4)


def plain(net: Net, x: str) -> str:
    return head(net, net("Relu", net.conv(x, 3, 4), out="before"), 4)


def test_batches(make_model: MakeModel) -> None:
    found = checked(make_model, "batches", mixes_its_batch)
    assert found.status == "fail"
    assert found.where.layer is not None
    assert found.where.layer.endswith(("mixed", "add"))
    assert checked(make_model, "batches", plain).status == "pass"


def test_repeats(make_model: MakeModel) -> None:
    def random(net: Net, x: str) -> str:
        y = net("Relu", net.conv(x, 3, 4), out="before")
        y = net("Add", y, net("RandomNormalLike", y), out="noisy")
        return head(net, y, 4)

    found = checked(make_model, "repeats", random)
    assert found.status == "fail"
    assert found.where.layer != "before"
    assert checked(make_model, "repeats", plain).status == "pass"


def test_optimised(make_model: MakeModel) -> None:
    found = checked(make_model, "optimised", plain)
    assert found.status == "pass"
    assert found.value >= 80


def test_infinity_on_plain_pictures(make_model: MakeModel, tmp_path: Path) -> None:
    def divides(net: Net, x: str) -> str:
        # 0 / 0 on a black picture, since it is not shifted by a mean: what the network normalises by is zero there.
        y = net("Div", x, net("ReduceMax", x, keepdims=1))
        return head(net, net("Relu", net.conv(y, 3, 4), out="after"), 4)

    path = make_model(divides, shape=("N", 3, 8, 8))
    from inspector.model.annotate import annotate_model

    unit = annotate_model(path, tmp_path / "unit.onnx", preprocess="unit").path
    found = audit_model(unit, policy("numerics", checks={"twin": {"on": False}}), data=pngs(tmp_path / "p", 3, ()))
    plain_pictures = found.check("finite-on-plain")
    assert plain_pictures.status == "fail"
    assert plain_pictures.where.image == "black"
    assert found.check("finite-on-images").status == "pass"


def test_scores_that_are_infinite_behind_finite_layers(make_model: MakeModel, tmp_path: Path) -> None:
    def divided(net: Net, x: str) -> str:
        y = head(net, net("Relu", net.conv(x, 3, 4)), 4)
        # Not a constant, which would belong to the linear layer.
        return net("Div", y, net("Mul", net("ReduceMax", y, keepdims=1), net.const(np.float32([1, 0, 1]))))

    chosen = policy("finite-on-images", "finite-on-plain")
    found = audit_model(make_model(divided, shape=("N", 3, 8, 8)), chosen, data=pngs(tmp_path / "p", 2))
    for check in found.checks:
        assert check.status == "fail"
        assert (check.where.layer, check.where.channel) == ("scores", 1)
        assert "scores" in check.findings[0].message
    assert audit_model(make_model(plain, shape=("N", 3, 8, 8)), chosen, data=tmp_path / "p").passed


@pytest.mark.parametrize(
    ("value", "status"), [(np.nan, "fail"), ([np.nan], "fail"), (-np.inf, "pass"), ([np.inf], "pass"), (1.0, "pass")]
)
def test_a_scalar_weight_may_be_infinite_but_not_nan(make_model: MakeModel, value: Any, status: str) -> None:
    def scaled(net: Net, x: str) -> str:
        return head(net, net("Max", net("Relu", net.conv(x, 3, 4)), net.const(np.float32(value), "bound")), 4)

    found = checked(make_model, "weights-finite", scaled)
    assert found.status == status
    assert ("bound" in [f.key for f in found.findings]) == (status == "fail")


def test_a_model_without_classes_passes_the_built_in_policy(make_model: MakeModel, tmp_path: Path) -> None:
    def backbone(net: Net, x: str) -> str:
        return net("Relu", net.conv(net("Relu", net.conv(x, 3, 6)), 6, 8))

    from inspector.model.annotate import annotate_model

    plain_file = make_model(backbone, shape=("N", 3, 16, 16))
    path = annotate_model(plain_file, tmp_path / "backbone.onnx", preprocess="unit").path
    found = audit_model(path, policy(), data=pngs(tmp_path / "p", 9))
    assert found.passed, found.verdict
    assert found.check("repeats").status == "pass"
    assert [(c.id, c.message) for c in found.checks if c.status == "error"] == []


def test_the_twin(make_model: MakeModel, torch: object) -> None:
    assert checked(make_model, "twin", plain).status == "pass"

    def unusual(net: Net, x: str) -> str:
        y = net("Relu", net.conv(x, 3, 4))
        return net(
            "Flatten", net("GlobalLpPool", net("LpNormalization", net("MeanVarianceNormalization", y), axis=1), p=3)
        )

    assert checked(make_model, "twin", unusual).status == "pass"

    def unsupported(net: Net, x: str) -> str:
        y = net("Relu", net.conv(x, 3, 4))
        return net("Flatten", net("GlobalAveragePool", net("Bernoulli", y)))

    found = checked(make_model, "twin", unsupported)
    assert found.status == "skipped"
    assert "Bernoulli" in found.message


def test_without_torch_the_twin_is_not_run(make_model: MakeModel, monkeypatch: Any) -> None:
    import sys

    for name in [n for n in sys.modules if n.startswith("inspector.twin")] + ["torch"]:
        monkeypatch.setitem(sys.modules, name, None) if name == "torch" else monkeypatch.delitem(sys.modules, name)
    found = checked(make_model, "twin", plain)
    assert found.status == "skipped"
    assert "torch, which is not installed" in found.message


def test_noise_is_that_of_the_seed(make_model: MakeModel) -> None:
    from inspector.auditing import Subject
    from inspector.model import open_model

    model = open_model(make_model(plain))
    one, two, again = (Subject(model, policy(), seed=s).plain_pictures()["noise"] for s in (1, 2, 1))
    assert (one == again).all()
    assert (one != two).any()
    assert one.shape == (8, 8, 3)
    assert one.dtype == np.uint8


def test_attached_outputs_that_no_longer_say_what_they_claim(make_model: MakeModel, tmp_path: Path) -> None:
    from exporters.attaching import attach_outputs
    from inspector.metadata import KEY

    def net(net: Net, x: str) -> str:
        y = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 3, 8, 3))))
        return net("Gemm", net("Sigmoid", y), net.weight((5, 8)), transB=1)

    made = attach_outputs(make_model(net, shape=("N", 3, 8, 8)), tmp_path / "made.onnx", cam="gradcam").path
    pictures = pngs(tmp_path / "p", 3, ())

    def judge(path: Path) -> CheckResult:
        return audit_model(path, policy("attached-outputs"), data=pictures).check("attached-outputs")

    assert judge(made).status == "pass"
    proto = onnx.load(made)
    for entry in proto.metadata_props:
        entry.value = entry.value.replace('"method":"gradcam"', '"method":"layercam"') if entry.key == KEY else ""
    onnx.save(proto, tmp_path / "changed.onnx")
    found = judge(tmp_path / "changed.onnx")
    assert found.status == "fail"
    assert "the output 'cam' differs" in found.message
