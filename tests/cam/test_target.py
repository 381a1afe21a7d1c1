"""What is explained: classes by name or number, one logit, many labels, other outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector import open_model
from inspector.cam import class_activation_maps, prepare
from inspector.cam.scores import find_class_channels
from inspector.errors import ClassNotFound, NotComputable, UsageError
from inspector.metadata import Metadata
from inspector.model import Model
from tests.cam.nets import CHANNELS, CLASSES, node, normal, picture, pooled_net, save_net, trunk
from tests.conftest import MakeModel
from tests.foreign import Net

LABELS = ("cat", "dog", "tabby, tabby cat", "owl", "Emu")


@pytest.fixture
def labelled(tmp_path: Path, rng: np.random.Generator) -> Model:
    return open_model(pooled_net(tmp_path / "m.onnx", rng, metadata=Metadata(labels=LABELS))[0])


def test_the_top_classes_come_with_their_probabilities(labelled: Model, rng: np.random.Generator) -> None:
    x = picture(rng)
    found = class_activation_maps(labelled, x, top=3)
    wanted = labelled.top(labelled.scores(x)[0], 3)
    assert [(f.target.index, f.target.label) for f in found] == [(w.index, w.label) for w in wanted]
    assert [f.target.probability for f in found] == pytest.approx([w.probability for w in wanted])
    assert [f.target.score for f in found] == pytest.approx([w.score for w in wanted])


def test_classes_by_label_or_index_in_the_order_given(labelled: Model, rng: np.random.Generator) -> None:
    found = class_activation_maps(labelled, picture(rng), classes=["owl", 0, "EMU", "4", "tabby"])
    assert [f.target.index for f in found] == [3, 0, 4, 4, 2]
    [one] = class_activation_maps(labelled, picture(rng), classes="owl")
    assert one.target.label == "owl"
    assert len(class_activation_maps(labelled, picture(rng), classes=[], top=2)) == 2


def test_unknown_classes_get_the_nearest_names(labelled: Model, rng: np.random.Generator) -> None:
    with pytest.raises(ClassNotFound, match=r"there is no class 'dgo'; nearest: dog"):
        class_activation_maps(labelled, picture(rng), classes=["dgo"])
    with pytest.raises(ClassNotFound, match=r"there is no class 9; the indices are 0 to 4"):
        class_activation_maps(labelled, picture(rng), classes=[9])


def test_maps_of_two_classes_add_up_to_the_map_of_their_sum(tmp_path: Path, rng: np.random.Generator) -> None:
    path, weights = pooled_net(tmp_path / "one.onnx", rng)
    nodes, _ = trunk(rng)
    nodes += [
        node("GlobalAveragePool", "maps", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    added = weights | {"w": weights["w"].copy(), "b": weights["b"]}
    added["w"][0] = weights["w"][1] + weights["w"][2]
    other = save_net(tmp_path / "sum.onnx", nodes, added, outputs={"logits": ["N", CLASSES]})
    x = picture(rng)
    one, two = class_activation_maps(open_model(path), x, classes=[1, 2])
    [both] = class_activation_maps(open_model(other), x, classes=[0])
    assert np.abs(one.raw + two.raw - both.raw).max() < 1e-5 * np.abs(both.raw).max()


def test_hirescam_adds_up_to_the_score_without_its_bias(tmp_path: Path, rng: np.random.Generator) -> None:
    path, weights = pooled_net(tmp_path / "m.onnx", rng)
    for k, found in enumerate(
        class_activation_maps(open_model(path), picture(rng), classes=range(5), method="hirescam")
    ):
        assert found.raw.sum() == pytest.approx(found.target.score - weights["b"][k], rel=1e-4, abs=1e-5)


def test_scaled_logits_scale_the_raw_map_and_leave_the_heatmap(tmp_path: Path) -> None:
    x = picture(np.random.default_rng(1))
    maps = []
    for scale in (1.0, 1000.0, 1e-6):
        path, _ = pooled_net(tmp_path / f"{scale}.onnx", np.random.default_rng(0), scale=scale)
        maps.append(class_activation_maps(open_model(path), x, classes=[2])[0])
    assert np.allclose(maps[1].raw, 1000 * maps[0].raw, rtol=1e-4)
    assert np.allclose(maps[2].raw, 1e-6 * maps[0].raw, rtol=1e-4)
    for other in maps[1:]:
        assert np.allclose(other.heatmap, maps[0].heatmap, atol=1e-5)
        assert other.peak == maps[0].peak


@pytest.mark.parametrize("end", ["Softmax", "Sigmoid"])
@pytest.mark.parametrize("method", ["gradcam", "scorecam", "ablationcam"])
def test_an_activation_at_the_end_is_stepped_over(end: str, method: str, tmp_path: Path) -> None:
    x = picture(np.random.default_rng(1))
    bare, _ = pooled_net(tmp_path / "bare.onnx", np.random.default_rng(0))
    ended, _ = pooled_net(tmp_path / "ended.onnx", np.random.default_rng(0), end=end)
    [wanted] = class_activation_maps(open_model(bare), x, classes=[1], method=method)
    [found] = class_activation_maps(open_model(ended), x, classes=[1], method=method)
    assert np.allclose(found.raw, wanted.raw, atol=1e-6 * np.abs(wanted.raw).max())
    assert found.target.score == pytest.approx(wanted.target.score)
    if end == "Sigmoid":  # several labels at once: each has its own probability, here in onnxruntime's float32
        assert found.target.probability == pytest.approx(1 / (1 + np.exp(-found.target.score)), abs=1e-6)
    [named] = class_activation_maps(open_model(ended), x, classes=[1], method=method, output="p")
    assert np.array_equal(named.raw, found.raw)


def test_a_saturated_probability_does_not_blank_the_map(tmp_path: Path) -> None:
    x = picture(np.random.default_rng(1))
    path, _ = pooled_net(tmp_path / "m.onnx", np.random.default_rng(0), end="Softmax", scale=1e4)
    model = open_model(path)
    best, *rest = class_activation_maps(model, x, top=5)
    assert best.target.probability == 1
    assert all(r.target.probability == 0 for r in rest)
    calm = class_activation_maps(open_model(pooled_net(tmp_path / "c.onnx", np.random.default_rng(0))[0]), x, top=5)
    for saturated, wanted in zip([best, *rest], calm, strict=True):
        assert saturated.empty == wanted.empty
        assert np.allclose(saturated.heatmap, wanted.heatmap, atol=1e-4)


def test_one_logit_with_two_labels_has_two_opposite_maps(tmp_path: Path, rng: np.random.Generator) -> None:
    path, weights = pooled_net(tmp_path / "m.onnx", rng, classes=1, metadata=Metadata(labels=("cat", "dog")))
    model = open_model(path)
    x = picture(rng)
    cat, dog, first = class_activation_maps(model, x, classes=["cat", "dog", 1], method="cam")
    assert [f.target.index for f in (cat, dog, first)] == [0, 1, 1]
    assert np.array_equal(cat.raw, -dog.raw)
    assert cat.target.probability == pytest.approx(1 - dog.target.probability)
    maps = model.layer_values(x, ["trunk.relu"])[0]["trunk.relu"][0]
    assert np.allclose(dog.raw, np.einsum("c,chw->hw", weights["w"][0], maps), atol=1e-4)
    both = class_activation_maps(model, x, top=2)
    assert both[0].target.probability > 0.5 > both[1].target.probability
    with pytest.raises(ClassNotFound, match="owl"):
        class_activation_maps(model, x, classes=["owl"])


def test_one_logit_without_labels_is_the_score_of_class_1(tmp_path: Path, rng: np.random.Generator) -> None:
    model = open_model(pooled_net(tmp_path / "m.onnx", rng, classes=1, end="Sigmoid")[0])
    found = {one.target.index: one for one in class_activation_maps(model, picture(rng), top=5)}
    assert {index: one.target.label for index, one in found.items()} == {1: "class 1", 0: "class 0"}
    for one in found.values():
        assert one.target.probability == pytest.approx(1 / (1 + np.exp(-one.target.score)))
    np.testing.assert_allclose(found[0].raw, -found[1].raw, rtol=1e-6)
    assert find_class_channels(model, [1])[1] == [0]
    with pytest.raises(NotComputable, match=r"the one score of .* is that of 'class 1'; 'class 0' has none of its own"):
        find_class_channels(model, [0])


@pytest.fixture
def segmenter(tmp_path: Path, rng: np.random.Generator) -> Model:
    nodes, weights = trunk(rng)
    nodes += [node("Conv", "maps w b", "masks"), node("Sigmoid", "flat0", "other"), node("Flatten", "maps", "flat0")]
    nodes = [*nodes[:3], nodes[4], nodes[3]]
    weights |= {"w": normal(rng, 3, CHANNELS, 1, 1), "b": normal(rng, 3)}
    path = save_net(
        tmp_path / "m.onnx", nodes, weights, outputs={"masks": ["N", 3, 8, 8], "other": ["N", CHANNELS * 64]}
    )
    return open_model(path, metadata=False)


def test_a_segmenter_is_explained_by_the_sum_of_a_class_map(segmenter: Model, rng: np.random.Generator) -> None:
    x = picture(rng)
    values = segmenter.run(x, ["masks", "maps", "other"])
    [found] = class_activation_maps(segmenter, x, output="masks:1", method="hirescam", layer="trunk.relu")
    assert (found.target.index, found.target.label, found.target.probability) == (1, "masks:1", None)
    assert found.target.score == pytest.approx(values["masks"][0, 1].sum(), rel=1e-4)
    by_class = class_activation_maps(
        segmenter, x, output="masks", classes=[2, "1"], method="hirescam", layer="trunk.relu"
    )
    assert [f.target.index for f in by_class] == [2, 1]
    assert np.array_equal(by_class[1].raw, found.raw)
    top = class_activation_maps(segmenter, x, output="masks", top=3, layer="trunk.relu")
    assert [f.target.index for f in top] == np.argsort(-values["masks"][0].sum(axis=(1, 2))).tolist()


def test_a_single_element_of_an_output(segmenter: Model, rng: np.random.Generator) -> None:
    x = picture(rng)
    flat = class_activation_maps(segmenter, x, output="other:70", method="layercam", layer="trunk.relu")[0]
    assert np.flatnonzero(flat.raw).tolist() in ([6], [])  # element 70 is channel 1, place 6
    one = class_activation_maps(segmenter, x, output="masks:2,3,4", method="hirescam", layer="trunk.relu")[0]
    assert set(np.flatnonzero(one.raw)) <= {3 * 8 + 4}
    assert one.target.label == "masks:2,3,4"
    assert one.target.score == pytest.approx(segmenter.run(x, ["masks"])["masks"][0, 2, 3, 4])


def test_what_an_output_cannot_be(segmenter: Model, pooled: Model, rng: np.random.Generator) -> None:
    x = picture(rng)
    for output, message in (
        ("mask:1", r"there is no output 'mask:1'; nearest: masks, other"),
        ("masks:dog", r"'dog' in output 'masks:dog' is not an index"),
        ("masks:3", r"output 'masks' of 3x8x8 has no index 3; the indices are 0 to 2"),
        ("masks:0,9,0", r"output 'masks' of 3x8x8 has no element 0,9,0"),
        ("other:384", r"output 'other' of 384 has no index 384"),
    ):
        with pytest.raises(UsageError, match=message):
            class_activation_maps(segmenter, x, output=output, layer="trunk.relu")
    with pytest.raises(UsageError, match="exclude each other"):
        class_activation_maps(segmenter, x, output="masks:1", classes=[1], layer="trunk.relu")
    with pytest.raises(UsageError, match="top 0 is less than 1"):
        prepare(pooled).maps(x, top=0)


def test_a_model_without_a_classifier_says_how_to_name_an_output(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [node("Conv", "maps w", "planes")]
    weights |= {"w": normal(rng, 3, CHANNELS, 1, 1)}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"planes": ["N", 3, 8, 8]}))
    with pytest.raises(NotComputable, match=r"its outputs: planes\); .*--output NAME:INDEX .*as in planes:0"):
        class_activation_maps(model, normal(rng, 1, 3, 8, 8))


def test_a_run_without_rows_is_an_error_that_says_so(make_model: MakeModel, rng: np.random.Generator) -> None:
    """A graph that takes the first picture away answers for none, and has no maps either."""

    def build(net: Net, x: str) -> str:
        rest = net("Slice", x, net.const([1]), net.const([9]), net.const([0]))
        pooled = net("GlobalAveragePool", net("Relu", net.conv(rest, 3, 4)))
        return net("Gemm", net("Flatten", pooled), net.weight((4, 5)))

    model = open_model(make_model(build, shape=("N", 3, 8, 8)))
    with pytest.raises(NotComputable, match=r"declared as scores of classes, and a run has the shape \(0, 5\) for 1"):
        class_activation_maps(model, normal(rng, 1, 3, 8, 8))
