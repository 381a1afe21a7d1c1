"""Which other preprocess would change the answer, where one had to be assumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector import annotate, open_model
from inspector.cli.app import run as run_command
from inspector.image import NAMED, Preprocess
from tests.conftest import MakeModel
from tests.foreign import Net

LEVEL = 100
"""The grey of the picture: imagenet -0.25 to 0.06, unit 0.39, signed -0.22, caffe -24 to -4, raw 100."""


def thresholds(*limits: float) -> Callable[[Net, str], str]:
    """A head whose top class says between which limits the mean of the input lies: class 0 below all of them.

    Score k is k * mean - (sum of the first k limits), which is largest for k limits below the mean.
    """

    def build(n: Net, x: str) -> str:
        mean = n("ReduceMean", x, axes=[1, 2, 3], keepdims=0)
        rows = n("Unsqueeze", mean, n.const(np.array([1])))
        slopes, shifts = np.arange(len(limits) + 1.0), -np.cumsum([0.0, *limits])
        return n("Gemm", rows, n.const(np.float32([slopes])), n.const(np.float32(shifts)))

    return build


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    path = tmp_path / "grey.png"
    Image.new("RGB", (8, 8), (LEVEL,) * 3).save(path)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[Any, str]:
    assert run_command([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def mean_of(name: str) -> float:
    scale, mean, std, _ = NAMED[name]
    return float(np.mean([(LEVEL * scale - m) / s for m, s in zip(mean, std, strict=True)]))


def test_those_that_change_the_top_class_are_named(
    make_model: MakeModel, grey: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Which class each preprocess leads to is worked out from the mean of the picture by hand."""
    limits = (-1.0, 0.2, 50.0)
    model = make_model(thresholds(*limits))
    right = {name: int(np.searchsorted(limits, mean_of(name))) for name in NAMED}
    assert right == {"imagenet": 1, "unit": 2, "signed": 1, "caffe": 0, "raw": 3}
    document, err = run(capsys, "predict", model, grey, grey, "--json")
    found = {x["preprocess"]: x["index"] for x in document["alternatives"]}
    assert found == {name: index for name, index in right.items() if index != 1}
    assert err.count("the top class would be") == 1
    assert f"{document['images'][0]['path']}: with preprocess unit the top class would be class 2 " in err
    assert ", with caffe class 0 " in err
    assert ", with raw class 3 " in err
    # The same is said wherever classes are shown, and each is what the model says when it is written into the file.
    for command, out in (("activations", "a"), ("report", "r.html")):
        other, err = run(capsys, command, model, grey, "-o", tmp_path / out, "--json")
        assert other["alternatives"] == document["alternatives"]
        assert "with preprocess unit the top class would be" in err
    for one in document["alternatives"]:
        named = tmp_path / f"{one['preprocess']}.onnx"
        annotate(model, named, preprocess=Preprocess.named(one["preprocess"], (8, 8)))
        best = open_model(named).predict(grey)[0]
        assert (best.index, best.probability) == (one["index"], one["probability"])


def test_nothing_is_said_or_run_where_nothing_changes(
    make_model: MakeModel, grey: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = make_model(thresholds(-1e6, -1e5))
    document, err = run(capsys, "predict", steady, grey, "--json")
    assert document["alternatives"] == []
    assert "the top class would be" not in err
    # A first node that divides by 255 leaves no choice, nor does --quiet ask for one, nor a document in the file.
    proven = make_model(lambda n, x: thresholds(-1.0)(n, n("Div", x, n.const(np.float32(255)))), name="proven.onnx")
    named = annotate(steady, steady.with_name("named.onnx"), preprocess="unit").path
    monkeypatch.setattr("inspector.model.alternatives._top_class", lambda *_: pytest.fail("it was run"))
    for words in ((proven, grey), (named, grey), (steady, grey, "--quiet")):
        assert "alternatives" not in run(capsys, "predict", *words, "--json")[0]
    monkeypatch.undo()
    # One channel has no caffe; what stays is tried.
    one = open_model(make_model(thresholds(0.2, 50.0), shape=(1, 1, 8, 8), name="one.onnx"))
    assert [x.preprocess for x in one.find_alternatives(grey) or ()] == ["imagenet", "signed", "raw"]
