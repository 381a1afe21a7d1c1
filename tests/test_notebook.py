"""Results show themselves in a notebook: one is executed, and its outputs are looked at."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inspector.notebook import MOST_PICTURES, show_bars, show_pictures, show_table, show_verdict
from tests.conftest import DEFAULT_MODEL, PHOTO, ROOT, require

CELLS = {
    "open": f"import inspector\nmodel = inspector.open_model({str(DEFAULT_MODEL)!r})\nphoto = {str(PHOTO)!r}\nNone",
    "layers": "model.layers",
    "predictions": "model.predict(photo)",
    "activations": 'model.activations(photo, ["blocks.1.swish", "fc"])',
    "maps": 'model.cam(photo, classes=["Egyptian cat", "tabby"])',
    "map": "model.cam(photo)[0]",
    "command": "inspector.predict(model, [photo, photo])",
    "sheets": 'inspector.draw_activations(model, photo, "out", layers=["blocks.1.swish"])',
    "overlays": 'inspector.draw_maps(model, photo, "out")',
    "verdict": "inspector.audit(model)",
    "doctor": "inspector.doctor()",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Cell -> what it shows, by mime type."""
    for package in ("nbclient", "nbformat", "ipykernel"):
        require(package)
    import nbformat
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    folder = tmp_path_factory.mktemp("notebook")
    notebook = new_notebook(cells=[new_code_cell(code) for code in CELLS.values()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    nbformat.validate(notebook)
    (folder / "shown.ipynb").write_text(nbformat.writes(notebook), "utf-8")
    return {
        name: dict(cell.outputs[-1].data) if cell.outputs else {}
        for name, cell in zip(CELLS, notebook.cells, strict=True)
    }


def pictures(html: str) -> list[Image.Image]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


# A kernel of its own, and every import anew.
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_notebook_shows(outputs: dict[str, dict[str, Any]]) -> None:
    assert outputs["open"] == {}
    for name in set(CELLS) - {"open", "map"}:
        assert set(outputs[name]) == {"text/html", "text/plain"}, name
    html = {name: data.get("text/html", "") for name, data in outputs.items()}
    assert html["layers"].count("<tr") == 94
    assert "240 x 28 x 28" in html["layers"]
    assert "Egyptian cat" in html["predictions"]
    assert re.search(r"width:7\d\.\d%", html["predictions"])
    assert [x.mode for x in pictures(html["activations"])] == ["P", "P"]
    assert len(pictures(html["maps"])) == 2
    assert "tabby" in html["maps"]
    assert html["command"].count("chelsea.jpg") == 2
    assert len(pictures(html["sheets"])) == 1
    assert len(pictures(html["overlays"])) == 1
    assert re.search(r"<strong>(passed|not fit to ship)", html["verdict"])
    assert "onnxruntime" in html["doctor"]
    assert set(outputs["map"]) == {"image/png", "text/plain"}
    shown = Image.open(io.BytesIO(base64.b64decode(outputs["map"]["image/png"])))
    assert shown.width > 600


def test_labels_are_escaped() -> None:
    evil = "<script>alert(1)</script>"
    for html in (
        show_bars([(evil, 0.5)], evil),
        show_table((evil,), [(evil,)], evil),
        show_verdict(True, evil, [{"status": "pass", "id": evil, "message": evil}]),
        show_pictures([(evil, b"")], evil),
    ):
        assert "<script" not in html
        assert "&lt;script" in html


def test_numbers_that_are_none() -> None:
    html = show_bars([("a", float("nan")), ("b", None), ("c", 2.0)])
    assert html.count("not finite") == 2
    assert "width:100.0%" in html


def test_of_many_pictures_some_are_shown(tmp_path: Path) -> None:
    html = show_pictures([(f"layer {n}", b"png") for n in range(90)])
    assert html.count("<img") <= MOST_PICTURES
    assert "more are in the folder" in html
    assert "is not there any more" in show_pictures([("gone", tmp_path / "gone.png")])
