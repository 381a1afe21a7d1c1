"""Readers of labelled data: what they read, what they assume, and the one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector.datasets import LabelError, read_box_labels, read_mask, read_mask_labels
from inspector.datasets.small_yaml import YamlFile
from inspector.image import open_image
from inspector.image.size import read_size
from inspector.metrics.outlines import count_runs
from tests.conftest import require


def save(path: Path, size: tuple[int, int] = (100, 50), orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(path, exif=exif)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def boxes_of(source: Path, **more: Any) -> dict[str, list[list[float]]]:
    """The boxes of each picture, with the class behind."""
    data = read_box_labels(source, **more)
    assert data is not None
    found = {}
    for one in data.pictures:
        assert one.boxes is not None
        found[one.key] = [[*box, k] for box, k in zip(one.boxes.boxes.tolist(), one.boxes.classes, strict=True)]
    return found


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_is_that_of_the_open_picture(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = save(tmp_path / f"a.{suffix}", (30, 20), orientation)
    size = read_size(path)
    assert size is not None
    assert size.seen == open_image(path).size


def test_what_is_no_picture_has_no_size(tmp_path: Path) -> None:
    assert read_size(write(tmp_path / "a.jpg", "no")) is None
    assert read_size(tmp_path / "missing.jpg") is None


# --- YOLO -------------------------------------------------------------------------------------------------------------


def test_yolo(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / "images" / "val" / f"{name}.jpg")
    save(tmp_path / "images" / "train" / "d.jpg", (40, 40))
    write(tmp_path / "labels" / "val" / "a.txt", "0 0.5 0.5 0.2 0.4\n\n1 0 0 0.1 0 0.1 0.2 0 0.1\n")
    write(tmp_path / "labels" / "val" / "b.txt", "")
    write(tmp_path / "data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: 'big dog'\n")
    wanted = {
        "images/val/a.jpg": [[40, 15, 60, 35, 0], [0, 0, 10, 10, 1]],
        "images/val/b.jpg": [],
        "images/val/c.jpg": [],
    }
    assert {k: [pytest.approx(x) for x in v] for k, v in wanted.items()} == boxes_of(tmp_path)
    assert boxes_of(tmp_path / "data.yaml", split="train") == {"images/train/d.jpg": []}
    data = read_box_labels(tmp_path)
    assert data is not None
    assert (data.names, data.split, data.layout) == (("cat", "big dog"), "val", "yolo")
    (tmp_path / "data.yaml").unlink()
    assert list(boxes_of(tmp_path)) == list(wanted)


def test_yolo_boxes_are_of_the_picture_as_seen(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg", (100, 50), orientation=6)
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.25 1 0.5")
    assert boxes_of(tmp_path) == {"images/a.jpg": [[0, 0, 50, 50, 0]]}


def test_yolo_keypoints_and_lists_of_files(tmp_path: Path) -> None:
    save(tmp_path / "set" / "images" / "a.jpg")
    write(tmp_path / "set" / "labels" / "a.txt", "0 0.5 0.5 0.2 0.4 0.1 0.1 2 0.9 0.9 1")
    write(tmp_path / "set" / "some.txt", "images/a.jpg\n")
    write(tmp_path / "data.yaml", "path: set\ntest: [some.txt]\nnames: [person]\nkpt_shape: [2, 3]  # x, y, visible\n")
    assert boxes_of(tmp_path)["set/images/a.jpg"] == [pytest.approx([40, 15, 60, 35, 0])]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.2", r"line 2: 4 numbers are neither 'class cx cy w h' nor an outline"),
        ("0 0.5 0.5 0.2 0.1 0.9", "line 2: 6 numbers are neither"),
        ("0 0.5 1.5 0.2 0.1", r"line 2: 1.5 is no share of the picture, in \[0, 1\]"),
        ("0 0.5 nan 0.2 0.1", "line 2: nan is no share"),
        ("0 0.5 0.5 0 0.1", "line 2: a box of 0 x 0.1 holds nothing"),
        ("0.5 0.5 0.5 0.1 0.1", "line 2: '0.5' is no class"),
        ("-1 0.5 0.5 0.1 0.1", "line 2: '-1' is no class"),
        ("2 0.5 0.5 0.1 0.1", "line 2: class 2 is beyond the 2 names of the data"),
        ("cat 0.5 0.5 0.1 0.1", "line 2: 'cat 0.5 0.5 0.1 0.1' is not numbers"),
    ],
)
def test_wrong_yolo_lines_are_named(tmp_path: Path, line: str, reason: str) -> None:
    save(tmp_path / "images" / "a.jpg")
    write(tmp_path / "labels" / "a.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n")
    write(tmp_path / "data.yaml", "val: images\nnames: [cat, dog]\n")
    with pytest.raises(LabelError, match=rf"labels/a.txt, {reason}"):
        read_box_labels(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("names: [a]\n", "names no pictures"),
        ("val: nowhere\nnames: [a]\n", "data.yaml, line 1: val: there is no 'nowhere' in"),
        ("val: images\nnames: {0: a, 2: b}\n", "line 2: names does not number its classes from 0 to 1"),
        ("val: images\nnames: 3\n", "line 2: names is neither"),
        ("nc: 3\nval: images\nnames: [a]\n", "line 1: nc is 3, and names has 1 classes"),
        ("val: images\nnames: [a, [b\n", "line 2: the list or table in brackets is malformed"),
        ("val: images\nnames: &x [a]\n", "line 2: names is written with YAML's '&', which is not read here"),
        ("val: images\nwhat\n", "line 2: 'what' is no 'key: value'"),
        ("val: images\nnames:\n  - a\n  b: 1\n", "line 4: 'b: 1' is no item of the list above"),
    ],
)
def test_wrong_yaml_is_named(tmp_path: Path, text: str, reason: str) -> None:
    save(tmp_path / "images" / "a.jpg")
    with pytest.raises(LabelError, match=reason):
        read_box_labels(write(tmp_path / "data.yaml", text))


YAML = """\
# a comment
path: ../sets/it's   # where
names: ['a, b', "c # d",
  e,   f g]   # over two lines
table: {0: x, 'one': "y: z", 2: [1, 2.5]}
block:
- 1
- 'two'
download: |
  import os
deep:
  - x: 1
    y: 2
empty:
"""


def test_the_little_yaml_reads_what_pyyaml_reads(tmp_path: Path) -> None:
    yaml = require("yaml")
    file, reference = YamlFile(write(tmp_path / "a.yaml", YAML)), yaml.safe_load(YAML)
    assert reference["path"] == "../sets/it's"
    for key in ("path", "names", "table", "block", "empty"):
        assert file.get(key) == reference[key]
    assert "deep" in file
    assert file.get("other") is None


# --- COCO -------------------------------------------------------------------------------------------------------------


def coco(**changes: Any) -> dict[str, Any]:
    """Two pictures, with categories 7 and 90; `changes` are laid over the first annotation."""
    return {
        "images": [{"id": 5, "file_name": "b.jpg", "width": 100, "height": 50}, {"id": 9, "file_name": "a.jpg"}],
        "categories": [{"id": 90, "name": "dog"}, {"id": 7, "name": "cat"}],
        "annotations": [
            {"image_id": 5, "category_id": 90, "bbox": [10, 20, 30, 5], "area": 99, "iscrowd": 0, **changes},
            {"image_id": 5, "category_id": 7, "bbox": [0, 0, 1.5, 2], "iscrowd": 1,
             "segmentation": {"counts": "RLE", "size": [50, 100]}},
        ],
    }  # fmt: skip


def coco_folder(folder: Path, document: Any, name: str = "annotations/instances_val2017.json") -> Path:
    save(folder / "val2017" / "a.jpg")
    save(folder / "val2017" / "b.jpg")
    return write(folder / name, document if isinstance(document, str) else json.dumps(document))


def test_coco(tmp_path: Path) -> None:
    file = coco_folder(tmp_path, coco())
    write(tmp_path / "annotations" / "captions.json", json.dumps({"images": [], "annotations": []}))
    for source in (tmp_path, file):
        assert boxes_of(source) == {"a.jpg": [], "b.jpg": [[10, 20, 40, 25, 1], [0, 0, 1.5, 2, 0]]}
        data = read_box_labels(source)
        assert data is not None
        assert (data.names, data.ids, data.layout) == (("cat", "dog"), (7, 90), "coco")
        truth = data.pictures[1].boxes
        assert truth is not None
        assert (truth.crowd.tolist(), truth.areas.tolist()) == ([False, True], [99, 3])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_coco_boxes_of_the_picture_as_stored_are_turned_with_it(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[20:25, 10:40] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    coco_folder(tmp_path, coco())
    Image.fromarray(pixels).save(tmp_path / "val2017" / "b.jpg", exif=exif, quality=98)
    left, top, right, bottom, _ = map(int, boxes_of(tmp_path)["b.jpg"][0])
    seen = np.asarray(open_image(tmp_path / "val2017" / "b.jpg").convert("L")) > 128
    assert seen.sum() == seen[top:bottom, left:right].sum() == 150


@pytest.mark.parametrize("orientation", [1, 5, 6, 7, 8])
@pytest.mark.parametrize("form", ["polygons", "runs"])
def test_coco_outlines_are_turned_with_the_picture(tmp_path: Path, orientation: int, form: str) -> None:
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[20:25, 10:40] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    shape: Any = [[10, 20, 40, 20, 40, 25, 10, 25]]
    if form == "runs":
        shape = {"counts": list(count_runs(pixels[..., 0] > 0)), "size": [50, 100]}
    coco_folder(tmp_path, coco(segmentation=shape))
    Image.fromarray(pixels).save(tmp_path / "val2017" / "b.jpg", exif=exif, quality=98)
    data = read_box_labels(tmp_path)
    assert data is not None
    truth = data.pictures[1].boxes
    assert truth is not None
    first, second = truth.outlines
    assert first is not None
    assert second is not None
    picture = open_image(tmp_path / "val2017" / "b.jpg").convert("L")
    np.testing.assert_array_equal(first.fill(picture.size), np.asarray(picture) > 128)
    with pytest.raises(ValueError, match=r"annotations\[1\]: the run lengths of segmentation cannot be read"):
        second.fill(picture.size)


def test_yolo_outlines(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png")
    write(tmp_path / "labels" / "a.txt", "0 0.1 0.2 0.4 0.2 0.4 0.6\n0 0.5 0.5 0.2 0.2\n")
    data = read_box_labels(tmp_path)
    assert data is not None
    truth = data.pictures[0].boxes
    assert truth is not None
    first, second = truth.outlines
    assert first is not None
    assert second is None
    with Image.open(tmp_path / "images" / "a.png") as picture:
        size = picture.size
    np.testing.assert_allclose(first.rings[0], np.array([[0.1, 0.2], [0.4, 0.2], [0.4, 0.6]]) * size)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (coco(bbox=[1, 2, 3]), r"annotations\[0\]: bbox = \[1, 2, 3\] is not \[x, y, width, height\]"),
        (coco(bbox=[1, 2, -3, 4]), r"annotations\[0\]: a box of -3 x 4 is none"),
        (coco(area="x"), r"annotations\[0\]: area = \"x\" is no number from 0 up"),
        (coco(image_id=6), r"annotations\[0\]: there is no picture with the id 6"),
        (coco(category_id=1), r"annotations\[0\]: there is no category with the id 1"),
        (coco(image_id="x"), r"annotations\[0\]: image_id = \"x\" is not a whole number"),
        ({**coco(), "annotations": [3]}, r"annotations\[0\]: is no table"),
        ({"images": [], "categories": []}, "has no list 'annotations'"),
        ({**coco(), "images": [{"id": 5, "file_name": "z.jpg"}]}, "none of the 1 pictures"),
        ({**coco(), "images": [{"id": 5, "file_name": "a.jpg", "width": 3, "height": 4}]},
         r"images\[0\]: says that a.jpg has 3 x 4 pixels, and it has 100 x 50"),
        ('{"images": [],\n "annotations": ]}', "line 2: is not JSON: Expecting value"),
        ("[" * 100_000, "is not JSON"),
        ('["images", "annotations"]', "is no table"),
    ],
)  # fmt: skip
def test_wrong_coco_is_named(tmp_path: Path, document: Any, reason: str) -> None:
    file = coco_folder(tmp_path, document)
    with pytest.raises(LabelError, match=reason):
        read_box_labels(file)


def test_of_several_coco_files_the_split_decides(tmp_path: Path) -> None:
    coco_folder(tmp_path, coco())
    coco_folder(tmp_path, coco(), "annotations/instances_train2017.json")
    found = read_box_labels(tmp_path)
    assert found is not None
    assert (found.split, found.source.name) == ("val", "instances_val2017.json")
    with pytest.raises(LabelError, match="is named after the split 'test'"):
        read_box_labels(tmp_path, "test")
    coco_folder(tmp_path, coco(), "annotations/instances_val_again.json")
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    with pytest.raises(LabelError, match=r"several files of labels: .*; give one of them"):
        read_box_labels(tmp_path)


# --- Pascal VOC -------------------------------------------------------------------------------------------------------

VOC = """<annotation>
  <size><width>100</width><height>50</height></size>
  <object><name>dog</name><difficult>1</difficult>
    <bndbox><xmin>1</xmin><ymin>11</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>
  </object>
  <object>
    <name>cat</name><bndbox><xmax>5</xmax><xmin>5</xmin><ymin>5.5</ymin><ymax>6</ymax></bndbox></object>
</annotation>
"""


@pytest.mark.parametrize("beside", [False, True])
def test_voc(tmp_path: Path, beside: bool) -> None:
    pictures, labels = (tmp_path, tmp_path) if beside else (tmp_path / "JPEGImages", tmp_path / "Annotations")
    save(pictures / "a.jpg")
    save(pictures / "b.jpg")
    write(labels / "a.xml", VOC)
    assert boxes_of(tmp_path) == {"a.jpg": [[0, 10, 20, 30, 1], [4, 4.5, 5, 6, 0]], "b.jpg": []}
    data = read_box_labels(tmp_path)
    assert data is not None
    assert (data.names, data.layout) == (("cat", "dog"), "voc")
    assert data.pictures[0].boxes is not None
    assert data.pictures[0].boxes.difficult.tolist() == [True, False]
    write(tmp_path / "ImageSets" / "Main" / "test.txt", "b 1\n")
    assert list(boxes_of(tmp_path)) == ["b.jpg"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("<xmin>1<", "<xmin>21<"), "line 3: the corners 21, 11, 20, 30 are in the wrong order"),
        (("<xmin>1</xmin>", ""), "line 3: the object has no xmin"),
        (("<xmin>1<", "<xmin>one<"), "line 3: the corners one, 11, 20, 30 are not numbers"),
        (("    <name>cat</name>", ""), "line 7: the object has no name"),
        (("</size>", ""), "line 9: is not XML: mismatched tag"),
        (("<width>100<", "<width>101<"), r"size: says \(101, 50\), and the picture has 100 x 50"),
        (("<annotation>", '<!DOCTYPE a [<!ENTITY x "y">]><annotation>'), "line 1: declares a document type"),
    ],
)
def test_wrong_voc_is_named(tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    save(tmp_path / "a.jpg")
    write(tmp_path / "a.xml", VOC.replace(*change))
    with pytest.raises(LabelError, match=rf"a.xml, {reason}"):
        read_box_labels(tmp_path)


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picture", "mask"),
    [("images/a.jpg", "masks/a.png"), ("JPEGImages/a.jpg", "SegmentationClass/a.png"), ("a.jpg", "a.png"),
     ("images/val/x/a.jpg", "annotations/val/x/a.png")],
)  # fmt: skip
def test_masks(tmp_path: Path, picture: str, mask: str) -> None:
    save(tmp_path / picture, (6, 4), orientation=6)
    values = np.arange(24, dtype=np.uint8).reshape(6, 4)
    values[0, 0] = 255
    image = Image.fromarray(values)
    image.putpalette([*range(256)] * 3)
    (tmp_path / mask).parent.mkdir(parents=True, exist_ok=True)
    image.save(tmp_path / mask)
    data = read_mask_labels(tmp_path)
    assert data is not None
    (one,) = data.pictures
    assert one.path == tmp_path / picture
    assert one.mask == tmp_path / mask
    np.testing.assert_array_equal(read_mask(one.mask), values)


def test_wrong_masks_are_named(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg", (6, 4))
    save(tmp_path / "images" / "b.jpg", (6, 4))
    mask = save(tmp_path / "masks" / "a.png", (4, 6))
    with pytest.raises(LabelError, match=r"masks/a.png: the mask has 4 x 6 pixels, and the picture has 6 x 4 as a"):
        read_mask_labels(tmp_path)
    save(mask, (6, 4))
    data = read_mask_labels(tmp_path)
    assert data is not None
    assert [one.mask for one in data.pictures] == [mask, None]
    with pytest.raises(LabelError, match=r"masks/a.png: is a picture of mode RGB, and a mask is an indexed or grey"):
        read_mask(mask)
    with pytest.raises(LabelError, match="cannot be read"):
        read_mask(write(mask, "no"))


def test_a_folder_without_labels_has_none(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    write(tmp_path / "notes.json", '{"cat.jpg": [[1, 2, 3, 4]]}')
    assert read_box_labels(tmp_path) is None
    assert read_mask_labels(tmp_path) is None
    with pytest.raises(LabelError, match=r"is no file of labels that is known; give a data.yaml \(YOLO\)"):
        read_box_labels(tmp_path / "a.jpg")
