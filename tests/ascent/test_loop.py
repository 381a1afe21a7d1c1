"""The loop: it climbs, it is repeatable, and a picture does not depend on its neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector import open_model
from inspector.errors import NotComputable
from inspector.image import Preprocess
from inspector.metadata import KEY, Metadata
from inspector.model import Model
from tests.ascent.nets import quadratic, small
from tests.conftest import MakeModel, require

torch = require("torch")

from inspector.ascent import CLEAR, LECTURE, Adam, Network, Pixels, ascend, channel, draw, make_generator  # noqa: E402


def climb(model: Model, name: str, channels: list[int], recipe=LECTURE, seed: int = 0, size: int = 32):  # type: ignore[no-untyped-def]
    layer = model.layer(name)
    network = Network(model, [layer])
    canvas = recipe.canvas((size, size), network.channels, [make_generator(seed, c, "start") for c in channels])
    view = recipe.view()
    draws = draw([make_generator(seed, c, "view") for c in channels], recipe.steps, view.draws) if view else None
    return ascend(
        network, channel(layer.name, channels), canvas, recipe.new_optimiser(), steps=recipe.steps, view=view,
        draws=draws, leaky=recipe.leaky, crop=recipe.crop if recipe.margin else None,
    )  # fmt: skip


def test_ascent_on_a_quadratic_reaches_its_peak(tmp_path: Path) -> None:
    peak = (0.2, 0.5, 0.7)
    model = open_model(quadratic(tmp_path / "bowl.onnx", peak))
    network = Network(model, [model.layer("bowl")])
    canvas = Pixels.noise((8, 8), 3, [make_generator(0)])
    result = ascend(network, channel("bowl", [0]), canvas, Adam(0.05, 200), steps=200)
    assert float(result.end[0]) == pytest.approx(0, abs=1e-4)
    assert result.pictures.mean((0, 2, 3)).tolist() == pytest.approx(peak, abs=5e-3)
    assert float(result.start[0]) < -0.1
    clear = climb(model, "bowl", [0], CLEAR, size=16)
    assert float(clear.end[0]) > 0.5 * float(clear.start[0])


def test_the_network_is_shown_what_the_model_would_see(tmp_path: Path, small_photo: np.ndarray) -> None:
    model = open_model(small(tmp_path / "small.onnx"))
    picture = model.preprocess.view(open_picture(small_photo))
    pixels = torch.from_numpy(np.array(picture, np.float32) / 255).permute(2, 0, 1)[None]
    for name in ("one", "two_act"):
        ours = Network(model, [model.layer(name)])(pixels)[model.layer(name).name]
        assert np.allclose(ours.numpy(), model.activations(picture, [name])[model.layer(name).name], atol=1e-4)


@pytest.mark.parametrize(
    "prepare",
    [
        Preprocess.named("caffe", (32, 32)),
        Preprocess.named("signed", (32, 32)),
        Preprocess.named("raw", (32, 32)),
    ],
    ids=["caffe", "signed", "raw"],
)
def test_every_preprocess_has_the_same_pixels(prepare: Preprocess, tmp_path: Path, make_model: MakeModel) -> None:
    document = {KEY: Metadata(preprocess=prepare).dumps()}
    path = make_model(lambda n, x: n.conv(x, 3, 4), shape=("N", 3, 32, 32), metadata=document)
    model = open_model(path)
    layer = model.layers[0]
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    pixels = torch.from_numpy(array.astype(np.float32) / 255).permute(2, 0, 1)[None]
    found = Network(model, [layer])(pixels)[layer.name]
    expected = model.activations(array, [layer])[layer.name]
    assert np.allclose(found.numpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_channels_last_inputs_and_tensors(make_model: MakeModel) -> None:
    path = make_model(
        lambda n, x: n("Transpose", n("Relu", n.conv(n("Transpose", x, perm=[0, 3, 1, 2]), 3, 4)), perm=[0, 2, 3, 1]),
        shape=("N", 16, 16, 3),
    )
    model = open_model(path)
    for layer in model.layers:
        values = Network(model, [layer])(torch.full((2, 3, 16, 16), 0.5))[layer.name]
        assert values.shape == (2, 4, 16, 16)


@pytest.mark.parametrize("recipe", [LECTURE, CLEAR.with_(steps=24)], ids=["lecture", "clear"])
def test_results_do_not_depend_on_the_batch(recipe, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = open_model(small(tmp_path / "small.onnx"))
    together = climb(model, "two_act", [0, 1, 3, 4], recipe)
    for row, number in enumerate([0, 1, 3, 4]):
        alone = climb(model, "two_act", [number], recipe)
        assert torch.allclose(alone.pictures[0], together.pictures[row], atol=2e-3)
        assert float(alone.end[0]) == pytest.approx(float(together.end[row]), rel=1e-3)
    turned = climb(model, "two_act", [4, 3, 1, 0], recipe)
    assert torch.allclose(turned.pictures.flip(0), together.pictures, atol=2e-3)


def test_same_seed_same_picture_and_another_seed_another(tmp_path: Path) -> None:
    model = open_model(small(tmp_path / "small.onnx"))
    recipe = CLEAR.with_(steps=12)
    one, two = (climb(model, "two_act", [0, 1], recipe).pictures for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.allclose(one, climb(model, "two_act", [0, 1], recipe, seed=1).pictures, atol=0.01)


def test_the_lecture_is_followed_step_by_step(tmp_path: Path) -> None:
    """The lecture's loop written out, one picture at a time."""
    model = open_model(small(tmp_path / "small.onnx"))
    layer = model.layer("two_act")
    network = Network(model, [layer])
    picture = Pixels.noise((32, 32), 3, [make_generator(0, 3, "start")]).pictures().detach().clone()
    for _ in range(40):
        picture.requires_grad_()
        loss = network(picture)[layer.name][0, 3].mean()
        (gradient,) = torch.autograd.grad(loss, picture)
        gradient = gradient / (gradient.square().mean().sqrt() + 1e-5)
        picture = (picture + gradient / 255).detach()
    found = climb(model, "two_act", [3]).pictures
    assert torch.allclose(found, picture, atol=1e-4)
    shown = LECTURE.shown(found)[0].float() / 255
    values = (picture[0] - picture[0].mean()) / (picture[0].std(unbiased=False) + 1e-5) * 0.1 + 0.5
    assert torch.allclose(shown, values.clamp(0, 1), atol=0.5 / 255 + 1e-3)


def test_a_dead_channel_does_not_move_and_a_sleeping_one_wakes(tmp_path: Path, make_model: MakeModel) -> None:
    model = open_model(small(tmp_path / "dead.onnx", dead=True))
    result = climb(model, "two_act", [0, 2], CLEAR.with_(steps=20))
    assert result.moved.tolist()[0]
    assert float(result.end[1]) == 0

    def sleeping(net, x):  # type: ignore[no-untyped-def]
        weight = net.const(np.ones((1, 3, 3, 3), np.float32))
        y = net("Conv", x, weight, net.const(np.array([-12], np.float32)), kernel_shape=[3, 3], pads=[1] * 4)
        return net("Relu", y, name="act")

    asleep = open_model(make_model(sleeping, shape=("N", 3, 24, 24)))
    assert not bool(climb(asleep, "act", [0], CLEAR.with_(steps=30, leaky=0), size=24).moved[0])
    woken = climb(asleep, "act", [0], CLEAR.with_(steps=30), size=24)
    assert float(woken.start[0]) == 0 < float(woken.end[0])


def test_a_head_of_fixed_size_restricts_only_itself(tmp_path: Path) -> None:
    model = open_model(small(tmp_path / "small.onnx"))
    assert climb(model, "two_act", [0], LECTURE.with_(steps=2), size=48).pictures.shape == (1, 3, 48, 48)
    assert climb(model, "fc", [0], LECTURE.with_(steps=2), size=32).pictures.shape == (1, 3, 32, 32)
    with pytest.raises(NotComputable):
        climb(model, "fc", [0], LECTURE.with_(steps=2), size=48)


def test_weights_are_frozen_and_unchanged(tmp_path: Path) -> None:
    model = open_model(small(tmp_path / "small.onnx"))
    network = Network(model, [model.layer("two_act")])
    before = {k: v.clone() for k, v in network.twin.state_dict().items()}
    canvas = Pixels.noise((32, 32), 3, [make_generator(0)])
    ascend(network, channel("two_act", [0]), canvas, Adam(0.1), steps=3)
    assert all(not p.requires_grad and p.grad is None for p in network.twin.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.twin.state_dict().items())


def open_picture(array: np.ndarray):  # type: ignore[no-untyped-def]
    from inspector import open_image

    return open_image(array)
