"""open_image: every format and mode, upright and on white; and what it must refuse."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from inspector.errors import ImageError, UsageError
from inspector.image import Preprocess, digest_image, find_images, open_image
from inspector.image import open as image_module

RNG = np.random.default_rng(0)
COLOURS = Image.fromarray(RNG.integers(0, 256, (30, 41, 3), np.uint8))
SMOOTH = Image.fromarray(np.add.outer(np.arange(48), np.arange(64))[:, :, None].repeat(3, 2).astype(np.uint8))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def pixels(source: Any) -> np.ndarray:
    image = open_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}), ("WEBP", {"lossless": True}),
    ],
)  # fmt: skip
def test_lossless_formats(form: str, options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(pixels(saved(COLOURS, form, **options)), np.asarray(COLOURS))


@pytest.mark.parametrize(
    ("form", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {"quality": 95})]
)
def test_lossy_formats(form: str, options: dict[str, Any]) -> None:
    assert np.abs(pixels(saved(SMOOTH, form, **options)).astype(int) - np.asarray(SMOOTH)).max() < 12


def test_every_way_to_give_a_picture(tmp_path: Path) -> None:
    data = saved(COLOURS, "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), data, bytearray(data), memoryview(data), COLOURS,
                   np.asarray(COLOURS)):  # fmt: skip
        np.testing.assert_array_equal(pixels(source), np.asarray(COLOURS))


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "really-a-png.jpg").write_bytes(saved(COLOURS, "PNG"))
    np.testing.assert_array_equal(pixels(tmp_path / "really-a-png.jpg"), np.asarray(COLOURS))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_gives_the_same_tensor(orientation: int, form: str) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> Image.Transpose that stores it so
    stored = SMOOTH if orientation == 1 else SMOOTH.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    upright = pixels(saved(stored, form, exif=exif, **options))
    assert upright.shape == (48, 64, 3)
    assert np.abs(upright.astype(int) - np.asarray(SMOOTH)).max() <= (3 if form == "JPEG" else 0)
    # A tensor of exactly the same values, whatever way the file stores its rows.
    preprocess = Preprocess.named("imagenet", (32, 32))
    if form != "JPEG":
        np.testing.assert_array_equal(
            preprocess.tensor(open_image(saved(stored, form, exif=exif, **options))), preprocess.tensor(SMOOTH)
        )


def test_broken_exif_is_ignored() -> None:
    for exif in (b"Exif\0\0" + b"\xff" * 40, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0", b"\0"):
        np.testing.assert_array_equal(pixels(saved(COLOURS, "PNG", exif=exif)), np.asarray(COLOURS))


def test_grey_palette_and_bilevel() -> None:
    grey = COLOURS.convert("L")
    np.testing.assert_array_equal(pixels(saved(grey, "PNG")), np.asarray(grey)[:, :, None].repeat(3, 2))
    palette = COLOURS.quantize(16)
    np.testing.assert_array_equal(pixels(saved(palette, "PNG")), np.asarray(palette.convert("RGB")))
    bilevel = COLOURS.convert("1")
    expected = np.asarray(bilevel.convert("L"))[:, :, None].repeat(3, 2)
    np.testing.assert_array_equal(pixels(saved(bilevel, "TIFF", compression="group4")), expected)


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return colour * (alpha / 255) + 255 * (1 - alpha / 255)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(form: str) -> None:
    rgba = np.dstack([np.asarray(COLOURS), RNG.integers(0, 256, (30, 41), np.uint8)])
    data = saved(Image.fromarray(rgba), form, **({"lossless": True, "exact": True} if form == "WEBP" else {}))
    assert np.abs(pixels(data) - over_white(rgba[:, :, :3], rgba[:, :, 3:])).max() <= 1.01


def test_grey_with_alpha() -> None:
    la = RNG.integers(0, 256, (9, 8, 2), np.uint8)
    found = pixels(saved(Image.merge("LA", [Image.fromarray(la[:, :, i]) for i in (0, 1)]), "PNG"))
    assert np.abs(found - over_white(la[:, :, :1], la[:, :, 1:])).max() <= 1.01


def test_transparent_colours() -> None:
    palette = Image.new("P", (2, 2))
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 0, 0])
    palette.putdata([0, 1, 2, 3])
    found = pixels(saved(palette, "PNG", transparency=1))
    np.testing.assert_array_equal(found, [[[10, 20, 30], [255] * 3], [[70, 80, 90], [0, 0, 0]]])
    found = pixels(saved(palette, "PNG", transparency=bytes([255, 0, 255, 255])))
    np.testing.assert_array_equal(found[0, 1], [255] * 3)
    truecolour = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    np.testing.assert_array_equal(pixels(saved(truecolour, "PNG", transparency=(4, 5, 6))), [[[1, 2, 3], [255] * 3]])
    grey = Image.fromarray(np.array([[7, 9]], np.uint8))
    np.testing.assert_array_equal(pixels(saved(grey, "PNG", transparency=9)), [[[7] * 3, [255] * 3]])


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits(form: str) -> None:
    values = np.linspace(0, 65535, 300).astype(np.uint16).reshape(15, 20)
    found = pixels(saved(Image.fromarray(values), form))
    np.testing.assert_array_equal(found, np.rint(values / 257).astype(np.uint8)[:, :, None].repeat(3, 2))


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG by hand, for what Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bit_colour() -> None:
    values = RNG.integers(0, 65536, (4, 5, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    assert np.abs(pixels(png(5, 4, 16, 2, rows)).astype(int) - values / 257).max() <= 1


def test_floating_point_tiff() -> None:
    unit = RNG.random((6, 7), np.float32)
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(unit), "TIFF"))[:, :, 0], np.rint(unit * 255))
    bytes_ = (RNG.random((6, 7), np.float32) * 254 + 1).round()
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(bytes_), "TIFF"))[:, :, 0], bytes_)
    with pytest.raises(ImageError, match=r"pixel values from -1 to 0; convert it"):
        open_image(saved(Image.fromarray(np.float32([[0, -1]])), "TIFF"))
    with pytest.raises(ImageError, match="pixel values from nan"):
        open_image(saved(Image.fromarray(np.float32([[0, np.nan]])), "TIFF"))


def test_cmyk() -> None:
    found = pixels(saved(SMOOTH.convert("CMYK"), "JPEG", quality=98))
    assert np.abs(found.astype(int) - np.asarray(SMOOTH)).max() < 12
    np.testing.assert_array_equal(pixels(saved(SMOOTH.convert("CMYK"), "TIFF")), np.asarray(SMOOTH))


def test_the_first_of_several_frames() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for form, options in (("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(pixels(data)[0, 0], [255, 0, 0])


def test_arrays() -> None:
    array = np.asarray(COLOURS)
    np.testing.assert_array_equal(pixels(array[::2, ::-1]), array[::2, ::-1])
    np.testing.assert_array_equal(pixels(array[:, :, 0]), array[:, :, :1].repeat(3, 2))
    np.testing.assert_array_equal(pixels(array[:, :, :1]), array[:, :, :1].repeat(3, 2))
    for bad in (array.astype(float), array[None], array[:, :, :2], array[:0], np.zeros((0, 0), np.uint8)):
        with pytest.raises(ImageError, match=r"is not a picture; give a uint8 array of shape \(H, W, 3\)"):
            open_image(bad)


def test_pil_images_are_not_changed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(saved(COLOURS, "PNG", exif=exif)))
    assert open_image(image).size == (30, 41)
    assert image.size == (41, 30)
    truncated = Image.open(io.BytesIO(saved(COLOURS, "JPEG")[:-200]))
    with pytest.raises(ImageError, match="the picture is truncated or damaged"):
        open_image(truncated)


def test_one_pixel_and_4k() -> None:
    for size in ((1, 1), (1, 50), (3840, 2160)):
        image = Image.new("RGB", size, (10, 20, 30))
        for preprocess in (
            Preprocess.named("raw", (8, 6)),
            Preprocess(size=(8, 6), resize="shortest", resize_size=9, scale=1.0),
            Preprocess(size=(8, 6), resize="pad", scale=1.0, fill=(10, 20, 30)),
        ):
            tensor = preprocess.tensor(open_image(saved(image, "PNG")))
            assert tensor.shape == (1, 3, 8, 6)
            np.testing.assert_array_equal(tensor[0, :, 4, 3], [10, 20, 30])


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_refused(tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("this is no picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    gif = saved(COLOURS, "GIF")
    for source, message in (
        (text, f"{text} is not a picture that can be read; known formats: JPEG, PNG, WEBP, BMP, TIFF"),
        (empty, f"{empty} is empty (0 bytes)"),
        (b"", "the picture is empty (0 bytes)"),
        (tmp_path, f"{tmp_path} is a folder, not a picture"),
        (tmp_path / "none.jpg", f"there is no file {tmp_path / 'none.jpg'}; give the path of a picture or a folder"),
        (text / "x.jpg", f"{text / 'x.jpg'} cannot be read: Not a directory"),
        ("a\0b", "'a\\x00b' is not a path: embedded null byte"),
        (gif, "the picture is not a picture that can be read; known formats: JPEG, PNG, WEBP, BMP, TIFF"),
        (b"\x89PNG\r\n\x1a\n", "the picture is not a picture that can be read"),
        (saved(COLOURS, "PNG")[:-500], "the picture is truncated or damaged"),
    ):
        with pytest.raises(ImageError) as caught:
            open_image(source)
        assert str(caught.value).startswith(message), str(caught.value)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def enlarged(form: str) -> bytes:
    """A small file whose header says 60,000 x 60,000."""
    data = saved(COLOURS, form)
    for tag in (256, 257):  # TIFF: width and height, LONG or SHORT
        for kind in (3, 4):
            at = data.find(struct.pack("<HHI", tag, kind, 1))
            if form == "TIFF" and at >= 0:
                data = data[:at] + struct.pack("<HHII", tag, 4, 1, 60_000) + data[at + 12 :]
    if form == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data = data[:at] + struct.pack(">HH", 60_000, 60_000) + data[at + 4 :]
    return data


@pytest.mark.parametrize(
    "data",
    [
        enlarged("JPEG"),
        enlarged("TIFF"),
        png(60_000, 60_000, 8, 2, b"\0" * 1000),
        png(2**31 - 1, 2**31 - 1, 8, 2, b""),
        b"BM"
        + struct.pack("<IHHI", 1000, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
        + b"\0" * 900,
    ],
    ids=["jpeg", "tiff", "png", "png-2^62", "bmp"],
)
def test_size_is_judged_before_decoding(data: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(ImageError, match=r"the limit is 100 megapixels; scale it down first"):
        open_image(data)
    assert time.perf_counter() - start < 0.5


def test_a_small_file_of_many_pixels() -> None:
    data = saved(Image.new("L", (11_000, 11_000)), "PNG", optimize=True)
    assert len(data) < 150_000
    with pytest.raises(ImageError, match=r"11000 x 11000 pixels; the limit is 100 megapixels"):
        open_image(data)
    with pytest.raises(ImageError, match=r"has 41 x 30 pixels; the limit is 0.0001 megapixels"):
        open_image(saved(COLOURS, "PNG"), max_pixels=100)
    assert open_image(saved(COLOURS, "PNG"), max_pixels=np.int64(41 * 30)).size == (41, 30)


@pytest.mark.parametrize(("wrong", "text"), [
    ({"max_pixels": "5"}, "max_pixels cannot be '5' (str); give a whole number of 1 or more"),
    ({"max_pixels": float("nan")}, "max_pixels cannot be nan (float); give a whole number of 1 or more"),
    ({"max_pixels": True}, "max_pixels cannot be True (bool); give a whole number of 1 or more"),
    ({"max_pixels": None}, "max_pixels cannot be None (NoneType); give a whole number of 1 or more"),
    ({"max_pixels": 0}, "max_pixels 0 is out of range; give a whole number of 1 or more"),
    ({"warn": 3}, "warn cannot be 3 (int); give a function"),
])  # fmt: skip
def test_a_wrong_limit_is_said_of_the_limit(wrong: dict[str, Any], text: str) -> None:
    """And not of the picture, which is in order."""
    with pytest.raises(UsageError) as found:
        open_image(COLOURS, **wrong)
    assert str(found.value) == text


def test_compressed_metadata_cannot_explode() -> None:
    body = b"k\0\0" + zlib.compress(b"\0" * 100_000_000)
    bomb = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    data = png(1, 1, 8, 2, b"\0\1\2\3")
    with pytest.raises(ImageError, match="truncated or damaged"):
        open_image(data[:33] + bomb + data[33:])


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}),
        ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
    ],
)  # fmt: skip
def test_truncated_anywhere(form: str, options: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    data = saved(COLOURS, form, **options)
    whole = pixels(data)
    for length in range(0, len(data), 10):
        try:
            found = pixels(data[:length])
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        # All that is missing is what follows the last pixel.
        assert length > len(data) - 20
        np.testing.assert_array_equal(found, whole)
    assert capfd.readouterr() == ("", "")


def test_a_strip_is_not_blown_up() -> None:
    strip = Image.new("RGB", (1, 60_000))
    with pytest.raises(ImageError, match=r"1 x 60000 would be resized to 224 x 13440000; cut it"):
        Preprocess(size=(224, 224), resize="shortest").tensor(strip)


def test_find_images(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/c.tiff", "a/.hidden.png", ".git/d.png", "notes.txt", "e.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == ["a/c.tiff", "b.JPG", "e.webp"]


def test_digest(tmp_path: Path) -> None:
    data = saved(COLOURS, "PNG")
    (tmp_path / "x.png").write_bytes(data)
    assert digest_image(data) == digest_image(tmp_path / "x.png")
    assert digest_image(COLOURS) == digest_image(np.asarray(COLOURS))
    assert digest_image(np.zeros((2, 3), np.uint8)) != digest_image(np.zeros((3, 2), np.uint8))


def test_nothing_stays_open(tmp_path: Path, no_descriptor_leak: None) -> None:
    for form in ("PNG", "TIFF", "JPEG"):
        path = tmp_path / f"x.{form}"
        path.write_bytes(saved(COLOURS, form))
        kept = [open_image(path) for _ in range(5)]
        assert ImageOps.mirror(kept[-1]).size == COLOURS.size


def test_what_has_no_end_is_not_read_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(COLOURS, "PNG")
    monkeypatch.setattr(image_module, "MAX_FILE_BYTES", len(data))
    (tmp_path / "a.png").write_bytes(data)
    assert open_image(tmp_path / "a.png").size == COLOURS.size
    (tmp_path / "b.png").write_bytes(data + b"0")
    for source in (tmp_path / "b.png", data + b"0", "/dev/zero"):
        with pytest.raises(ImageError, match=r"has more than .* MB, the limit for a picture's file"):
            open_image(source)
    with pytest.raises(ImageError, match="the limit"):
        digest_image("/dev/zero")


@pytest.mark.parametrize(("bits", "said"), [(8, True), (10, True), (12, True), (14, False), (16, False)])
def test_a_camera_of_fewer_bits_is_said(bits: int, said: bool, tmp_path: Path) -> None:
    """Values up to 2 ** bits in 16 bits; grey by Pillow, and three channels written by hand."""
    values = np.linspace(0, 2**bits - 1, 300).astype(np.uint16).reshape(15, 20)
    grey = tmp_path / "grey.png"
    Image.fromarray(values).save(grey)
    lines: list[str] = []
    open_image(grey, warn=lines.append)
    expected = (
        f"{grey} has 16 bits and no value above {2**bits - 1}, as a camera of {bits} bits writes them: it is taken as "
        f"nearly black; multiply its values by {2 ** (16 - bits)}"
    )
    assert lines == ([expected] if said else [])
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in values)
    lines.clear()
    open_image(png(20, 15, 16, 2, rows), warn=lines.append)
    assert len(lines) == (1 if said and bits > 8 else 0)  # of 8 bits Pillow keeps nothing that could be told from black
    lines.clear()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(grey)
    open_image(grey, warn=lines.append)
    open_image(COLOURS, warn=lines.append)
    assert lines == []
