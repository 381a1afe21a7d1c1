import io

import numpy as np
import pytest
from PIL import Image

from inspector import files
from inspector.errors import OutputError
from inspector.render import png
from inspector.render.grid import draw_grid, draw_map_sheet
from inspector.render.png import encode_sprite, save_png
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

    class Full(io.FileIO):
        def write(self, data):
            super().write(data[:4])
            raise OSError(28, "No space left on device")

    for module in (files, png):
        monkeypatch.setattr(module, "open_part", lambda temporary: Full(temporary, "r+"))
    for image in (sheet(), gradient(9, 9)):
        with pytest.raises(OutputError, match="the disk is full"):
            save_png(image, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


# One pixel; noise; rows that come twice, at the edge of a band too; a row longer than a band; all alike.
PICTURES = {
    "one": np.full((1, 1), 7, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (300, 1100), np.uint8),
    "squares": np.random.default_rng(1).integers(0, 256, (90, 70), np.uint8).repeat(11, axis=0).repeat(9, axis=1),
    "long": np.random.default_rng(2).integers(0, 256, (3, png._BAND + 5), np.uint8).repeat(2, axis=0),
    "plain": np.zeros((700, 500), np.uint8),
    "ramp": np.add.outer(np.arange(400), np.arange(300)).astype(np.uint8),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("quick", [True, False], ids=["isal", "pillow"])
def test_every_picture_of_a_palette_comes_back(tmp_path, monkeypatch, name, quick):
    if not quick:
        monkeypatch.setattr(png, "isal_zlib", None)
    image = Image.fromarray(PICTURES[name])
    image.putpalette(np.random.default_rng(3).integers(0, 256, 768, np.uint8).tobytes())
    with Image.open(save_png(image, tmp_path / "a.png", {"a": "b"})) as back:
        assert back.mode == "P"
        assert back.text == {"a": "b"}
        assert back.tobytes() == PICTURES[name].tobytes()
        assert back.getpalette() == image.getpalette()


@pytest.mark.parametrize("filter", [png._PLAIN, png._LEFT, png._ABOVE])
@pytest.mark.parametrize("name", PICTURES)
def test_every_filter_is_undone_by_other_readers(tmp_path, monkeypatch, name, filter):
    monkeypatch.setattr(png, "_choose_filter", lambda pixels, make, step: filter)
    with Image.open(io.BytesIO(encode_sprite(PICTURES[name]))) as back:
        assert back.mode == "L"
        assert back.tobytes() == PICTURES[name].tobytes()


@pytest.mark.parametrize("shape", [(40, 14, 14), (12, 112, 112), (300, 7, 7)])
def test_a_sheet_is_no_larger_than_pillow_makes_it(tmp_path, monkeypatch, shape):
    quick = save_png(sheet(shape), tmp_path / "a.png").stat().st_size
    monkeypatch.setattr(png, "isal_zlib", None)
    # Of small sheets the frequencies of the values, which each block states, are up to 2 %.
    assert quick <= 1.02 * save_png(sheet(shape), tmp_path / "b.png").stat().st_size


@pytest.mark.parametrize("filter", [png._PLAIN, png._LEFT, png._ABOVE, None])
@pytest.mark.parametrize("size", [(1, 1), (2, 400), (301, 200), (png._BAND // 3 + 1, 2)])
def test_colors_come_back(tmp_path, monkeypatch, size, filter):
    if filter is not None:
        monkeypatch.setattr(png, "_choose_filter", lambda pixels, make, step: filter)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    pixels[size[1] // 2 :] = pixels[0]
    with Image.open(save_png(Image.fromarray(pixels), tmp_path / "a.png", {"a": "b"})) as back:
        assert (back.mode, back.text) == ("RGB", {"a": "b"})
        assert back.tobytes() == pixels.tobytes()


@pytest.mark.parametrize("band", [1, 900, png._BAND])
def test_enlarged_sheets_come_back_with_what_is_known_of_their_rows(tmp_path, monkeypatch, band):
    monkeypatch.setattr(png, "_BAND", band)
    maps = np.random.default_rng(1).normal(size=(70, 5, 6)).astype(np.float32)
    maps[[3, 40]] = 1  # hatched, across the squares beside them
    drawn = draw_map_sheet(maps, title="a")
    rows = drawn.pixels
    assert set(drawn.repeats.tolist()) == {0, png.SAME, png.ALIKE}
    assert all((rows[y] == rows[y - 1]).all() for y in np.flatnonzero(drawn.repeats == png.SAME))
    assert any((rows[y] != rows[y - 1]).any() for y in np.flatnonzero(drawn.repeats == png.ALIKE))
    with Image.open(save_png(drawn, tmp_path / "a.png")) as back:
        assert back.tobytes() == rows.tobytes()


def test_few_colors_are_left_to_pillow(tmp_path):
    few = Image.fromarray(np.uint8([[0, 1], [1, 0]]))
    few.putpalette([0, 0, 0, 255, 0, 0])
    for image in (few, gradient(9, 9)):
        with Image.open(save_png(image, tmp_path / "a.png")) as back:
            assert back.convert("RGB").tobytes() == image.convert("RGB").tobytes()
