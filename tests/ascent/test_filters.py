"""The command and its library call: files, resuming, stuck channels, and that pictures excite more than photographs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector import open_image, open_model
from inspector.errors import NotComputable, UsageError
from inspector.image import digest_image
from tests.ascent.nets import pixels, save, small
from tests.conftest import PHOTO, require
from tests.foreign import Net

torch = require("torch")

from inspector.ascent import CLEAR, LECTURE, FilterObjective  # noqa: E402
from inspector.ascent.network import Network  # noqa: E402
from inspector.ascent.precision import choose_precision  # noqa: E402
from inspector.cli.app import run_guarded  # noqa: E402
from inspector.cli.filters import filters  # noqa: E402
from inspector.pages.filters import draw_filters  # noqa: E402

QUICK = CLEAR.with_(steps=8)


def command(*arguments: str) -> int:
    """The command as `inspector filters` would run it."""
    import typer

    app = typer.Typer(add_completion=False)
    app.command()(filters)
    return run_guarded(lambda: app(args=[*arguments], standalone_mode=False), "--json" in arguments)


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert command(*arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small(tmp_path / "small.onnx", dead=True)
    return tmp_path


def photographs(count: int = 20) -> list[np.ndarray]:
    """Crops of the repository's photograph and of what scikit-image and scikit-learn bring, where they are."""
    sources = [pixels(PHOTO).astype(np.uint8)]
    try:
        import skimage.data
        import sklearn.datasets

        folder = Path(skimage.data.__file__).parent
        names = ("astronaut.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png", "retina.jpg")
        sources += [pixels(folder / n).astype(np.uint8) for n in names if (folder / n).exists()]
        sources += [sklearn.datasets.load_sample_image(n) for n in ("china.jpg", "flower.jpg")]
    except ImportError:
        pass
    rng = np.random.default_rng(0)
    made = []
    for n in range(count):
        source = sources[n % len(sources)]
        side = int(min(source.shape[:2]) * (1 if n < len(sources) else rng.uniform(0.4, 0.9)))
        top, left = (int(rng.integers(0, s - side + 1)) for s in source.shape[:2])
        made.append(np.ascontiguousarray(source[top : top + side, left : left + side]))
    return made


@pytest.mark.parametrize("recipe", [LECTURE, CLEAR.with_(steps=64)], ids=["lecture", "clear"])
def test_patterns_excite_more_than_any_photograph(recipe, default_model: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = open_model(default_model)
    layer = next(x for x in model.layers if x.shape and x.shape[2:] == (14, 14) and x.kind == "activation")
    channels = list(range(0, 160, 16))
    size = 64
    resized = model.preprocess.with_size((224, 224))
    seen = np.concatenate([
        model.layer_values(resized.tensor(Image.fromarray(p)), [layer])[0][layer.name] for p in photographs()
    ])  # fmt: skip
    best = seen.mean((2, 3)).max(0)
    run = draw_filters(model, tmp_path, [layer], channels=channels, recipe=recipe, size=size)
    higher = [p.activation > best[p.channel] for p in run.sheets[0].pictures if not p.stuck]
    assert len(higher) >= len(channels) - 2
    assert np.mean(higher) > 0.8, [p.channel for p in run.sheets[0].pictures if p.activation <= best[p.channel]]


def test_the_document_has_its_keys(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = document(capsys, "small.onnx", "--layer", "two_act", "--channels", "0-3", "--steps", "6", "--size", "24")
    assert made["schema"] == 1
    assert made["command"] == "filters"
    assert made["model"]["path"] == "small.onnx"
    wanted = {"layer": "two_act", "recipe": "clear", "seed": 0, "steps": 6, "size": 24}
    assert {k: made[k] for k in wanted} == wanted
    assert [c["channel"] for c in made["channels"]] == [0, 1, 2, 3]
    for entry in made["channels"]:
        assert set(entry) >= {"channel", "activation_start", "activation", "image", "stuck"}
        assert Path(entry["image"]).is_file()
        assert entry["stuck"] == (entry["channel"] == 2)
    assert made["grid"] == "inspector-out/filters-two_act/clear-grid.png"
    assert made["precision"] in ("float32", "bfloat16")
    with Image.open(made["channels"][1]["image"]) as image:
        text = image.text  # type: ignore[attr-defined]
        assert image.size == (24, 24)
    assert text["Model"] == made["model"]["sha256"]
    assert (text["Layer"], text["Recipe"], text["Channel"], text["Seed"]) == ("two_act", "clear", "1", "0")


def test_several_layers_keep_the_first_on_top(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--layer", "one", "--layer", "two_act", "--channels", "0,1", "--steps", "3", "--size", "16"]
    made = document(capsys, "small.onnx", *options)
    assert [x["layer"] for x in made["layers"]] == ["one", "two_act"]
    assert made["layer"] == "one"
    assert made["channels"] == made["layers"][0]["channels"]
    page = Path(made["overview"]).read_text()
    assert "filters-one/clear-grid.png" in page
    assert "filters-two_act/clear-grid.png" in page
    with Image.open(made["walk"]) as walk:
        text = walk.text  # type: ignore[attr-defined]
    assert (text["Seed"], text["Recipe"], text["Model"]) == ("0", "clear", made["model"]["sha256"])
    blocks = document(capsys, "small.onnx", "--layer", "all-blocks", "--channels", "0", "--steps", "2", "--size", "16")
    assert len(blocks["layers"]) >= 2


def test_a_stuck_channel_is_hatched_and_marked(here: Path) -> None:
    run = draw_filters(open_model("small.onnx"), "out", [open_model("small.onnx").layer("two_act")], recipe=QUICK)
    pictures = {p.channel: p for p in run.sheets[0].pictures}
    assert [c for c, p in pictures.items() if p.stuck] == [2]
    colors = np.unique(pixels(pictures[2].image).reshape(-1, 3), axis=0)
    assert len(colors) == 2


def test_a_second_run_reuses_what_is_there(here: Path) -> None:
    model = open_model("small.onnx")
    layer = model.layer("two_act")

    def run(**more: Any) -> dict[int, bool]:
        options = {"recipe": QUICK, "channels": [0, 1, 2], "size": 24, **more}
        found = draw_filters(model, "out", [layer], **options).sheets[0].pictures
        return {p.channel: p.reused for p in found}

    assert not any(run().values())
    before = {p: p.read_bytes() for p in Path("out").rglob("clear-0*.png")}
    times = {p: p.stat().st_mtime_ns for p in before}
    assert all(run().values())
    assert {p: p.stat().st_mtime_ns for p in before} == times
    assert run(channels=[0, 1, 2, 3]) == {0: True, 1: True, 2: True, 3: False}
    Path("out/filters-two_act/clear-0001.png").write_bytes(b"damaged")
    assert run() == {0: True, 1: False, 2: True}
    assert {p: p.read_bytes() for p in before} == before
    for other in (
        {"seed": 1},
        {"size": 32},
        {"recipe": QUICK.with_(steps=9)},
        {"objective": FilterObjective(negative=True)},
    ):
        assert not any(run(**other).values())


def test_a_channel_all_alone_is_not_reused_in_company(here: Path) -> None:
    """It is rounded in another way, and the same command must give the same pictures whatever came before."""
    model = open_model("small.onnx")
    layer = model.layer("two_act")
    options: dict[str, Any] = {"recipe": QUICK, "size": 24}
    draw_filters(model, "out", [layer], channels=[0], **options)
    [again] = draw_filters(model, "out", [layer], channels=[0], **options).sheets[0].pictures
    assert again.reused
    both = draw_filters(model, "out", [layer], channels=[0, 1], **options).sheets[0].pictures
    assert not any(p.reused for p in both)
    fresh = draw_filters(model, "fresh", [layer], channels=[0, 1], **options).sheets[0].pictures
    assert [p.image.read_bytes() for p in both] == [p.image.read_bytes() for p in fresh]


def test_an_interrupted_run_keeps_what_is_finished_and_goes_on(here: Path) -> None:
    model = open_model("small.onnx")
    layer = model.layer("two_act")

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"recipe": QUICK, "channels": [0, 1, 3, 4], "size": 24, "batch": 2}
    half = draw_filters(model, "out", [layer], on_progress=stop, **options)
    assert half.interrupted
    assert [p.channel for p in half.sheets[0].pictures] == [0, 1]
    assert half.sheets[0].grid is not None
    whole = draw_filters(model, "out", [layer], **options)
    assert [(p.channel, p.reused) for p in whole.sheets[0].pictures] == [(0, True), (1, True), (3, False), (4, False)]
    fresh = draw_filters(model, "other", [layer], **options)
    for a, b in zip(whole.sheets[0].pictures, fresh.sheets[0].pictures, strict=True):
        assert a.image.read_bytes() == b.image.read_bytes()
    assert not list(Path("out").rglob(".*.part*"))


def test_an_interrupted_command_says_so_and_exits_130(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from inspector.ascent import filters as module

    real = module.ascend

    def ascend(*args: Any, **more: Any) -> Any:
        if Path("inspector-out/filters-two_act/clear-0000.png").exists():
            raise KeyboardInterrupt
        return real(*args, **more)

    monkeypatch.setattr(module, "ascend", ascend)
    options = ["--layer", "two_act", "--channels", "0,1", "--steps", "3", "--size", "16", "--batch", "1", "--json"]
    assert command("small.onnx", *options) == 130
    made = json.loads(capsys.readouterr().out)
    assert made["interrupted"]
    assert [c["channel"] for c in made["channels"]] == [0]


def test_pictures_are_the_same_for_any_batch(here: Path) -> None:
    model = open_model("small.onnx")
    options: dict[str, Any] = {"recipe": QUICK, "channels": [0, 1, 3, 4, 5], "size": 24}
    one = draw_filters(model, "one", [model.layer("two_act")], batch=1, **options).sheets[0].pictures
    all_ = draw_filters(model, "all", [model.layer("two_act")], batch=5, **options).sheets[0].pictures
    for a, b in zip(one, all_, strict=True):
        left, right = (pixels(p.image) for p in (a, b))
        assert np.abs(left - right).max() <= 1


@pytest.mark.parametrize("batch", [1, 2])
def test_a_graph_that_fixes_its_batch_gets_one_pass_for_each(batch: int, tmp_path: Path) -> None:
    """Its Reshape holds the number of pictures; three at once are shown piece by piece."""
    net = Net(1)
    y = net("Relu", net.conv(net.input("x", (batch, 3, 16, 16)), 3, 4), name="one")
    rows = net("Reshape", y, net.const([batch * 4, 256], dtype=np.int64))
    mixed = net("MatMul", rows, net.weight((256, 256)))
    maps = net("Reshape", mixed, net.const([batch, 4, 16, 16], dtype=np.int64))
    save(net, tmp_path / "m.onnx", net("Relu", maps, name="two"))
    model = open_model(tmp_path / "m.onnx")
    options: dict[str, Any] = {"recipe": CLEAR.with_(steps=2), "channels": [0, 1, 3], "size": 16}
    made = [
        draw_filters(model, tmp_path / str(n), [model.layer("two")], batch=n, **options).sheets[0].pictures
        for n in (1, 3)
    ]
    for a, b in zip(*made, strict=True):
        left, right = (pixels(p.image) for p in (a, b))
        assert np.abs(left - right).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_pictures_of_a_real_network_are_the_same_for_any_batch_and_company(
    threads: int, default_model: Path, tmp_path: Path
) -> None:
    """Many steps would turn a difference in the last digit into another picture."""
    torch.set_num_threads(threads)
    model = open_model(default_model)
    layer = model.layer("blocks.5.swish")
    found = []
    batches = ((1, [0, 1, 2]), (2, [0, 1, 2]), (3, [0, 1, 2]), (8, [2, 40, 7, 1, 0]))
    for batch, channels in batches if threads == 1 else (batches[0], batches[3]):
        options: dict[str, Any] = {"recipe": CLEAR.with_(steps=24), "size": 48, "batch": batch}
        sheet = draw_filters(model, tmp_path / str(batch), [layer], channels=channels, **options).sheets[0]
        found.append({p.channel: pixels(p.image) for p in sheet.pictures})
    for other in found[1:]:
        assert max(int(np.abs(found[0][c] - other[c]).max()) for c in (0, 1, 2)) <= 1


def test_early_layers_have_a_small_canvas_with_much_around_it(default_model: Path) -> None:
    from inspector.ascent.settle import choose_canvas_size
    from inspector.receptive.fields import compute_receptive_field

    model = open_model(default_model)
    sizes = [
        choose_canvas_size(model, compute_receptive_field(model, model.layer(n).tensor))
        for n in ("swish", "blocks.4", "fc")
    ]
    assert sizes == [(48, 48), (104, 104), (160, 160)]
    assert CLEAR.for_canvas((48, 48)).margin > CLEAR.margin == CLEAR.for_canvas((104, 104)).margin
    assert LECTURE.for_canvas((48, 48)) == LECTURE


def test_one_channel_of_28_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = open_model(small(tmp_path / "grey.onnx", channels=1, side=28))
    for recipe in (QUICK, LECTURE.with_(steps=5)):
        sheet = draw_filters(model, "out", [model.layer("two_act")], recipe=recipe, channels=[0]).sheets[0]
        assert sheet.size == (28, 28)
        assert pixels(sheet.pictures[0].image).shape == (28, 28, 3)


def test_variants_differ_and_negatives_fall(here: Path) -> None:
    model = open_model("small.onnx")
    layer = model.layer("two_conv") if any(x.name == "two_conv" for x in model.layers) else model.layer("two")
    options: dict[str, Any] = {"recipe": QUICK, "channels": [0, 1], "size": 24}
    three = draw_filters(model, "v", [layer], objective=FilterObjective(variants=3), **options).sheets[0].pictures[0]
    shown = [pixels(p) for p in (three.image, *three.variants)]
    assert len(shown) == 3
    assert np.abs(shown[0] - shown[1]).mean() > 1
    again = draw_filters(model, "v", [layer], objective=FilterObjective(variants=3), **options).sheets[0].pictures[0]
    assert again == replace(three, reused=True)
    for picture in (
        draw_filters(model, "n", [layer], objective=FilterObjective(negative=True), **options).sheets[0].pictures
    ):
        assert picture.activation < picture.activation_start


def test_each_variant_is_judged_by_itself(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inspector.ascent import filters as module

    model = open_model("small.onnx")
    options: dict[str, Any] = {
        "recipe": QUICK,
        "channels": [0, 1],
        "size": 24,
        "objective": FilterObjective(variants=2),
    }
    flags = [True, False, False, True]
    monkeypatch.setattr(module, "_stuck", lambda result, objective: flags[: len(result.end)])

    def hatched(path: Path) -> bool:
        return len(np.unique(pixels(path).reshape(-1, 3), axis=0)) == 2

    for reused in (False, True):
        found = draw_filters(model, "out", [model.layer("two_act")], **options).sheets[0].pictures
        assert [p.reused for p in found] == [reused] * 2
        assert [p.stuck for p in found] == [False, False]
        assert [[hatched(path) for path in (p.image, *p.variants)] for p in found] == [[True, False], [False, True]]
        assert all(p.activation > p.activation_start for p in found)


def test_pictures_say_how_they_were_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert FilterObjective().sentence() == "what excites each channel most: gradient ascent from noise"
    layer = open_model("small.onnx").layer("one")
    wish = FilterObjective(unit=True, negative=True, start=PHOTO, keep=(layer, 2.0))
    assert wish.sentence() == (
        "what silences the unit in the middle of each channel most: gradient descent from a picture, staying the same "
        "to one (weight 2)"
    )
    options = ["--layer", "two_act", "--channels", "0,1", "--steps", "2", "--size", "16", "--negative"]
    made = document(capsys, "small.onnx", *options, "--start", str(PHOTO), "--keep", "one:2")
    assert made["objective"]["negative"]
    assert made["objective"]["keep"] == ["one", 2.0]
    assert made["parametrisation"] == "fourier"
    for path in (made["channels"][0]["image"], made["grid"]):
        with Image.open(path) as image:
            text = image.text  # type: ignore[attr-defined]
        assert text["Method"] == "gradient descent"
        assert text["Image"] == digest_image(PHOTO)
        assert text["Kept"] == "one:2"


def test_a_batch_that_is_too_large_is_halved(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inspector.ascent import filters as module

    real, sizes = module.ascend, []

    def ascend(network: Network, objective: Any, canvas: Any, *args: Any, **more: Any) -> Any:
        sizes.append(len(canvas.parameter))
        if sizes[-1] > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return real(network, objective, canvas, *args, **more)

    model = open_model("small.onnx")
    options: dict[str, Any] = {"recipe": QUICK, "channels": [0, 1, 3, 4], "size": 24}
    fresh = draw_filters(model, "fresh", [model.layer("two_act")], **options).sheets[0].pictures
    monkeypatch.setattr(module, "ascend", ascend)
    found = draw_filters(model, "out", [model.layer("two_act")], **options).sheets[0].pictures
    assert sizes == [4, 2, 2]
    for a, b in zip(found, fresh, strict=True):
        assert np.abs(pixels(a.image) - pixels(b.image)).max() <= 1
    with pytest.raises(NotComputable, match="not enough memory for 4 pictures of 24x24 at layer 'two_act'"):
        draw_filters(model, "other", [model.layer("two_act")], batch=4, **options)


def test_a_channel_that_no_picture_excites_is_stuck_in_both_recipes(tmp_path: Path) -> None:
    """It fires beyond white only; the stronger noise of the second try stays within what pictures can be."""
    net = Net()
    x = net.input("x", ("N", 3, "H", "W"))
    weights = np.zeros((2, 3, 1, 1), np.float32)
    weights[0] = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    weights[1] = 1
    bias = np.array([0.485 + 0.456 + 0.406 - 3.05, 0], np.float32)
    y = net("Conv", x, net.const(weights), net.const(bias), kernel_shape=[1, 1])
    path = save(net, tmp_path / "beyond.onnx", net("Relu", y, name="act", out="act_out"), preprocess="imagenet")
    model = open_model(path)
    for recipe in (LECTURE, QUICK):
        run = draw_filters(model, tmp_path / recipe.name, [model.layer("act")], recipe=recipe, size=24)
        assert [p.stuck for p in run.sheets[0].pictures] == [True, False]


def test_layers_stand_in_the_order_of_the_network(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--layer", "two_act", "--layer", "one", "--channels", "0,1", "--steps", "2", "--size", "16"]
    made = document(capsys, "small.onnx", *options)
    assert [x["layer"] for x in made["layers"]] == ["two_act", "one"]
    page = Path(made["overview"]).read_text("utf-8")
    assert page.index("<h2>one</h2>") < page.index("<h2>two_act</h2>")


def test_ctrl_c_while_patches_are_sought_keeps_the_patterns(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import inspector.pages.filters as package

    def stop(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(package, "find_patches", stop)
    options = ["--layer", "two_act", "--channels", "0,1", "--steps", "2", "--size", "16", "--from-images", str(PHOTO)]
    assert command("small.onnx", *options, "--json") == 130
    made = json.loads(capsys.readouterr().out)
    assert made["interrupted"]
    assert [Path(c["image"]).is_file() for c in made["channels"]] == [True, True]


def test_a_picture_to_start_from_stays_the_same_where_asked(here: Path) -> None:
    model = open_model("small.onnx")
    options: dict[str, Any] = {"recipe": CLEAR.with_(steps=24), "channels": [0], "size": 32}
    view = model.preprocess.view(open_image(PHOTO))

    def distance(name: str, keep: float | None) -> tuple[float, float]:
        wish = FilterObjective(start=PHOTO, keep=(model.layer("one"), keep) if keep else None)
        made = draw_filters(model, name, [model.layer("two_act")], objective=wish, **options).sheets[0].pictures[0]
        after = model.activations(made.image, ["one"])["one"]
        before = model.activations(view, ["one"])["one"]
        assert made.activation > made.activation_start
        return float(np.abs(after - before).mean()), made.activation

    free, kept = distance("free", None), distance("kept", 20.0)
    assert kept[0] < 0.8 * free[0]


def test_patches_stand_beside_the_patterns(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "photos").mkdir()
    for n in range(4):
        array = np.random.default_rng(n).integers(0, 256, (36, 36, 3), np.uint8)
        Image.fromarray(array).save(here / "photos" / f"{n}.png")
    options = ["--layer", "two_act", "--channels", "0,1", "--from-images", "photos", "--top", "3"]
    made = document(capsys, "small.onnx", *options, "--steps", "3", "--size", "16")
    assert Path(made["patches"]).is_file()
    assert all(len(c["patches"]) == 3 for c in made["channels"])
    assert made["channels"][0]["patches"][0]["image"].startswith("photos/")
    alone = document(capsys, "small.onnx", *options, "--patches-only")
    assert alone["channels"][0]["image"] is None
    assert alone["grid"] is None
    assert alone["channels"][0]["patches"] == made["channels"][0]["patches"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small.onnx"], "no layer was given"),
        (["small.onnx", "--layer", "three"], "there is no layer 'three'"),
        (["small.onnx", "--layer", "two_act", "--channels", "90-99"], "its channels are 0 to 5"),
        (
            ["small.onnx", "--layer", "two_act", "--channels", "90-99", "--patches-only", "--from-images", str(PHOTO)],
            "its channels are 0 to 5",
        ),
        (["small.onnx", "--layer", "two_act", "--channels", "x"], "channels 'x' cannot be read"),
        (["small.onnx", "--layer", "two_act", "--recipe", "nice"], "there is no recipe 'nice'"),
        (["small.onnx", "--layer", "two_act", "--size", "5"], "16 to 1024"),
        (["small.onnx", "--layer", "two_act", "--keep", "one"], "--start"),
        (["small.onnx", "--layer", "two_act", "--patches-only"], "--from-images"),
        (["small.onnx", "--layer", "two_act", "--precision", "half"], "there is no precision 'half'"),
        (["small.onnx", "--layer", "two_act", "--parametrisation", "wavelet"], "no parametrisation 'wavelet'"),
        (["small.onnx", "--layer", "fc", "--size", "48", "--channels", "0"], "own size is 32x32"),
    ],
)
def test_mistakes_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command(*arguments, "--quiet") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


def test_classes_by_name_or_number(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = document(capsys, "small.onnx", "--class", "3", "--class", "1", "--steps", "3")
    assert [c["channel"] for c in made["channels"]] == [3, 1]
    assert made["size"] == 32


def test_the_precision_is_checked_before_it_is_used(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inspector.ascent import precision as module

    model = open_model("small.onnx")
    layer = model.layer("two_act")
    network = Network(model, [layer])

    def chosen(wanted: str = "auto") -> str:
        return choose_precision(network, layer, (24, 24), CLEAR, 0, wanted, 6)

    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    assert chosen() == "float32"
    assert chosen("bfloat16") == "bfloat16"
    monkeypatch.setattr(module, "has_bfloat16", lambda: True)
    monkeypatch.setattr(module, "_SIMILAR", 2.0)
    assert chosen() == "float32"
    assert network.precision == "float32"


def test_an_unknown_size_error_names_the_layer(here: Path) -> None:
    model = open_model("small.onnx")
    with pytest.raises(NotComputable, match="'fc' cannot be computed at 40x40"):
        draw_filters(model, "out", [model.layer("fc")], size=40)
    with pytest.raises(UsageError, match="seed"):
        draw_filters(model, "out", [model.layer("fc")], seed=-1)
