"""Maps of boxes: the formula computed a second time by torch's autograd, the branches that are found, the commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inspector
from inspector.cam import BoxChoice, prepare_maps
from inspector.cam.boxes import choose_box_numbers
from inspector.cam.context import CoverContext
from inspector.cam.covers import measure_likeness
from inspector.cam.place import measure_inside
from inspector.cam.scores import find_class_channels
from inspector.errors import NotComputable, UsageError
from inspector.tasks.answers import Detection
from tests.cam import reference
from tests.conftest import require

torch = require("torch")
from tests.cam.detectors import Detector, export  # noqa: E402  it needs torch

SIZE = (160, 192)
Array = np.ndarray
FORMULAS: dict[str, Callable[[Array, Array], Array]] = {
    "gradcam": reference.gradcam,
    "gradcam++": lambda a, g: reference.gradcampp(a, g, 1e-6),
    "hirescam": reference.hirescam,
    "xgradcam": reference.xgradcam,
}


@pytest.fixture(scope="module", params=["v8", "v11", "v26"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, inspector.Model]:
    torch.manual_seed(3)
    net = Detector(request.param)
    return net, inspector.open_model(export(net, tmp_path_factory.mktemp("boxes") / f"{request.param}.onnx", SIZE))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> inspector.Model:
    """A detector of one style, for what does not depend on the head."""
    torch.manual_seed(3)
    return inspector.open_model(export(Detector(), tmp_path_factory.mktemp("boxes") / "plain.onnx", SIZE))


@pytest.fixture
def x() -> Array:
    return np.random.default_rng(5).random((1, 3, *SIZE)).astype(np.float32)


def find_logit(net: Any, maps: list[Any], score: float) -> tuple[int, Any]:
    """(scale, logit) of the place whose logit is nearest to `score`."""
    logits = net.logits(maps)
    near = [float((one.detach() - score).abs().min()) for one in logits]
    scale = int(np.argmin(near))
    assert near[scale] < 1e-4
    flat = logits[scale].flatten()
    return scale, flat[int((flat - score).abs().argmin())]


def over_input(small: Any) -> Array:
    """A map (h, w) as the formula lays it over the input: relu, bilinear, divided by its maximum."""
    positive = torch.as_tensor(np.asarray(small, np.float32)).clamp(min=0)[None, None]
    wide = torch.nn.functional.interpolate(positive, SIZE, mode="bilinear", align_corners=False)[0, 0]
    return (wide / (float(wide.max()) or 1.0)).numpy()


def test_layercam_of_a_box_equals_autograd(detector: tuple[Any, inspector.Model], x: Array) -> None:
    """Per stride relu(G) A summed over channels, relu, enlarged, over its maximum; the largest of all strides."""
    net, model = detector
    found = model.cam(x, box="all", confidence=0.05)
    assert len(found) > 5
    for one in found[:9]:
        maps = [m.detach().requires_grad_() for m in net.features(torch.from_numpy(x))]
        _, logit = find_logit(net, maps, one.target.score)
        assert one.found is not None
        assert torch.sigmoid(logit).item() == pytest.approx(one.found.score, abs=1e-5)
        gradients = torch.autograd.grad(logit, maps, allow_unused=True)
        strides = [
            over_input((g.clamp(min=0) * m).sum(1)[0].detach())
            for g, m in zip(gradients, maps, strict=True)
            if g is not None
        ]
        assert one.heatmap.shape == SIZE
        assert np.abs(one.heatmap - np.max(strides, axis=0)).max() < 1e-4
        assert one.empty is not bool(one.heatmap.any())


@pytest.mark.parametrize("method", list(FORMULAS))
def test_methods_use_the_cells_that_the_score_reads(
    detector: tuple[Any, inspector.Model], x: Array, method: str
) -> None:
    net, model = detector
    [one] = model.cam(x, box=0, confidence=0.05, method=method)
    maps = [m.detach().requires_grad_() for m in net.features(torch.from_numpy(x))]
    scale, logit = find_logit(net, maps, one.target.score)
    gradient = torch.autograd.grad(logit, maps[scale])[0][0].double().numpy()
    rows, columns = (np.flatnonzero(np.abs(gradient).sum(axis=axes)) for axes in ((0, 2), (0, 1)))
    window = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    activation = maps[scale][0].detach().double().numpy()
    small = np.zeros(activation.shape[1:])
    small[window[1:]] = FORMULAS[method](activation[window], gradient[window])
    assert np.abs(one.heatmap - over_input(small)).max() < 1e-4


def test_the_branches_are_found_and_said(detector: tuple[Any, inspector.Model], x: Array) -> None:
    _, model = detector
    engine = prepare_maps(model, choice=BoxChoice(confidence=0.05))
    found = engine.maps(x)
    assert len(found) == 5
    for scale in range(3):
        assert f"trunk.out.{scale}" in engine.reason
    assert {name.startswith("trunk.out.") for one in found for name in one.layers} == {True}


def test_a_layer_asked_for_has_the_whole_gradient(detector: tuple[Any, inspector.Model], x: Array) -> None:
    """Through the pyramid, whose later maps depend on the earlier ones."""
    net, model = detector
    layer = next(one for one in model.layers if one.name.startswith("trunk.out.0") and one.kind == "activation")
    [one] = model.cam(x, box=0, confidence=0.05, layer=layer)
    trunk = net.trunk
    first = trunk.out[0](trunk.steps[0](trunk.stem(torch.from_numpy(x)))).detach().requires_grad_()
    second = trunk.out[1](trunk.steps[1](first))
    maps = [first, second, trunk.out[2](trunk.steps[2](second))]
    _, logit = find_logit(net, maps, one.target.score)
    gradient = torch.autograd.grad(logit, first)[0]
    assert np.abs(one.heatmap - over_input((gradient.clamp(min=0) * first).sum(1)[0].detach())).max() < 1e-4


@pytest.mark.parametrize("number", [0, 3])
def test_a_side_has_its_own_gradient(detector: tuple[Any, inspector.Model], x: Array, number: int) -> None:
    """The place of the side by autograd through bins, anchors and centres, each branch alone."""
    net, model = detector
    side = ("left", "top", "right", "bottom")[number]
    [one] = model.cam(x, box=0, confidence=0.05, side=side)
    [score] = model.cam(x, box=0, confidence=0.05)
    assert one.found is not None
    assert one.found.element is not None
    maps = [m.detach().requires_grad_() for m in net.features(torch.from_numpy(x))]
    scale, _ = find_logit(net, maps, score.target.score)
    rows = net.head(maps)[0]
    index = one.found.element.index
    if net.style == "v26":
        corners = rows[index[1]][:4]
    else:
        box = rows[:4, index[2]]
        corners = torch.cat((box[:2] - box[2:] / 2, box[:2] + box[2:] / 2))
    assert corners[number].item() == pytest.approx(one.target.score, abs=1e-2)
    gradient = torch.autograd.grad(corners[number], maps[scale])[0]
    wanted = over_input((gradient.clamp(min=0) * maps[scale]).sum(1)[0].detach())
    assert np.abs(one.heatmap - wanted).max() < 1e-3
    assert np.abs(one.heatmap - score.heatmap).max() > 1e-2


def test_an_element_of_an_output_is_one_place(detector: tuple[Any, inspector.Model], x: Array) -> None:
    """`--output NAME:INDEX`: of a score the same map as of its box, of another number the cells that it reads."""
    net, model = detector
    [box] = model.cam(x, box=0, confidence=0.05)
    assert box.found is not None
    assert box.found.element is not None
    place = box.found.element.index[1:]
    [same] = model.cam(x, output=f"output0:{place[0]},{place[1]}")
    np.testing.assert_allclose(same.heatmap, box.heatmap, atol=1e-6)
    assert same.found is None
    flat = int(np.ravel_multi_index(place, model.run(x, ["output0"])["output0"].shape[1:]))
    np.testing.assert_array_equal(model.cam(x, output=f"output0:{flat}")[0].heatmap, same.heatmap)
    row, column = (place[0], 2) if net.style == "v26" else (2, place[1])
    [other] = model.cam(x, output=f"output0:{row},{column}")
    assert (other.heatmap > 0).mean() < 1
    with pytest.raises(UsageError, match="has no element"):
        model.cam(x, output="output0:5000,5000")


def test_boxes_are_chosen(plain: inspector.Model, x: Array) -> None:
    model = plain
    every = model.cam(x, box="all", confidence=0.05)
    assert [one.number for one in every] == list(range(len(every)))
    two = model.cam(x, box=[3, 1], confidence=0.05)
    assert [one.number for one in two] == [3, 1]
    np.testing.assert_array_equal(two[1].heatmap, every[1].heatmap)
    assert len(model.cam(x, top=2, confidence=0.05)) == 2
    named = every[0].target.label
    assert {one.target.label for one in model.cam(x, classes=named, box="all", confidence=0.05)} == {named}
    assert model.cam(x, confidence=1.0) == []
    with pytest.raises(UsageError, match=f"there is no box {len(every)}: {len(every)} found"):
        model.cam(x, box=len(every), confidence=0.05)
    with pytest.raises(UsageError, match="'best' is no box"):
        model.cam(x, box="best")
    with pytest.raises(UsageError, match=r"confidence 2 is not in \[0, 1\]"):
        model.cam(x, confidence=2)
    able = "gradcam, gradcam++, hirescam, xgradcam, layercam, drise"
    with pytest.raises(NotComputable, match=re.escape(f"eigencam does not explain boxes; these do: {able}")):
        model.cam(x, method="eigencam")


def test_numbers_of_boxes() -> None:
    assert choose_box_numbers(None) is None
    assert choose_box_numbers("all") == "all"
    assert choose_box_numbers(["2", "0", "2"]) == (2, 0)
    assert choose_box_numbers(3) == (3,)


def test_the_share_inside_counts_cut_pixels_by_their_area() -> None:
    heat = np.zeros((4, 8), np.float32)
    heat[1, 2], heat[3, 7] = 1, 3
    assert measure_inside(heat, (2, 1, 3, 2), (0, 0, 8, 4)) == pytest.approx(0.25)
    assert measure_inside(heat, (2.5, 1, 3, 1.5), (0, 0, 8, 4)) == pytest.approx(0.25 / 4)
    assert measure_inside(heat, (0, 0, 16, 8), (0, 0, 16, 8)) == 1
    # A letterbox: the map covers 4 pixels more above and below than the picture has.
    assert measure_inside(heat, (0, 0, 16, 4), (0, -4, 16, 4)) == pytest.approx(0.75)
    assert measure_inside(np.zeros((2, 2), np.float32), (0, 0, 1, 1), (0, 0, 2, 2)) is None


def test_drise_equals_the_paper() -> None:
    """The sum of masks by their likeness, less what every mask gives alike."""
    likeness: Callable[[Array], Array] = lambda mask: np.array([mask[3:9, 4:8].mean(), 1.0])  # noqa: E731
    context = CoverContext((20, 24), 60, 1, 2, likeness)
    masks = np.stack(list(context.masks())).astype(np.float64)
    assert masks.shape == (60, 20, 24)
    assert 0.4 < masks.mean() < 0.6
    np.testing.assert_array_equal(masks[:5], np.stack(list(CoverContext((20, 24), 5, 1, 1, likeness).masks())))
    weights = np.array([likeness(mask)[0] for mask in masks])
    first, second = context.weigh_masks()
    wanted = np.einsum("m,mhw->hw", weights, masks) / 60 - weights.mean() * masks.mean(axis=0)
    np.testing.assert_allclose(first, wanted, atol=1e-6)
    assert np.unravel_index(first.argmax(), first.shape)[0] in range(2, 10)
    assert not second.any()


def test_likeness_is_overlap_times_score_of_the_same_class() -> None:
    wanted = [Detection(1, 0.9, (0, 0, 10, 10)), Detection(2, 0.9, (0, 0, 10, 10))]
    found = [Detection(1, 0.8, (0, 0, 10, 5)), Detection(1, 0.3, (0, 0, 10, 10)), Detection(3, 1, (0, 0, 10, 10))]
    np.testing.assert_allclose(measure_likeness(wanted, found), [0.4, 0], atol=1e-6)
    np.testing.assert_array_equal(measure_likeness(wanted, []), [0, 0])


def test_drise_runs_on_a_detector(plain: inspector.Model, x: Array) -> None:
    model = plain
    one, again = (model.cam(x, box=0, confidence=0.05, method="drise", masks=6, seed=2)[0] for _ in range(2))
    assert one.raw.shape == SIZE
    np.testing.assert_array_equal(one.raw, again.raw)
    assert "6 masks" in one.reason


def test_the_command_writes_a_map_for_each_box(
    plain: inspector.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    from tests.test_cli import call

    model = plain
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (100, 90, 3), np.uint8)).save(tmp_path / "noise.png")
    given = ["cam", str(model.path), str(tmp_path / "noise.png"), "-o", str(tmp_path / "out"), "--json"]
    code, shown, _ = call(capsys, *given, "--confidence", "0.05", "--top", "2")
    assert code == 0
    [entry] = json.loads(shown)["images"]
    assert len(entry["maps"]) == 2
    for one in entry["maps"]:
        assert one["energy_inside"] is None or 0 <= one["energy_inside"] <= 1
        assert one["class"]["probability"] == one["score"]
        assert len(one["box"]) == 4
        assert np.load(one["heatmap"]).shape == tuple(one["shape"]) == SIZE
        assert Path(one["overlay"]).exists()
    code, shown, _ = call(capsys, *given, "--confidence", "1")
    assert code == 0
    assert json.loads(shown)["images"][0]["maps"] == []


def test_the_channels_of_a_class(detector: tuple[Any, inspector.Model], x: Array) -> None:
    """For `filters --class`: the logits of that class at the middle scale."""
    net, model = detector
    layer, numbers = find_class_channels(model, ["thing 2", 0])
    assert numbers == [2, 0]
    wanted = net.logits(net.features(torch.from_numpy(x)))[1].detach().numpy()
    np.testing.assert_allclose(model.run(x, [layer.tensor])[layer.tensor], wanted, atol=1e-4)


def test_the_page_has_a_map_for_each_box(plain: inspector.Model) -> None:
    """Each box is a choice of its own; its map is made small enough for a page."""
    from PIL import Image

    from inspector.pages.report.evidence import Evidence, shrink_map

    evidence = Evidence(plain, ["gradcam", "layercam", "eigencam"], 3)
    assert list(evidence.engines) == ["gradcam", "layercam"]
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8))
    entries = evidence.of(picture)
    assert {entry["class"] for entry in entries} == set(evidence.choices)
    assert all(len(entry["map"]) == np.prod(entry["shape"]) for entry in entries)
    assert evidence.relevance(picture) is None
    wide = np.zeros((320, 640), np.float32)
    wide[8:12, 16:20] = 0.5
    small = shrink_map(wide)
    assert small.shape == (80, 160)
    assert small[2, 4] == small.max() == 1
