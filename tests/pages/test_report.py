"""What goes into the page: sprites, numbers, parts of other commands; nothing that leaves the file."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inspector import open_model
from inspector.cam import prepare
from inspector.errors import ImageError, LayerNotFound, NotComputable, UsageError
from inspector.layers.statistics import statistics
from inspector.pages.report import Report, write_report
from inspector.pages.report.parts import audit_part, draw_confusion_part, draw_filters_part
from inspector.pages.report.sprites import SPRITE_LEVELS, make_sprite
from tests.conftest import MakeModel
from tests.foreign import Net
from tests.pages.documents import write_audit, write_filters
from tests.test_cli import call


def tiles(sprite: str, tile: tuple[int, int], channels: int) -> np.ndarray:
    """The levels of every channel, by a reading of the layout of its own."""
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sprite))))
    h, w = tile
    across = sheet.shape[1] // w
    found = [sheet[c // across * h :, c % across * w :][:h, :w] for c in range(channels)]
    return np.stack(found)


def embedded(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    document: dict[str, Any] = json.loads(found[1])
    return document


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 70), st.integers(1, 60), st.integers(1, 60), st.sampled_from([7, 14, 28, 56]), st.integers(0, 2**31)
)
def test_a_sprite_gives_the_values_back(channels: int, height: int, width: int, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = np.maximum(rng.normal(0.3, 1, (channels, height, width)), 0).astype(np.float32)
    sprite, tile = make_sprite(maps, statistics(maps), side)
    assert max(tile) <= side
    levels = tiles(sprite, tile, channels)
    factor = -(-max(height, width) // side)
    for c in range(channels):
        low, high = float(maps[c].min()), float(maps[c].max())
        for y in range(tile[0]):
            for x in (0, tile[1] - 1):
                block = maps[c, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
                if (block == 0).all():
                    assert levels[c, y, x] == 0
                else:
                    value = low + (int(levels[c, y, x]) - 1) / SPRITE_LEVELS * (high - low)
                    assert abs(value - block.mean()) <= (high - low) / SPRITE_LEVELS / 2 * 1.001 + 1e-6


def test_what_is_not_finite_has_a_level_of_its_own() -> None:
    maps = np.ones((2, 4, 4), np.float32)
    maps[0, 1, 2], maps[1, 0, 0] = np.nan, np.inf
    maps[1, 3, 3] = -2
    levels = tiles(*make_sprite(maps, statistics(maps), 28), 2)
    assert levels[0, 1, 2] == levels[1, 0, 0] == 255
    assert (levels == 255).sum() == 2
    assert levels[1, 3, 3] == 1


def test_the_page_is_one_file_that_asks_for_nothing(page: Report) -> None:
    text = page.path.read_text("utf-8")
    assert page.size == len(text.encode()) < 12_000_000

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.addresses: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("link", "iframe", "object", "embed", "base")
            for key, value in attrs:
                if key in ("src", "href", "srcset", "action", "data"):
                    self.addresses.append(value or "")

    reader = Reader()
    reader.feed(text)
    assert all(a.startswith(("data:", "#")) for a in reader.addresses)
    style_and_script = re.sub(r"<script type=.*?</script>", "", text, flags=re.S)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", style_and_script)
    assert "default-src 'none'" in text


def test_numbers_on_the_page_are_those_of_the_network(page: Report, default_model: Path, photo: Path) -> None:
    document = embedded(page.path.read_text("utf-8"))
    model = open_model(default_model)
    values = model.activations(photo)
    assert [x["name"] for x in document["layers"]] == [x.name for x in model.layers]
    at = 0
    raw = base64.b64decode(page.pictures[0].channels)
    for layer, entry in zip(model.layers, document["images"][0]["layers"], strict=True):
        one = values[layer.name][0]
        count = one.shape[0]
        assert entry["shape"] == list(one.shape)
        assert entry["zero"] == pytest.approx((one == 0).mean())
        assert entry["mean"] == pytest.approx(one.mean(), rel=1e-3, abs=1e-4)
        low = np.frombuffer(raw, "<f4", count, at)
        high = np.frombuffer(raw, "<f4", count, at + 4 * count)
        share = np.frombuffer(raw, "<u2", count, at + 8 * count)
        zero = np.frombuffer(raw, "<u2", count, at + 12 * count)
        flat = one.reshape(count, -1)
        np.testing.assert_array_equal(low, flat.min(axis=1))
        np.testing.assert_array_equal(high, flat.max(axis=1))
        np.testing.assert_allclose(low + share / 65535 * (high - low), flat.mean(axis=1), atol=2e-3 * np.ptp(one))
        np.testing.assert_allclose(zero / 65535, (flat == 0).mean(axis=1), atol=1e-4)
        at += 14 * count
    assert at == len(raw)
    top = document["images"][0]["top"]
    assert [x["label"] for x in top] == [p.label for p in model.predict(photo)]
    [cam] = model.cam(photo, method="gradcam")
    shown = next(x for x in document["images"][0]["cams"] if x["method"] == "gradcam")
    np.testing.assert_allclose(np.reshape(shown["map"], shown["shape"]), cam.heatmap, atol=1e-4)


def test_what_channels_add_sums_to_the_score(default_model: Path, photo: Path) -> None:
    model = open_model(default_model)
    engine = prepare(model, "gradcam")
    found = engine.relevance(photo, top=3)
    weights = model.graph.weight(next(n for n in model.graph.initializers if n.endswith("fc.weight")))
    pooled = model.activations(photo, ["swish_1"])["swish_1"][0].mean(axis=(1, 2))
    for values, prediction in zip(found, model.predict(photo), strict=True):
        row = weights[prediction.index] if weights.shape[0] == 1000 else weights[:, prediction.index]
        np.testing.assert_allclose(values, row * pooled, atol=1e-4)


def test_hostile_names_stay_text(make_model: MakeModel, tmp_path: Path, plain: np.ndarray) -> None:
    evil = "</script><img src=x onerror=alert(1)>\ud800"
    path = make_model(lambda n, x: n("Relu", n.conv(x, 3, 4, out="c"), out="</script><b>r"))
    made = write_report(open_model(path), [(evil, plain)], tmp_path / "r.html")
    text = made.path.read_text("utf-8")
    assert "<img src=x" not in text
    assert "<b>r" not in text
    assert embedded(text)["images"][0]["name"].startswith("</script>")


def test_a_network_without_classes_and_other_shapes(make_model: MakeModel, tmp_path: Path, plain: np.ndarray) -> None:
    def build(n: Net, x: str) -> str:
        wide = n("Relu", n.conv(x, 3, 5, out="c"), out="r")
        return n("Relu", n.conv(wide, 5, 300, 1, out="d"), out="e")

    path = make_model(build, shape=(1, 3, 32, 40))
    made = write_report(open_model(path), [("a", plain), ("b", plain[:20])], tmp_path / "r.html")
    document = embedded(made.path.read_text("utf-8"))
    shapes = [[x["shape"] for x in image["layers"]] for image in document["images"]]
    assert shapes[0] == shapes[1]
    assert [x[0] for x in shapes[0]] == [5, 5, 300, 300]
    assert document["images"][0]["cams"] == []
    assert "no classification output" in document["notes"][0]


def test_a_head_that_no_gradient_goes_through(
    make_model: MakeModel, tmp_path: Path, plain: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out at the first map, as for a recurrent layer in integers: the page shows all else, and says why."""

    class Engine:
        def maps(self, *_: object, **__: object) -> None:
            raise NotComputable("the twin cannot compute 'y': DynamicQuantizeLSTM")

    def build(n: Net, x: str) -> str:
        y = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(x, 3, 4))), axis=1)
        return n("Gemm", y, n.weight((3, 4)), n.weight((3,)), transB=1, out="y")

    model = open_model(make_model(build, outputs={"y": (1, 3)}))
    monkeypatch.setattr("inspector.cam.prepare_maps", lambda *_: Engine())
    document = embedded(write_report(model, [("a", plain)], tmp_path / "r.html").path.read_text("utf-8"))
    assert document["images"][0]["cams"] == []
    assert len(document["images"][0]["top"]) == 3
    assert "No gradcam: the twin cannot compute 'y': DynamicQuantizeLSTM." in document["notes"]


def test_many_pictures_are_drawn_smaller(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (56, 56, 3), np.uint8)
    path = make_model(lambda n, x: n("Relu", n.conv(x, 3, 600, out="c"), out="r"), shape=(1, 3, 56, 56))
    monkeypatch.setattr("inspector.pages.report.collect.BUDGET", 2_000_000)
    model = open_model(path)
    one = write_report(model, [("a", noise)], tmp_path / "one.html")
    many = write_report(model, [(str(i), noise) for i in range(4)], tmp_path / "many.html")
    assert one.size < 2e6
    assert many.size < 2e6
    assert embedded(one.path.read_text("utf-8"))["layers"][0]["tile"] == [28, 28]
    assert embedded(many.path.read_text("utf-8"))["layers"][0]["tile"][0] < 28


def test_bad_asks(default_model: Path, photo: Path, tmp_path: Path, make_model: MakeModel) -> None:
    bare = open_model(make_model(lambda n, x: n("Neg", n("Flatten", x), out="n")))
    with pytest.raises(UsageError, match="has no layers to show"):
        write_report(bare, [("a", photo)], tmp_path / "r.html")
    model = open_model(default_model)
    with pytest.raises(UsageError, match="at least one picture"):
        write_report(model, [], tmp_path / "r.html")
    with pytest.raises(UsageError, match="top 0 is less than 1"):
        write_report(model, [("a", photo)], tmp_path / "r.html", top=0)
    with pytest.raises(LayerNotFound, match="nearest"):
        write_report(model, [("a", photo)], tmp_path / "r.html", layers=["nothing.like.it"])
    with pytest.raises(ImageError):
        write_report(model, [("a", tmp_path / "none.jpg")], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_parts_of_other_commands(tmp_path: Path, photo: Path) -> None:
    found = audit_part(write_audit(tmp_path, "ab"), "ab")
    assert found["verdict"] == "fail"
    assert found["summary"] == "2 checks: 1 pass, 1 fail"
    assert found["findings"] == ["fail: 3 <dead> channels"]
    assert audit_part(write_audit(tmp_path, "ab", passed=True), "ab")["verdict"] == "pass"
    patterns = draw_filters_part(write_filters(tmp_path, "ab", "l", photo), "ab")
    assert set(patterns["l"]) == {"17"}, "a stuck channel has no pattern"
    assert len(patterns["l"]["17"]) == 4
    (tmp_path / "no.json").write_text("[1]")
    with pytest.raises(UsageError, match="is not a document of inspector audit --json"):
        audit_part(tmp_path / "no.json", "ab")
    with pytest.raises(UsageError, match="cannot be read as JSON"):
        draw_filters_part(tmp_path / "missing.json", "ab")
    with pytest.raises(UsageError, match=r"holds no confusion\.png"):
        draw_confusion_part(tmp_path)


def test_documents_of_another_model_are_refused(tmp_path: Path, photo: Path) -> None:
    with pytest.raises(UsageError, match=r"audit\.json is about another model, SHA-256 ab…; this one is cd…"):
        audit_part(write_audit(tmp_path, "ab"), "cd")
    with pytest.raises(UsageError, match=r"filters\.json is about another model.*run `inspector filters` on this"):
        draw_filters_part(write_filters(tmp_path, "ab", "l", photo), "cd")


@pytest.mark.parametrize("lost", ["channels", "layer", "model", "channel", "value", "image"])
def test_documents_that_lack_something_are_refused(lost: str, tmp_path: Path, photo: Path) -> None:
    path = write_filters(tmp_path, "ab", "l", photo)
    document = json.loads(path.read_text("utf-8"))
    [first, _] = document["channels"]
    for holder in (document, first, first["patches"][0]):
        if lost in holder and not (lost == "image" and holder is first):
            del holder[lost]
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(UsageError, match=f"is not as inspector filters --json writes it: KeyError '{lost}'"):
        draw_filters_part(path, "ab")
    document["channels"] = 7
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(UsageError, match="is not as inspector filters --json writes it"):
        draw_filters_part(path, "ab")


def test_a_channel_without_finite_elements_is_not_constant(
    make_model: MakeModel, tmp_path: Path, plain: np.ndarray
) -> None:
    def build(n: Net, x: str) -> str:
        weights = np.array([1, np.nan, 0], np.float32).reshape(3, 1, 1, 1) * np.ones((1, 3, 1, 1), np.float32)
        return n("Conv", x, n.const(weights), out="c")

    made = write_report(open_model(make_model(build)), [("a", plain)], tmp_path / "r.html")
    [entry] = embedded(made.path.read_text("utf-8"))["images"][0]["layers"]
    assert entry["blank"] == [2]
    low, high = np.frombuffer(base64.b64decode(made.pictures[0].channels), "<f4", 6).reshape(2, 3)
    assert np.isnan(low[1])
    assert np.isnan(high[1])
    assert np.isfinite(low[[0, 2]]).all()


def test_the_command(
    tmp_path: Path,
    default_model: Path,
    photo: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "broken.jpg").write_bytes(photo.read_bytes()[:500])
    out = tmp_path / "page.html"
    arguments = ["report", default_model, photo, tmp_path / "broken.jpg", "--layer", "fc", "-o", out]
    code, said, err = call(
        capsys, *arguments, "--audit", write_audit(tmp_path, open_model(default_model).sha256), "--json"
    )
    assert code == 0, err
    found = json.loads(said)
    assert found["bytes"] == out.stat().st_size
    assert [x["top"][0]["label"] for x in found["images"]] == ["Egyptian cat"]
    assert [Path(x["path"]).name for x in found["skipped"]] == ["broken.jpg"]
    assert "3 &lt;dead&gt; channels" in out.read_text("utf-8")
    code, _, err = call(capsys, "report", default_model, tmp_path / "broken.jpg", "-o", tmp_path / "none.html")
    assert code == 2
    assert err.count("\n") == 1
    assert not (tmp_path / "none.html").exists()
    code, _, err = call(capsys, "report", default_model, *[tmp_path / "broken.jpg"] * 2, "-o", tmp_path / "none.html")
    assert code == 2
    assert "none of 2 pictures could be read; the first: " in err
    (tmp_path / "empty").mkdir()
    code, _, err = call(capsys, "report", default_model, tmp_path / "empty", "-o", tmp_path / "none.html")
    assert code == 2
    assert "holds no pictures" in err
    code, _, err = call(
        capsys, "report", default_model, photo, "--audit", write_audit(tmp_path, "ab"), "-o", tmp_path / "none.html"
    )
    assert code == 2
    assert "about another model" in err
    assert not (tmp_path / "none.html").exists()
    code, _, err = call(capsys, "report", default_model, *[photo] * 25, "-o", tmp_path / "none.html")
    assert code == 2
    assert "at most 24 pictures" in err
