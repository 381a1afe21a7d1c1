"""Measures of a map, on a network whose right answer is known, and against slow loops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector import open_model
from inspector.cam import class_activation_maps
from inspector.cam.faithfulness import (
    Region,
    average_figures,
    change_in_confidence,
    correlate_ranks,
    deletion,
    energy_inside,
    insertion,
    judge_map,
    parse_region,
    pointing_game,
)
from inspector.cam.result import CamResult, find_peak, scale_map
from inspector.errors import NotComputable, UsageError
from inspector.image import Preprocess
from inspector.metadata import Metadata
from inspector.model import Model, to_probabilities
from tests.cam.nets import Array, name_of, node, picture, pooled_net, save_net
from tests.conftest import require

SIDE = 12


@pytest.fixture
def corner(tmp_path: Path) -> Model:
    """Class 1 is the brightness of the upper left quarter, class 0 is always 4."""
    weights = np.zeros((2, SIDE, SIDE), np.float32)
    weights[1, : SIDE // 2, : SIDE // 2] = 8 / 36
    nodes = [
        node("Conv", "x k", "maps"),
        node("Flatten", "maps", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    path = save_net(
        tmp_path / "corner.onnx",
        nodes,
        {
            "k": np.full((1, 3, 1, 1), 1 / 3, np.float32),
            "w": weights.reshape(2, -1),
            "b": np.array([4, 0], np.float32),
        },
        outputs={"logits": ["N", 2]},
        shape=("N", 3, SIDE, SIDE),
        metadata=Metadata(preprocess=Preprocess.named("unit", (SIDE, SIDE))),
    )
    return open_model(path)


def bright() -> Array:
    """The input: bright in the upper left quarter, dark elsewhere."""
    x = np.zeros((1, 3, SIDE, SIDE), np.float32)
    x[:, :, : SIDE // 2, : SIDE // 2] = 1
    return x


def map_of(model: Model, raw: Array) -> CamResult:
    """A result of class 1 with another map in it."""
    [found] = class_activation_maps(model, bright(), classes=[1], method="hirescam", layer=name_of(model, "maps"))
    heatmap, empty = scale_map(raw)
    raw = raw.astype(np.float32)
    return replace(found, raw=raw, heatmap=heatmap, empty=empty, peak=find_peak(raw, heatmap, found.box, found.size))


RIGHT = np.array([[1.0, 0.1], [0.1, 0.0]])
WRONG = RIGHT[::-1, ::-1]


@pytest.mark.parametrize("measure", [deletion, insertion])
@pytest.mark.parametrize("baseline", ["mean", "blur"])
def test_curves_run_from_the_one_input_to_the_other(corner: Model, measure, baseline: str) -> None:
    curve = measure(corner, bright(), map_of(corner, RIGHT), steps=9, baseline=baseline)
    whole = to_probabilities(corner.scores(bright()), "softmax")[0, 1]
    assert curve.share[0] == 0
    assert curve.share[-1] == 1
    assert len(curve.share) == len(curve.probability) == 10
    assert curve.probability[0 if measure is deletion else -1] == pytest.approx(whole, rel=1e-6)
    slow = sum(
        (curve.share[i + 1] - curve.share[i]) * (curve.probability[i] + curve.probability[i + 1]) / 2 for i in range(9)
    )
    assert curve.area == pytest.approx(slow)


def test_a_right_map_deletes_fast_and_inserts_fast(corner: Model) -> None:
    right, wrong = map_of(corner, RIGHT), map_of(corner, WRONG)
    assert deletion(corner, bright(), right).area < deletion(corner, bright(), wrong).area - 0.2
    areas = [insertion(corner, bright(), found, baseline="mean").area for found in (right, wrong)]
    assert areas[0] > areas[1] + 0.2


def test_deletion_against_a_slow_loop(corner: Model) -> None:
    raw = np.random.default_rng(0).standard_normal((SIDE, SIDE))  # as fine as the input: no enlargement
    x = bright()
    found = deletion(corner, x, map_of(corner, raw), steps=SIDE * SIDE)
    mean = x.mean(axis=(2, 3), keepdims=True)
    order = sorted(np.ndindex(SIDE, SIDE), key=lambda at: -float(np.float32(raw[at])))
    changed = x.copy()
    for n in range(SIDE * SIDE + 1):
        if n:
            i, j = order[n - 1]
            changed[0, :, i, j] = mean[0, :, 0, 0]
        if n % 16 == 0:
            wanted = to_probabilities(corner.scores(changed), "softmax")[0, 1]
            assert found.probability[n] == pytest.approx(wanted, rel=1e-5)


def test_change_in_confidence(corner: Model) -> None:
    before = to_probabilities(corner.scores(bright()), "softmax")[0, 1]
    raw = np.random.default_rng(0).random((SIDE, SIDE))
    found = map_of(corner, raw)
    after = to_probabilities(corner.scores(bright() * found.heatmap), "softmax")[0, 1]
    drop, rise = change_in_confidence(corner, bright(), found)
    assert drop == pytest.approx((before - after) / before, rel=1e-5)
    assert rise is False
    everything = map_of(corner, np.ones((SIDE, SIDE)))
    assert change_in_confidence(corner, bright(), everything) == (0, False)
    # Class 0 does not look at the picture: darkness makes it more probable.
    [other] = class_activation_maps(corner, bright(), classes=[0], method="eigencam", layer=name_of(corner, "maps"))
    dark = replace(other, heatmap=np.zeros((2, 2), np.float32))
    assert change_in_confidence(corner, bright(), dark) == (0, True)


@pytest.mark.parametrize("labels", [("cat", "dog"), None])
def test_one_logit_is_judged_by_its_own_side(
    labels: tuple[str, str] | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    path, _ = pooled_net(tmp_path / "m.onnx", rng, classes=1, metadata=Metadata(labels=labels))
    model = open_model(path)
    x = picture(rng)
    for found in class_activation_maps(model, x, classes=labels or [0, 1]):
        curve = deletion(model, x, found, steps=2)
        assert curve.probability[0] == pytest.approx(found.target.probability, rel=1e-5)


def test_graphs_with_a_fixed_batch_are_judged_too(tmp_path: Path) -> None:
    areas = []
    for batch in ("N", 1, 3):
        path, _ = pooled_net(tmp_path / f"{batch}.onnx", np.random.default_rng(0), batch=batch)
        model = open_model(path)
        x = picture(np.random.default_rng(1))
        [found] = class_activation_maps(model, x)
        areas.append(deletion(model, x, found, steps=7).area)
    assert areas[1:] == pytest.approx([areas[0]] * 2)


def test_what_cannot_be_judged(corner: Model) -> None:
    found = map_of(corner, RIGHT)
    with pytest.raises(UsageError, match="there is no baseline 'white'; known: mean, blur"):
        deletion(corner, bright(), found, baseline="white")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="steps 0 is less than 1"):
        insertion(corner, bright(), found, steps=0)
    other = class_activation_maps(corner, bright(), output="flat:3", layer=name_of(corner, "maps"))[0]
    with pytest.raises(NotComputable, match="measured in the probability of a class"):
        deletion(corner, bright(), other)


def test_pointing_game_and_energy(corner: Model) -> None:
    raw = np.zeros((SIDE, SIDE))
    raw[3, 2], raw[9, 9] = 3, 1
    found = map_of(corner, raw)
    left = parse_region("0,0,6,12")
    assert left is not None
    assert pointing_game(found, left)
    assert not pointing_game(found, Region(box=(6, 0, 6, 12)))
    assert energy_inside(found, left) == pytest.approx(0.75, abs=0.01)
    assert energy_inside(found, Region(box=(0, 0, 12, 12))) == pytest.approx(1)
    assert energy_inside(found, Region(box=(-5, -5, 100, 100))) == pytest.approx(1)
    empty = map_of(corner, -np.ones((2, 2)))
    assert not pointing_game(empty, left)
    assert energy_inside(empty, left) == 0


def test_a_mask_lies_over_the_whole_picture_at_any_size(corner: Model, tmp_path: Path) -> None:
    mask = np.zeros((40, 20), np.uint8)
    mask[:20, :10] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    region = parse_region(mask=tmp_path / "mask.png")
    assert region is not None
    found = map_of(corner, RIGHT)
    assert pointing_game(found, region)
    box = Region(box=(0, 0, SIDE / 2, SIDE / 2))
    assert energy_inside(found, region) == pytest.approx(energy_inside(found, box), abs=0.01)


def test_energy_leaves_out_the_padding() -> None:
    raw = np.ones((4, 4), np.float32)
    found = CamResult(
        target=None, method="", layer="", layers=(), backend="onnx", raw=raw, heatmap=raw, empty=False, peak=(0, 0),
        box=Preprocess(size=(8, 8), resize="pad").box((80, 40)), size=(80, 40), reason="",
    )  # type: ignore[arg-type]  # fmt: skip
    assert energy_inside(found, Region(box=(0, 0, 40, 40))) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "1,1,0,5", "1,1,-4,5", "nan,1,2,3"])
def test_malformed_regions(text: str) -> None:
    with pytest.raises(UsageError, match="region"):
        parse_region(text)


def test_regions_and_masks(tmp_path: Path) -> None:
    assert parse_region() is None
    with pytest.raises(UsageError, match="exclude each other"):
        parse_region("1,2,3,4", "mask.png")
    Image.new("L", (4, 4)).save(tmp_path / "dark.png")
    with pytest.raises(UsageError, match="has nothing bright in it"):
        parse_region(mask=tmp_path / "dark.png")


def test_every_figure_and_their_means(corner: Model) -> None:
    found = map_of(corner, RIGHT)
    figures = judge_map(corner, bright(), found, parse_region("0,0,6,6"), steps=4)
    assert list(figures) == ["deletion", "insertion", "drop", "increase", "pointing_game", "energy_inside"]
    assert all(isinstance(v, float) for v in figures.values())
    assert "pointing_game" not in judge_map(corner, bright(), found, steps=2)
    assert average_figures([{"drop": 0.0}, {"drop": 0.5}]) == {"drop": 0.25}
    assert average_figures([]) == {}


def test_rank_correlation_with_ties() -> None:
    a = np.array([[1, 2, 2], [3, 5, 4]])
    assert correlate_ranks(a, a * 10 - 3) == pytest.approx(1)
    assert correlate_ranks(a, -a) == pytest.approx(-1)
    assert correlate_ranks(a, np.zeros((2, 3))) == 0
    spearmanr = require("scipy.stats").spearmanr

    b = np.array([[0.5, 2, 0.5], [1, 9, 0]])
    assert correlate_ranks(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (Region(box=(0, 0, 14, 5)), "the region 0,0,14,5 reaches out of the picture, which has 12 x 12 pixels"),
        (Region(box=(50, 50, 5, 5)), "reaches out of the picture"),
        (Region(mask=np.ones((30, 50), np.bool_)), "the mask has 50 x 30 pixels, and the picture 12 x 12 pixels"),
    ],
)
def test_a_region_that_does_not_fit_the_picture(corner: Model, region: Region, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        judge_map(corner, bright(), map_of(corner, RIGHT), region, steps=2)
    Region(box=(0, 0, 12.5, 12)).check((12, 12))
    Region(mask=np.ones((13, 25), np.bool_)).check((451, 240))
