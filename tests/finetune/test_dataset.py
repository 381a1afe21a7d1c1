"""Folders and CSVs of labelled pictures: what is taken, what is left out and said, what is refused."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporters.planning.dataset import read_dataset, stratify
from exporters.planning.entries import DataError


def picture(path: Path, seed: int, size: tuple[int, int] = (12, 9), mode: str = "RGB", **save: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **save)
    return path


def folder_of(root: Path, start: int = 0, /, **classes: int) -> Path:
    for k, (name, count) in enumerate(classes.items()):
        for n in range(count):
            picture(root / name / f"{n}.png", start + 1000 * k + n)
    return root


def test_splits_are_stratified_and_cover_everything_once(tmp_path: Path) -> None:
    found = read_dataset(folder_of(tmp_path, cat=20, dog=10, eel=5), val=0.2, test=0.2, seed=3)
    assert found.classes == ("cat", "dog", "eel")
    assert found.counts() == {"train": [13, 6, 3], "val": [3, 2, 1], "test": [4, 2, 1]}
    names = [s.name for split in (found.train, found.val, found.test) for s in split]
    assert len(names) == len(set(names)) == 35
    again = read_dataset(tmp_path, val=0.2, test=0.2, seed=3)
    assert again == found
    assert read_dataset(tmp_path, val=0.2, test=0.2, seed=4).val != found.val


def test_stratified_holds_out_of_every_class_and_never_all() -> None:
    labels = [0] * 50 + [1] * 3 + [2]
    held = stratify(labels, 0.2, 0)
    assert Counter(k for k, out in zip(labels, held, strict=True) if out) == {0: 10, 1: 1}
    assert not any(stratify(labels, 0.0, 0))
    assert Counter(k for k, out in zip(labels, stratify([1, 1], 0.9, 0), strict=False) if out)[0] == 1


def test_given_splits_are_kept_and_classes_come_from_training(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", a=3, b=3)
    picture(tmp_path / "Validation" / "a" / "x.png", 50)
    picture(tmp_path / "test" / "b" / "x.png", 51)
    picture(tmp_path / "test" / "c" / "x.png", 52)
    found = read_dataset(tmp_path)
    assert found.counts() == {"train": [3, 3], "val": [1, 0], "test": [0, 1]}
    assert [(s.name, s.reason) for s in found.skipped] == [("test/c/x.png", "no training picture has its class 'c'")]


def test_numbers_are_in_order_of_their_value(tmp_path: Path) -> None:
    assert read_dataset(folder_of(tmp_path, **{"10": 3, "9": 3, "x": 3})).classes == ("9", "10", "x")


def test_what_cannot_be_used_is_listed(tmp_path: Path) -> None:
    folder_of(tmp_path, a=6, b=6, empty=0, lonely=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "broken.png").write_bytes((tmp_path / "a" / "0.png").read_bytes()[:60])
    (tmp_path / "a" / "nothing.jpg").write_bytes(b"")
    (tmp_path / "a" / "text.png").write_text("not a picture")
    picture(tmp_path / "a" / "tiny.png", 90, (2, 2))
    huge = bytearray((tmp_path / "a" / "0.png").read_bytes())
    huge[16:24] = struct.pack(">II", 40_000, 40_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    (tmp_path / "a" / "huge.png").write_bytes(huge)
    picture(tmp_path / "b" / "grey.png", 91, mode="L")
    (tmp_path / "b" / "again.png").write_bytes((tmp_path / "b" / "0.png").read_bytes())
    (tmp_path / "b" / "both.png").write_bytes((tmp_path / "a" / "1.png").read_bytes())
    picture(tmp_path / ".hidden" / "x.png", 92)
    picture(tmp_path / "a" / ".thumbs" / "x.png", 93)
    found = read_dataset(tmp_path)
    assert found.classes == ("a", "b", "lonely")
    reasons = {s.name: s.reason for s in found.skipped}
    assert set(reasons) == {
        "empty", "a/huge.png", "a/broken.png",
        "a/nothing.jpg", "a/text.png", "a/tiny.png", "b/again.png", "b/both.png", "a/1.png",
    }  # fmt: skip
    assert reasons["b/again.png"] == "it repeats b/0.png"
    assert "no pictures" in reasons["empty"]
    assert "2 x 2 pixels" in reasons["a/tiny.png"]
    assert "1600 megapixels; the limit is 100" in reasons["a/huge.png"]
    assert reasons["b/both.png"] == reasons["a/1.png"] == "the same picture is in the classes a, b"
    assert any("lonely: one picture only" in line for line in found.notes)
    assert [n[2] for n in found.counts().values()] == [1, 0, 0]


def test_a_picture_in_two_splits_is_not_trained_on(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", a=3, b=3)
    folder_of(tmp_path / "val", 100, a=2, b=3)
    (tmp_path / "val" / "b" / "1.png").write_bytes((tmp_path / "train" / "b" / "0.png").read_bytes())
    found = read_dataset(tmp_path)
    assert "val/b/1.png" in [s.name for s in found.val]
    assert "train/b/0.png" in [s.name for s in found.skipped]


def test_a_rotated_picture_is_opened_upright_like_everywhere(tmp_path: Path) -> None:
    folder_of(tmp_path, a=3, b=3)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "a" / "turned.jpg", 7, (12, 9), exif=exif)
    assert not read_dataset(tmp_path).skipped


def test_csv_with_and_without_splits(tmp_path: Path) -> None:
    folder_of(tmp_path / "p", x=8)
    rows = [f"p/x/{n}.png,{'ab'[n % 2]}" for n in range(8)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["Path, Label", *rows, "p/x/missing.png,a"]))
    found = read_dataset(table, val=0.25)
    assert found.counts()["train"] == [3, 3]
    assert [(s.name, s.reason) for s in found.skipped] == [("p/x/missing.png", "there is no such file")]
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    table.write_text("\n".join(["path,label,split", *(f"{r},{s}" for r, s in zip(rows, splits, strict=True))]))
    assert read_dataset(table).counts() == {"train": [2, 2], "val": [1, 1], "test": [1, 1]}


def test_csv_with_weights(tmp_path: Path) -> None:
    folder_of(tmp_path / "p", x=8)
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["path,label,weight", *(f"p/x/{n}.png,{'ab'[n % 2]},{n or ''}" for n in range(8))]))
    found = read_dataset(table, val=0.25)
    for sample in (*found.train, *found.val):
        assert sample.weight == (int(Path(sample.name).stem) or 1)
    assert any("training pictures have a weight other than 1" in line for line in found.notes)
    table.write_text("\n".join(["path,label", *(f"p/x/{n}.png,{'ab'[n % 2]}" for n in range(8))]))
    plain = read_dataset(table, val=0.25)
    assert [s.name for s in plain.val] == [s.name for s in found.val]
    assert plain.digest != found.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label,weight\np/x/0.png,a,much", "line 2: the weight 'much' is not a number above 0"),
        ("path,label,weight\np/x/0.png,a,0", "line 2: the weight '0' is not a number above 0"),
        ("", "no columns path and label"),
        ("file,class\na,b", "no columns path and label"),
        ("path,label\np/x/0.png,", "line 2: the label is missing"),
        ("path,label,split\np/x/0.png,a,elsewhere", "line 2: there is no split 'elsewhere'"),
        ("path,label,split\np/x/0.png,a,val", "no picture for training"),
        ("path,label,split\np/x/0.png,a,train\np/x/1.png,b,", "a split for some pictures only"),
        ("path,label\nnone.png,a\nneither.png,b", "holds no labelled pictures; 2 were left out"),
        ("path,label\np/x/0.png,a\np/x/1.png,a", "only the class 'a'"),
        ("path,label\np/x/0.png,a\np/x/1.png,b", "no picture to validate on"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "no columns"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    folder_of(tmp_path / "p", x=2)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_dataset(tmp_path / "t.csv")


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder or CSV"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no labelled pictures"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="only the class 'a'"):
        read_dataset(folder_of(tmp_path, a=4))


@pytest.mark.parametrize("kind", ["no train", "flat train", "all flat", "empty classes in train"])
def test_splits_without_one_to_train_on_are_refused(tmp_path: Path, kind: str) -> None:
    """Never classes that are called train and val."""
    if kind == "no train":
        folder_of(tmp_path / "val", a=3, b=3)
        folder_of(tmp_path / "test", 50, a=3, b=3)
    elif kind == "all flat":
        folder_of(tmp_path, train=4, val=4)
    else:
        folder_of(tmp_path / "val", a=3, b=3)
        for n in range(4):
            picture(tmp_path / "train" / f"{n}.png", 70 + n)
        if kind == "empty classes in train":
            (tmp_path / "train" / "a").mkdir()
    with pytest.raises(DataError, match=r"no train folder with class folders in it; as in DATA/train/cat/1\.jpg; a"):
        read_dataset(tmp_path)


def test_folders_of_one_split_are_merged(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", a=3, b=3)
    folder_of(tmp_path / "Training", 100, a=1, b=2)
    folder_of(tmp_path / "val", 200, a=1)
    folder_of(tmp_path / "valid", 300, b=2)
    found = read_dataset(tmp_path)
    assert found.counts() == {"train": [4, 5], "val": [1, 2], "test": [0, 0]}
    assert not found.skipped


def test_what_lies_beside_the_splits_and_classes_is_listed(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", a=3, b=3)
    folder_of(tmp_path / "val", 50, a=1, b=1)
    folder_of(tmp_path / "eval", 60, a=2)
    folder_of(tmp_path, 70, unsorted=2)
    picture(tmp_path / "top.png", 80)
    picture(tmp_path / "train" / "loose.png", 81)
    (tmp_path / "README").write_text("of the data")
    for n in range(3):
        (tmp_path / "train" / "a" / f"{n}.txt").write_text("of a picture")
    found = read_dataset(tmp_path)
    assert found.counts() == {"train": [3, 3], "val": [1, 1], "test": [0, 0]}
    assert {s.name: s.reason for s in found.skipped} == {
        "eval": "it is none of train, val and test",
        "unsorted": "it is none of train, val and test",
        "top.png": "it lies in no class folder",
        "train/loose.png": "it lies in no class folder",
        "README": "1 file is no picture by the name",
        "train/a/*.txt": "3 files are no pictures by the name",
    }
    folder_of(tmp_path / "plain", a=3, b=3)
    picture(tmp_path / "plain" / "top.png", 80)
    assert [s.name for s in read_dataset(tmp_path / "plain").skipped] == ["top.png"]


def test_a_run_below_the_data_is_no_class(tmp_path: Path) -> None:
    before = read_dataset(folder_of(tmp_path, a=4, b=4))
    for run in (tmp_path / "run", tmp_path / "a" / "run"):
        picture(run / "curves.png", 90)
        picture(run / "more" / "worst.png", 91)
        for name in ("config.json", "base.onnx"):
            (run / name).write_text("{}")
    found = read_dataset(tmp_path)
    assert found.digest == before.digest
    assert {s.name: s.reason for s in found.skipped} == dict.fromkeys(
        ("run", "a/run"), "it is a run of `inspector finetune`"
    )


def test_a_path_that_is_too_long_is_listed(tmp_path: Path) -> None:
    folder_of(tmp_path / "p", x=8)
    rows = [f"p/x/{n}.png,{'ab'[n % 2]}" for n in range(8)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows, "n" * 5000 + ".png,a"]))
    [skipped] = read_dataset(tmp_path / "t.csv").skipped
    assert skipped.reason == "its path cannot be used: file name too long"
    assert len(skipped.name) <= 200
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        read_dataset(tmp_path / ("n" * 5000))
