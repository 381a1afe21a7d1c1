"""What `import inspector` offers: one function for each command, in any order of imports, with errors that say why."""

from __future__ import annotations

import importlib
import inspect
import math
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import inspector
from inspector import InspectorError, Model, open_model
from inspector.api.arguments import _OWN, check_arguments
from inspector.api.make import FineTuneSettings
from inspector.api.pictures import Results
from inspector.cli import list_commands
from inspector.errors import MissingExtra
from tests.conftest import ROOT, MakeModel
from tests.foreign import Net

CALLS = {
    "layers": "list_layers",
    "activations": "draw_activations",
    "cam": "draw_maps",
}
"""Commands whose function has another name, since `Model` has a method of the command's name or the name is taken."""


@pytest.fixture(scope="module")
def model(default_model: Path) -> Model:
    return open_model(default_model)


@pytest.fixture
def tiny(make_model: MakeModel) -> Path:
    def build(n: Net, x: str) -> str:
        y = n("Relu", n.conv(x, 3, 4, out="c"), out="r")
        return n("Gemm", n("Flatten", n("GlobalAveragePool", y)), n.weight((3, 4)), transB=1, out="scores")

    return make_model(build, shape=("N", 3, 16, 16))


@pytest.mark.parametrize("command", [name for name, _ in list_commands()])
def test_every_command_is_a_function_with_a_docstring(command: str) -> None:
    function = getattr(inspector, CALLS.get(command, command))
    text = inspect.getdoc(function) or ""
    assert callable(function)
    assert function.__name__ in inspector.__all__
    for part in ("Args:", "Returns:", "Raises:", "Example:"):
        assert part in text, f"{function.__name__} has no {part}"
    hints = inspect.signature(function)
    assert all(p.annotation is not inspect.Parameter.empty for p in hints.parameters.values())
    for name in hints.parameters:
        assert f"{name}:" in text, f"the docstring of {function.__name__} says nothing of {name}"


def test_no_module_takes_the_place_of_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(inspector.__path__)}
    assert not modules & set(inspector.__all__)
    for module in pkgutil.walk_packages(inspector.__path__, "inspector.", onerror=lambda name: None):
        if not module.name.endswith("__main__"):
            with suppress(MissingExtra):  # a folder that needs torch, where there is none
                importlib.import_module(module.name)
    assert all(not inspect.ismodule(getattr(inspector, name)) for name in inspector.__all__)


def test_every_public_name_is_there_and_typed() -> None:
    text = (ROOT / "inspector" / "__init__.py").read_text("utf-8")
    typed = text[text.index("if TYPE_CHECKING") : text.index("__all__")]
    for name in set(inspector.__all__) - {"__version__"}:
        assert getattr(inspector, name) is not None
        assert name in typed.replace(",", " ").split(), name
    assert set(dir(inspector)) == set(inspector.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        inspector.nothing  # noqa: B018


def test_import_alone_is_light() -> None:
    code = (
        "import sys, inspector\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'PIL', 'torch', 'pydantic', 'jinja2', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_predict_takes_pictures_of_every_kind(model: Model, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    with Image.open(photo) as opened:
        picture = opened.convert("RGB")
    array = np.asarray(picture)
    for given in (photo, str(photo), photo.read_bytes(), picture, array, inspector.Picture("mine", array)):
        [found] = inspector.predict(model, given)
        assert found.label == "Egyptian cat"
    found = inspector.predict(model, [array, tmp_path], top=2)
    assert found[0].path == "image-1"
    assert [len(x.top) for x in found] == [2, 2]
    assert [Path(x.path).name for x in found.skipped] == ["b.jpg"]
    assert found[0].top == model.predict(array, 2)


def test_progress_is_told(model: Model, photo: Path) -> None:
    told: list[tuple[int, int]] = []
    inspector.predict(model, [photo, photo], on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_layers_are_names_or_layers(model: Model, photo: Path) -> None:
    layer = model.layer("blocks.5.swish")
    assert model.layer(layer) is layer
    for given in ("5.swish", layer, ["blocks.5.swish"], (layer, "5.swish")):
        assert list(model.activations(photo, given)) == [layer.name]
    assert inspector.list_layers(model) == model.layers


def test_drawings(model: Model, photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jpg"
    other.write_bytes(photo.read_bytes() + b" ")
    drawn = inspector.draw_activations(model, [photo, other], tmp_path / "a", layers="5.swish")
    assert (tmp_path / "a" / "index.html").is_file()
    assert [x.folder.name for x in drawn] == ["chelsea", "other"]
    [maps] = inspector.draw_maps(
        model, photo, tmp_path / "b", classes=["Egyptian cat", 281], layer="5.swish", score=True, region=(8, 8, 90, 90)
    )
    assert {"deletion", "insertion", "energy_inside"} <= set(maps.maps[0].figures)
    assert [x.target.index for x in maps.results] == [285, 281]
    assert maps.sheet is not None
    assert maps.sheet.is_file()
    page = inspector.report(model, photo, tmp_path / "page.html", layers=["5.swish"], methods=["gradcam"])
    assert page.size == page.path.stat().st_size


def test_annotate_audit_quantize_and_doctor(tiny: Path, photo: Path, tmp_path: Path) -> None:
    named = inspector.annotate(tiny, tmp_path / "named.onnx", preprocess="unit", labels=["a", "b", "c"])
    assert isinstance(named, Model)
    assert named.labels == ("a", "b", "c")
    found = inspector.audit(named, markdown=tmp_path / "audit.md")
    assert found.check("opens").status == "pass"
    assert (tmp_path / "audit.md").is_file()
    made = inspector.quantize(named, tmp_path / "half.onnx", photo, to="fp16")
    assert made.path.is_file()
    assert inspector.doctor().works["inspect"] is True


WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda m: inspector.predict(3.5, "x.jpg"), "a model cannot be 3.5 (float)"),
    (lambda m: inspector.predict(m, 3.5), "pictures cannot be 3.5 (float)"),
    (lambda m: inspector.predict(m, [3.5]), "3.5"),
    (lambda m: inspector.predict(m, "nothing.jpg"), "there is no file nothing.jpg"),
    (lambda m: inspector.predict(m, "x.jpg", top="3"), "top cannot be '3' (str)"),
    (lambda m: inspector.predict(m, "x.jpg", top=0), "top 0 is out of range"),
    (lambda m: inspector.predict(m, []), "no pictures were given"),
    (lambda m: inspector.predict(m, "x.jpg", threads=2), "is open already"),
    (lambda m: inspector.list_layers("nothing.onnx"), "there is no file nothing.onnx"),
    (lambda m: inspector.draw_activations(m, "x.jpg", layers=3), "layers cannot be 3 (int)"),
    (lambda m: inspector.draw_activations(m, "x.jpg", layers=[3]), "a layer cannot be 3 (int)"),
    (lambda m: inspector.draw_activations(m, "x.jpg", layers="nothing"), "there is no layer 'nothing'"),
    (lambda m: inspector.draw_activations(m, "x.jpg", scale=1), "scale cannot be 1 (int)"),
    (lambda m: inspector.draw_activations(m, "x.jpg", channel="a"), "channel cannot be 'a' (str)"),
    (lambda m: inspector.draw_maps(m, "x.jpg", method="gradcan"), "gradcan"),
    (lambda m: inspector.draw_maps(m, "x.jpg", method=3), "method cannot be 3 (int)"),
    (lambda m: inspector.draw_maps(m, "x.jpg", classes=3.5), "classes cannot be 3.5 (float)"),
    (lambda m: m.cam("x.jpg", classes=3.5), "classes cannot be 3.5 (float)"),
    (lambda m: m.cam(None), "None"),
    (lambda m: m.predict(3.5), "3.5"),
    (lambda m: m.activations(np.zeros((8, 8, 3), np.uint8), layers=3), "layers cannot be 3 (int)"),
    (lambda m: m.layer(3), "a layer cannot be 3 (int)"),
    (lambda m: inspector.open_model(3), "a model cannot be 3 (int)"),
    (lambda m: inspector.report(m, "x.jpg", top=99), "top 99 is out of range"),
    (lambda m: inspector.audit(3), "a model cannot be 3 (int)"),
    (lambda m: inspector.audit(m, seed=-1), "seed -1 is out of range"),
    (lambda m: inspector.annotate(m, 3), "out cannot be 3 (int)"),
    (lambda m: inspector.quantize(m, "x.onnx", "x", keep=3), "keep cannot be 3 (int)"),
    (lambda m: inspector.filters(m, patches_only=True), "patches_only needs pictures"),
    (lambda m: inspector.doctor("quantum"), "there is no provider 'quantum'"),
]


@pytest.mark.parametrize(("call", "text"), WRONG, ids=[text for _, text in WRONG])
def test_wrong_arguments_are_told(call: Callable[[Any], Any], text: str, model: Model) -> None:
    with pytest.raises(InspectorError) as error:
        call(model)
    assert text in str(error.value)


REQUIRED: dict[str, Any] = {
    "a": "m.onnx", "b": "m.onnx", "base": "m.onnx", "calibrate": "data", "certificate": "c.json", "data": "data",
    "file": "m.onnx", "image": "x.jpg", "images": "x.jpg", "layers": "x", "model": "m.onnx", "out": "out",
    "path": "m.onnx", "scans": "s", "source": "x.jpg",
}  # fmt: skip
"""Something of the right type for every parameter without a default."""

CALLABLE = [
    name for name in inspector.__all__
    if callable(getattr(inspector, name)) and getattr(inspector, name).__module__.startswith("inspector.api")
    and not isinstance(getattr(inspector, name), type) and name != "find_pictures"
]  # fmt: skip


@pytest.mark.parametrize("name", [*CALLABLE, "Model.cam", "Model.predict", "Model.activations"])
def test_no_parameter_takes_everything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    """What cannot be meant is refused by its name in every place, before anything is read or written."""
    monkeypatch.chdir(tmp_path)
    function = getattr(model, name.partition(".")[2]) if "." in name else getattr(inspector, name)
    parameters = inspect.signature(function).parameters.values()
    needed = {x.name: REQUIRED[x.name] for x in parameters if x.default is x.empty and x.kind < 4}
    settings = FineTuneSettings.__annotations__ if name.endswith("finetune") else {}
    checked = [x.name for x in parameters if x.kind < 4 and set(x.annotation.split(" | ")).isdisjoint(_OWN)]
    for parameter in [*checked, *settings]:
        with pytest.raises(InspectorError) as error:
            function(**{**needed, parameter: object()})
        assert "<object object" in str(error.value), parameter
    assert list(tmp_path.iterdir()) == []


NATURAL: list[tuple[Callable[[Any, Any], Any], object]] = [
    (lambda m, x: len(m.predict(x, top=np.int64(2))), 2),
    (lambda m, x: len(inspector.predict(m, x, top=np.uint8(2))[0].top), 2),
    (lambda m, x: m.find_class(np.int32(285)), 285),
    (lambda m, x: [y.target.index for y in m.cam(x, classes=(k for k in (281, "Egyptian cat")))], [281, 285]),
    (lambda m, x: m.cam(x, classes=np.array([281]))[0].target.index, 281),
    (lambda m, x: inspector.statistics(np.arange(12).reshape(3, 2, 2)).maximum, 11.0),
    (lambda m, x: inspector.statistics(np.float64([[1, 3]])).mean, 2.0),
]


@pytest.mark.parametrize("number", range(len(NATURAL)))
def test_numbers_of_numpy_and_what_is_walked_once_are_taken(number: int, model: Model, photo: Path) -> None:
    call, wanted = NATURAL[number]
    assert call(model, photo) == wanted


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: m.predict("x.jpg", top=True), "top cannot be True (bool); give a whole number"),
        (lambda m: inspector.predict(m, "x.jpg", draw="no"), "draw cannot be 'no' (str); give True or False"),
        (lambda m: inspector.predict(m, "x.jpg", poses="hflip"), "poses cannot be 'hflip' (str); give a list of texts"),
        (lambda m: inspector.predict(m, "x.jpg", confidence=math.nan), "confidence cannot be nan (float)"),
        (lambda m: inspector.quantize(m, "", "data"), "out cannot be '' (str); give a path"),
        (lambda m: inspector.scan(m, "data", "a\0b"), "'a\\x00b' is not a path: embedded null byte"),
        (lambda m: inspector.scan(m, "data", "out", workers=-1), "workers -1 is not between 1 and 1024"),
        (lambda m: inspector.finetune("data", "b.onnx", "run", threads=-1), "threads -1 is not between 1 and 1024"),
        (lambda m: inspector.open_model(b"\x08" * 50_000_000), r"a model cannot be b'\x08\x08"),
        (lambda m: inspector.open_model(""), "a model cannot be '' (str); give the path of an .onnx file"),
        (lambda m: inspector.scan(m, ["a", ""], "out"), "data cannot be ['a', ''] (list); give a path or a list of p"),
        (lambda m: m.top(m.run_classes(np.zeros((2, 3, 224, 224), np.float32))), "scores of shape (2, 1000) are not"),
        (lambda m: m.top(np.zeros((2, 1000))), "scores of shape (2, 1000) are not those of one picture"),
        (lambda m: m.mean_scores(np.zeros((8, 8, 3), np.uint8), ""), "the text ''; give () for the picture as it is"),
        (
            lambda m: inspector.annotate(m, "o.onnx", size=(8,)),
            "size cannot be (8,) (tuple); give a text or 2 of whole n",
        ),
    ],
)
def test_what_was_taken_for_something_else_is_refused(call: Callable[[Any], Any], text: str, model: Model) -> None:
    with pytest.raises(InspectorError) as error:
        call(model)
    assert text in str(error.value)


def test_a_call_that_does_not_fit_names_the_function(model: Model) -> None:
    for call, text in [
        (lambda: inspector.slim(model), "slim() missing a required argument: 'out'"),
        (lambda: model.cam(), "Model.cam() missing a required argument: 'image'"),
    ]:
        with pytest.raises(TypeError) as error:
            call()
        assert str(error.value) == text


def test_settings_that_cannot_be_looked_up_are_no_settings_of_any_type() -> None:
    def train(**settings: object) -> None: ...

    train.__annotations__["settings"] = "Unpack[Nowhere]"
    with pytest.raises(TypeError, match="takes the settings of Nowhere"):
        check_arguments(train)


def test_what_needs_torch_says_so(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.extras.is_installed", lambda package: False)
    for call in (
        lambda: inspector.filters(model, "5.swish"),
        lambda: inspector.dream(model, "x.jpg", "5.swish"),
        lambda: inspector.export("torchvision:resnet18", "x.onnx"),
        lambda: inspector.finetune("data", "base.onnx", "run"),
        lambda: inspector.plan_finetune("data", "base.onnx"),
    ):
        with pytest.raises(inspector.MissingExtra, match=r"torch.*pip install"):
            call()


def test_the_settings_of_finetune_are_those_of_the_run() -> None:
    from exporters.planning.options import FineTuneOptions

    assert set(FineTuneSettings.__annotations__) == {x.name for x in fields(FineTuneOptions)}
    hints = {x.name: x.type for x in fields(FineTuneOptions)}
    told = {
        k: v.__forward_arg__ if hasattr(v, "__forward_arg__") else v
        for k, v in FineTuneSettings.__annotations__.items()
    }
    assert told == hints


def test_results_are_tuples() -> None:
    found: Results[int] = Results([1, 2])
    assert found == (1, 2)
    assert found.skipped == ()
