"""From the tensor back to the picture: the inverse of the way there, whatever the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from inspector.image import MapsBack, Preprocess, open_image

SIDES = st.integers(1, 400)


@st.composite
def preprocesses(draw: st.DrawFn) -> Preprocess:
    resize = draw(st.sampled_from(["stretch", "shortest", "pad", "none"]))
    size = draw(st.none() | st.tuples(st.integers(8, 96), st.integers(8, 96)))
    if resize == "shortest" and size is None:
        size = (32, 48)
    longer = draw(st.none() | st.integers(40, 90)) if resize == "shortest" and size else None
    place, stride = draw(st.sampled_from(["centre", "corner"])), draw(st.sampled_from([1, 8, 32]))
    return Preprocess(size=size, resize=resize, resize_size=longer, place=place, stride=stride, filter="nearest")


@settings(max_examples=120)
@given(preprocesses(), SIDES, SIDES)
@example(Preprocess(size=(64, 64), resize="pad", filter="nearest"), 1, 1)
@example(Preprocess(size=(64, 64), resize="pad", place="corner", filter="nearest"), 400, 3)
def test_back_is_the_inverse(made: Preprocess, width: int, height: int) -> None:
    """Colors that tell where a pixel lies go there; back from where they arrive lies the pixel that they came from."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x % 256, y % 256, (x // 256) + 2 * (y // 256) + 128], axis=2).astype(np.uint8)
    seen = np.asarray(made.view(Image.fromarray(pixels)))
    assert seen.shape[:2] == made.frame((width, height))
    rows, columns = np.mgrid[: seen.shape[0], : seen.shape[1]]
    places = made.to_picture(np.stack([columns, rows], axis=2) + 0.5, (width, height))
    inside = (places > 0).all(axis=2) & (places < (width, height)).all(axis=2)
    seen = seen.astype(int)
    came = seen[..., :2] + 256 * np.stack([(seen[..., 2] - 128) % 2, (seen[..., 2] - 128) // 2], axis=2)
    # The nearest filter takes the pixel that the place lies in; at an edge, one of two.
    assert (np.abs(came + 0.5 - places)[inside] <= 0.5 + 1e-6).all()
    if made.resize in ("stretch", "none"):
        assert inside.all()


@pytest.mark.parametrize("size", [(1, 1), (8000, 200), (3, 500)])
@pytest.mark.parametrize("place", ["centre", "corner"])
def test_corners_of_the_picture(size: tuple[int, int], place: str) -> None:
    made = Preprocess(size=(640, 640), resize="pad", place=place)
    left, top, right, bottom = made.box(size)
    corners = made.to_picture(np.array([[0, 0], [640, 640]]), size)
    np.testing.assert_allclose(corners, [[left, top], [right, bottom]])
    assert left <= 0 <= size[0] <= right
    assert top <= 0 <= size[1] <= bottom


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_in_the_picture_as_it_is_seen(orientation: int, tmp_path: object) -> None:
    """A mark in an upright picture is found at the same place however the file stores it."""
    import io

    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[12:24, 70:90] = 255
    upright = Image.fromarray(pixels)
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = upright if turn is None else upright.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, "PNG", exif=exif)
    picture = open_image(file.getvalue())
    assert picture.size == (100, 60)
    made = Preprocess(size=(96, 96), resize="pad")
    bright = np.argwhere(np.asarray(made.view(picture))[..., 0] > 128)
    corners = np.array([bright.min(axis=0)[::-1], bright.max(axis=0)[::-1] + 1])
    np.testing.assert_allclose(made.to_picture(corners, picture.size), [[70, 12], [90, 24]], atol=1.1)


def test_maps_go_back_like_points() -> None:
    """A map that holds its own x and y holds, taken back, the place in the tensor of each pixel of the picture."""
    made, size = Preprocess(size=(64, 96), resize="pad"), (50, 37)
    y, x = np.mgrid[:64, :96].astype(np.float32) + 0.5
    back = MapsBack(made, size, (64, 96))
    strips = np.concatenate([strip for _, strip in back.strips(np.stack([x, y]))], axis=1)
    there = made.to_picture(np.stack(strips, axis=2), size)
    rows, columns = np.mgrid[:37, :50] + 0.5
    np.testing.assert_allclose(there[..., 0], columns, atol=1e-3)
    np.testing.assert_allclose(there[..., 1], rows, atol=1e-3)
    np.testing.assert_allclose(back.one(x), strips[0])
    some = np.arange(50) % 7 == 0
    np.testing.assert_allclose(back.part(y, np.arange(37) > 20, some), strips[1][21:, some])


def test_what_the_network_did_not_see_is_told() -> None:
    rows, columns = MapsBack(Preprocess(size=(32, 32), resize="shortest"), (100, 50), (8, 8)).seen
    assert rows.all()
    assert columns.tolist() == [25 <= i < 75 for i in range(100)]


def test_new_keys_are_only_written_where_they_say_something() -> None:
    plain = Preprocess(size=(64, 64), resize="pad")
    assert {"place", "stride"}.isdisjoint(plain.to_json())
    made = Preprocess(resize="pad", place="corner", stride=32)
    assert Preprocess.from_json(made.to_json()) == made
    assert (made.to_json()["place"], made.to_json()["stride"]) == ("corner", 32)
    from inspector.errors import MetadataError

    with pytest.raises(MetadataError, match=r"place 'left' \(centre or corner\)"):
        Preprocess.from_json({"place": "left"})
