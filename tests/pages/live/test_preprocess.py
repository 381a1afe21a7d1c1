"""The page prepares a picture as `Preprocess` does: the same numbers, in a real browser."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector.image import Preprocess, open_image
from inspector.pages.html import read_asset
from inspector.pages.live.describe import describe_preprocess
from tests.pages.browser import needs_chromium

pytestmark = needs_chromium

RUN = """async ([text, settings]) => {
  const p = JSON.parse(settings);
  const file = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), picture = await decode(file);
  const view = viewOf(p, picture), values = tensorOf(p, view);
  let packed = "";
  for (const b of new Uint8Array(Float32Array.from(values).buffer)) packed += String.fromCharCode(b);
  return { size: [picture.width, picture.height], box: boxOf(view.place, [picture.width, picture.height]),
    frame: [view.height, view.width], values: btoa(packed) }; }"""

SETTINGS = [
    Preprocess(size=(24, 32), filter="bilinear"),
    Preprocess(
        size=(32, 24), filter="bicubic", resize="shortest", resize_size=40, mean=(0.4, 0.5, 0.6), std=(0.2,) * 3
    ),
    Preprocess(size=(24, 24), filter="lanczos", resize="pad", colour="BGR", layout="NHWC", scale=1.0),
    Preprocess(size=(20, 30), filter="box", resize="pad", place="corner", fill=(1, 2, 3)),
    Preprocess(size=(31, 17), filter="hamming", resize="shortest", colour="L", mean=(0.5,), std=(0.5,)),
    Preprocess(size=(25, 31), filter="nearest"),
    Preprocess(size=(200, 150), filter="bicubic", dtype="uint8", scale=1.0),
    Preprocess(size=None, resize="pad", stride=32),
    Preprocess(size=(90, 90), filter="bilinear", resize="shortest", resize_size=50),
]


@pytest.fixture(scope="module")
def script(browser: Any) -> Any:
    page = browser.new_page()
    page.add_script_tag(content=read_asset("live_preprocess.js"))
    yield page
    page.close()


def photographs() -> list[tuple[str, bytes]]:
    """Twenty pictures of all orientations and many sizes: JPEG, PNG, WebP, with and without transparency."""
    rng = np.random.default_rng(7)
    made = []
    for n in range(20):
        size = (int(rng.integers(9, 130)), int(rng.integers(9, 130)))
        rough = rng.integers(0, 256, (1 + n % 5, 1 + n % 7, 3), np.uint8)
        picture = Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC)
        noise = rng.integers(-20, 20, (size[1], size[0], 3))
        picture = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
        exif = Image.Exif()
        exif[0x0112] = n % 8 + 1
        form = ("PNG", "JPEG", "PNG", "WEBP")[n % 4]
        if n % 4 == 2 and n > 4:
            picture.putalpha(Image.fromarray(rng.integers(0, 256, (size[1], size[0]), np.uint8)))
        if n == 8:
            picture = picture.convert("P")
        out = io.BytesIO()
        options = {"JPEG": {"quality": 90}, "WEBP": {"lossless": True}, "PNG": {}}[form]
        picture.save(out, format=form, exif=exif, **options)
        made.append((f"{n}-{form}-{picture.mode}", out.getvalue()))
    return made


def test_twenty_photographs_of_all_orientations_and_sizes(script: Any) -> None:
    worst: dict[str, float] = {}
    for n, (name, data) in enumerate(photographs()):
        for p in (SETTINGS[n % len(SETTINGS)], SETTINGS[(n * 4 + 1) % len(SETTINGS)]):
            found = script.evaluate(RUN, [base64.b64encode(data).decode(), json.dumps(describe_preprocess(p))])
            picture = open_image(data)
            expected = p.tensor(picture)
            assert (tuple(found["size"]), tuple(found["frame"])) == (picture.size, p.frame(picture.size)), name
            assert found["box"] == pytest.approx(p.box(picture.size))
            actual = np.frombuffer(base64.b64decode(found["values"]), "<f4").reshape(expected.shape)
            # In levels of 255, before mean and standard deviation.
            apart = np.abs(actual - expected.astype(np.float32)).max() / p.scale * max(p.std)
            kind = name.split("-", 1)[1]
            worst[kind] = max(worst.get(kind, 0), apart)
    # Decoders of JPEG may round differently, and a canvas may keep colors multiplied by their alpha.
    assert {
        kind: value for kind, value in worst.items() if value > (1.01 if kind in ("JPEG-RGB", "PNG-RGBA") else 1e-3)
    } == {}
    assert len(worst) == 5


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_each_filter_is_that_of_pillow(script: Any, name: str) -> None:
    rng, vertical = np.random.default_rng(3), describe_preprocess(Preprocess())["vertical"]
    script_resize = """([values, size, to, name, vertical]) => {
      const data = new Uint8ClampedArray(size[0] * size[1] * 4);
      for (let n = 0; n < size[0] * size[1]; n++) data.set([...values.slice(3 * n, 3 * n + 3), 255], 4 * n);
      return resize({ data, width: size[0], height: size[1] }, to, name, vertical).data.join(); }"""
    for size, to in (((37, 53), (11, 90)), ((64, 48), (224, 17)), ((101, 7), (101, 3)), ((5, 5), (1, 1))):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
        found = script.evaluate(script_resize, [pixels.ravel().tolist(), list(size), list(to), name, vertical])
        mine = np.array(found.split(","), np.uint8).reshape(to[1], to[0], 4)[..., :3]
        expected = np.asarray(Image.fromarray(pixels).resize(to, Image.Resampling[name.upper()]))
        np.testing.assert_array_equal(mine, expected)
