"""What mypy says of a user's script: nothing of a right one, and each mistake of a wrong one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, require

require("mypy")

SCRIPT = """
from pathlib import Path

import numpy as np
from PIL import Image

import inspector

model = inspector.open_model("model.onnx", threads=2)
layer = model.layers[-1]
best = model.predict("cat.jpg", top=5)[0]
print(f"{best.label}: {best.probability:.1%}", model.classes or 0)
values = model.activations(Path("cat.jpg"), layers=["features.3", layer])
peak: float = float(values["features.3"].max())
for found in model.cam(Image.open("cat.jpg"), classes=["tabby", 282], layer=layer):
    print(found.target.label, found.heatmap.shape, found.peak[0] + found.peak[1])
for one in inspector.predict(model, [b"...", np.zeros((8, 8, 3), np.uint8)]):
    print(one.path, one.label)
drawn = inspector.draw_activations("model.onnx", "pictures", "out", layers="features.3")
print(drawn[0].overview, [skipped.error.hint for skipped in drawn.skipped])
maps = inspector.draw_maps(model, "pictures", method="layercam", classes="tabby")
smaller = inspector.quantize(model, "small.onnx", "pictures", to="int8")
run = inspector.finetune("data", "model.onnx", "run", head_epochs=3, size=(224, 224))
verdict = inspector.audit(smaller.path, against=model, data=Path("pictures"))
print(verdict.passed, verdict.check("opens").message, inspector.list_layers(run.model)[0].shape)
"""

MISTAKES = {
    "model.predict(3.5)": "arg-type",
    'model.predict("cat.jpg", top="3")': "arg-type",
    'model.predict("cat.jpg", to=3)': "call-arg",
    "model.predict()": "call-arg",
    'model.predict("cat.jpg")[0].name': "attr-defined",
    'model.activations("cat.jpg", layers=3)': "arg-type",
    'model.activations("cat.jpg").shape': "attr-defined",
    'model.cam("cat.jpg", clases="tabby")': "call-arg",
    'model.cam("cat.jpg", classes=3.5)': "arg-type",
    "model.layer(3)": "arg-type",
    "inspector.open_model()": "call-arg",
    "inspector.open_model(3)": "arg-type",
    'inspector.predict("model.onnx", 3.5)': "arg-type",
    'inspector.audit("model.onnx").pased': "attr-defined",
    'inspector.audit("model.onnx", polcy="strict.toml")': "call-arg",
    'inspector.quantize(model, "small.onnx")': "call-arg",
    'inspector.draw_maps(model, "cat.jpg", top="all")': "arg-type",
    'inspector.draw_activations(model, "cat.jpg", layers=3)': "arg-type",
    'inspector.finetune("data", "base.onnx", "run", head_epoch=3)': "call-arg",
    'inspector.finetune("data", "base.onnx", "run", head_epochs="3")': "arg-type",
    'inspector.dream(model, "cat.jpg", 3)': "arg-type",
    "inspector.nothing()": "attr-defined",
}
"""A line that is wrong, and the error that mypy must find in it."""


def check(folder: Path, script: str) -> str:
    """What mypy says of a script."""
    file = folder / "script.py"
    file.write_text(script)
    options = ["--strict", "--follow-imports=silent", "--no-error-summary", f"--cache-dir={folder / 'cache'}"]
    # In a folder of its own: the settings of this project are not those of a user.
    command = [sys.executable, "-m", "mypy", *options, f"--config-file={os.devnull}", str(file)]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False).stdout


@pytest.mark.slow
def test_mypy_takes_a_right_script_and_finds_each_mistake(tmp_path: Path) -> None:
    # One run: reading the libraries takes longer than everything else.
    right = SCRIPT.strip().splitlines()
    lines = [*right, *MISTAKES]
    said = check(tmp_path, "\n".join(lines) + "\n").splitlines()
    found: dict[int, list[str]] = {}
    for line in said:
        if line.startswith("script.py:") and ": error:" in line:
            found.setdefault(int(line.split(":")[1]), []).append(line)
        elif ": note:" not in line:
            pytest.fail("\n".join(said))
    assert [found[n] for n in found if n <= len(right)] == []
    for number, (mistake, code) in enumerate(MISTAKES.items(), len(right) + 1):
        assert any(f"[{code}]" in line for line in found.get(number, [])), (mistake, found.get(number))


def test_both_packages_say_that_they_are_typed() -> None:
    for package in ("inspector", "exporters"):
        assert (ROOT / package / "py.typed").is_file()


def test_no_public_function_takes_just_anything() -> None:
    import inspect

    import inspector

    for name in inspector.__all__:
        function = getattr(inspector, name)
        if inspect.isfunction(function):
            for parameter in inspect.signature(function).parameters.values():
                assert parameter.annotation not in ("Any", "object", inspect.Parameter.empty), (name, parameter)
