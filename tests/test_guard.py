"""No command writes onto what it reads, or two outputs onto one file; every command and every option is walked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from inspector.auditing import audit_model
from inspector.cli import NAMES
from inspector.cli.app import run as run_here
from inspector.cli.group import build_command
from inspector.cli.inputs import FOLDERS, INPUTS, OUTPUTS
from inspector.errors import UsageError
from inspector.guard import check_outputs
from inspector.model import open_model
from inspector.model.annotate import annotate_model
from tests.conftest import PHOTO, ROOT, MakeModel, require
from tests.foreign import Net

COMMANDS = {name: build_command(name) for name in NAMES}
PATHS = ("FILE", "DIR", "RUN", "MODEL", "IMAGE", "SOURCE", "SNAPSHOT", "DATA", "SCAN", "TOML")

# For each command that writes a file: arguments that are files, by parameter. What is not named here is not a file.
GIVEN: dict[str, dict[str, tuple[str, ...]]] = {
    "dream": {"model": ("m.onnx",), "image": ("p.jpg",), "layer": ("--layer", "r")},
    "export": {
        "source": ("nets:make",), "weights": ("--weights", "w.safetensors"), "labels": ("--labels", "l.txt"),
        "preprocess": ("--preprocess", "p.json"),
    },
    "quantize": {"model": ("m.onnx",), "calibrate": ("--calibrate", "pics")},
    "annotate": {
        "model": ("m.onnx",), "labels": ("--labels", "l.txt"), "preprocess": ("--preprocess", "p.json"),
    },
    "audit": {
        "model": ("m.onnx",), "policy": ("--policy", "p.toml"), "data": ("--data", "pics"),
        "against": ("--against", "other.onnx"),
    },
    "slim": {
        "model": ("m.onnx",), "data": ("--data", "pics"), "check": ("--check", "other.onnx", "a.json"),
    },
    "attach": {
        "model": ("m.onnx",), "calibrate": ("--calibrate", "pics"), "unknown": ("--unknown", "pics"),
        "outliers": ("--outliers", "pics"),
    },
    "compare": {"model": ("m.onnx",), "images": ("other.onnx", "p.jpg"), "run": ("--run", "run")},
    "report": {
        "model": ("m.onnx",), "images": ("p.jpg", "pics"), "audit": ("--audit", "a.json"),
        "filters": ("--filters", "f.json"), "run": ("--run", "run"),
    },
}  # fmt: skip
ROOMS = {"activations", "cam", "filters", "finetune", "predict", "scan"}
"""Commands whose -o is a folder."""


@pytest.fixture
def place(tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one of everything, which is the current one."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    made = small(make_model)
    made.rename(tmp_path / "m.onnx")
    shutil.copy(tmp_path / "m.onnx", tmp_path / "other.onnx")
    for name in ("p.jpg", "pics/a.jpg", "pics/deep/b.jpg", "start.jpg", "mask.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PHOTO, tmp_path / name)
    for name in ("w.safetensors", "l.txt", "p.json", "p.toml", "a.json", "f.json", "run/metrics.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(make_model: MakeModel, name: str = "model.onnx") -> Path:
    def build(n: Net, x: str) -> str:
        y = n("Relu", n.conv(x, 3, 4, 3, pads=1))
        return n("Softmax", n("Gemm", n("Flatten", n("GlobalAveragePool", y)), n.const(np.eye(4, dtype=np.float32))))

    return make_model(build, shape=(1, 3, 8, 8), name=name)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_path_of_every_command_is_known_to_be_read_or_written(name: str) -> None:
    for parameter in COMMANDS[name].params:
        metavar = parameter.metavar or ""
        if any(word in metavar for word in PATHS) or (parameter.help or "").startswith("Write "):
            if getattr(parameter, "is_flag", False):
                continue
            known = {*INPUTS, *OUTPUTS, *FOLDERS}
            assert parameter.name in known, f"inspector {name}: is {parameter.name} read or written? cli/inputs.py"
        if parameter.name in OUTPUTS and name not in ROOMS:
            assert name in GIVEN, f"inspector {name} writes a file: give its arguments above"
            assert OUTPUTS[parameter.name] in parameter.opts
        if parameter.name in INPUTS and name in GIVEN:
            assert parameter.name in GIVEN[name], f"inspector {name}: give {parameter.name} above"


def written(name: str) -> list[str]:
    return [OUTPUTS[p.name] for p in COMMANDS[name].params if p.name in OUTPUTS]


@pytest.mark.parametrize("name", GIVEN)
def test_no_output_lands_on_an_input(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [text for texts in GIVEN[name].values() for text in texts]
    files = [text for text in given if (place / text).is_file()]
    files += [str(p.relative_to(place)) for text in given for p in (place / text).rglob("*") if p.is_file()]
    assert files
    before = contents(place)
    (place / "links").mkdir()
    for option in written(name):
        for file in files:
            link, hard = place / "links" / f"link-{Path(file).name}", place / "links" / f"hard-{Path(file).name}"
            for path in (link, hard):
                path.unlink(missing_ok=True)
            link.symlink_to(place / file)
            os.link(place / file, hard)
            for target in (file, f"./{file}", link, hard):
                needed = [] if option == "-o" or "-o" not in written(name) else ["-o", "new.png"]
                assert run_here([name, *given, *needed, option, str(target)]) == 2
                out, err = capsys.readouterr()
                assert out == ""
                assert err.startswith(f"inspector: {target} is "), err
                assert err.endswith(f"; give another file to {option}\n")
    shutil.rmtree(place / "links")
    assert contents(place) == before


@pytest.mark.parametrize("name", [name for name in GIVEN if len(written(name)) > 1])
def test_no_two_outputs_are_one_file(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [text for texts in GIVEN[name].values() for text in texts]
    options = written(name)
    before = contents(place)
    for number, one in enumerate(options):
        for other in options[:number]:
            assert run_here([name, *given, one, "x/../new.png", other, str(place / "new.png")]) == 2
            err = capsys.readouterr().err
            assert "are both to be" in err
            assert err.endswith("; give two names\n")
            assert one in err
            assert other in err
    assert contents(place) == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["report", "m.onnx", "p.jpg", "-o", "m.onnx"], "m.onnx is the model itself; give another file to -o"),
        (["report", "m.onnx", "p.jpg", "-o", "p.jpg"], "p.jpg is one of the pictures; give another file to -o"),
        (["report", "m.onnx", "pics", "-o", "pics/a.jpg"],
         "pics/a.jpg is one of the pictures, pics/a.jpg; give another file to -o"),
        (["audit", "m.onnx", "--junit", "m.onnx"], "m.onnx is the model itself; give another file to --junit"),
        (["annotate", "m.onnx", "-o", "m.onnx"], "m.onnx is the model itself; give another file to -o"),
        (["audit", "m.onnx", "--junit", "a", "--sarif", "a"], "--junit and --sarif are both to be a; give two names"),
        (["audit", "m.onnx", "--markdown", "summary.md"],
         "--markdown and the summary of the job are both to be summary.md; give two names"),
        (["audit", "m.onnx", "--junit", "pyproject.toml"],
         "pyproject.toml is the policy; give another file to --junit"),
        (["dream", "m.onnx", "p.jpg", "--layer", "r", "-o", "a.webp", "--frames", "a.webp"],
         "-o and --frames are both to be a.webp; give two names"),
        (["activations", "m.onnx", "p.jpg", "-o", "m.onnx"], "m.onnx is the model itself; give another file to -o"),
    ],
)  # fmt: skip
def test_the_words(
    arguments: list[str], text: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    (place / "pyproject.toml").write_text("[tool.inspector.audit.checks]\n")
    before = contents(place)
    assert run_here(arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"inspector: {text}"
    assert contents(place) == before


def test_streams_are_inputs_and_outputs_too(place: Path) -> None:
    before = contents(place)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "I": f"{sys.executable} -m inspector"}
    lines = "$I report m.onnx - -o p.jpg < p.jpg; $I audit m.onnx --junit out.txt > out.txt; rm out.txt"
    lines += "; $I predict m.onnx p.jpg --json >> m.onnx; $I layers m.onnx 2>> m.onnx"
    done = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stderr == (
        "inspector: p.jpg is what stdin reads; give another file to -o\n"
        "inspector: out.txt is where stdout goes; give another file to --junit\n"
        "inspector: m.onnx is the model itself; send stdout elsewhere\n"
    )
    assert contents(place) == before


def with_external_data(place: Path) -> Path:
    """A model whose weights lie in weights.bin."""
    (place / "outside").mkdir()
    path = place / "outside" / "m.onnx"
    onnx.save(onnx.load(place / "m.onnx"), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_weights_beside_the_model_are_inputs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = with_external_data(place)
    weights = model.with_name("weights.bin")
    before = contents(place)
    for arguments in (
        ["annotate", model, "-o", weights],
        ["report", model, "p.jpg", "-o", weights],
        ["audit", model, "--sarif", weights],
        ["audit", "m.onnx", "--against", model, "--markdown", weights],
        ["quantize", model, "--calibrate", "pics", "-o", weights],
    ):
        assert run_here([*map(str, arguments)]) == 2
        err = capsys.readouterr().err
        assert f"inspector: {weights} is the data of the model; give another file to -" in err, arguments
    assert contents(place) == before


def test_nothing_in_a_folder_of_results_is_written_onto_an_input(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("picture", "p"):
        (place / "out" / folder).mkdir(parents=True)
    shutil.copy(PHOTO, "out/picture/picture.png")
    shutil.copy("m.onnx", "out/picture/channels.npz")
    shutil.copy(PHOTO, "out/p/gradcam.png")
    os.link("p.jpg", "out/p/000-r.png")
    shutil.copy(PHOTO, "picture.jpg")
    before = contents(place)
    held = " is one of the pictures; give another folder to write to"
    read = " is read, and lies where results go; give another folder to -o"
    for arguments, text in (
        (["activations", "m.onnx", "out/picture/picture.png"], f"out/picture/picture.png{read}"),
        (["activations", "m.onnx", "pics", "out"], f"out/picture/picture.png{read}"),
        (
            ["activations", "out/picture/channels.npz", "pics/../p.jpg", "picture.jpg"],
            f"out/picture/channels.npz{read}",
        ),
        (["activations", "m.onnx", "p.jpg"], f"out/p/000-r.png{held}"),
        (["cam", "m.onnx", "pics/a.jpg", "p.jpg", "out/p/gradcam.png"], f"out/p/gradcam.png{read}"),
    ):
        assert run_here([*arguments, "-o", "out"]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"inspector: {text}"
        # Nothing was drawn either.
        assert contents(place) == before


def test_a_pattern_does_not_land_on_the_picture_it_starts_from(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("torch")
    layer = open_model("m.onnx").layers[0].name
    folder = place / "out" / f"filters-{layer}"
    folder.mkdir(parents=True)
    for name in ("clear-0001.png", "clear-grid.png"):
        shutil.copy(PHOTO, folder / name)
    before = contents(place)
    for name in ("clear-0001.png", "clear-grid.png"):
        start = f"out/{folder.name}/{name}"
        arguments = ["filters", "m.onnx", "--layer", layer, "--channels", "0-1", "--start", start, "-o", "out"]
        assert run_here([*arguments, "--steps", "1", "--size", "64"]) == 2
        text = f"inspector: {start} is the picture of --start; give another folder to write to"
        assert capsys.readouterr().err.splitlines()[-1] == text
        assert contents(place) == before


def test_calls_of_the_library(place: Path) -> None:
    from exporters.quantizing import quantize_model
    from inspector.pages.report.collect import write_report

    model, data = open_model("m.onnx"), with_external_data(place)
    outside = open_model(data)
    before = contents(place)
    calls: list[Any] = [
        (lambda: annotate_model(model, place / "m.onnx"), "m.onnx is the model itself"),
        (lambda: annotate_model(model, "l.txt", labels="l.txt"), "l.txt is a file that it is made from"),
        (lambda: annotate_model(outside, data.with_name("weights.bin")), "weights.bin is the model itself"),
        (lambda: quantize_model(model, "m.onnx", "pics"), "m.onnx is the model itself"),
        (lambda: quantize_model(model, "pics/a.jpg", "pics"), "pics/a.jpg is one of the pictures"),
        (lambda: write_report(model, ["p.jpg"], "p.jpg"), "p.jpg is one of the pictures"),
        (lambda: audit_model(model, save="m.onnx"), "m.onnx is a model or snapshot that is read"),
        (lambda: audit_model("m.onnx", data="pics", save="pics/a.jpg"), "pics/a.jpg is one of the pictures"),
    ]
    for call, text in calls:
        with pytest.raises(UsageError) as caught:
            call()
        assert text in str(caught.value)
        assert "; give another file to -" in str(caught.value)
    assert contents(place) == before


def test_paths_that_are_none() -> None:
    check_outputs({"-o": None, "--junit": "a\0b"}, {"the model itself": ["nothing.onnx", "a\0c"]})
    check_outputs({"-o": "nothing"}, {"one of the pictures": [0, 1, 2]})
    with pytest.raises(UsageError, match=r"nothing/../b is the model itself; give another file to -o"):
        check_outputs({"-o": "nothing/../b"}, {"the model itself": ["b"]})
