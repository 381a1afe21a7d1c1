"""The command line as INTERFACE fixes it: documents, exit codes, one line for every error, nothing else on stdout."""

from __future__ import annotations

import gc
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector.cli import app, group, list_commands, options
from inspector.cli.app import run as run_here
from inspector.cli.app import run_guarded
from inspector.errors import ImageError
from inspector.image import Preprocess
from inspector.model.annotate import annotate_model
from tests.conftest import MakeModel
from tests.foreign import Net

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "efficientnet-lite0.onnx"
PHOTO = ROOT / "docs" / "chelsea.jpg"


def run(
    *arguments: str | Path, cwd: Path | None = None, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """`inspector` in a process of its own."""
    command = [sys.executable, "-W", "error", "-m", "inspector", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, env=environment, check=False)


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """`inspector` in this process: (exit code, stdout, stderr)."""
    code = run_here([*map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def document(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 0, (out, err)
    found: dict[str, Any] = json.loads(out)
    assert found["schema"] == 1
    assert found["command"] == arguments[0]
    return found


@pytest.mark.parametrize("name", [name for name, _ in list_commands()])
def test_every_command_has_help_and_a_place_in_the_readme(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: inspector {name}")
    function = dict(list_commands())[name]
    assert inspect.getdoc(function), f"{name} has no description"
    assert f"inspector {name}" in (ROOT / "README.md").read_text("utf-8")


def test_version_and_no_arguments() -> None:
    assert run("--version").stdout.startswith(b"inspector 0.")
    nothing = run()
    assert nothing.returncode == 0
    assert nothing.stdout.startswith(b"Usage: inspector")
    assert len(nothing.stdout.splitlines()) > 10


def test_nothing_heavy_is_imported_for_help() -> None:
    code = (
        "import sys; from inspector.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'PIL', 'torch', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_what_takes_long_to_import_and_is_not_needed_is_not_imported() -> None:
    """Each takes a twentieth of `inspector activations`: typer's checks, heads of detectors, most of onnx."""
    code = (
        "import sys; from inspector.cli.app import main\n"
        f"try: main(['predict', {str(MODEL)!r}, {str(PHOTO)!r}, '--json'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "unused = {'pydantic', 'inspector.tasks.decoders', 'jinja2', 'torch', 'rich', 'onnx', 'email'}\n"
        "heavy = unused & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_cycles_are_looked_for_as_usual_behind_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "20")  # what the user set stays
    usual, callbacks = gc.get_threshold(), list(gc.callbacks)
    app._spare_processor()
    assert gc.get_threshold()[0] == app._FIRST_COLLECTION
    assert len([[] for _ in range(app._FIRST_COLLECTION + 1)]) > app._FIRST_COLLECTION
    assert gc.get_threshold() == usual
    assert gc.callbacks == callbacks
    assert gc.get_freeze_count() > app._FIRST_COLLECTION
    gc.unfreeze()
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == "20"


@pytest.mark.parametrize(
    "given", ["", "--json", "--top 2", "--top x", "--top 0", "--allow-links a", "--input a=1 --input b=2", "--draw"]
)
def test_values_that_need_no_check_are_read_as_with_it(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> object:
        try:
            return group.build_command("predict").make_context("predict", ["a.onnx", "b.png", *given.split()]).params
        except Exception as error:
            return type(error), str(error)

    spared = read()
    monkeypatch.setattr(options, "spare_checks", lambda params: params)
    assert spared == read()


def test_predict(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "predict", MODEL, PHOTO, "--top", "5")
    [entry] = found["images"]
    assert len(entry["top"]) == 5
    assert set(entry["top"][0]) == {"index", "label", "probability", "score"}
    assert entry["top"][0]["label"] == "Egyptian cat"
    assert 0.6 < entry["top"][0]["probability"] < 0.95
    assert len(found["model"]["sha256"]) == 64


def test_layers(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "layers", MODEL)
    assert set(found["layers"][0]) >= {"name", "tensor", "kind", "shape", "channels", "exposed"}
    assert set(found["model"]) >= {"path", "sha256", "opset", "producer", "input", "classes", "parameters"}
    assert set(found["model"]["input"]) >= {"name", "shape", "layout"}
    assert found["model"]["classes"] == 1000
    assert sum(layer["exposed"] for layer in found["layers"]) >= 50
    names = [layer["name"] for layer in found["layers"]]
    assert len(set(names)) == len(names)


def test_activations_of_one_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(
        capsys, "activations", MODEL, PHOTO, "--layer", "blocks.5.swish", "--save-arrays", "-o", tmp_path / "out"
    )
    [layer] = found["images"][0]["layers"]
    assert layer["name"] == "blocks.5.swish"
    values = np.load(layer["arrays"])
    assert values.dtype == np.float32
    assert list(values.shape) == layer["shape"]
    assert values.min() == pytest.approx(layer["min"])
    assert values.mean() == pytest.approx(layer["mean"], rel=1e-5)
    assert values.std() == pytest.approx(layer["std"], rel=1e-4)
    assert (values == 0).mean() == pytest.approx(layer["zero_fraction"])
    blank = [c for c in range(values.shape[1]) if np.ptp(values[0, c]) == 0]
    assert layer["blank_channels"] == blank
    with Image.open(layer["grid"]) as grid:
        assert grid.mode == "P"
        assert grid.text["Layer"] == "blocks.5.swish"
    assert "blocks.5.swish" in Path(found["images"][0]["overview"]).read_text("utf-8")


def test_a_head_that_fails_does_not_withhold_a_layer_before_it(
    tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(n: Net, x: str) -> str:
        y = n("Relu", n.conv(x, 3, 8, out="c"), out="r")
        flat = n("Reshape", y, n.const(np.array([1, 8 * 9])))
        return n("Gemm", flat, n.weight((4, 8 * 9)), transB=1, out="scores")

    path = make_model(build, shape=("N", 3, "H", "W"))
    code, out, err = call(capsys, "activations", path, PHOTO, "--layer", "r", "--json", "-o", tmp_path / "out")
    assert code == 0, err
    [image] = json.loads(out)["images"]
    assert image["top"] == []
    assert image["layers"][0]["shape"][1] == 8
    assert "no predictions: onnxruntime cannot run" in err
    code, _, err = call(capsys, "activations", path, PHOTO, "-o", tmp_path / "all")
    assert code == 2
    assert "onnxruntime cannot run" in err


def test_activations_of_all_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "activations", MODEL, PHOTO, "-o", tmp_path)
    [entry] = found["images"]
    assert len(entry["layers"]) > 90
    for layer in entry["layers"]:
        assert Path(layer["grid"]).stat().st_size > 200
        assert layer["arrays"] is None
    assert Path(entry["chart"]).exists()
    page = Path(entry["overview"])
    assert page.resolve().parent == tmp_path.resolve() / "chelsea"
    with np.load(entry["channels"]) as channels:
        assert channels["blocks.5.swish"].shape == (240, 5)


def test_one_channel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--layer", "blocks.7.swish_1", "--channel", "3", "--size", "600", "-o", tmp_path)
    found = document(capsys, "activations", MODEL, PHOTO, *options)
    with Image.open(found["images"][0]["layers"][0]["grid"]) as picture:
        assert picture.width > 1200
    code, _, err = call(capsys, "activations", MODEL, PHOTO, "--layer", "blocks.7.swish_1", "--channel", "9999")
    assert code == 2
    assert "has no channel 9999" in err


def test_cam(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "cam", MODEL, PHOTO, "--top", "2", "-o", tmp_path)
    maps = found["images"][0]["maps"]
    assert len(maps) == 2
    assert set(maps[0]) >= {
        "class",
        "method",
        "layer",
        "backend",
        "shape",
        "peak",
        "empty",
        "heatmap",
        "raw",
        "overlay",
    }
    heatmap = np.load(maps[0]["heatmap"])
    assert heatmap.dtype == np.float32
    assert list(heatmap.shape) == maps[0]["shape"]
    assert heatmap.min() >= 0
    assert heatmap.max() == 1
    raw = np.load(maps[0]["raw"])
    np.testing.assert_allclose(np.maximum(raw, 0) / raw.max(), heatmap, atol=1e-6)
    assert maps[0]["backend"] == "onnx"
    x, y = maps[0]["peak"]
    assert 0 <= x < 451
    assert 0 <= y < 300


def test_a_folder_with_a_broken_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(PHOTO.read_bytes())
    (folder / "b.jpg").write_bytes(PHOTO.read_bytes()[:2000])
    (folder / "c.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not looked at")
    (folder / ".hidden.jpg").write_bytes(b"")
    code, out, err = call(capsys, "predict", MODEL, folder, "--json")
    assert code == 0
    found = json.loads(out)
    assert [Path(x["path"]).name for x in found["images"]] == ["a.jpg"]
    assert [Path(x["path"]).name for x in found["skipped"]] == ["b.jpg", "c.png"]
    assert err.count("skipped:") == 2
    (folder / "a.jpg").unlink()
    code, out, _ = call(capsys, "predict", MODEL, folder, "--json")
    assert code == 2
    assert json.loads(out)["error"]["kind"] == "image"


def test_several_pictures_get_one_page_that_leads_to_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.jpg", "b c.jpg"):
        (folder / name).write_bytes(PHOTO.read_bytes())
    out = tmp_path / "out"
    code, said, _ = call(capsys, "activations", MODEL, folder, "--layer", "fc", "-o", out)
    assert code == 0
    index = (out / "index.html").read_text("utf-8")
    assert "2 pictures through efficientnet-lite0.onnx" in index
    for page in ("a/index.html", "b_c/index.html"):
        assert f'href="{page}"' in index
        assert (out / page).exists()
    assert "all: " in said


def test_a_picture_on_stdin() -> None:
    done = run("predict", MODEL, "-", "--json", stdin=PHOTO.read_bytes())
    found = json.loads(done.stdout)
    assert found["images"][0]["path"] == "-"
    assert found["images"][0]["top"][0]["label"] == "Egyptian cat"
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("predict", "nothing.onnx", "x.jpg"), "there is no file nothing.onnx"),
        (("predict", "{root}/README.md", "x.jpg"), "is not an ONNX model"),
        (("predict", "{model}", "nothing.jpg"), "there is no file nothing.jpg"),
        (("predict", "{model}", "{root}/README.md"), "is not a picture"),
        (("predict", "{model}", "{photo}", "--top", "0"), "Invalid value for '--top'"),
        (("predict", "{model}"), "Missing argument"),
        (("predict", "{model}", "{photo}", "--provider", "quantum"), "there is no provider 'quantum'"),
        (("predikt",), "No such command 'predikt'; nearest: predict"),
        (("predict", "{model}", "{photo}", "--tip", "3"), "see `inspector predict --help`"),
        (("activations", "{model}", "{photo}", "--colormap", "jet"), "no color map is called 'jet'"),
        (("cam", "{model}", "{photo}", "--region", "400,200,100,100"), "which has 451 x 300 pixels"),
        (("annotate", "{model}", "-o", "x.onnx", "--cam-layer", "fc"), "layer 'fc' has no maps"),
        (("cam", "{model}", "{photo}", "--class", "egyptian ct"), "nearest: Egyptian cat"),
        (("cam", "{model}", "{photo}", "--method", "gradcan"), "gradcam"),
        (("cam", "{model}", "{photo}", "--layer", "blocks.5.swosh"), "nearest: blocks.5.swish"),
        (("activations", "{model}", "{photo}", "-o", "{root}/README.md"), "cannot make the folder"),
        (("activations", "{model}", "{photo}", "--scale", "log"), "there is no scale 'log'"),
        (("annotate", "{model}", "-o", "x.onnx", "--preprocess", "imagnet"), "there is no preprocess 'imagnet'"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    arguments: tuple[str, ...],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [a.format(root=ROOT, model=MODEL, photo=PHOTO) for a in arguments]
    code, out, err = call(capsys, *given)
    assert code == 2
    assert out == ""
    assert err.startswith("inspector: ")
    assert len([line for line in err.splitlines() if "the file's metadata names" not in line]) == 1
    assert text in err
    assert "Traceback" not in err
    code, out, _ = call(capsys, *given, "--json")
    assert code == 2
    assert set(json.loads(out)["error"]) == {"kind", "message", "hint"}
    assert list(tmp_path.iterdir()) == []


def test_an_internal_error_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ZeroDivisionError("by nought")

    assert run_guarded(broken, json=False) == 2
    assert capsys.readouterr().err.startswith("inspector: internal error, ZeroDivisionError: by nought")


def test_interrupted_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run_guarded(interrupted, json=False) == 130
    assert capsys.readouterr().err == "inspector: interrupted\n"


def test_an_error_in_the_middle_leaves_one_whole_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from inspector.errors import OutputError
    from inspector.model import Model

    calls = []

    def predict(self: Model, image: object, *more: object) -> list[Any]:
        calls.append(image)
        if len(calls) == 2:
            raise OutputError("the disk is full")
        return []

    monkeypatch.setattr(Model, "predict", predict)
    code, out, _ = call(capsys, "predict", MODEL, PHOTO, PHOTO, "--json")
    assert code == 2
    found = json.loads(out)
    assert len(found["images"]) == 1
    assert found["error"]["message"] == "the disk is full"


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "doctor")
    assert found["works"]["inspect"] is True
    assert found["chosen"]
    assert {p["name"] for p in found["providers"]} >= {"cpu", "cuda"}


def test_annotate_and_predict_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"class {i}" for i in range(1000)))
    target = tmp_path / "named.onnx"
    found = document(capsys, "annotate", MODEL, "-o", target, "--labels", labels, "--preprocess", "signed")
    assert found["preprocess"]["mean"] == [0.5, 0.5, 0.5]
    again = document(capsys, "predict", target, PHOTO)
    assert again["images"][0]["top"][0]["label"].startswith("class ")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m inspector layers {MODEL} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert b"layers" in done.stdout
    assert done.stderr == b""


def test_image_error_is_an_inspector_error() -> None:
    assert ImageError("x").kind == "image"


# finetune runs torch alone, which has no providers.
@pytest.mark.parametrize("name", [name for name, _ in list_commands() if name != "finetune"])
def test_every_command_takes_the_common_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, name, "--help")
    assert [option for option in ("--json", "--provider", "--threads", "--quiet") if option not in out] == []


@pytest.mark.parametrize("name", ["activations", "cam"])
def test_help_lists_every_colour_map(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from inspector.render.colormap import COLORMAPS

    _, out, _ = call(capsys, name, "--help")
    assert ", ".join(COLORMAPS) in " ".join(out.split())


def small(make_model: MakeModel, name: str = "model.onnx", seed: int = 0) -> Path:
    """A convolution, its ReLU r, zeros ("dead") and NaN in channel 0 ("bad"); for any size of at least 5 x 5."""

    def build(n: Net, x: str) -> str:
        y = n("Conv", x, n.weight((4, 3, 5, 5)), out="c")
        y = n("Relu", y, out="r")
        y = n("Mul", y, n.const(np.zeros((1, 4, 1, 1), np.float32)), out="zero")
        y = n("Relu", y, out="dead")
        y = n("Log", n("Sub", y, n.const(np.array([1, 0, 0, -1], np.float32).reshape(1, 4, 1, 1))), out="log")
        y = n("Relu", y, out="bad")
        return n("Gemm", n("Flatten", n("GlobalAveragePool", y)), n.weight((4, 4)), transB=1, out="scores")

    return make_model(build, shape=("N", 3, "H", "W"), name=name, seed=seed)


@pytest.mark.parametrize(("layer", "channel"), [("dead", 1), ("bad", 0), ("bad", 3), ("r", 0)])
@pytest.mark.parametrize("colormap", ["viridis", "diverging"])
def test_one_channel_of_a_dead_or_broken_layer_on_the_scale_of_the_layer(
    layer: str, channel: int, colormap: str, tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--layer", layer, "--channel", channel, "--scale", "layer", "--colormap", colormap, "-o", tmp_path / "o")
    code, _, err = call(capsys, "activations", small(make_model), PHOTO, *map(str, options))
    assert code == 0, err
    assert "Warning" not in err


def test_a_picture_that_the_network_does_not_take_is_skipped(
    tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "tiny.png")
    own_size = Preprocess(resize="none")
    model = annotate_model(small(make_model), tmp_path / "any.onnx", preprocess=own_size).path
    for quiet in ((), ("--quiet",)):
        code, out, err = call(capsys, "predict", model, tmp_path / "tiny.png", PHOTO, "--json", *quiet)
        assert code == 0, err
        found = json.loads(out)
        assert [len(found[key]) for key in ("images", "skipped")] == [1, 1]
        assert "skipped: onnxruntime cannot run" in err
    code, out, err = call(capsys, "predict", model, tmp_path / "tiny.png", tmp_path / "tiny.png")
    assert (code, out) == (2, "")
    assert "none of 2 pictures could be used; the first: onnxruntime cannot run" in err
    code, out, _ = call(capsys, "predict", model, tmp_path / "tiny.png", "--json")
    assert code == 2
    assert json.loads(out)["error"]["kind"] == "model"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError(), 2, "there is not enough memory"),
        (OSError(28, "No space left on device", "x.png"), 2, "x.png: No space left on device"),
        (ZeroDivisionError("by nought"), 2, "internal error, ZeroDivisionError: by nought"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
@pytest.mark.parametrize("before", [0, 1])
def test_whatever_ends_a_command_there_is_one_document(
    error: BaseException,
    code: int,
    message: str,
    before: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from inspector.model import Model

    done: list[object] = []

    def predict(self: Model, image: object, *more: object) -> list[Any]:
        if len(done) == before:
            raise error
        done.append(image)
        return []

    monkeypatch.delenv("INSPECTOR_DEBUG", raising=False)
    monkeypatch.setattr(Model, "predict", predict)
    found_code, out, err = call(capsys, "predict", MODEL, PHOTO, PHOTO, "--json")
    assert found_code == code
    found = json.loads(out)
    assert found["error"]["message"] == message
    assert len(found.get("images", [])) == before
    assert err == ("inspector: interrupted\n" if code == 130 else "")
    done.clear()
    found_code, _, err = call(capsys, "predict", MODEL, PHOTO, PHOTO)
    assert found_code == code
    assert err.startswith(f"inspector: {message}")
    assert err.count("\n") == 1


def test_a_second_run_leaves_nothing_of_the_first(
    tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = small(make_model), small(make_model, "other.onnx", seed=5)
    out = tmp_path / "out"
    call(capsys, "activations", first, PHOTO, "-o", out, "--save-arrays")
    folder = out / "chelsea"
    kept = {"000-mine.png", "notes.txt", "gradcam-1.png"}
    for name in kept:
        (folder / name).write_text("mine")
    code, _, err = call(capsys, "activations", second, PHOTO, "--layer", "r", "-o", out)
    assert code == 0
    assert err.count("results of model.onnx, of an earlier run into the same folder, were replaced") == 1
    assert {p.name for p in folder.iterdir()} - kept == {
        ".inspector.json", "000-c.relu.png", "channels.npz", "depth.png", "index.html", "picture.png",
    }  # fmt: skip
    assert all((folder / name).read_text() == "mine" for name in kept)
    _, _, err = call(capsys, "activations", second, PHOTO, "--layer", "c", "-o", out)
    assert "earlier run" not in err
    # A record that somebody changed takes nothing away outside the folder, and a run that fails leaves no page.
    (tmp_path / "000-x.png").touch()
    record = json.loads((folder / ".inspector.json").read_text())
    record["files"] += ["../../000-x.png", "notes.txt"]
    (folder / ".inspector.json").write_text(json.dumps(record))
    before = sorted(folder.iterdir())
    code, _, _ = call(capsys, "activations", second, PHOTO, "--colormap", "jet", "-o", out)
    assert (code, sorted(folder.iterdir())) == (2, before)
    (folder / "picture.png").unlink()
    (folder / "picture.png").mkdir()
    code, _, _ = call(capsys, "activations", second, PHOTO, "-o", out)
    assert code == 2
    assert not (folder / "index.html").exists()
    assert (tmp_path / "000-x.png").exists()
    assert (folder / "notes.txt").exists()


def test_a_part_of_a_layers_name_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("activations", "cam"):
        code, _, err = call(capsys, command, MODEL, PHOTO, "--layer", "12.depthw", "-o", tmp_path / "a")
        assert code == 0
        assert "--layer 12.depthw: taken for blocks.12.depthwise_conv" in err
        _, _, err = call(capsys, command, MODEL, PHOTO, "--layer", "12.depthwise_conv", "-o", tmp_path / "a")
        assert "taken for" not in err


def test_a_method_without_classes_makes_one_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--method", "eigencam", "--top", "3", "-o", tmp_path)
    [image] = document(capsys, "cam", MODEL, PHOTO, *options)["images"]
    assert [Path(x["overlay"]).name for x in image["maps"]] == ["eigencam.png"]
    assert image["maps"][0]["class_independent"] is True
    _, out, err = call(capsys, "cam", MODEL, PHOTO, *options)
    assert "the strongest pattern, whatever the class" in out
    assert "one map for all" in err


def test_scores_say_which_way_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "cam", MODEL, PHOTO, "--region", "50,20,300,250", "-o", tmp_path)
    lines = [line.strip() for line in out.splitlines() if line.endswith("is better)")]
    assert [line.split()[0] for line in lines] == ["deletion", "insertion", "drop", "increase", "pointing", "energy"]
    assert [line.split("(")[1].split()[0] for line in lines] == ["less", "more", "less", "more", "more", "more"]


def test_labels_with_commas_stay_apart() -> None:
    from inspector.cli.console import format_top

    plain = [{"label": "cat", "probability": 0.5}, {"label": "dog", "probability": 0.25}]
    assert format_top(plain) == "cat 50.0 %, dog 25.0 %"
    several = [{"label": "tabby, tabby cat", "probability": 0.5}, {"label": "dog", "probability": 0.25}]
    assert format_top(several) == "tabby, tabby cat 50.0 %; dog 25.0 %"


def test_words_for_people(tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "annotate", small(make_model), "-o", tmp_path / "o.onnx")
    assert "no labels" in out
    _, out, _ = call(capsys, "doctor")
    assert "True" not in out
    assert "yes" in out
    _, out, _ = call(capsys, "activations", MODEL, PHOTO, "--layer", "fc", "-o", tmp_path)
    assert "constant" in out
    assert "blank" not in out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_picture_from_a_pipe_and_no_end_of_stdin(tmp_path: Path) -> None:
    command = f"{sys.executable} -m inspector predict {MODEL} <(cat {PHOTO}) --json"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert json.loads(done.stdout)["images"][0]["top"][0]["label"] == "Egyptian cat", done.stderr
    code = "from inspector import image; image.MAX_FILE_BYTES = 1000; from inspector.cli.app import main; main()"
    with Path("/dev/zero").open("rb") as zeros:
        done = subprocess.run(
            [sys.executable, "-c", code, "predict", str(MODEL), "-"], stdin=zeros, capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 2
    assert b"the limit for a picture's file" in done.stderr


def test_the_list_of_commands_says_what_they_say_of_themselves() -> None:
    """Their modules are not imported for it: that would double the time of `inspector --help`."""
    from inspector.cli.group import find_command, read_help

    for name, function in list_commands():
        assert read_help(name) == inspect.getdoc(function) == inspect.getdoc(find_command(name))
