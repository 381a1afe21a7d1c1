import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.errors import OutputError
from inspector.render.grid import draw_grid
from inspector.render.png import save_png
from tests.render.pictures import gradient


def sheet(shape=(20, 14, 14)):
    return draw_grid(np.random.default_rng(0).normal(size=shape).astype(np.float32), title="t")


@pytest.mark.parametrize("shape", [(20, 14, 14), (4, 112, 112), (1, 1, 1)])
def test_a_sheet_comes_back_as_it_was(tmp_path, shape):
    image = sheet(shape)
    path = save_png(image, tmp_path / "a.png", {"layer": "features.0"})
    with Image.open(path) as back:
        assert back.mode == "P"
        assert back.tobytes() == image.tobytes()
        assert back.getpalette() == image.getpalette()


def test_what_made_the_picture_is_inside(tmp_path):
    text = {
        "Model": "sha256:abc",
        "Layer": "features/0",
        "Label": "大象",
        "Seed": "0",
        "Odd\0 key" * 20: "a\0b\udcffc",
    }
    path = save_png(gradient(9, 9), tmp_path / "a.png", text)
    with Image.open(path) as back:
        back.load()
        assert {k: back.text[k] for k in ("Model", "Layer", "Label", "Seed")} == {
            k: text[k] for k in ("Model", "Layer", "Label", "Seed")
        }
        assert "a b?c" in back.text.values()


def test_the_same_picture_gives_the_same_bytes(tmp_path):
    one, two = (save_png(sheet(), tmp_path / name, {"a": "b"}).read_bytes() for name in ("1.png", "2.png"))
    assert one == two
    assert b"tIME" not in one


def test_nothing_of_a_photograph_is_carried_along(tmp_path):
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    gradient(9, 9).save(stream, "JPEG", exif=exif, icc_profile=b"profile" * 30, dpi=(300, 300))
    with Image.open(stream) as photograph:
        written = save_png(photograph, tmp_path / "a.png").read_bytes()
        assert photograph.info
    for chunk in (b"eXIf", b"iCCP", b"pHYs", b"secret"):
        assert chunk not in written


def test_a_failed_write_leaves_nothing_and_keeps_what_was(tmp_path, monkeypatch):
    path = save_png(gradient(9, 9), tmp_path / "a.png")
    before = path.read_bytes()

    def full(self, target, *args, **kwargs):
        with Path.open(target, "wb") as stream:
            stream.write(b"half")
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: full(None, self))
    for image in (sheet(), gradient(9, 9)):
        with pytest.raises(OutputError, match="the disk is full"):
            save_png(image, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
