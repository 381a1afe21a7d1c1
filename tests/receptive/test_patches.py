"""The most exciting patches against brute force, and their memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector import open_model
from inspector.errors import ImageError, UsageError
from inspector.model import Model
from inspector.pages.sheets import draw_patch_sheet
from inspector.receptive import find_block_layers, find_patches, parse_channels
from inspector.receptive.patches import crop_patch, draw_patches
from tests.ascent.nets import save, small
from tests.conftest import MakeModel
from tests.foreign import Net


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return open_model(small(tmp_path / "small.onnx"))


def pictures(count: int, seed: int = 0) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(f"{n}.png", rng.integers(0, 256, (40, 36, 3), np.uint8)) for n in range(count)]


def test_patches_are_those_of_brute_force(model: Model) -> None:
    layer, given = model.layer("two_act"), pictures(12)
    found = find_patches(model, given, [layer], k=4)[layer.name]
    maps = np.concatenate([model.activations(source, [layer])[layer.name] for _, source in given])
    best = maps.reshape(len(given), maps.shape[1], -1).max(axis=2)
    for channel, patches in found.patches.items():
        order = np.argsort(-best[:, channel], kind="stable")
        order = [n for n in order if maps[n, channel].min() < maps[n, channel].max()][:4]
        assert [p.image for p in patches] == [f"{n}.png" for n in order]
        for patch, n in zip(patches, order, strict=True):
            y, x = np.unravel_index(maps[n, channel].argmax(), maps.shape[2:])
            assert patch.position == (y, x)
            assert patch.value == pytest.approx(best[n, channel])
            assert patch.box == found.field.box((int(y), int(x)), (32, 32))


def test_pictures_of_different_sizes_keep_their_own_positions(tmp_path: Path) -> None:
    """Without a size in the metadata each picture is seen as it is; a position counts in its own map."""
    net = Net(3)
    x = net.input("x", ("N", 3, "H", "W"))
    y = net("Relu", net.conv(x, 3, 4), name="act", out="act_out")
    model = open_model(save(net, tmp_path / "any.onnx", y, preprocess="imagenet"))
    assert model.preprocess.size is None
    layer = model.layer("act")
    rng = np.random.default_rng(0)
    given = [
        (f"{n}.png", rng.integers(0, 256, (h, w, 3), np.uint8))
        for n, (h, w) in enumerate([(96, 64), (64, 120), (50, 50)])
    ]
    found = find_patches(model, given, [layer], k=3)[layer.name]
    for channel, patches in found.patches.items():
        assert len(patches) == 3
        for patch in patches:
            source = given[int(patch.image[0])][1]
            own = model.activations(source, [layer])[layer.name][0, channel]
            assert patch.position == np.unravel_index(own.argmax(), own.shape)
            assert patch.box == found.field.box(patch.position, source.shape[:2])
    drawn = dict(draw_patches(model, found, dict(given), 16))
    assert all(tile.size == (16, 16) for tiles in drawn.values() for tile in tiles)


def test_only_the_channels_asked_for(model: Model) -> None:
    layers = [model.layer("one"), model.layer("two_act")]
    found = find_patches(model, pictures(3), layers, k=2, channels=[7, 1])
    assert list(found[layers[0].name].patches) == [7, 1]
    assert list(found[layers[1].name].patches) == [1]  # it has six
    whole = find_patches(model, pictures(3), layers, k=2)
    assert whole[layers[0].name].patches[7] == found[layers[0].name].patches[7]
    with pytest.raises(UsageError, match="'two_act' has none of the channels asked for; its channels are 0 to 5"):
        find_patches(model, pictures(3), layers, k=2, channels=[7, 6])


def test_a_channel_that_is_constant_has_no_patch(tmp_path: Path) -> None:
    model = open_model(small(tmp_path / "dead.onnx", dead=True))
    layer = model.layer("two_act")
    assert find_patches(model, pictures(5), [layer], k=3)[layer.name].patches[2] == ()


def test_layers_without_maps_show_whole_pictures(model: Model) -> None:
    layer = model.layer("fc")
    found = find_patches(model, pictures(5), [layer], k=2)[layer.name]
    assert found.field.size is None
    assert all(p.box == (0, 0, 32, 32) for patches in found.patches.values() for p in patches)


def test_pictures_that_cannot_be_read_are_skipped_and_listed(model: Model) -> None:
    layer = model.layer("one")
    found = find_patches(model, [("bad", b"no picture"), *pictures(2)], [layer], k=1)[layer.name]
    assert (found.seen, [name for name, _ in found.skipped]) == (2, ["bad"])
    with pytest.raises(ImageError, match="none of 1 pictures could be read"):
        find_patches(model, [("bad", b"no picture")], [layer])
    with pytest.raises(ImageError, match="no pictures were given"):
        find_patches(model, [], [layer])
    with pytest.raises(UsageError, match="0 patches"):
        find_patches(model, pictures(1), [layer], k=0)


def test_memory_does_not_grow_with_the_pictures(model: Model) -> None:
    layer = model.layer("one")

    def stream(count: int) -> Iterator[tuple[str, np.ndarray]]:
        rng = np.random.default_rng(0)
        for n in range(count):
            yield f"a long name of a picture in a deep folder {n:060d}", rng.integers(0, 256, (32, 32, 3), np.uint8)

    def peak(count: int) -> int:
        tracemalloc.start()
        find_patches(model, stream(count), [layer], k=2)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(530)  # what is imported on the way is there from now on
    assert peak(1060) < peak(530) + 100_000


def test_a_crop_keeps_its_place_and_scale() -> None:
    view = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("RGB")
    assert np.array_equal(np.asarray(crop_patch(view, (2, 1, 6, 5), 4)), np.asarray(view.crop((2, 1, 6, 5))))
    corner = np.asarray(crop_patch(view, (-2, -2, 2, 2), 4))
    assert (corner[:2] == 236).all()
    assert (corner[:, :2] == 236).all()
    assert np.array_equal(corner[2:, 2:], np.asarray(view)[:2, :2])
    assert np.array_equal(np.asarray(crop_patch(view, (-9, -9, 30, 30), 8)), np.asarray(view))


def test_patches_are_drawn_for_each_channel(model: Model, tmp_path: Path) -> None:
    layer, given = model.layer("one"), pictures(6)
    found = find_patches(model, given, [layer], k=4, channels=[0, 3])[layer.name]
    drawn = dict(draw_patches(model, found, dict(given), 16))
    assert {c: [p.size for p in tiles] for c, tiles in drawn.items()} == {0: [(16, 16)] * 4, 3: [(16, 16)] * 4}
    path = draw_patch_sheet(model, found, dict(given), tmp_path / "patches.png", {})
    with Image.open(path) as image:
        assert image.text["Layer"] == layer.name  # type: ignore[attr-defined]
        assert image.text["Pictures"] == "6"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-3", [0, 1, 2, 3]), ("5, 2,2,7-8", [5, 2, 7, 8]), ("all", None), ("9", [9])]
)
def test_channels_are_read(text: str, numbers: list[int] | None) -> None:
    assert parse_channels(text) == numbers


@pytest.mark.parametrize("text", ["", "-3", "3-1", "a", "1,,2", "0-9999999999", "²"])
def test_channels_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_channels(text)


def test_one_layer_for_each_resolution(default_model: Path, make_model: MakeModel) -> None:
    layers = find_block_layers(open_model(default_model))
    sizes = [x.shape[2] for x in layers if x.shape]
    assert sizes == [112, 56, 28, 14, 7]

    def flat(net: Any, x: str) -> str:
        for _ in range(12):
            x = net("Relu", net.conv(x, 3, 3))
        return x

    one = find_block_layers(open_model(make_model(flat, shape=(1, 3, 16, 16))))
    assert 3 <= len(one) <= 8
