"""open_image: open files, and what is no picture at all."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.errors import ImageError
from inspector.image import digest_image, open_image, read_if_open
from tests.image.test_image import COLOURS, pixels, saved


def test_open_files(tmp_path: Path, no_descriptor_leak: None) -> None:
    data = saved(COLOURS, "PNG")
    (tmp_path / "a.png").write_bytes(data)
    with (tmp_path / "a.png").open("rb") as file, zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", data)
        behind = io.BytesIO(b"header" + data)
        behind.seek(6)
        with tempfile.SpooledTemporaryFile() as spooled:
            spooled.write(data)
            spooled.seek(0)
            for source in (file, behind, spooled):
                # Twice: it stands again where it stood.
                np.testing.assert_array_equal(pixels(source), pixels(source))
                np.testing.assert_array_equal(pixels(source), np.asarray(COLOURS))
                assert digest_image(source) == digest_image(data)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("a.png") as member:
        np.testing.assert_array_equal(pixels(member), np.asarray(COLOURS))

    class Pipe:
        """Can be read once, as a pipe or a socket."""

        def __init__(self) -> None:
            self.read = io.BytesIO(data).read

    np.testing.assert_array_equal(pixels(Pipe()), np.asarray(COLOURS))
    assert read_if_open(Pipe()) == data
    assert read_if_open(COLOURS) is COLOURS
    assert read_if_open("a.png") == "a.png"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3.5, "3.5 (float) is not a picture; give a path, the bytes of a file, an open file, a PIL image or a "
         "uint8 array of shape (H, W, 3)"),
        (None, "None (NoneType) is not a picture; give a path"),
        (["a.jpg", "b.jpg"], "['a.jpg', 'b.jpg'] (list) is not a picture; give a path"),
        ([[0] * 99], "(list) is not a picture; give a path"),
        (io.StringIO("x"), 'the open file gives text, not bytes; open it with open(path, "rb")'),
    ],
)  # fmt: skip
def test_what_is_no_picture_at_all(source: Any, message: str) -> None:
    for use in (open_image, digest_image):
        with pytest.raises(ImageError) as caught:
            use(source)
        assert message in str(caught.value)
        assert len(caught.value.message) < 100


def test_a_closed_file() -> None:
    stream = io.BytesIO(b"x")
    stream.close()
    with pytest.raises(ImageError, match="the open file cannot be read: I/O operation on closed file"):
        open_image(stream)
