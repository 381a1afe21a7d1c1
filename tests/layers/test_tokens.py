"""Tokens, windows and attention: what is shown of them, and that everything that shows it agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector import Model, open_model
from inspector.cli.app import run
from inspector.layers import TokenGrid
from tests.conftest import require
from tests.layers.families import SIDE, WIDTH, WINDOW, Windows, export, randomise

torch = require("torch")

SLOW = pytest.mark.slow
EXPORTS = ["legacy, two pictures", "dynamo", pytest.param("legacy", marks=SLOW), pytest.param("any number", marks=SLOW)]


@pytest.fixture(scope="module", params=EXPORTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Windows, Model]:
    torch.manual_seed(4)
    net = randomise(Windows())
    path = tmp_path_factory.mktemp("tokens") / "m.onnx"
    many = 2 if "two" in request.param else 1
    options = {"dynamic_axes": {"x": {0: "n"}}, "input_names": ["x"]} if "any" in request.param else {}
    export(net, torch.randn(many, 3, 48, 48), path, request.param == "dynamo", **options)
    return net, open_model(path)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    path = tmp_path_factory.mktemp("picture") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)).save(path)
    return path


def hooked(net: Windows, model: Model, picture: Path) -> dict[str, np.ndarray]:
    """What torch makes of the picture, by module."""
    kept: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _given: Any, value: Any) -> None:
            kept[name] = value.numpy().copy()

        return hook

    hooks = [getattr(net, name).register_forward_hook(keep(name)) for name in ("norm", "qkv", "inner", "out")]
    with torch.no_grad():
        net(torch.from_numpy(model.tensor(picture)))
    for hook in hooks:
        hook.remove()
    return kept


def test_tokens_are_maps_and_the_class_token_stands_apart(made: tuple[Windows, Model], picture: Path) -> None:
    net, model = made
    right = hooked(net, model, picture)
    for name, channels in (("norm", WIDTH), ("qkv", 3 * WIDTH)):
        layer, value = model.layer(name), model.activations(picture, name)[model.layer(name).name]
        assert layer.shape is not None
        assert layer.shape[1:] == (channels, SIDE, SIDE)
        assert layer.grid == TokenGrid(SIDE, SIDE, 1)
        assert value.shape == (1, channels, 1 + SIDE * SIDE)  # the network's own, nothing left out
        assert np.abs(value - right[name].transpose(0, 2, 1)).max() < 1e-4
        maps = right[name][:, 1:].reshape(1, SIDE, SIDE, channels).transpose(0, 3, 1, 2)
        assert np.abs(layer.to_maps(value) - maps).max() < 1e-4
        assert np.abs(layer.take_apart(value)[0, :, 0] - right[name][0, 0]).max() < 1e-4


def test_windows_are_put_together_and_turned_back(made: tuple[Windows, Model], picture: Path) -> None:
    """Where a place stands among shifted windows: as torch's own roll and reshape say, undone."""
    net, model = made
    right = hooked(net, model, picture)
    k = SIDE // WINDOW
    for name, channels in (("inner", 2 * WIDTH), ("out", WIDTH)):
        layer, value = model.layer(name), model.activations(picture, name)[model.layer(name).name]
        assert layer.shape is not None
        assert layer.shape[1:] == (channels, SIDE, SIDE)
        assert value.shape == (1, channels, k * k, WINDOW * WINDOW)
        wanted = right[name].reshape(k, k, WINDOW, WINDOW, channels).transpose(0, 2, 1, 3, 4)
        wanted = np.roll(wanted.reshape(SIDE, SIDE, channels), (1, 2), (0, 1)).transpose(2, 0, 1)
        assert np.abs(layer.to_maps(value)[0] - wanted).max() < 1e-4
        assert layer.take_apart(value).size == 0


def test_attention_is_no_picture(made: tuple[Windows, Model], picture: Path) -> None:
    _, model = made
    layer = model.layer("softmax")
    assert layer.shape is not None
    assert layer.shape[1:] == (3, 1 + SIDE * SIDE, 1 + SIDE * SIDE)
    assert (layer.places, layer.grid, model.layer("norm").places) == (False, None, True)
    value = model.activations(picture, layer)[layer.name]
    assert value.shape[1:] == layer.shape[1:]
    assert np.abs(value.sum(-1) - 1).max() < 1e-5
    from inspector.receptive.patches import find_patches

    [found] = find_patches(model, [("p", str(picture))], [layer], k=1).values()
    assert found.patches[0][0].box == (0, 0, 48, 48)  # a cell of it sees no place, but all of the picture


def test_files_page_and_document_agree(
    made: tuple[Windows, Model], picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shape, statistics, arrays and the report say the same of the same maps."""
    _, model = made
    given = [str(model.path), str(picture)]
    assert run(["activations", *given, "-o", str(tmp_path), "--save-arrays", "--json", "-q"]) == 0
    [entry] = json.loads(capsys.readouterr().out)["images"]
    assert run(["layers", str(model.path), "--json", "-q"]) == 0
    listed = {x["name"]: x["shape"] for x in json.loads(capsys.readouterr().out)["layers"]}
    values = model.activations(picture)
    for one in entry["layers"]:
        layer = model.layer(one["name"])
        shown = layer.to_maps(values[layer.name])
        assert one["shape"] == list(shown.shape)
        assert listed[layer.name][1:] == one["shape"][1:]
        assert np.array_equal(np.load(one["arrays"]), shown)
        assert one["mean"] == pytest.approx(shown.mean(), abs=1e-5)
        assert one["max"] == pytest.approx(shown.max(), rel=1e-6)
        aside = layer.take_apart(values[layer.name])
        assert (one["apart"] or {}).get("tokens", 0) == aside.shape[2]
        if aside.size:
            assert one["apart"]["mean"] == pytest.approx(aside.mean(), abs=1e-5)
    page = tmp_path / "page.html"
    assert run(["report", *given, "-o", str(page), "-q"]) == 0
    text = page.read_text()
    assert '"shape": [36, 6, 6]' in text or '"shape":[36,6,6]' in text


def test_every_command_takes_a_graph_of_two_pictures(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where windows and the batch share an axis: the same numbers as from the file for one picture."""
    net = randomise(Windows())
    one, two = (export(net, torch.randn(n, 3, 48, 48), tmp_path / f"{n}.onnx") for n in (1, 2))
    for layer in open_model(one).layers:
        a, b = (open_model(path).activations(picture, layer.name)[layer.name] for path in (one, two))
        assert a.shape == b.shape, layer.name
        assert np.abs(a - b).max() < 1e-4 * (1 + np.abs(a).max()), layer.name
    batch = np.concatenate([open_model(two).tensor(picture)] * 3)
    values, _ = open_model(two).layer_values(batch)
    assert all(len(value) == 3 and np.allclose(value[0], value[2], atol=1e-4) for value in values.values())
    for words in (["predict"], ["cam", "--layer", "inner"], ["cam"], ["report"]):
        out = [] if words[0] == "predict" else ["-o", str(tmp_path / ("r.html" if words[0] == "report" else "out"))]
        assert run([words[0], str(two), str(picture), *words[1:], *out, "--json", "-q"]) == 0, words
    assert run(["layers", str(two), "--json", "-q"]) == 0
    capsys.readouterr()


ARRANGED: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "class and registers": ({"img_size": (32, 48), "reg_tokens": 4}, (4, 6, 5)),
    "none": ({"img_size": (64, 16), "class_token": False, "global_pool": "avg"}, (8, 2, 0)),
    "registers alone": ({"img_size": (24, 40), "class_token": False, "reg_tokens": 2, "global_pool": "avg"}, (3, 5, 2)),
    "pooled by attention": ({"img_size": (48, 32), "class_token": False, "global_pool": "map"}, (6, 4, 0)),
}


@pytest.mark.parametrize("name", ARRANGED)
def test_grids_that_are_no_squares(name: str, tmp_path: Path) -> None:
    """The places that a vision transformer of timm gives its tokens, by its own output of a block."""
    require("timm")
    from timm.models.vision_transformer import VisionTransformer

    options, (height, width, extra) = ARRANGED[name]
    net = randomise(VisionTransformer(patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=7, **options))
    x = torch.randn(1, 3, *options["img_size"], generator=torch.Generator().manual_seed(0))
    kept: list[np.ndarray] = []
    hook = net.blocks[0].register_forward_hook(lambda _m, _g, value: kept.append(value.numpy().copy()))
    with torch.no_grad():
        net(x)
    hook.remove()
    model = open_model(export(net, x, tmp_path / "m.onnx"))
    layer = model.layer("blocks.0")
    assert layer.grid == TokenGrid(height, width, extra)
    values, _ = model.layer_values(x.numpy(), [layer])
    expected = kept[0][:, extra:].transpose(0, 2, 1).reshape(1, 24, height, width)
    np.testing.assert_allclose(layer.to_maps(values["blocks.0"]), expected, atol=1e-4)
