"""What the command line must refuse: one line that says what was given and what to do, exit 2, nothing left behind."""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from inspector.cli.app import app, run_guarded
from inspector.metadata import KEY
from tests.conftest import MakeModel
from tests.foreign import Net

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`inspector` in this process and in a folder of its own: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        given = [*map(str, arguments)]
        code = run_guarded(lambda: app(args=given, prog_name="inspector", standalone_mode=False), "--json" in given)
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def refused(run: Run, tmp_path: Path) -> Callable[..., str]:
    """The line that a command ends with; checked for form, for both ways of output, and for files left behind."""

    def check(*arguments: str | Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = run(*arguments, "--quiet")
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert err.startswith("inspector: ")
        assert "Traceback" not in err
        assert "internal error" not in err
        code, out, again = run(*arguments, "--quiet", "--json")
        assert (code, again) == (2, "")
        error = json.loads(out)["error"]
        assert set(error) == {"kind", "message", "hint"}
        text = "; ".join(filter(None, (error["message"], error["hint"])))
        assert err == f"inspector: {text}\n"
        assert sorted(tmp_path.rglob("*")) == before
        return text

    return check


def net(n: Net, x: str) -> str:
    y = n("Relu", n.conv(x, 3, 32, w="w", name="stem/conv/Conv"), name="stem/act/Relu")
    y = n("Relu", n.conv(y, 32, 8, name="head/conv/Conv"), name="head/act/Relu")
    y = n("Flatten", n("GlobalAveragePool", y, name="pool/GlobalAveragePool"))
    return n("Gemm", y, n.weight((4, 8)), name="fc/Gemm", transB=1)


@pytest.fixture
def model(make_model: MakeModel) -> Path:
    return make_model(net, name="good.onnx")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)).save(path)
    return path


def test_the_good_ones_are_good(run: Run, model: Path, picture: Path) -> None:
    code, out, err = run("activations", model, picture, "-o", "out", "--json")
    assert code == 0
    assert len(json.loads(out)["images"][0]["layers"]) == 6
    assert err.count("\n") == 1
    assert "assumed: " in err


@pytest.mark.parametrize("command", ["layers", "predict", "activations", "annotate"])
def test_models(command: str, refused: Any, make_model: MakeModel, model: Path, picture: Path, tmp_path: Path) -> None:
    rest = {"layers": [], "annotate": ["-o", "o.onnx"]}.get(command, [picture])
    text = tmp_path / "text.onnx"
    text.write_text("Dear reader, this is not a network.\n" * 99)
    assert f"{text} is not an ONNX model" in refused(command, text, *rest)
    text.write_bytes(model.read_bytes()[:-1000])
    assert "is truncated: it ends" in refused(command, text, *rest)

    def foreign(n: Net, x: str) -> str:
        n.domains["acme"] = 1
        return n("Sparkle", n.conv(x, 3, 4), domain="acme")

    def two(n: Net, x: str) -> str:
        return n("Add", n.conv(x, 3, 4), n.input("mask", (1, 4, 8, 8)))

    assert "operators that onnxruntime does not have: acme:Sparkle" in refused(command, make_model(foreign), *rest)
    assert "has 2 inputs: x (1, 3, 8, 8), mask (1, 4, 8, 8)" in refused(command, make_model(two), *rest)
    words = make_model(lambda n, x: n("Relu", x), shape=(1, 128), dtype=onnx.TensorProto.INT64)
    assert "holds int64, not pixels" in refused(command, words, *rest)
    if command != "annotate":  # which is there to mend it
        broken = make_model(net, metadata={KEY: '{"schema":1,"labels":7}'})
        assert "labels must be a list of names; write it again with `inspector annotate`" in refused(
            command, broken, *rest
        )


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../w.bin", "external data '../w.bin' points outside the model's folder"),
        ("none.bin", "external data file 'none.bin' is missing"),
        ("soft.bin", "external data 'soft.bin' is behind a symbolic link"),
        ("hard.bin", "external data 'hard.bin' is behind a hard link"),
        ("short.bin", "short.bin, which has 5; the external data file is truncated"),
    ],
)
def test_external_data(location: str, message: str, refused: Any, model: Path, picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "external"
    folder.mkdir()
    path = folder / "m.onnx"
    onnx.save(onnx.load(model), path, save_as_external_data=True, location="real.bin", size_threshold=0)
    (tmp_path / "elsewhere.bin").write_bytes((folder / "real.bin").read_bytes())
    (folder / "soft.bin").symlink_to(tmp_path / "elsewhere.bin")
    (folder / "short.bin").write_bytes(b"12345")
    os.link(folder / "real.bin", folder / "hard.bin")
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        next(e for e in tensor.external_data if e.key == "location").value = location
    path.write_bytes(proto.SerializeToString())
    assert message in refused("activations", path, picture)


def test_a_graph_that_wants_the_machine(refused: Any, make_model: MakeModel, picture: Path) -> None:
    def huge(n: Net, x: str) -> str:
        return n("Relu", n("Tile", n.conv(x, 3, 4), n.const(np.int64([1, 1, 20_000, 20_000])), name="tile", out="t"))

    assert "asks for a tensor of 410 GB ('t', [1, 4, 160000, 160000])" in refused(
        "activations", make_model(huge), picture
    )


def test_layers_and_options(refused: Any, model: Path, picture: Path) -> None:
    text = refused("activations", model, picture, "--layer", "sten.act")
    assert text.startswith("there is no layer 'sten.act'; nearest: stem.act, ")
    assert len(text.split("nearest: ")[1].split(";")[0].split(", ")) == 3
    assert "layers go by 'conv': stem.conv, head.conv" in refused("activations", model, picture, "--layer", "conv")
    assert "has no channel 99" in refused("activations", model, picture, "--layer", "fc", "--channel", "99")
    for value in ("0", "-3", "many"):
        assert "--threads" in refused("predict", model, picture, "--threads", value)
    assert "threads 5000 is not between 1 and 1024" in refused("predict", model, picture, "--threads", "5000")
    assert "there is no provider 'tpu'; known: auto, cpu" in refused("predict", model, picture, "--provider", "tpu")


def test_pictures(refused: Any, model: Path, picture: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    stream = io.BytesIO()
    Image.open(picture).save(stream, "JPEG")
    data = stream.getvalue()
    at = data.index(b"\xff\xc0") + 5
    for content, message in (
        (b"", "is empty (0 bytes)"),
        (b"no picture at all", "is not a picture that can be read; known formats: JPEG, PNG, WEBP, BMP, TIFF"),
        (data[: len(data) // 2], "is truncated or damaged"),
        (data[:at] + struct.pack(">HH", 60_000, 60_000) + data[at + 4 :], "has 3600 megapixels; the limit is 100"),
    ):
        bad.write_bytes(content)
        for command in ("predict", "activations"):
            assert message in refused(command, model, bad)
    empty = tmp_path / "folder"
    empty.mkdir()
    assert "holds no pictures" in refused("predict", model, empty)


@pytest.mark.parametrize("out", ["file/below", "file", "/proc/nothing", "/dev/null/x", "n" * 300])
def test_output_folders(out: str, refused: Any, model: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I was here")
    text = refused("activations", model, picture, "-o", out)
    assert "cannot make the folder" in text
    assert (tmp_path / "file").read_text() == "I was here"


def test_a_full_disk(refused: Any, model: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write fails, after the folder could be made; the folder itself may stay, a file in it may not."""
    import errno

    def fill(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    with monkeypatch.context() as full:
        full.setattr(os, "replace", fill)
        text = refused("annotate", model, "-o", "o.onnx")
    assert text == "cannot write o.onnx: the disk is full; free some space or choose another disk"


def test_one_bad_picture_of_many(run: Run, model: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    code, out, err = run("predict", model, picture, "bad.png", picture, "--json")
    assert code == 0
    found = json.loads(out)
    assert [x["path"] for x in found["images"]] == ["good.png", "good.png"]
    assert [x["path"] for x in found["skipped"]] == ["bad.png"]
    assert "skipped: bad.png is not a picture" in err
