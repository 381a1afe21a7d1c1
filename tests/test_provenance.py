"""One record of what made a file, in pictures, pages and JSON; and values as JSON can hold them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector import __version__
from inspector.pages.html import write_page
from inspector.provenance import Provenance
from inspector.render.png import save_png
from inspector.text import finite, to_json, to_plain, to_script

MADE = Provenance(
    "ab" * 32, "cd" * 32, layer="blocks.5", method="gradcam", seed=3, settings={"class": "tabby", "activation": 0.1}
)


def test_a_picture_says_what_made_it(tmp_path: Path) -> None:
    path = save_png(Image.new("RGB", (2, 2)), tmp_path / "a.png", MADE.png_info())
    with Image.open(path) as image:
        assert image.text == {  # type: ignore[attr-defined]
            "Software": f"inspector {__version__}",
            "Model": "ab" * 32,
            "Image": "cd" * 32,
            "Layer": "blocks.5",
            "Method": "gradcam",
            "Seed": "3",
            "Class": "tabby",
            "Activation": "0.1",
        }


def test_what_is_not_there_is_left_out_of_pictures_and_null_in_json() -> None:
    bare = Provenance("ab" * 32)
    assert set(bare.png_info()) == {"Software", "Model"}
    document = bare.to_json()
    assert document["tool"] == "inspector"
    assert document["version"] == __version__
    assert [document[key] for key in ("image", "layer", "method", "seed")] == [None] * 4
    assert set(MADE.to_json()) == set(document)


def test_a_copy_adds_settings_and_leaves_the_record_as_it_was() -> None:
    more = MADE.with_(layer="fc", settings={"channel": 7, "stuck": True})
    assert (more.layer, MADE.layer) == ("fc", "blocks.5")
    assert more.png_info()["Channel"] == "7"
    assert more.png_info()["Stuck"] == "yes"
    assert more.png_info()["Class"] == "tabby"
    assert "channel" not in MADE.settings


def test_a_page_holds_the_record_as_json(tmp_path: Path) -> None:
    from html import unescape
    from re import search

    made = MADE.with_(settings={"class": "<script>\"'&"})
    page = write_page(tmp_path / "index.html", "index", made, model="m.onnx", entries=[]).read_text("utf-8")
    found = search(r'<meta name="provenance" content="([^"]*)">', page)
    assert found
    assert json.loads(unescape(found[1])) == made.to_json()
    assert "<script" not in page


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (float("nan"), None),
        (-float("inf"), None),
        (np.float32(1.5), 1.5),
        (np.arange(3), [0, 1, 2]),
        (np.array([1.0, np.inf]), [1.0, None]),
        ({1: (True, None)}, {"1": [True, None]}),
        (Path("a") / "b", "a/b"),
    ],
)
def test_values_become_plain(value: object, plain: object) -> None:
    assert to_plain(value) == plain
    assert json.loads(to_json(value)) == plain


def test_a_script_ends_nowhere_else() -> None:
    assert "<" not in to_script({"a": "</script><!--"})
    assert json.loads(to_script({"a": "</script>"})) == {"a": "</script>"}
    assert finite(2.0) == 2.0
