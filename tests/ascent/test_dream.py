"""DeepDream: it raises what it should, keeps the size, and large pictures take no more than their tiles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from inspector import open_image, open_model
from inspector.errors import UsageError
from inspector.model import Model
from tests.ascent.nets import pixels, save, small
from tests.conftest import PHOTO, ROOT, require
from tests.foreign import Net

torch = require("torch")

from inspector.ascent import dream  # noqa: E402
from inspector.ascent.dreaming import cut_tiles, plan_octaves  # noqa: E402
from inspector.cli.app import run_guarded  # noqa: E402
from inspector.cli.dream import dream as function  # noqa: E402


def command(*arguments: str) -> int:
    import typer

    app = typer.Typer(add_completion=False)
    app.command()(function)
    return run_guarded(lambda: app(args=[*arguments], standalone_mode=False), "--json" in arguments)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return open_model(small(tmp_path / "small.onnx", side="S"))


@pytest.fixture
def cat() -> Image.Image:
    return open_image(PHOTO).resize((150, 100))


def test_a_dream_raises_its_layers_and_keeps_the_size(model: Model, cat: Image.Image) -> None:
    layers = [(model.layer("one"), 1.0), (model.layer("two_act"), 0.5)]
    made = dream(model, cat, layers, steps=5)
    assert made.picture.size == cat.size
    assert made.octaves[-1] == cat.size
    assert list(made.octaves) == sorted(made.octaves)
    assert made.activation > made.activation_start
    assert all(x.end > x.start for x in made.layers)
    assert made.activation_start == pytest.approx(sum(x.weight * x.start for x in made.layers))
    again = dream(model, cat, layers, steps=5)
    assert np.array_equal(np.asarray(made.picture), np.asarray(again.picture))
    other = dream(model, cat, layers, steps=5, seed=1)
    assert not np.array_equal(np.asarray(made.picture), np.asarray(other.picture))


def test_the_activation_is_what_the_model_says(model: Model, cat: Image.Image) -> None:
    made = dream(model, cat, [(model.layer("two_act"), 2.0)], steps=1, octaves=1)
    whole = model.preprocess.with_size((100, 150)).tensor(cat)
    value = model.layer_values(whole, ["two_act"])[0]["two_act"]
    assert made.activation_start == pytest.approx(2 * float(np.square(value).mean()), rel=1e-3)


def test_lost_detail_comes_back(model: Model, cat: Image.Image) -> None:
    """Steps of nothing give the photograph, although the smallest octave knew little of it."""
    made = dream(model, cat, [(model.layer("two_act"), 1.0)], steps=1, octaves=3, rate=1e-9)
    assert np.abs(np.asarray(made.picture, int) - np.asarray(cat, int)).max() <= 1


def test_a_weight_below_zero_makes_less(model: Model, cat: Image.Image) -> None:
    assert dream(model, cat, [(model.layer("two_act"), -1.0)], steps=6).layers[0].end < (
        dream(model, cat, [(model.layer("two_act"), -1.0)], steps=6).layers[0].start
    )


def test_a_caricature_raises_too(model: Model, cat: Image.Image) -> None:
    made = dream(model, cat, [(model.layer("two_act"), 1.0)], steps=6, caricature=True)
    assert made.activation > made.activation_start


@pytest.mark.parametrize("size", [(100, 100), (700, 1300), (513, 769), (2000, 3000)])
@pytest.mark.parametrize("tile", [128, 512])
def test_tiles_cover_everything_once(size: tuple[int, int], tile: int) -> None:
    random = torch.Generator().manual_seed(0)
    seams = set()
    for moving in (None, random, random, random, random):
        cover = np.zeros(size, int)
        for top, left, bottom, right in cut_tiles(size, tile, moving):
            cover[top:bottom, left:right] += 1
            for side, length in ((bottom - top, size[0]), (right - left, size[1])):
                assert min(tile // 2, length) <= side <= tile * 3 // 2
            seams.add(left)
        assert (cover == 1).all()
    assert size[1] <= tile * 3 // 2 or len(seams) > size[1] // tile + 1


def test_tiles_make_the_same_kind_of_dream(model: Model, cat: Image.Image) -> None:
    layers = [(model.layer("two_act"), 1.0)]
    whole = dream(model, cat.resize((300, 200)), layers, steps=8, octaves=1)
    tiled = dream(model, cat.resize((300, 200)), layers, steps=8, octaves=1, tile=64)
    assert tiled.activation == pytest.approx(whole.activation, rel=0.1)
    assert tiled.picture.size == (300, 200)


@pytest.mark.slow
def test_a_large_picture_takes_little_memory(tmp_path: Path) -> None:
    """How much the peak of a process rises from a picture of 0.2 megapixels to one of 6."""
    path = small(tmp_path / "small.onnx", side="S")
    script = f"""if True:
        import resource, sys
        sys.path.insert(0, {str(ROOT)!r})
        import numpy as np
        from inspector import open_model
        from inspector.ascent import dream
        model = open_model({str(path)!r})
        for width, height in ((500, 400), (3000, 2000)):
            noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
            made = dream(model, noise, [(model.layer("two_act"), 1.0)], steps=1, octaves=1, tile=256)
            assert made.picture.size == (width, height)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    """
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=one)
    first, second = map(int, done.stdout.split())
    # The picture is 72 MB as float32, and there are its gradient and a few copies; the first layer of the whole of it
    # would be 192 MB, and kept twice, its pool and their gradients as well.
    assert second - first < 500


def test_octaves_follow_the_picture() -> None:
    assert plan_octaves((300, 451), (224, 224), None, 1.4)[-1] == (300, 451)
    assert len(plan_octaves((300, 451), (224, 224), None, 1.4)) == 3
    large = plan_octaves((2000, 3000), (224, 224), None, 1.4)
    assert len(large) > 6
    assert min(large[0]) >= 100
    assert plan_octaves((28, 28), (28, 28), None, 1.4)[-1] == (28, 28)
    assert len(plan_octaves((300, 400), (224, 224), 2, 1.4)) == 2


def test_the_document_and_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    small(tmp_path / "small.onnx", side="S")
    open_image(PHOTO).resize((90, 60)).save("cat.png")
    options = ["--layer", "one", "--layer", "two_act:0.5", "--steps", "3", "--octaves", "2", "--frames", "cat.gif"]
    assert command("small.onnx", "cat.png", *options, "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["command"] == "dream"
    assert made["image"] == "inspector-out/dream-cat.png"
    assert made["activation"] > made["activation_start"]
    assert made["octaves"][-1] == [90, 60]
    assert [x["weight"] for x in made["layers"]] == [1.0, 0.5]
    with Image.open(made["image"]) as image:
        assert image.text["Method"] == "DeepDream"  # type: ignore[attr-defined]
        assert image.text["Model"] == made["model"]["sha256"]  # type: ignore[attr-defined]
    with Image.open(made["frames"]) as frames:
        assert frames.n_frames == 3  # type: ignore[attr-defined]
    for name in ("d.jpg", "d.webp"):
        assert command("small.onnx", "cat.png", "--layer", "one", "--steps", "1", "-o", name, "--quiet") == 0
        assert pixels(name).shape == (60, 90, 3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-o", "dream.txt"], "dream.txt is not a picture's name"),
        (["--frames", "a.mp4"], "a.mp4 is not a name for frames"),
        (["--rate", "0"], "a step of 0 is out of range"),
        (["--rate", "inf"], "a step of inf is out of range"),
        (["--ratio", "1e200"], "the ratio is above 1 and up to 10"),
        (["--ratio", "nan"], "the ratio is above 1 and up to 10"),
        (["-o", "a.webp", "--frames", "a.webp"], "both to be a.webp"),
        (["--octaves", "99"], "octaves 1 to 12"),
    ],
)
def test_mistakes_are_one_line(
    more: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    small(tmp_path / "small.onnx", side="S")
    assert command("small.onnx", str(PHOTO), "--layer", "one", "--steps", "1", "--quiet", *more) == 2
    assert message in capsys.readouterr().err


def test_a_tensor_with_a_colon_in_its_name_is_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    net = Net(1)
    x = net.input("x:0", ("N", 3, "H", "W"))
    save(net, tmp_path / "tf.onnx", net("Relu", net.conv(x, 3, 4), name="act2", out="act2:0"))
    for text, weight in (("act2:0", 1.0), ("act2:0.5", 0.5)):
        assert command("tf.onnx", str(PHOTO), "--layer", text, "--steps", "1", "--octaves", "1", "--json") == 0
        made = json.loads(capsys.readouterr().out)
        assert [x["weight"] for x in made["layers"]] == [weight]
        assert made["activation"] > made["activation_start"]


def test_frames_end_with_the_dream_and_are_not_too_many(model: Model, cat: Image.Image) -> None:
    layers = [(model.layer("one"), 1.0)]
    for steps, count in ((1, 1), (3, 2), (4, 2)):
        made = dream(model, cat, layers, octaves=1, steps=steps, frames_every=2)
        assert len(made.frames) == count
        assert np.array_equal(np.asarray(made.frames[-1]), np.asarray(made.picture))
    tiny = cat.resize((40, 30))
    assert len(dream(model, tiny, layers, octaves=1, steps=301, frames_every=2).frames) <= 101


def test_no_layer_is_refused(model: Model, cat: Image.Image) -> None:
    with pytest.raises(UsageError, match="the weights of all layers are 0"):
        dream(model, cat, [(model.layer("one"), 0.0)])
    with pytest.raises(UsageError, match="no layer"):
        dream(model, cat, [])


def test_a_dead_layer_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing passes its ReLU, so no step has a gradient: the picture stays what it was."""

    def build(n: Net, x: str, bias: float) -> str:
        n.initializers.append(onnx.numpy_helper.from_array(np.full(4, bias, np.float32), "b"))
        return n("Relu", n("Conv", x, n.weight((4, 3, 3, 3)), "b", pads=[1] * 4), out="r")

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)).save(tmp_path / "p.png")
    for bias in (-1e4, 0.0):
        net = Net()
        made = build(net, net.input("x", (1, 3, "h", "w")), bias)
        (tmp_path / "m.onnx").write_bytes(net.model(made).SerializeToString())
        files = [str(tmp_path / name) for name in ("m.onnx", "p.png", "d.png")]
        assert command(*files[:2], "--layer", "r", "--octaves", "1", "--steps", "2", "-o", files[2], "--json") == 0
        shown = capsys.readouterr()
        found = json.loads(shown.out)
        dead = bias < 0
        assert found["stuck"] is found["layers"][0]["stuck"] is dead
        said = "stuck: no step changed conv2.relu, which is dead on this picture; the dream is the picture as it was"
        assert (said in shown.err) == dead
        with Image.open(tmp_path / "p.png") as before, Image.open(tmp_path / "d.png") as after:
            assert (np.asarray(before) == np.asarray(after)).all() == dead


def test_a_graph_of_fixed_size_dreams_at_its_own(tmp_path: Path, cat: Image.Image) -> None:
    """Its head takes 32 x 32 only: one size, one note, and no refusal."""
    told: list[str] = []
    model = open_model(small(tmp_path / "fixed.onnx"), warn=told.append)
    told.clear()
    made = dream(model, cat, "fc", steps=3)
    assert (made.picture.size, made.octaves) == ((32, 32), ((32, 32),))
    assert told == ["the graph fixes the size of its pictures: the dream is of 32x32 pixels"]
    assert made.activation > made.activation_start
    assert dream(model, cat, "two_act", steps=1, octaves=1).picture.size == cat.size
