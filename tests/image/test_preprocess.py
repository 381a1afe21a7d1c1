"""Preprocess against torchvision's and timm's own transforms, and against its definition."""

from __future__ import annotations

import json
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inspector.errors import MetadataError
from inspector.image import FILTERS, IMAGENET_MEAN, IMAGENET_STD, NAMED, Preprocess
from tests.conftest import require

RNG = np.random.default_rng(1)
SIZES = [(451, 300), (300, 451), (224, 224), (225, 223), (640, 37), (31, 29), (100, 1000)]


def picture(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (224, 224), (96, 96), (219, 224), (64, 97)])
def test_equals_torchvision(torch: ModuleType, size: tuple[int, int], name: str, resize: int, crop: int) -> None:
    transforms = require("torchvision.transforms")
    theirs = transforms.Compose(
        [
            transforms.Resize(resize, interpolation=transforms.InterpolationMode(name)),
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    ours = Preprocess(
        size=(crop, crop), resize="shortest", resize_size=resize, filter=name, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    image = picture(size)
    found, expected = ours.tensor(image)[0], theirs(image).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "vgg16", "convnext_tiny"])
@pytest.mark.parametrize("size", SIZES[:3])
def test_equals_the_transforms_of_torchvision_weights(torch: ModuleType, name: str, size: tuple[int, int]) -> None:
    models = require("torchvision.models")
    theirs = models.get_model_weights(name).DEFAULT.transforms()
    ours = Preprocess(
        size=(theirs.crop_size[0],) * 2,
        resize="shortest",
        resize_size=theirs.resize_size[0],
        filter=theirs.interpolation.value,
        mean=tuple(theirs.mean),
        std=tuple(theirs.std),
    )
    image = picture(size)
    np.testing.assert_allclose(ours.tensor(image)[0], theirs(image).numpy(), atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("crop_pct", "crop_mode", "interpolation"),
    [
        (0.875, "center", "bicubic"),
        (0.95, "center", "bilinear"),
        (1.0, "center", "bicubic"),
        (1.0, "squash", "bicubic"),
    ],
)
def test_equals_timm(
    torch: ModuleType, size: tuple[int, int], crop_pct: float, crop_mode: str, interpolation: str
) -> None:
    data = require("timm.data")
    theirs = data.create_transform(
        (3, 160, 160),
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        interpolation=interpolation,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    ours = Preprocess(
        size=(160, 160),
        resize="stretch" if crop_mode == "squash" else "shortest",
        resize_size=None if crop_mode == "squash" else int(160 / crop_pct),
        filter=interpolation,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    image = picture(size)
    np.testing.assert_allclose(ours.tensor(image)[0], theirs(image).numpy(), atol=2e-6)


def test_values_are_the_definition() -> None:
    array = RNG.integers(0, 256, (5, 4, 3), np.uint8)
    found = Preprocess(scale=1 / 255, mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="none").tensor(
        Image.fromarray(array)
    )
    expected = (array / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(found[0], expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-6)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous


def test_named() -> None:
    array = np.array([[[0, 128, 255]]], np.uint8)
    image = Image.fromarray(array)

    def values(name: str, **options: object) -> list[float]:
        return Preprocess.named(name, (1, 1), **options).tensor(image).ravel().tolist()  # type: ignore[arg-type]

    assert values("raw") == [0, 128, 255]
    assert values("unit") == pytest.approx([0, 128 / 255, 1])
    assert values("signed") == pytest.approx([-1, 128 / 127.5 - 1, 1])
    assert values("imagenet") == pytest.approx([-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    # Keras' "caffe" mode: BGR, minus the means of blue, green and red.
    assert values("caffe") == pytest.approx([255 - 103.939, 128 - 116.779, 0 - 123.68])
    assert values("caffe", layout="NHWC") == values("caffe")
    luma = round(0.587 * 128 + 0.114 * 255)
    assert values("unit", channels=1) == pytest.approx([luma / 255], abs=1 / 255)
    assert len(values("imagenet", channels=1)) == 1
    assert set(NAMED) == {"imagenet", "unit", "signed", "caffe", "raw"}
    with pytest.raises(MetadataError, match="there is no preprocess named 'keras'; known: imagenet, unit, signed"):
        Preprocess.named("keras")


def test_layouts_and_types() -> None:
    image = picture((9, 7))
    first = Preprocess.named("imagenet", (5, 6)).tensor(image)
    last = Preprocess.named("imagenet", (5, 6), layout="NHWC").tensor(image)
    np.testing.assert_array_equal(last, first.transpose(0, 2, 3, 1))
    assert last.flags.c_contiguous
    for dtype in ("float16", "float64", "uint8"):
        named = Preprocess.named("raw", (5, 6))
        typed = Preprocess(size=(5, 6), scale=1.0, dtype=dtype).tensor(image)
        assert typed.dtype == dtype
        np.testing.assert_array_equal(typed.astype(np.float32), named.tensor(image))


@st.composite
def preprocesses(draw: st.DrawFn) -> Preprocess:
    colour = draw(st.sampled_from(["RGB", "BGR", "L"]))
    channels = 1 if colour == "L" else 3
    number = st.floats(-200, 200).map(lambda x: round(x, 3))
    return Preprocess(
        size=draw(st.tuples(st.integers(1, 40), st.integers(1, 40))),
        resize=draw(st.sampled_from(["stretch", "shortest", "pad"])),
        resize_size=draw(st.none() | st.integers(1, 60)),
        filter=draw(st.sampled_from(FILTERS)),
        fill=draw(st.tuples(*[st.integers(0, 255)] * 3)),
        colour=colour,
        layout=draw(st.sampled_from(["NCHW", "NHWC"])),
        scale=draw(st.sampled_from([1.0, 1 / 255, 1 / 127.5])),
        mean=draw(st.tuples(*[number] * channels)),
        std=draw(st.tuples(*[st.floats(0.1, 200)] * channels)),
    )


@settings(max_examples=100, deadline=None)
@given(preprocesses(), st.integers(1, 60), st.integers(1, 60))
def test_properties(preprocess: Preprocess, width: int, height: int) -> None:
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess
    image = picture((width, height))
    tensor = preprocess.tensor(image)
    assert preprocess.size is not None
    sides = tensor.shape[1:3] if preprocess.layout == "NHWC" else tensor.shape[2:]
    assert sides == preprocess.size
    view = np.asarray(preprocess.view(image), np.float32).reshape(*preprocess.size, -1)
    back = preprocess.pixels(tensor)[0]
    np.testing.assert_allclose(back, view, atol=0.02)  # the way back gives the pixels that the network saw

    left, top, right, bottom = preprocess.box((width, height))
    assert right > left
    assert bottom > top
    if preprocess.resize == "pad":
        assert left <= 0 <= width <= right + 1e-9
        assert top <= 0 <= height <= bottom + 1e-9
    if preprocess.resize == "stretch":
        assert (left, top, right, bottom) == (0, 0, width, height)


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (64, 64), (200, 30)])
@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(size=(32, 32), resize="shortest", resize_size=40, scale=1.0),
        Preprocess(size=(32, 48), resize="shortest", resize_size=32, scale=1.0),
        Preprocess(size=(32, 48), resize="pad", scale=1.0, fill=(0, 0, 0)),
        Preprocess(size=(24, 48), scale=1.0),
    ],
)
def test_box_maps_the_corners(size: tuple[int, int], preprocess: Preprocess) -> None:
    """Where the pixel of a ramp went tells where the tensor lies in the picture, in both directions."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    ramp = np.stack([x, y, np.full_like(x, 255)], axis=-1).astype(np.uint8)
    tensor = preprocess.tensor(Image.fromarray(ramp))[0]
    left, top, right, bottom = preprocess.box(size)
    assert preprocess.size is not None
    inside = tensor[2] > 250
    for row in range(2, preprocess.size[0] - 2):
        for column in range(2, preprocess.size[1] - 2):
            if not inside[row - 2 : row + 3, column - 2 : column + 3].all():
                continue
            # The centre of a tensor pixel, through the box, in the picture's own pixels.
            there_x = left + (column + 0.5) * (right - left) / preprocess.size[1] - 0.5
            there_y = top + (row + 0.5) * (bottom - top) / preprocess.size[0] - 0.5
            if 3 < there_x < width - 4 and 3 < there_y < height - 4:
                assert abs(tensor[0, row, column] - there_x) < 1
                assert abs(tensor[1, row, column] - there_y) < 1


def test_with_size() -> None:
    preprocess = Preprocess(size=(224, 224), resize="shortest", resize_size=256)
    assert preprocess.with_size((448, 448)).resize_size == 512
    assert preprocess.with_size(None).size is None
    assert Preprocess().with_size((8, 9)).size == (8, 9)


def test_own_size() -> None:
    assert Preprocess().tensor(picture((13, 7))).shape == (1, 3, 7, 13)
    assert Preprocess(size=(5, 5), resize="none").tensor(picture((13, 7))).shape == (1, 3, 7, 13)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"size": [224]}, r"size \(224,\) \(height, width\)"),
        ({"size": [224.0, 224]}, "size"),
        ({"size": [16384, 16384]}, r"size \(16384, 16384\)"),
        ({"size": "224"}, "size '224'"),
        ({"resize": "squash"}, "resize 'squash'"),
        ({"filter": "cubic"}, r"filter 'cubic' \(one of nearest, bilinear"),
        ({"mean": [1, 2]}, "mean of 2 numbers for 3 channels"),
        ({"mean": [1, 2, None]}, "mean"),
        ({"std": [1, 0, 1]}, r"it must be positive"),
        ({"scale": 0}, r"scale 0 \(it must be positive\)"),
        ({"scale": True}, "scale True"),
        ({"scale": 10**400}, "scale"),
        ({"colour": "L"}, "mean of 3 numbers for 1 channels"),
        ({"crop": 224}, "unknown keys: crop; known: colour, dtype"),
    ],
)
def test_malformed(document: dict[str, object], message: str) -> None:
    with pytest.raises(MetadataError, match=message):
        Preprocess.from_json(document)
