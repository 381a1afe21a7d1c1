"""Step 1 and step 4 on graphs: the new head where the old one was, and the cut where it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters.exporting.export import export_onnx
from exporters.finetuning.network import build_network
from exporters.planning.boundary import place_boundary
from exporters.planning.dataset import Dataset
from exporters.planning.head import find_classifier_head, write_with_head
from exporters.planning.options import FineTuneOptions
from exporters.planning.plan import make_plan
from exporters.sources import load_source
from inspector import open_model
from inspector.errors import LayerNotFound, NotComputable, UsageError
from tests.conftest import MakeModel, require
from tests.finetune.conftest import small_base
from tests.foreign import Net

CLASSES = ("a", "b", "c")


def tensor(seed: int = 0, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, 3, size, size)).astype(np.float32)


def test_the_rest_of_the_network_is_untouched(base: Path, tmp_path: Path) -> None:
    before = open_model(base)
    graph = write_with_head(before, tmp_path / "new.onnx", CLASSES, seed=0)
    after = open_model(tmp_path / "new.onnx")
    assert after.classes == 3
    assert after.labels == CLASSES
    assert after.assumed == ()
    assert [x.name for x in after.layers] == [x.name for x in before.layers]
    head = find_classifier_head(before)
    changed = {head.weight, before.graph.nodes[head.node].input[2]}
    for name in before.graph.initializers:
        same = np.array_equal(before.graph.weight(name), graph.weight(name))
        assert same == (name not in changed)
    maps = [x for x in after.layers if x.spatial]
    assert all(x.exposed for x in maps)
    values = [m.run(tensor(), [x.tensor for x in maps]) for m in (before, after)]
    for x in maps:
        assert np.array_equal(values[0][x.tensor], values[1][x.tensor])


def test_the_seed_makes_the_head(base: Path, tmp_path: Path) -> None:
    weights = []
    for seed in (0, 0, 1):
        graph = write_with_head(open_model(base), tmp_path / "new.onnx", CLASSES, seed)
        weights.append(np.array(graph.weight(find_classifier_head(open_model(tmp_path / "new.onnx")).weight)))
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
    assert np.abs(weights[0]).max() <= 1 / np.sqrt(128)


def heads(net: Net, x: str, kind: str) -> str:
    maps = net("Relu", net.conv(x, 3, 8))
    pooled = net("Flatten", net("GlobalAveragePool", maps))
    if kind == "gemm":
        return net("Gemm", pooled, net.weight((7, 8)), net.weight((7,)), transB=1)
    if kind == "gemm without bias":
        return net("Gemm", pooled, net.weight((8, 7)))
    if kind == "matmul":
        return net("Add", net("MatMul", pooled, net.weight((8, 7))), net.weight((7,)))
    if kind == "convolution before the pool":
        scores = net("Relu", net.conv(maps, 8, 7, 1))
        return net("Flatten", net("GlobalAveragePool", scores))
    if kind == "convolution, hard swish, largest value":
        return net("ReduceMax", net("HardSwish", net.conv(maps, 8, 7, 1)), axes=[2, 3], keepdims=0)
    if kind == "sigmoid":
        return net("Sigmoid", net("Gemm", pooled, net.weight((8, 7)), net.weight((7,))))
    return net("Softmax", net("Gemm", pooled, net.weight((8, 7)), net.weight((7,))), axis=1)


@pytest.mark.parametrize(
    "kind",
    [
        "gemm",
        "gemm without bias",
        "matmul",
        "convolution before the pool",
        "convolution, hard swish, largest value",
        "softmax",
        "sigmoid",
    ],
)
def test_every_kind_of_head(make_model: MakeModel, tmp_path: Path, kind: str) -> None:
    path = make_model(lambda net, x: heads(net, x, kind), shape=("N", 3, 16, 16))
    write_with_head(open_model(path), tmp_path / "new.onnx", CLASSES, 0)
    model = open_model(tmp_path / "new.onnx")
    assert model.classes == 3
    assert model.classifier is not None
    assert model.classifier.activation == "softmax"
    assert model.scores(tensor()).shape == (2, 3)
    for output in model.graph.outputs[:1]:
        value = model.run(tensor(), [output])[output]
        if kind in ("softmax", "sigmoid"):
            np.testing.assert_allclose(value.sum(axis=1), 1, rtol=1e-5)


def test_what_has_no_head_is_refused(make_model: MakeModel) -> None:
    features = make_model(lambda net, x: net("Relu", net.conv(x, 3, 4)))
    with pytest.raises(NotComputable, match="no classification output"):
        find_classifier_head(open_model(features))
    pooled = make_model(lambda net, x: net("Flatten", net("GlobalAveragePool", net("Exp", net.conv(x, 3, 4)))))
    with pytest.raises(NotComputable, match="come from Exp, not from a linear layer"):
        find_classifier_head(open_model(pooled))


def test_a_number_of_classes_built_in_behind_the_head_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    def build(net: Net, x: str) -> str:
        pooled = net("Flatten", net("GlobalAveragePool", net.conv(x, 3, 8)))
        return net("Add", net("Gemm", pooled, net.weight((8, 7)), net.weight((7,))), net.weight((7,)))

    path = make_model(build, shape=("N", 3, 16, 16))
    with pytest.raises(NotComputable, match="built in"):
        write_with_head(open_model(path), tmp_path / "new.onnx", CLASSES, 0)
    assert not (tmp_path / "new.onnx").exists() or open_model(tmp_path / "new.onnx")


@pytest.mark.parametrize("shape", [(-1, 7), (0, 7), (-1, 7, 1, 1)])
def test_a_number_of_classes_in_a_constant_shape_becomes_the_new_one(
    make_model: MakeModel, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """As torchvision's SqueezeNet is exported. Another reader of the same constant keeps it."""

    def build(net: Net, x: str) -> str:
        constant = net.const(np.array(shape))
        maps = net("Relu", net.conv(net("Relu", net.conv(x, 3, 7)), 7, 7, 1))
        other = net("Reshape", net("GlobalAveragePool", maps), constant)
        maps = net("Mul", maps, net("Sigmoid", net("Reshape", other, net.const(np.array([0, 7, 1, 1])))))
        scores = net("Reshape", net("GlobalAveragePool", net("Relu", net.conv(maps, 7, 7, 1))), constant)
        return net("Flatten", scores) if len(shape) == 4 else scores

    path = make_model(build, shape=("N", 3, 16, 16))
    before = open_model(path)
    write_with_head(before, tmp_path / "new.onnx", CLASSES, 0)
    after = open_model(tmp_path / "new.onnx")
    assert after.scores(tensor()).shape == (2, 3)
    features = find_classifier_head(before).features
    assert np.array_equal(before.run(tensor(), [features])[features], after.run(tensor(), [features])[features])


def test_squeezenet_of_torchvision_is_a_base(tmp_path: Path) -> None:
    require("torchvision")
    path = export_onnx(load_source("torchvision:squeezenet1_1", size=(64, 64)), tmp_path / "base.onnx").path
    write_with_head(open_model(path), tmp_path / "new.onnx", CLASSES, 0)
    model = open_model(tmp_path / "new.onnx")
    assert model.scores(tensor(size=64)).shape == (2, 3)
    assert find_classifier_head(model).inputs == 512


def test_another_size(base: Path, default_model: Path, tmp_path: Path) -> None:
    write_with_head(open_model(default_model), tmp_path / "new.onnx", CLASSES, 0, (96, 128))
    model = open_model(tmp_path / "new.onnx")
    assert model.preprocess.size == (96, 128)
    assert model.layer("swish").shape == ("N", 32, 48, 64)
    assert model.scores(np.zeros((1, 3, 96, 128), np.float32)).shape == (1, 3)


def test_the_cut_is_before_the_named_layer(default_model: Path) -> None:
    model = open_model(default_model)
    head = find_classifier_head(model)
    assert head.features == "view"
    assert place_boundary(model, head, "blocks.8").tensors == ("blocks.7",)
    assert place_boundary(model, head, "blocks.8").first.name == "blocks.8.expand_conv"
    assert place_boundary(model, head, "conv_head").tensors == ("blocks.15.project_conv",)
    inside = place_boundary(model, head, "blocks.9.depthwise_conv")
    assert inside.tensors == ("blocks.8.project_conv", "blocks.9.swish")
    assert place_boundary(model, head).first.name == "blocks.15.depthwise_conv"
    assert place_boundary(model, head, unfreeze_last=1).first.name == "conv_head"
    assert place_boundary(model, head, "conv_stem").tensors == ("input",)


def test_a_cut_that_cannot_be(default_model: Path, base: Path) -> None:
    model = open_model(default_model)
    head = find_classifier_head(model)
    with pytest.raises(LayerNotFound, match="nearest"):
        place_boundary(model, head, "block5_conv1")
    with pytest.raises(UsageError, match="nothing but the head comes after"):
        place_boundary(model, head, "fc")
    with pytest.raises(UsageError, match="50 layers were to be unfrozen, and 49"):
        place_boundary(model, head, unfreeze_last=50)
    small = open_model(base)
    assert place_boundary(small, find_classifier_head(small)).start == 0


def test_a_norm_that_was_not_folded_belongs_to_its_convolution(tmp_path: Path) -> None:
    model = open_model(small_base(tmp_path / "b.onnx", norm=True))
    cut = place_boundary(model, find_classifier_head(model), unfreeze_last=2)
    assert model.graph.nodes[cut.start].op_type == "Conv"
    assert any(n.op_type == "BatchNormalization" for n in model.graph.nodes[cut.start :])


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(
    "kind", ["gemm", "gemm without bias", "matmul", "convolution before the pool", "softmax", "sigmoid"]
)
def test_the_plan_names_all_that_learns(make_model: MakeModel, tmp_path: Path, kind: str, joint: bool) -> None:
    """What it does not name is compared with the base when the run ends."""

    def build(net: Net, x: str) -> str:
        return heads(
            net, net("Mul", net("PRelu", net.conv(x, 3, 3), net.weight((3, 1, 1))), net.weight((3, 1, 1))), kind
        )

    options = FineTuneOptions(unfreeze_last=2, joint_epochs=int(joint))
    write_with_head(open_model(make_model(build, shape=("N", 3, 16, 16))), tmp_path / "new.onnx", CLASSES, 0)
    model = open_model(tmp_path / "new.onnx")
    head = find_classifier_head(model)
    boundary = place_boundary(model, head, None, 2) if joint else None
    plan = make_plan("new.onnx", model, head, boundary, Dataset(CLASSES, (), (), ()), options)
    for phase, cut in (("head", None), *([("joint", boundary)] if joint else [])):
        learns = build_network(model.graph, head, cut, (1, 3, 16, 16), 0.0).trained()
        assert plan.trained(phase) == set(learns)
