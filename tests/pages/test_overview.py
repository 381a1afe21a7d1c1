import re
from html.parser import HTMLParser

import numpy as np
import pytest

from inspector.errors import OutputError
from inspector.pages import overview as page
from inspector.pages.overview import IndexEntry, Overview, PageLayer, write_index, write_overview
from inspector.provenance import Provenance
from inspector.render.grid import draw_grid
from inspector.render.png import save_png
from tests.render.pictures import gradient

EVIL = "<script>alert('x')</script>&\"/"


class Reader(HTMLParser):
    """Tags and attributes of a page, and whether everything that is opened is closed."""

    VOID = frozenset({"meta", "img", "link", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def layer(name="features.0", **more):
    values = {"kind": "activation", "shape": (8, 14, 14), "low": -1.0, "high": 6.0, "mean": 0.5, "std": 1.25}
    return PageLayer(name=name, **{**values, "zero_fraction": 0.25, "constant": 2, **more})


def written(folder, **more):
    arguments = {
        "model": "m.onnx",
        "picture": gradient(120, 80),
        "picture_name": "cat.png",
        "provenance": Provenance("5a" * 32),
        "predictions": [],
    }
    path = write_overview(folder, Overview(**{**arguments, "layers": [layer()], **more}))
    text = path.read_text(encoding="utf-8")
    return text, Reader(text)


def test_the_page_says_what_there_is(tmp_path):
    text, read = written(
        tmp_path,
        predictions=[("tabby", 0.75), ("tiger cat", 0.2)],
        layers=[layer(), layer("features.1", constant=None, grid="1.png", grid_size=(300, 200))],
        facts={"Model": "sha256:abc"},
        notes=["assumed: RGB"],
    )
    words = " ".join(read.words)
    for expected in (
        "m.onnx",
        "cat.png",
        "120 × 80",
        "tabby",
        "75.0 %",
        "tiger cat",
        "features.1",
        "8 × 14 × 14",
    ):
        assert expected in words
    for expected in ("-1", "6", "0.5", "1.25", "25.0 %", "sha256:abc", "assumed: RGB", "No sheet was drawn"):
        assert expected in words
    assert not read.open
    assert (tmp_path / "depth.png").exists()
    assert (tmp_path / "picture.png").exists()
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_links_lead_somewhere_and_nothing_is_fetched(tmp_path):
    grid = draw_grid(np.random.default_rng(0).normal(size=(4, 7, 7)), title="t")
    save_png(grid, tmp_path / "a b#1?.png")
    text, read = written(tmp_path, layers=[layer(grid="a b#1?.png", grid_size=grid.size), layer("b")])
    ids = {attributes["id"] for _, attributes in read.tags if "id" in attributes}
    for attributes in read.all("a"):
        target = attributes["href"]
        assert target[1:] in ids if target.startswith("#") else target == "a%20b%231%3F.png"
    sources = [attributes["src"] for attributes in read.all("img")]
    assert sources == ["picture.png", "depth.png", "a%20b%231%3F.png"]
    assert not re.search(r"(https?:)?//", re.sub(r"<!doctype html>", "", text))
    sheet = read.all("img")[-1]
    assert sheet["loading"] == "lazy"
    assert (sheet["width"], sheet["height"]) == tuple(map(str, grid.size))
    assert all("width" in image and "height" in image and image["alt"] for image in read.all("img"))


def test_whatever_a_file_calls_itself_is_text(tmp_path):
    names = [EVIL, "a\udcffb", "大象", "x" * 500, "&amp;"]
    text, read = written(
        tmp_path,
        model=EVIL,
        picture_name=EVIL,
        predictions=[(EVIL, 0.5), ("nan", float("nan")), ("inf", 2.0)],
        layers=[layer(name, kind=EVIL, grid=f"{n}{EVIL}.png") for n, name in enumerate(names)],
        facts={EVIL: EVIL},
        notes=[EVIL],
    )
    assert not read.all("script")
    assert not read.open
    assert "<script" not in text
    assert EVIL in " ".join(read.words)
    tags = {tag for tag, _ in read.tags}
    assert tags <= set(
        "html head meta title style body header h1 p a div figure img figcaption section h2 h3".split()
    ) | set("ol li span i table thead tbody tr th td small footer dl dt dd".split())


def test_a_page_without_layers_and_one_with_a_thousand(tmp_path):
    _, read = written(tmp_path / "none", layers=[])
    assert [image["src"] for image in read.all("img")] == ["picture.png"]
    _, read = written(tmp_path / "many", layers=[layer(f"l{n}") for n in range(1000)])
    assert len(read.all("section")) == 1003


def test_the_same_arguments_give_the_same_folder(tmp_path):
    for name in ("a", "b"):
        written(tmp_path / name)
    for file in ("index.html", "picture.png", "depth.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_page_comes_last(tmp_path, monkeypatch):
    def refuse(image, path, *rest, **more):
        raise OutputError(f"cannot write {path}: the disk is full")

    monkeypatch.setattr(page, "save_png", refuse)
    with pytest.raises(OutputError, match="disk is full"):
        written(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_index_leads_to_every_page(tmp_path):
    entries = [
        IndexEntry(f"{EVIL}{n}", f"a b{n}/index.html", f"a b{n}/picture.png", [("tabby", 0.5)]) for n in range(3)
    ]
    found = Reader(write_index(tmp_path, model="m.onnx", entries=entries).read_text(encoding="utf-8"))
    assert [a["href"] for a in found.all("a")] == [f"a%20b{n}/index.html" for n in range(3)]
    assert [a["src"] for a in found.all("img")] == [f"a%20b{n}/picture.png" for n in range(3)]
    assert not found.all("script")
    assert found.open == []
    assert "3 pictures through m.onnx" in found.words
    assert "tabby 50.0 %" in " ".join(found.words)


def test_on_a_phone_the_zeros_come_first_and_sheets_keep_a_width_to_scroll(tmp_path):
    text, found = written(tmp_path, layers=[layer(grid="000-features.0.png", grid_size=(1900, 800))])
    heads = [w for w in found.words if w in ("layer", "zeros", "constant", "kind", "shape")]
    assert heads == ["layer", "zeros", "constant", "kind", "shape"]
    assert ".sheet img { max-width: max(100%, 820px); }" in text
    [link] = [a for a in found.all("a") if a["href"] == "000-features.0.png"]
    assert link["class"] == "wide"  # which scrolls
    assert re.search(r"\.wide \{[^}]*overflow-x: auto", text)
