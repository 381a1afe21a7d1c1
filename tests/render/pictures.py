"""What the tests of figures share."""

import numpy as np
from PIL import Image

LONG = "Cardigan Welsh corgi, a very long name, " * 8
AWKWARD = ["", "x", LONG, "W" * 300, "大象 éß <b>&", "a\nb\x00c", "features/28/block.5.2/Conv_output_0 " * 5]


def gradient(width, height):
    """A picture in which no two neighbouring pixels are alike, none of them white, RGB."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 5 % 200, y * 7 % 200, (x + y) * 3 % 200], axis=2).astype(np.uint8))


def assert_margin(image, margin=4):
    """The outermost pixels are paper: nothing is clipped by the edge."""
    pixels = np.asarray(image.convert("RGB"))
    inner = pixels[margin:-margin, margin:-margin]
    assert (pixels == 255).all(axis=2).sum() - (inner == 255).all(axis=2).sum() == (
        pixels.shape[0] * pixels.shape[1] - inner.shape[0] * inner.shape[1]
    )


def record(monkeypatch, module):
    """A list that gets every line of text that `module` draws; it is drawn all the same."""
    said, real = [], module.draw_text

    def draw_text(draw, xy, text, *rest, **more):
        said.append(text)
        real(draw, xy, text, *rest, **more)

    monkeypatch.setattr(module, "draw_text", draw_text)
    return said


def find(image, part):
    """Where `part` (RGB) lies in `image`: (left, top), or None."""
    whole, wanted = np.asarray(image.convert("RGB")), np.asarray(part.convert("RGB"))
    height, width = wanted.shape[:2]
    for top, left in np.argwhere((whole == wanted[0, 0]).all(axis=2)):
        if (whole[top : top + height, left : left + width].shape == wanted.shape) and (
            whole[top : top + height, left : left + width] == wanted
        ).all():
            return int(left), int(top)
    return None
